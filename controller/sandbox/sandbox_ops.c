/*
 * Why: starting a sandbox and giving it to its owner take time and can go wrong at every step. Each
 * is one operation with a state; the sandbox has at most one, and whoever asked for it is told how
 * it ended by the loop, when all that its end means has been done.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#define LAST_WORDS_MS 1000 /* a broken connection: wait so long for the reason of the death */
#define CLAIM_ID_SIZE ID_UUID_SIZE

/* ---- the life of an operation ---- */

struct sandbox_op *sandbox_op_new(struct sandbox *sb, enum sandbox_op_kind kind,
                                  enum sandbox_op_state state, int64_t deadline_ms)
{
    struct sandbox_op *op = MEM_NEW(struct sandbox_op);

    assert(!sb->op);
    op->kind = kind;
    op->state = state;
    op->sb = sb;
    op->deadline_at_ms = clk_mono_ms() + deadline_ms;
    sb->op = op;
    return op;
}

void sandbox_op_free(struct sandbox_op *op)
{
    if (!op)
        return;
    if (op->state == SANDBOX_OP_OVER)
        DL_DELETE(op->sb->table->over, op);
    loop_post_cancel(&op->tell);
    runner_cancel(op->call);
    loop_timer_free(op->timer);
    json_decref(op->json);
    json_decref(op->labels);
    json_decref(op->body);
    free(op->owner);
    free(op->name);
    free(op->key);
    free(op);
}

void sandbox_op_event(struct sandbox_op *op, enum sandbox_op_event ev)
{
    enum sandbox_op_state to;

    if (!sandbox_op_next(op->state, ev, &to)) {
        log_event(LOG_WARN, "sandbox_op_bad_event", "sandbox", op->sb->id, "state",
                  sandbox_op_state_name(op->state), "cause", sandbox_op_event_name(ev), NULL);
        assert(!"a change the table of the machine does not have");
        return;
    }
    op->state = to;
}

static void tell_start(struct sandbox_op *op)
{
    struct sandbox_table *t = op->sb->table;
    const struct err *err = op->err.code ? &op->err : op->sb->ended;
    struct sandbox *sb = !err && op->sb->state == SANDBOX_WARM ? op->sb : NULL;

    if (op->start_done)
        op->start_done(op->ctx, sb, err);
    else if (sb && t->hooks.on_warm)
        t->hooks.on_warm(t->hooks_ctx, sb);
}

/* Refused, it is as it was, unless it ended meanwhile. */
static void tell_claim(struct sandbox_op *op)
{
    bool is_refused = op->err.code == ERR_INVALID && op->sb->state == SANDBOX_WARM;
    const struct err *err = op->err.code ? &op->err : op->sb->ended;

    op->claim_done(op->ctx, !err || is_refused ? op->sb : NULL, err ? NULL : op->json, err);
}

static void tell_op(void *ctx)
{
    struct sandbox_op *op = ctx;

    switch (op->kind) {
    case SANDBOX_OP_START:
        tell_start(op);
        break;
    case SANDBOX_OP_CLAIM:
        tell_claim(op);
        break;
    case SANDBOX_OP_ASK: /* nobody asked for it */
        break;
    }
    sandbox_op_free(op);
}

void sandbox_op_end(struct sandbox_op *op, enum sandbox_op_event ev, json_t *json,
                    const struct err *err)
{
    struct sandbox_table *t = op->sb->table;

    sandbox_op_event(op, ev);
    op->call = runner_cancel(op->call);
    op->timer = loop_timer_free(op->timer);
    op->json = json_incref(json);
    op->err = err ? *err : (struct err){0};
    op->sb->op = NULL;
    DL_APPEND(t->over, op);
    loop_post(&op->tell, t->loop, tell_op, op);
}

/* ---- starting ---- */

static void fail_start(struct sandbox *sb, enum sandbox_op_event ev, const struct err *err)
{
    struct err why = *err;

    if (why.code != ERR_TIMEOUT && why.code != ERR_NO_SPACE && why.code != ERR_UNAVAILABLE)
        why.code = ERR_SANDBOX_FAILED;
    sandbox_op_end(sb->op, ev, NULL, &why);
    sandbox_fire(sb, SANDBOX_EV_FAILED, &why);
}

static void on_no_last_words(void *ctx)
{
    struct sandbox *sb = ctx;
    struct err err = sb->op->err;

    err.code = ERR_SANDBOX_FAILED;
    fail_start(sb, SANDBOX_OP_EV_TIME, &err);
}

