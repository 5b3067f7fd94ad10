#pragma once
#include "kernel-runner/exec/exec_clock.h"
#include "kernel-runner/exec/exec_kernel.h"
#include "kernel-runner/exec/exec_order.h"
#include "kernel-runner/exec/exec_store.h"

/*
 * The API executions of one kernel: one at a time, first come first served (exec_order.h), and the
 * record of what notebook clients run on it beside them (exec_notebook.h). It guarantees that every
 * execution it took gets its one `done` in bounded time: by reply and idle, by timeout and kill
 * (exec_clock.h), or by the kernel's death.
 */
struct exec_queue;

struct exec_queue_cfg {
    struct loop *loop;
    struct exec_store *store;
    struct exec_kernel kernel;
    /*
     * Something began or ended, for idle clocks and metrics. They are told in the middle of things
     * and must not call back. Each may be NULL.
     */
    void (*on_started)(void *ctx, const struct exec *e);
    void (*on_done)(void *ctx, const struct exec *e);
    void (*on_rest)(void *ctx); /* the last request of a notebook client was answered */
    void *ctx;
};

/* So often an execution is sent again that others' failures abort unrun; then it is `aborted`. */
#define EXEC_AGAIN_MAX 100

struct exec_queue *exec_queue_new(const struct exec_queue_cfg *cfg);
/* Ends what runs and waits (`cancelled`), and lets go of the kernel. NULL ok. */
struct exec_queue *exec_queue_free(struct exec_queue *q);
struct kernel *exec_queue_kernel(struct exec_queue *q);
/* Running and waiting, and requests of notebook clients that are not answered. */
size_t exec_queue_outstanding(const struct exec_queue *q);

/* Who passes requests of notebook clients on tells what he knows by this, and by what follows. */
void exec_queue_set_foreign(struct exec_queue *q, const struct exec_foreign *foreign); /* or NULL */
uint64_t exec_queue_ticket(struct exec_queue *q);   /* of one that comes now */
void exec_queue_foreign_over(struct exec_queue *q); /* one of them; when `count` knows it */
/* A request of a notebook client, of whatever shell, has had all its answers. */
void exec_queue_foreign_answered(struct exec_queue *q, const char *msg_id);
/* The kernel died of an execute_request, perhaps before it said that it runs it. */
void exec_queue_foreign_lost(struct exec_queue *q, const char *msg_id, struct slice content,
                             const struct kernel_death *death);

/*
 * Queues e, whose clock will be default_timeout_ms unless it has its own. ERR_LIMIT: 256 wait;
 * ERR_KERNEL_DEAD; ERR_GENERATION_MISMATCH: its `generation` is not that of the process it would
 * run on: while one is being replaced, the next one's. It is compared again when it is sent, and
 * `cancelled` when that process is gone. On failure e is the caller's.
 */
int exec_queue_push(struct exec_queue *q, struct exec *e, int64_t default_timeout_ms,
                    struct err *err);
/*
 * Ends it, queued or running; a running one's kernel is killed when it does not stop in 2 s. One
 * that was sent and has another's request ahead of it is `cancelled` at once: the kernel is told to
 * pass it over (kernel_withdraw()), and nothing else of ours is sent until it has. Should it begin
 * to run all the same, it is interrupted when it is seen, and what it says goes nowhere.
 */
void exec_queue_cancel(struct exec_queue *q, struct exec *e);
/* Interrupts what runs, also a notebook's; never kills. */
void exec_queue_interrupt(struct exec_queue *q);
/* Ends what runs (`interrupted`) and waits (`cancelled`), and replaces the process. */
void exec_queue_restart(struct exec_queue *q);
/* The same by a client's shutdown_request, which was passed on: see kernel_expect_exit(). */
void exec_queue_expect_exit(struct exec_queue *q, bool restart);
bool exec_queue_is_exiting(const struct exec_queue *q); /* until the process has ended */
int exec_queue_input(struct exec_queue *q, struct exec *e, struct slice value, struct err *err);
/* Ends everything with `cancelled` (the sandbox is going away). */
void exec_queue_cancel_all(struct exec_queue *q);
