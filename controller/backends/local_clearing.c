/*
 * Why not at once: code can leave any number of files (without isolation its own, otherwise what it
 * made of a descriptor that it should never have had), and the loop serves everybody. At most
 * AT_ONCE threads of the pool are taken, so that a stop of many large sandboxes leaves some of it,
 * and its queue (loop_work), to others.
 *
 * A removal that has begun outlives its sandbox and the backend: the thread touches only `dir`.
 */
#include "controller/backends/local_clearing.h"

#include <errno.h>
#include <utlist.h>

#include "controller/backends/local_backend.h"
#include "controller/backends/local_cgroup.h"
#include "controller/backends/local_dir.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define AT_ONCE  2
#define RETRY_MS 100 /* when others fill the pool's queue, or a cgroup is still busy */
#define ENDS_MS  200 /* for what is still ending in a cgroup */
/* Of a process whose end the kernel draws out, and what no pidfd tells. */
#define BUSY_TRIES 50

struct local_clearing {
    struct local_dir dir;
    struct local_backend *backend; /* NULL: it was closed */
    local_clearing_fn fn;          /* NULL: nobody waits any more */
    void *ctx;
    bool begun;
    unsigned busy; /* how often its cgroup was */
    int failed;
    struct local_clearing *prev, *next; /* of backend->clearings */
};

static void start_some(struct local_backend *b);

static void clearing_free(struct local_clearing *c)
{
    local_dir_done(&c->dir);
    free(c);
}

static void work(void *ctx)
{
    struct local_clearing *c = ctx;

    /* A cgroup that stays busy keeps the folder, which names it: the next start clears it. */
    c->failed = local_cgroup_remove(&c->dir, ENDS_MS);
    if (c->failed == 0)
        c->failed = local_dir_remove(&c->dir);
}

static void on_retry(void *ctx)
{
    start_some(ctx);
}

static void retry(struct local_backend *b)
{
    if (!b->clearing_retry)
        b->clearing_retry = loop_timer_new(b->loop, on_retry, b);
    loop_timer_start(b->clearing_retry, RETRY_MS, 0);
}

static void work_done(void *ctx)
{
    struct local_clearing *c = ctx;
    struct local_backend *b = c->backend;
    local_clearing_fn fn = c->fn;
    void *fn_ctx = c->ctx;
    int failed = c->failed;

    if (b && failed == EBUSY && ++c->busy < BUSY_TRIES) {
        c->begun = false;
        DL_DELETE(b->clearings, c);
        DL_APPEND(b->clearings, c);
        retry(b);
        return;
    }
    if (b) {
        DL_DELETE(b->clearings, c);
        start_some(b);
    }
    clearing_free(c);
    if (fn)
        fn(fn_ctx, failed);
}

static void start_some(struct local_backend *b)
{
    struct local_clearing *c;
    int begun = 0;

    DL_FOREACH (b->clearings, c) {
        if (!c->begun && loop_work(b->loop, work, work_done, c, NULL) < 0) {
            retry(b);
            break;
        }
        c->begun = true;
        if (++begun == AT_ONCE)
            break;
    }
}

struct local_clearing *local_clearing_start(struct local_backend *b, const char *id,
                                            local_clearing_fn fn, void *ctx)
{
    struct local_clearing *c = MEM_NEW(struct local_clearing);

    local_dir_init(&c->dir, b->cfg.state_dir, b->cfg.runtime_dir, id);
    c->backend = b;
    c->fn = fn;
    c->ctx = ctx;
    DL_APPEND(b->clearings, c);
    start_some(b);
    return c;
}

void local_clearing_forget(struct local_clearing *c)
{
    if (c)
        c->fn = NULL;
}

void local_clearing_close(struct local_backend *b)
{
    struct local_clearing *c, *next;

    b->clearing_retry = loop_timer_free(b->clearing_retry);
    DL_FOREACH_SAFE (b->clearings, c, next) {
        DL_DELETE(b->clearings, c);
        c->backend = NULL;
        c->fn = NULL;
        if (!c->begun)
            clearing_free(c);
    }
}