static void on_ready(void *ctx, json_t *json, const struct err *err)
{
    struct sandbox *sb = ctx;
    struct sandbox_op *op = sb->op;

    op->call = NULL;
    if (err && clk_mono_ms() >= op->deadline_at_ms - LAST_WORDS_MS) {
        struct err late = *err;
        late.code = ERR_TIMEOUT;
        err_wrap(&late, "the kernel was not ready in time");
        fail_start(sb, SANDBOX_OP_EV_FAILED, &late);
    } else if (err && (err->code == ERR_SANDBOX_LOST || err->code == ERR_UNAVAILABLE)) {
        sandbox_op_event(op, SANDBOX_OP_EV_BROKEN);
        op->err = *err;
        op->timer = loop_timer_new(sb->table->loop, on_no_last_words, sb);
        loop_timer_start(op->timer, LAST_WORDS_MS, 0);
    } else if (err) {
        fail_start(sb, SANDBOX_OP_EV_FAILED, err);
    } else {
        sandbox_op_end(op, SANDBOX_OP_EV_ANSWERED, NULL, NULL);
        sandbox_fire(sb, SANDBOX_EV_STARTED, NULL);
    }
}

static void wait_ready(struct sandbox *sb)
{
    int64_t left_ms = sb->op->deadline_at_ms - clk_mono_ms();
    struct err err = {0};

    if (runner_ready(&sb->op->call, sb->table->cfg.http, sb, MAX(left_ms, 1000), on_ready, sb,
                     &err) < 0)
        fail_start(sb, SANDBOX_OP_EV_FAILED, &err);
}

void sandbox_await_ready(struct sandbox *sb)
{
    sandbox_op_new(sb, SANDBOX_OP_START, SANDBOX_OP_WAITING, sb->table->cfg.start_deadline_ms);
    wait_ready(sb);
}

static void on_created(void *ctx, const struct sandbox_endpoint *ep, const struct err *err)
{
    struct backend_op *bop = ctx;
    struct sandbox *sb = sandbox_by_id(bop->table, bop->id);

    backend_op_free(bop);
    if (!sb || sb->state != SANDBOX_CREATING)
        return;
    if (err) {
        fail_start(sb, SANDBOX_OP_EV_FAILED, err);
        return;
    }
    sb->endpoint = *ep;
    sandbox_op_event(sb->op, SANDBOX_OP_EV_MADE);
    wait_ready(sb);
}

int sandbox_start(struct sandbox_table *t, sandbox_start_fn done, void *ctx, struct err *err)
{
    char id[ID_SANDBOX_SIZE], hash[CRYPTO_HEX_SIZE];

    crypto_new_sandbox_id(id);
    struct sandbox *sb = sandbox_add(t, id, SANDBOX_CREATING);
    struct sandbox_op *op =
        sandbox_op_new(sb, SANDBOX_OP_START, SANDBOX_OP_MAKING, t->cfg.start_deadline_ms);
    struct backend_op *bop = backend_op_new(t, id);

    op->start_done = done;
    op->ctx = ctx;
    crypto_token_hash(sb->token, hash);
    const struct sandbox_backend_spec spec = {
        .id = sb->id, .token_hash = hash, .deadline_ms = t->cfg.start_deadline_ms};
    int r = t->cfg.backend->ops->create(t->cfg.backend, &spec, on_created, bop, err);
    if (r < 0) {
        backend_op_free(bop);
        sandbox_drop(sb);
    }
    return r;
}

/* ---- claiming ---- */

/* `claim_id` makes it this claim and no other, however often it has to be sent. */
static json_t *claim_body(const struct sandbox *sb, const struct sandbox_op *op, json_t *env)
{
    json_t *o = json_object();
    char claim_id[CLAIM_ID_SIZE];

    crypto_new_uuid(claim_id);
    json_object_set_new(o, "claim_id", json_string(claim_id));
    json_object_set_new(o, "id", json_string(sb->id));
    json_object_set_new(o, "owner", json_string(op->owner));
    json_object_set_new(o, "name", json_string(op->name ? op->name : ""));
    json_object_set(o, "labels", op->labels);
    json_object_set(o, "env", env);
    json_object_set_new(o, "exec_timeout_s", json_real((double)op->exec_timeout_ms / 1000.0));
    json_object_set_new(o, "idle_timeout_s", json_real((double)op->idle_timeout_ms / 1000.0));
    if (op->max_lifetime_ms > 0)
        json_object_set_new(o, "max_lifetime_s", json_real((double)op->max_lifetime_ms / 1000.0));
    if (op->key)
        json_object_set_new(o, "idempotency_key", json_string(op->key));
    return o;
}

