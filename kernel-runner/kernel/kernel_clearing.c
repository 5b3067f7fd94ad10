/*
 * A process that was killed has its files open until it is gone, and they would count as used: so
 * the thread waits for it. Meanwhile a new one may start: where no other lived, all goes only of
 * what was there before (System V's times are whole seconds), of the rest what nobody uses.
 */
#include "kernel-runner/kernel/kernel_clearing.h"

#include "kernel-runner/kernel/leftovers.h"
#include "kernel-runner/kernel/proc_table.h"
#include "lib/base/log.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <time.h>
#include <unistd.h>

#define DYING_MAX 64   /* what more there are is not waited for */
#define DYING_MS  5000 /* for all of them together */

struct kernel_clearing {
    struct leftovers leftovers;
    int dying[DYING_MAX]; /* pidfds */
    size_t n_dying;
    void (*done)(void *ctx);
    void *ctx;
};

static void clearing_free(struct kernel_clearing *c)
{
    for (size_t i = 0; i < c->n_dying; i++)
        close(c->dying[i]);
    free(c);
}

static void clearing_run(void *ctx)
{
    struct kernel_clearing *c = ctx;
    if (c->n_dying) {
        leftovers_await(c->dying, c->n_dying, DYING_MS);
        c->leftovers.before.tv_sec -= 1;
        if (c->leftovers.all)
            leftovers_clear(&c->leftovers);
        c->leftovers.all = false;
        clock_gettime(CLOCK_REALTIME, &c->leftovers.before);
    }
    leftovers_clear(&c->leftovers);
}

static void clearing_done(void *ctx)
{
    struct kernel_clearing *c = ctx;
    void (*done)(void *ctx) = c->done;
    void *done_ctx = c->ctx;
    clearing_free(c);
    if (done)
        done(done_ctx);
}

struct kernel_clearing *kernel_clearing_start(const struct kernel_clearing_start *start)
{
    struct kernel_clearing *c = MEM_NEW(struct kernel_clearing);
    if (start->dying)
        c->n_dying = proc_swept(/* is_init= */ true, start->dying, start->others, start->n_others,
                                c->dying, ARRAY_LEN(c->dying));
    c->done = start->done;
    c->ctx = start->ctx;
    c->leftovers.all = start->n_others == 0;
    clock_gettime(CLOCK_REALTIME, &c->leftovers.before);
    if (loop_work(start->loop, clearing_run, clearing_done, c, NULL) < 0) {
        log_event(LOG_WARN, "memory_not_cleared", "kernel", start->kernel_id, NULL);
        clearing_free(c);
        return NULL;
    }
    return c;
}

void kernel_clearing_forget(struct kernel_clearing *c)
{
    if (c)
        c->done = NULL;
}
