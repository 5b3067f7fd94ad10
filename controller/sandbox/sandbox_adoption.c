/*
 * Why: a controller that starts finds sandboxes that live, and only their runners know whose they
 * are. A runner may be slow, or stopped, or obey the key of another controller: none of that is a
 * reason to take a sandbox away from its owner. So it stays, unlisted, and is asked again, until it
 * has answered or has ended. Until then its id is nobody's to touch, and counts as somebody's.
 *
 * The ready line waits for the first answers, for a bounded time.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#define LOOK_MS          10000 /* of the backend */
#define ASK_MS           10000 /* of one question */
#define PAUSE_MIN_MS     250
#define PAUSE_MAX_MS     10000
#define PAUSE_FOREIGN_MS 60000

struct adoption {
    unsigned pending; /* runners being asked, and the backend's own looking */
    struct loop_timer *deadline;
    struct loop_post tell;
    struct err err;
    sandbox_done_fn done;
    void *ctx;
};

/* ---- the ready line ---- */

void sandbox_adoption_free(struct sandbox_table *t)
{
    struct adoption *a = TAKE_PTR(t->adoption);

    if (!a)
        return;
    loop_timer_free(a->deadline);
    loop_post_cancel(&a->tell);
    free(a);
}

static void tell_adopted(void *ctx)
{
    struct sandbox_table *t = ctx;
    struct adoption a = *t->adoption;

    sandbox_adoption_free(t);
    a.done(a.ctx, a.err.code ? &a.err : NULL);
}

static void adoption_step(struct sandbox_table *t)
{
    if (t->adoption && --t->adoption->pending == 0)
        loop_post(&t->adoption->tell, t->loop, tell_adopted, t);
}

void sandbox_heard(struct sandbox *sb)
{
    if (!sb->is_awaited)
        return;
    sb->is_awaited = false;
    adoption_step(sb->table);
}

/* ---- asking ---- */

static int64_t with_jitter(int64_t ms)
{
    uint32_t r;

    crypto_random(&r, sizeof(r));
    return ms / 2 + (int64_t)(r % (uint32_t)(ms / 2 + 1));
}

static void ask_again(void *ctx);

/* One line for each reason, not for each attempt. */
static void log_silence(struct sandbox_op *op, const struct err *err)
{
    enum log_level level = op->logged == err->code ? LOG_DEBUG : LOG_WARN;

    op->logged = err->code;
    log_event(level, op->sb->is_foreign ? "sandbox_foreign" : "sandbox_unknown", "sandbox",
              op->sb->id, "reason",
              op->sb->is_foreign
                  ? "its runner obeys the key of another state directory; it is left "
                    "alone"
                  : err->text,
              NULL);
}

static void pause_asking(struct sandbox *sb, enum sandbox_op_event ev, const struct err *err)
{
    struct sandbox_op *op = sb->op;

    sandbox_op_event(op, ev);
    sb->is_foreign = err->code == ERR_UNAUTHORIZED;
    log_silence(op, err);
    if (sb->is_foreign)
        sandbox_heard(sb);
    op->pause_ms = MIN(MAX(op->pause_ms * 2, PAUSE_MIN_MS), PAUSE_MAX_MS);
    if (!op->timer)
        op->timer = loop_timer_new(sb->table->loop, ask_again, sb);
    loop_timer_start(op->timer, with_jitter(sb->is_foreign ? PAUSE_FOREIGN_MS : op->pause_ms), 0);
}

static void on_who(void *ctx, json_t *json, const struct err *failure)
{
    struct sandbox *sb = ctx;
    struct err err = {0};

    sb->op->call = NULL;
    bool claimed = !failure && json_is_true(json_object_get(json, "claimed"));
    if (claimed && sandbox_learn(sb, json, &err) < 0)
        failure = &err;
    if (failure) {
        bool broken = failure->code == ERR_SANDBOX_LOST || failure->code == ERR_UNAVAILABLE;
        pause_asking(sb, broken ? SANDBOX_OP_EV_BROKEN : SANDBOX_OP_EV_FAILED, failure);
        return;
    }
    sandbox_op_end(sb->op, SANDBOX_OP_EV_ANSWERED, NULL, NULL);
    sb->is_foreign = false;
    sandbox_fire(sb, claimed ? SANDBOX_EV_ADOPTED : SANDBOX_EV_NOBODYS, NULL);
    if (!claimed)
        sandbox_await_ready(sb);
}

static void ask(struct sandbox *sb)
{
    struct err err = {0};

    if (runner_info(&sb->op->call, sb->table->cfg.http, sb, ASK_MS, on_who, sb, &err) < 0)
        pause_asking(sb, SANDBOX_OP_EV_FAILED, &err);
}

static void ask_again(void *ctx)
{
    struct sandbox *sb = ctx;

    sandbox_op_event(sb->op, SANDBOX_OP_EV_TIME);
    ask(sb);
}

void sandbox_ask(struct sandbox *sb)
{
    sandbox_op_new(sb, SANDBOX_OP_ASK, SANDBOX_OP_ASKING, 0);
    ask(sb);
}

/* ---- what the backend says ---- */

static void on_found(void *ctx, const char *id, const struct sandbox_endpoint *ep)
{
    struct sandbox_table *t = ctx;

    if (!id_is_sandbox(id) || sandbox_by_id(t, id))
        return;
    struct sandbox *sb = sandbox_add(t, id, SANDBOX_ASKING);
    sb->endpoint = *ep;
    sb->found_ms = clk_mono_ms();
    if (t->adoption && !loop_post_is_posted(&t->adoption->tell)) {
        sb->is_awaited = true;
        t->adoption->pending++;
    }
    sandbox_ask(sb);
}

static void on_lost(void *ctx, const char *id, const char *reason)
{
    struct sandbox_table *t = ctx;
    struct sandbox *sb = sandbox_by_id(t, id);
    struct err err = {0};

    if (!sb)
        return;
    err_set(&err, ERR_SANDBOX_LOST, "the sandbox ended: %s", reason);
    sandbox_fire(sb, SANDBOX_EV_LOST, &err);
}

void sandbox_adoption_listen(struct sandbox_table *t)
{
    static const struct sandbox_backend_events events = {.on_found = on_found, .on_lost = on_lost};

    sandbox_backend_listen(t->cfg.backend, &events, t);
}

static void on_backend_looked(void *ctx, const struct err *err)
{
    struct sandbox_table *t = ctx;

    if (!t->adoption)
        return;
    if (err)
        t->adoption->err = *err;
    t->adoption->deadline = loop_timer_new(t->loop, tell_adopted, t);
    loop_timer_start(t->adoption->deadline, t->cfg.adopt_deadline_ms, 0);
    adoption_step(t);
}

int sandbox_table_adopt(struct sandbox_table *t, sandbox_done_fn done, void *ctx, struct err *err)
{
    struct adoption *a = MEM_NEW(struct adoption);

    assert(!t->adoption);
    *a = (struct adoption){.pending = 1, .done = done, .ctx = ctx};
    t->adoption = a;
    int r = t->cfg.backend->ops->adopt(t->cfg.backend, LOOK_MS, on_backend_looked, t, err);
    if (r < 0)
        sandbox_adoption_free(t);
    return r;
}
