#pragma once
#include "kernel-runner/exec/exec_store.h"
#include "kernel-runner/kernel/kernel.h"

/*
 * The API executions of one kernel: one at a time, first come first served, and the record of what
 * notebook clients run on it beside them (exec_notebook.h). It guarantees that every execution it
 * took gets its one `done` in bounded time: by reply and idle, by timeout and kill, or by the
 * kernel's death.
 */
struct exec_queue;

struct exec_queue_cfg {
    struct loop *loop;
    struct exec_store *store;
    struct kernel *kernel;
    /* Something began or ended, for idle clocks and metrics. May be NULL. */
    void (*on_started)(void *ctx, const struct exec *e);
    void (*on_done)(void *ctx, const struct exec *e);
    /* The last request of a notebook client was answered. May be NULL. */
    void (*on_rest)(void *ctx);
    void *ctx;
};

#define EXEC_START_GRACE_MS 2000 /* sent, nothing ahead, no busy: its clock starts all the same */
#define EXEC_HOLD_MS        100  /* an interrupt waits this long for a notebook's cell to be seen */
#define EXEC_KILL_GRACE_MS  2000 /* interrupted, not at rest: the kernel is killed */

struct exec_queue *exec_queue_new(const struct exec_queue_cfg *cfg);
/* Ends what runs and waits (`cancelled`), and lets go of the kernel. NULL ok. */
struct exec_queue *exec_queue_free(struct exec_queue *q);
struct kernel *exec_queue_kernel(struct exec_queue *q);
/* Running and waiting, and requests of notebook clients that are not answered. */
size_t exec_queue_outstanding(const struct exec_queue *q);

/*
 * Requests of notebook clients on the kernel's main shell. They and the API's executions go to the
 * kernel in the order in which they came, each with a ticket: an execution is sent when every
 * foreign request with a lower one is over, a foreign request at once unless an execution with a
 * lower one still waits. Who passes such requests on tells what he knows by these.
 */
struct exec_foreign {
    size_t (*count)(void *ctx);    /* not over, whether passed on or not */
    uint64_t (*oldest)(void *ctx); /* the lowest ticket of those; UINT64_MAX: none */
    void (*on_turn)(void *ctx);    /* an execution left the queue: others may go */
    void *ctx;
};
void exec_queue_set_foreign(struct exec_queue *q, const struct exec_foreign *foreign); /* or NULL */
uint64_t exec_queue_ticket(struct exec_queue *q);
bool exec_queue_foreign_may_go(const struct exec_queue *q, uint64_t ticket);
void exec_queue_foreign_over(struct exec_queue *q); /* one of them; when `count` knows it */
/* The kernel died of an execute_request, perhaps before it said that it runs it. */
void exec_queue_foreign_lost(struct exec_queue *q, const char *msg_id, struct slice content,
                             const struct kernel_death *death);

/*
 * Queues e, whose clock will be default_timeout_ms unless it has its own. ERR_LIMIT: 256 wait;
 * ERR_KERNEL_DEAD; ERR_GENERATION_MISMATCH. On failure e is the caller's.
 */
int exec_queue_push(struct exec_queue *q, struct exec *e, int64_t default_timeout_ms,
                    struct err *err);
/* Ends it, queued or running; a running one's kernel is killed when it does not stop in 2 s. */
void exec_queue_cancel(struct exec_queue *q, struct exec *e);
/* Interrupts what runs, also a notebook's; never kills. */
void exec_queue_interrupt(struct exec_queue *q);
/* Ends what runs (`interrupted`) and waits (`cancelled`), and replaces the process. */
void exec_queue_restart(struct exec_queue *q);
/* The same by a client's shutdown_request, which was passed on: see kernel_expect_exit(). */
void exec_queue_expect_exit(struct exec_queue *q, bool restart);
int exec_queue_input(struct exec_queue *q, struct exec *e, struct slice value, struct err *err);
/* Ends everything with `cancelled` (the sandbox is going away). */
void exec_queue_cancel_all(struct exec_queue *q);
