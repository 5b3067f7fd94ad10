/*
 * Why: GET of one sandbox asks its runner, because the kernel's state lives only there. The answer
 * always comes: from the runner, from its end, or from the deadline. A connection that breaks says
 * nothing about the sandbox: it is asked once more, then it is unavailable.
 */
#include <stdlib.h>
#include <utlist.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/mem.h"

#define DESCRIBE_DEADLINE_MS 5000
#define DESCRIBE_WORD_MS     300 /* its connection broke: for the backend's word that it ended */
#define DESCRIBE_TIMES       2

/*
 *   ASKING ─broke→ BROKEN ─waited→ ASKING (once), or OVER
 *   ASKING ─answered→ OVER        any ─the sandbox ended→ OVER
 */
enum describe_state {
    DESCRIBE_ASKING, /* the runner */
    DESCRIBE_BROKEN, /* no connection; its end may be told */
    DESCRIBE_OVER,   /* what `done` will say is known */
};

struct sandbox_describe {
    struct sandbox *sb; /* not to be touched once its end was told */
    struct loop *loop;
    enum describe_state state;
    struct runner_call *call;
    struct loop_timer *timer;
    struct loop_post told;
    unsigned times;
    struct sandbox_watch watch;
    sandbox_json_fn done;
    void *ctx;
    /* for `done` */
    json_t *json;
    struct err err;
};

struct sandbox_describe *sandbox_describe_cancel(struct sandbox_describe *d)
{
    if (!d)
        return NULL;
    sandbox_watch_stop(&d->watch);
    runner_cancel(d->call);
    loop_post_cancel(&d->told);
    loop_timer_free(d->timer);
    json_decref(d->json);
    free(d);
    return NULL;
}

static void tell_description(void *ctx)
{
    struct sandbox_describe *d = ctx;
    sandbox_json_fn done = d->done;
    void *done_ctx = d->ctx;
    struct sandbox *sb = d->watch.sandbox; /* NULL once it ended */
    _cleanup_(json_decrefp) json_t *json = TAKE_PTR(d->json);
    struct err err = d->err;

    sandbox_describe_cancel(d);
    if (err.code)
        done(done_ctx, NULL, NULL, &err);
    else
        done(done_ctx, sb, json, NULL);
}

static void over(struct sandbox_describe *d)
{
    d->state = DESCRIBE_OVER;
    loop_post(&d->told, d->loop, tell_description, d);
}

/* It is gone: as for whoever asks later, there is no such sandbox. */
static void on_end(void *ctx, const struct err *err)
{
    struct sandbox_describe *d = ctx;

    d->call = runner_cancel(d->call);
    loop_timer_stop(d->timer);
    json_decref(TAKE_PTR(d->json));
    d->err = *err;
    if (err->code == ERR_SANDBOX_LOST)
        err_set(&d->err, ERR_NOT_FOUND, "sandbox %s is gone", d->sb->id);
    over(d);
}

static void ask(struct sandbox_describe *d);

static void on_waited(void *ctx)
{
    struct sandbox_describe *d = ctx;

    if (d->times < DESCRIBE_TIMES)
        ask(d);
    else
        over(d);
}

static void broke(struct sandbox_describe *d, const struct err *why)
{
    runner_failure(why, &d->err);
    d->state = DESCRIBE_BROKEN;
    loop_timer_start(d->timer, DESCRIBE_WORD_MS, 0);
}

static void on_info(void *ctx, json_t *info, const struct err *failure)
{
    struct sandbox_describe *d = ctx;

    d->call = NULL;
    if (failure && (failure->code == ERR_UNAVAILABLE || failure->code == ERR_SANDBOX_LOST)) {
        broke(d, failure);
        return;
    }
    d->err = (struct err){0};
    if (failure)
        d->err = *failure;
    else
        sandbox_learn(d->sb, info, &d->err);
    if (d->err.code)
        err_wrap(&d->err, "the sandbox does not answer");
    else
        d->json = sandbox_to_json(d->sb, info);
    over(d);
}

static void ask(struct sandbox_describe *d)
{
    struct err err = {0};

    d->times++;
    d->state = DESCRIBE_ASKING;
    if (runner_info(&d->call, d->sb->table->cfg.http, d->sb, DESCRIBE_DEADLINE_MS, on_info, d,
                    &err) < 0)
        broke(d, &err);
}

int sandbox_describe(struct sandbox_describe **ret, struct sandbox *sb, sandbox_json_fn done,
                     void *ctx, struct err *err)
{
    struct sandbox_describe *d = MEM_NEW(struct sandbox_describe);

    d->sb = sb;
    d->loop = sb->table->loop;
    d->done = done;
    d->ctx = ctx;
    d->timer = loop_timer_new(d->loop, on_waited, d);
    sandbox_watch_start(&d->watch, sb, on_end, d);
    if (sb->state == SANDBOX_READY) {
        ask(d);
    } else { /* one that is ending is not asked any more */
        d->json = sandbox_to_json(sb, NULL);
        over(d);
    }
    *ret = d;
    return 0;
}