/* What was asked for is what it is, unless the runner says otherwise. */
static int learn_claim(struct sandbox *sb, struct sandbox_op *op, const json_t *json,
                       struct err *err)
{
    sb->owner = TAKE_PTR(op->owner);
    sb->table->n_owned++;
    sb->name = TAKE_PTR(op->name);
    sb->idempotency_key = TAKE_PTR(op->key);
    sb->labels = TAKE_PTR(op->labels);
    sb->exec_timeout_ms = op->exec_timeout_ms;
    sb->idle_timeout_ms = op->idle_timeout_ms;
    sb->max_lifetime_ms = op->max_lifetime_ms;
    sb->claimed_at = sb->last_activity_at = clk_wall_us();
    return sandbox_learn(sb, json, err);
}

static void on_claimed(void *ctx, json_t *json, const struct err *failure);

static int send_claim(struct sandbox_op *op, struct err *err)
{
    int64_t left_ms = MAX(op->deadline_at_ms - clk_mono_ms(), 1);

    return runner_claim(&op->call, op->sb->table->cfg.http, op->sb, json_incref(op->body), left_ms,
                        on_claimed, op->sb, err);
}

static void claim_failed(struct sandbox_op *op, const struct err *failure)
{
    struct sandbox *sb = op->sb;
    struct err err = *failure;

    switch (failure->code) {
    case ERR_INVALID:
    case ERR_TOO_LARGE:
        err.code = ERR_INVALID;
        sandbox_op_end(op, SANDBOX_OP_EV_FAILED, NULL, &err);
        sandbox_fire(sb, SANDBOX_EV_REFUSED, &err);
        break;
    case ERR_CONFLICT: /* another controller has it: it is that caller's */
        sandbox_op_end(op, SANDBOX_OP_EV_FAILED, NULL, &err);
        sandbox_fire(sb, SANDBOX_EV_TAKEN, &err);
        sandbox_ask(sb);
        break;
    default:
        sandbox_op_end(op, SANDBOX_OP_EV_FAILED, NULL, &err);
        sandbox_fire(sb, SANDBOX_EV_FAILED, &err);
    }
}

static void on_claimed(void *ctx, json_t *json, const struct err *failure)
{
    struct sandbox *sb = ctx;
    struct sandbox_op *op = sb->op;
    struct err err = {0};

    op->call = NULL;
    if (failure && op->state == SANDBOX_OP_CLAIMING &&
        (failure->code == ERR_SANDBOX_LOST || failure->code == ERR_UNAVAILABLE)) {
        sandbox_op_event(op, SANDBOX_OP_EV_BROKEN);
        if (send_claim(op, &err) == 0)
            return;
        failure = &err;
    }
    if (!failure && learn_claim(sb, op, json, &err) < 0)
        failure = &err;
    if (failure) {
        claim_failed(op, failure);
        return;
    }
    sandbox_fire(sb, SANDBOX_EV_CLAIMED, NULL);
    _cleanup_(json_decrefp) json_t *o = sandbox_to_json(sb, json);
    sandbox_op_end(op, SANDBOX_OP_EV_ANSWERED, o, NULL);
}

int sandbox_claim(struct sandbox *sb, const char *owner, const struct sandbox_spec *spec,
                  const char *idempotency_key, int64_t deadline_ms, sandbox_json_fn done, void *ctx,
                  struct err *err)
{
    struct err failed = {0};

    assert(sb->state == SANDBOX_WARM);
    sandbox_fire(sb, SANDBOX_EV_CLAIM, NULL);
    struct sandbox_op *op = sandbox_op_new(sb, SANDBOX_OP_CLAIM, SANDBOX_OP_CLAIMING, deadline_ms);
    op->claim_done = done;
    op->ctx = ctx;
    op->owner = mem_dup_str(owner);
    op->name = mem_dup_str(spec->name);
    op->key = mem_dup_str(idempotency_key);
    op->labels = json_incref(spec->labels);
    op->exec_timeout_ms = spec->exec_timeout_ms;
    op->idle_timeout_ms = spec->idle_timeout_ms;
    op->max_lifetime_ms = spec->max_lifetime_ms;
    op->body = claim_body(sb, op, spec->env);
    int r = send_claim(op, &failed);
    if (r < 0) {
        sb->op = NULL;
        sandbox_op_free(op);
        sandbox_fire(sb, SANDBOX_EV_FAILED, &failed);
        if (err)
            *err = failed;
    }
    return r;
}
