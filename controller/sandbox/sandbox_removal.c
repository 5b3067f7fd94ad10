/*
 * Why: a sandbox that ends must be gone, whatever the backend says today: it is asked again until
 * it has taken the sandbox away. Any number of callers may wait for that.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define REMOVE_DEADLINE_MS 10000
#define RETRY_MIN_MS       1000
#define RETRY_MAX_MS       60000

/* Of a sandbox, and then, until it is told, of the table. */
struct removal_waiter {
    struct sandbox_table *table;
    sandbox_done_fn done;
    void *ctx;
    struct err *err; /* NULL: it is gone */
    struct loop_post tell;
    struct removal_waiter *prev, *next;
};

struct removal_of_all {
    struct loop_timer *deadline;
    unsigned pending;
    unsigned failed;
    sandbox_done_fn done;
    void *ctx;
};

static void try_remove(struct backend_op *bop);

/* ---- the backend ---- */

struct backend_op *backend_op_new(struct sandbox_table *t, const char *id)
{
    struct backend_op *bop = MEM_NEW(struct backend_op);

    bop->table = t;
    snprintf(bop->id, sizeof(bop->id), "%s", id);
    DL_APPEND(t->backend_ops, bop);
    return bop;
}

void backend_op_free(struct backend_op *bop)
{
    DL_DELETE(bop->table->backend_ops, bop);
    loop_timer_free(bop->retry);
    free(bop);
}

static void on_removed(void *ctx, const struct err *err)
{
    struct backend_op *bop = ctx;
    struct sandbox *sb = sandbox_by_id(bop->table, bop->id);

    if (err && sb) {
        log_event(LOG_ERROR, "sandbox_remove_failed", "sandbox", bop->id, "reason", err->text,
                  NULL);
        bop->retry_ms = MIN(MAX(bop->retry_ms * 2, RETRY_MIN_MS), RETRY_MAX_MS);
        loop_timer_start(bop->retry, bop->retry_ms, 0);
        bop->err.code = ERR_OK;
        sandbox_removal_tell(sb, err);
        return;
    }
    backend_op_free(bop);
    if (sb && (sb->state == SANDBOX_TERMINATING || sb->state == SANDBOX_FAILED))
        sandbox_fire(sb, SANDBOX_EV_REMOVED, NULL);
}

static void on_remove_retry(void *ctx)
{
    struct backend_op *bop = ctx;
    struct err refused = bop->err;

    if (refused.code) /* refused at once: told here, so that no one hears of it too early */
        on_removed(bop, &refused);
    else
        try_remove(bop);
}

static void try_remove(struct backend_op *bop)
{
    struct sandbox_backend *b = bop->table->cfg.backend;

    if (!bop->retry)
        bop->retry = loop_timer_new(bop->table->loop, on_remove_retry, bop);
    bop->err.code = ERR_OK;
    if (b->ops->remove(b, bop->id, REMOVE_DEADLINE_MS, on_removed, bop, &bop->err) < 0)
        loop_timer_start(bop->retry, 0, 0);
}

void sandbox_removal_begin(struct sandbox *sb)
{
    try_remove(backend_op_new(sb->table, sb->id));
}

/* ---- who waits ---- */

static void waiter_free(struct removal_waiter *w)
{
    DL_DELETE(w->table->told, w);
    loop_post_cancel(&w->tell);
    free(w->err);
    free(w);
}

static void tell_waiter(void *ctx)
{
    struct removal_waiter *w = ctx;

    w->done(w->ctx, w->err);
    waiter_free(w);
}

void sandbox_removal_tell(struct sandbox *sb, const struct err *err)
{
    struct removal_waiter *w;

    while ((w = sb->waiters)) {
        DL_DELETE(sb->waiters, w);
        DL_APPEND(w->table->told, w);
        if (err) {
            w->err = MEM_NEW(struct err);
            *w->err = *err;
        }
        loop_post(&w->tell, w->table->loop, tell_waiter, w);
    }
}

void sandbox_remove(struct sandbox *sb, sandbox_done_fn done, void *ctx)
{
    if (done) {
        struct removal_waiter *w = MEM_NEW(struct removal_waiter);
        *w = (struct removal_waiter){.table = sb->table, .done = done, .ctx = ctx};
        DL_APPEND(sb->waiters, w);
    }
    if (sb->state == SANDBOX_GONE)
        sandbox_removal_tell(sb, NULL);
    else if (sb->state != SANDBOX_TERMINATING && sb->state != SANDBOX_FAILED)
        sandbox_fire(sb, SANDBOX_EV_REMOVE, NULL);
}

/* ---- all of them ---- */

static void tell_all_removed(void *ctx)
{
    struct sandbox_table *t = ctx;
    struct removal_of_all *r = TAKE_PTR(t->removal_of_all);
    struct err err = {0};
    unsigned left = r->pending + r->failed;

    if (left > 0)
        err_set(&err, ERR_TIMEOUT, "%u sandboxes could not be removed in time", left);
    loop_timer_free(r->deadline);
    r->done(r->ctx, left > 0 ? &err : NULL);
    free(r);
}

static void on_one_of_all_removed(void *ctx, const struct err *err)
{
    struct sandbox_table *t = ctx;

    if (!t->removal_of_all)
        return;
    t->removal_of_all->failed += err ? 1 : 0;
    if (--t->removal_of_all->pending == 0)
        loop_timer_start(t->removal_of_all->deadline, 0, 0);
}

void sandbox_table_remove_all(struct sandbox_table *t, int64_t deadline_ms, sandbox_done_fn done,
                              void *ctx)
{
    struct removal_of_all *r = MEM_NEW(struct removal_of_all);
    struct sandbox *sb, *next;

    assert(!t->removal_of_all);
    *r = (struct removal_of_all){.done = done, .ctx = ctx};
    r->deadline = loop_timer_new(t->loop, tell_all_removed, t);
    r->pending = HASH_COUNT(t->by_id);
    t->removal_of_all = r;
    loop_timer_start(r->deadline, r->pending > 0 ? deadline_ms : 0, 0);
    HASH_ITER (hh, t->by_id, sb, next)
        sandbox_remove(sb, on_one_of_all_removed, t);
}

void sandbox_removals_free(struct sandbox_table *t)
{
    struct backend_op *bop, *bop_next;
    struct removal_waiter *w, *w_next;

    DL_FOREACH_SAFE (t->backend_ops, bop, bop_next)
        backend_op_free(bop);
    DL_FOREACH_SAFE (t->told, w, w_next)
        waiter_free(w);
    if (t->removal_of_all)
        loop_timer_free(t->removal_of_all->deadline);
    free(t->removal_of_all);
}
