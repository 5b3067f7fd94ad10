/*
 * Why: GET of one sandbox asks its runner, because the kernel's state lives only there. The answer
 * always comes: from the runner, from its end, or from the deadline.
 */
#include <stdlib.h>
#include <utlist.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/mem.h"

#define DESCRIBE_DEADLINE_MS 5000
#define DESCRIBE_END_MS      1000 /* its connection broke: its end is told within this, or it lives */

struct sandbox_describe {
    struct sandbox *sb;
    struct runner_call *call;
    struct loop_timer *timer;
    struct loop_post tell;
    json_t *json;       /* what is told */
    struct err failure; /* … unless there is a code */
    struct sandbox_watch watch;
    sandbox_json_fn done;
    void *ctx;
};

struct sandbox_describe *sandbox_describe_cancel(struct sandbox_describe *d)
{
    if (!d)
        return NULL;
    sandbox_watch_stop(&d->watch);
    runner_cancel(d->call);
    loop_timer_free(d->timer);
    loop_post_cancel(&d->tell);
    json_decref(d->json);
    free(d);
    return NULL;
}

static void tell_description(void *ctx)
{
    struct sandbox_describe *d = ctx;
    sandbox_json_fn done = d->done;
    void *done_ctx = d->ctx;
    struct sandbox *sb = d->watch.sandbox;
    struct err err = d->failure;
    _cleanup_(json_decrefp) json_t *json = TAKE_PTR(d->json);

    sandbox_describe_cancel(d);
    if (err.code)
        done(done_ctx, NULL, NULL, &err);
    else
        done(done_ctx, sb, json, NULL);
}

static void finish(struct sandbox_describe *d, json_t *json_take, const struct err *err)
{
    d->call = runner_cancel(d->call);
    if (d->timer)
        loop_timer_stop(d->timer);
    d->json = json_take;
    if (err)
        d->failure = *err;
    loop_post(&d->tell, d->sb->table->loop, tell_description, d);
}

/* It is gone: as for whoever asks later, there is no such sandbox. */
static void on_end(void *ctx, const struct err *err)
{
    struct sandbox_describe *d = ctx;
    struct err gone = *err;

    if (loop_post_is_posted(&d->tell))
        return;
    if (err->code == ERR_SANDBOX_LOST)
        err_set(&gone, ERR_NOT_FOUND, "sandbox %s is gone", d->sb->id);
    finish(d, NULL, &gone);
}

static void on_no_end(void *ctx)
{
    struct sandbox_describe *d = ctx;

    finish(d, NULL, NULL);
}

static void on_info(void *ctx, json_t *info, const struct err *failure)
{
    struct sandbox_describe *d = ctx;
    struct err err = {0};

    d->call = NULL;
    if (!failure && sandbox_learn(d->sb, info, &err) < 0)
        failure = &err;
    if (failure) {
        err = *failure;
        if (err.code == ERR_UNAVAILABLE)
            err.code = ERR_SANDBOX_LOST;
        err_wrap(&err, "the sandbox does not answer");
        /* A dying runner's connections break a moment before its end is told. */
        d->failure = err;
        d->timer = loop_timer_new(d->sb->table->loop, on_no_end, d);
        loop_timer_start(d->timer, err.code == ERR_SANDBOX_LOST ? DESCRIBE_END_MS : 0, 0);
        return;
    }
    finish(d, sandbox_to_json(d->sb, info), NULL);
}

int sandbox_describe(struct sandbox_describe **ret, struct sandbox *sb, sandbox_json_fn done,
                     void *ctx, struct err *err)
{
    struct sandbox_describe *d = MEM_NEW(struct sandbox_describe);

    d->sb = sb;
    d->done = done;
    d->ctx = ctx;
    if (sb->state == SANDBOX_READY) {
        int r =
            runner_info(&d->call, sb->table->cfg.http, sb, DESCRIBE_DEADLINE_MS, on_info, d, err);
        if (r < 0) {
            free(d);
            return r;
        }
    } else { /* one that is ending is not asked any more */
        finish(d, sandbox_to_json(sb, NULL), NULL);
    }
    sandbox_watch_start(&d->watch, sb, on_end, d);
    *ret = d;
    return 0;
}
