#pragma once
#include "kernel-runner/exec/exec_notebook.h"
#include "kernel-runner/exec/exec_queue.h"
#include "kernel-runner/exec/exec_sending.h"

#include <assert.h>

/* Between exec_queue.c (orders and the machine) and exec_hear.c (what the kernel says). */
enum queue_state {
    QUEUE_OPEN,
    QUEUE_EXITING, /* the process was told to end, and takes requests that it will not answer */
    QUEUE_CLOSED   /* the sandbox is going away */
};

struct exec_queue {
    struct exec_queue_cfg cfg;
    enum queue_state state;
    struct kernel_listener listener;
    struct exec_notebook *notebook;
    struct exec *current;
    struct exec_order order;
    struct exec_clock clock;
    struct exec_held held;
    struct exec_asked asked;
    bool telling;
};

/* Who is told by us must not call back: see `telling`. */
static inline const struct exec_kernel *exec_queue_kernel_of(const struct exec_queue *q)
{
    assert(!q->telling);
    return &q->cfg.kernel;
}

/* The one transition of the current execution, with what its edge does. */
void exec_queue_move(struct exec_queue *q, enum exec_event ev);
void exec_queue_end(struct exec_queue *q, const char *status, const char *error); /* the current */
void exec_queue_end_waiting(struct exec_queue *q, const char *status);
void exec_queue_pump(struct exec_queue *q); /* sends what may be sent */
/* The `error` of an execution that ended so; caller frees. */
char *exec_queue_death_error(const struct kernel_death *death);

struct kernel_events exec_hear_events(struct exec_queue *q);
