/*
 * Why: one place where a sandbox changes state. Every change goes through fire(): it looks the
 * change up in the machine's table, keeps the counts, logs once, and runs what entering the state
 * means. What waits for something hears of it there, so that nobody waits for ever.
 *
 * Ownership: the table owns the sandboxes; a sandbox is freed only on entering GONE, which happens
 * only from the backend's callbacks. So inside any other callback a sandbox in hand stays valid.
 */
#include "controller/sandbox/sandbox_table.h"

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

#define START_DEADLINE_MS  60000
#define ADOPT_DEADLINE_MS  10000 /* a runner that was left busy must still say who it is */
#define REMOVE_DEADLINE_MS 10000
#define LAST_WORDS_MS      1000 /* a broken connection: wait so long for the reason of the death */
#define RETRY_MIN_MS       1000
#define RETRY_MAX_MS       60000

enum op_kind { OP_START, OP_ADOPT, OP_CLAIM };

/* What is under way between a sandbox and its runner; at most one at a time. */
struct sandbox_op {
    enum op_kind kind;
    struct runner_call *call;
    struct loop_timer *last_words;
    struct err err; /* what to say when no last words come */
    int64_t deadline_at_ms;
    sandbox_start_fn start_done;
    sandbox_json_fn claim_done;
    void *ctx;
    /* OP_CLAIM: what was asked for */
    char *owner, *name, *key;
    json_t *labels;
    int64_t exec_timeout_ms, idle_timeout_ms, max_lifetime_ms;
};

/* What is under way at the backend. Knows the id only: the sandbox may be gone first. */
struct backend_op {
    struct sandbox_table *table;
    char id[ID_SANDBOX_SIZE];
    struct loop_timer *retry; /* removals */
    int64_t retry_ms;
    struct err err;
    struct backend_op *prev, *next;
};

struct removal_waiter {
    sandbox_done_fn done;
    void *ctx;
    struct removal_waiter *next;
};

struct adoption {
    unsigned pending; /* runners being asked, and the backend's own looking */
    struct err err;
    sandbox_done_fn done;
    void *ctx;
};

struct removal_of_all {
    struct loop_timer *deadline;
    unsigned pending;
    unsigned failed;
    sandbox_done_fn done;
    void *ctx;
};

static void fire(struct sandbox *sb, enum sandbox_event ev, const struct err *why);
static void try_remove(struct backend_op *bop);
static void wait_ready(struct sandbox *sb);

/* ---- pieces ---- */

static struct sandbox *find(struct sandbox_table *t, const char *id)
{
    struct sandbox *sb = NULL;

    HASH_FIND_STR(t->by_id, id, sb);
    return sb;
}

static struct sandbox *sandbox_add(struct sandbox_table *t, const char *id)
{
    struct sandbox *sb = MEM_NEW(struct sandbox);

    snprintf(sb->id, sizeof(sb->id), "%s", id);
    crypto_token_derive(t->cfg.key, id, sb->token);
    sb->table = t;
    sb->state = SANDBOX_CREATING;
    sb->created_at = sb->last_activity_at = clk_wall_us();
    HASH_ADD_STR(t->by_id, id, sb);
    t->counts[SANDBOX_CREATING]++;
    return sb;
}

static struct sandbox_op *op_new(struct sandbox *sb, enum op_kind kind, int64_t deadline_ms)
{
    struct sandbox_op *op = MEM_NEW(struct sandbox_op);

    assert(!sb->op);
    op->kind = kind;
    op->deadline_at_ms = clk_mono_ms() + deadline_ms;
    sb->op = op;
    return op;
}

static void op_free(struct sandbox_op *op)
{
    if (!op)
        return;
    runner_cancel(op->call);
    loop_timer_free(op->last_words);
    free(op->owner);
    free(op->name);
    free(op->key);
    json_decref(op->labels);
    free(op);
}

static void adoption_step(struct sandbox_table *t)
{
    struct adoption *a = t->adoption;

    if (!a || --a->pending > 0)
        return;
    t->adoption = NULL;
    a->done(a->ctx, a->err.code ? &a->err : NULL);
    free(a);
}

/* Tells who started the operation how it ended; sb is NULL unless it can be used. */
static void op_finish(struct sandbox_table *t, struct sandbox_op *op, struct sandbox *sb,
                      json_t *json, const struct err *err)
{
    switch (op->kind) {
    case OP_START:
        if (op->start_done)
            op->start_done(op->ctx, err ? NULL : sb, err);
        break;
    case OP_CLAIM:
        op->claim_done(op->ctx, sb, json, err);
        break;
    case OP_ADOPT:
        adoption_step(t);
        break;
    }
    op_free(op);
}

static struct backend_op *backend_op_new(struct sandbox_table *t, const char *id)
{
    struct backend_op *bop = MEM_NEW(struct backend_op);

    bop->table = t;
    snprintf(bop->id, sizeof(bop->id), "%s", id);
    DL_APPEND(t->backend_ops, bop);
    return bop;
}

static void backend_op_free(struct backend_op *bop)
{
    DL_DELETE(bop->table->backend_ops, bop);
    loop_timer_free(bop->retry);
    free(bop);
}

static void sandbox_free(struct sandbox *sb)
{
    struct removal_waiter *w, *next;

    LL_FOREACH_SAFE (sb->waiters, w, next)
        free(w);
    op_free(sb->op);
    json_decref(sb->labels);
    free(sb->owner);
    free(sb->name);
    free(sb->session_id);
    free(sb->idempotency_key);
    explicit_bzero(sb->token, sizeof(sb->token));
    free(sb);
}

static void tell_waiters(struct sandbox *sb, const struct err *err)
{
    struct removal_waiter *w;

    while ((w = sb->waiters)) {
        LL_DELETE(sb->waiters, w);
        w->done(w->ctx, err);
        free(w);
    }
}

/* ---- entering states ---- */

/* TERMINATING and FAILED: the backend takes it away, whoever waits hears why. */
static void enter_ending(struct sandbox *sb, enum sandbox_state from, const struct err *why)
{
    struct sandbox_op *op = TAKE_PTR(sb->op);
    struct backend_op *bop = backend_op_new(sb->table, sb->id);
    struct err removed = {0};

    if (!why) {
        err_set(&removed, ERR_NOT_FOUND, "the sandbox was removed");
        why = &removed;
    }
    if (op)
        runner_cancel(TAKE_PTR(op->call));
    try_remove(bop);
    sandbox_notify(sb, why);
    if (op)
        op_finish(sb->table, op, NULL, NULL, why);
}

static void enter_gone(struct sandbox *sb, enum sandbox_state from, const struct err *why)
{
    struct sandbox_table *t = sb->table;
    struct sandbox_op *op = TAKE_PTR(sb->op);
    struct err gone = {0};

    HASH_DELETE(hh, t->by_id, sb);
    t->n_owned -= sb->owner ? 1 : 0;
    if (!why) {
        err_set(&gone, ERR_NOT_FOUND, "the sandbox was removed");
        why = &gone;
    }
    if (op)
        runner_cancel(TAKE_PTR(op->call));
    sandbox_notify(sb, why);
    if (op && op->kind == OP_START) {
        struct err failed = *why;
        failed.code = ERR_SANDBOX_FAILED;
        op_finish(t, op, NULL, NULL, &failed);
    } else if (op) {
        op_finish(t, op, NULL, NULL, why);
    }
    if (t->hooks.on_gone)
        t->hooks.on_gone(t->hooks_ctx, sb, from);
    tell_waiters(sb, NULL);
    sandbox_free(sb);
}

/* One line per change; what an operator wants to see without asking is at info or above. */
static void log_change(const struct sandbox *sb, enum sandbox_state from, enum sandbox_event ev,
                       const struct err *why)
{
    enum log_level level = LOG_INFO;

    if (ev == SANDBOX_EV_CLAIM || ev == SANDBOX_EV_REMOVE)
        level = LOG_DEBUG;
    else if (ev == SANDBOX_EV_LOST || ev == SANDBOX_EV_FAILED)
        level = LOG_WARN;
    log_event(level, "sandbox_state", "sandbox", sb->id, "from", sandbox_state_name(from), "to",
              sandbox_state_name(sb->state), "cause", sandbox_event_name(ev), "owner", sb->owner,
              "reason", why ? why->text : NULL, NULL);
}

static void fire(struct sandbox *sb, enum sandbox_event ev, const struct err *why)
{
    enum sandbox_state from = sb->state, to = from;

    if (!sandbox_next_state(from, ev, &to)) {
        log_event(LOG_WARN, "sandbox_bad_event", "sandbox", sb->id, "state",
                  sandbox_state_name(from), "cause", sandbox_event_name(ev), NULL);
        assert(!"a change the table of the machine does not have");
        return;
    }
    sb->table->counts[from]--;
    sb->table->counts[to] += to == SANDBOX_GONE ? 0 : 1;
    sb->state = to;
    log_change(sb, from, ev, why);
    if (to == SANDBOX_TERMINATING || to == SANDBOX_FAILED)
        enter_ending(sb, from, why);
    else if (to == SANDBOX_GONE) {
        httpc_prune_soon(sb->table->cfg.http);
        enter_gone(sb, from, why);
    }
}

/* ---- removing ---- */

static void on_removed(void *ctx, const struct err *err)
{
    struct backend_op *bop = ctx;
    struct sandbox *sb = find(bop->table, bop->id);

    if (err && sb) {
        log_event(LOG_ERROR, "sandbox_remove_failed", "sandbox", bop->id, "reason", err->text,
                  NULL);
        bop->retry_ms = MIN(MAX(bop->retry_ms * 2, RETRY_MIN_MS), RETRY_MAX_MS);
        loop_timer_start(bop->retry, bop->retry_ms, 0);
        bop->err.code = ERR_OK;
        tell_waiters(sb, err);
        return;
    }
    backend_op_free(bop);
    if (sb && (sb->state == SANDBOX_TERMINATING || sb->state == SANDBOX_FAILED))
        fire(sb, SANDBOX_EV_REMOVED, NULL);
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

void sandbox_remove(struct sandbox *sb, sandbox_done_fn done, void *ctx)
{
    if (done) {
        struct removal_waiter *w = MEM_NEW(struct removal_waiter);
        *w = (struct removal_waiter){.done = done, .ctx = ctx};
        LL_APPEND(sb->waiters, w);
    }
    if (sb->state != SANDBOX_TERMINATING && sb->state != SANDBOX_FAILED)
        fire(sb, SANDBOX_EV_REMOVE, NULL);
}

static void removal_of_all_end(struct sandbox_table *t)
{
    struct removal_of_all *r = TAKE_PTR(t->removal_of_all);
    struct err err = {0};
    unsigned left = r->pending + r->failed;

    if (left > 0)
        err_set(&err, ERR_TIMEOUT, "%u sandboxes could not be removed in time", left);
    loop_timer_free(r->deadline);
    r->done(r->ctx, left > 0 ? &err : NULL);
    free(r);
}

static void on_removal_deadline(void *ctx)
{
    removal_of_all_end(ctx);
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
    r->deadline = loop_timer_new(t->loop, on_removal_deadline, t);
    r->pending = HASH_COUNT(t->by_id);
    t->removal_of_all = r;
    loop_timer_start(r->deadline, r->pending > 0 ? deadline_ms : 0, 0);
    HASH_ITER (hh, t->by_id, sb, next)
        sandbox_remove(sb, on_one_of_all_removed, t);
}

/* ---- starting ---- */

static void fail_start(struct sandbox *sb, const struct err *err)
{
    struct err why = *err;

    if (why.code != ERR_TIMEOUT && why.code != ERR_NO_SPACE && why.code != ERR_UNAVAILABLE)
        why.code = ERR_SANDBOX_FAILED;
    fire(sb, SANDBOX_EV_FAILED, &why);
}

static void on_no_last_words(void *ctx)
{
    struct sandbox *sb = ctx;
    struct err err = sb->op->err;

    err.code = ERR_SANDBOX_FAILED;
    fire(sb, SANDBOX_EV_FAILED, &err);
}

static void on_ready(void *ctx, json_t *json, const struct err *err)
{
    struct sandbox *sb = ctx;
    struct sandbox_table *t = sb->table;
    struct sandbox_op *op = sb->op;

    op->call = NULL;
    if (err && clk_mono_ms() >= op->deadline_at_ms - LAST_WORDS_MS) {
        struct err late = *err;
        late.code = ERR_TIMEOUT;
        err_wrap(&late, "the kernel was not ready in time");
        fire(sb, SANDBOX_EV_FAILED, &late);
        return;
    }
    if (err && (err->code == ERR_SANDBOX_LOST || err->code == ERR_UNAVAILABLE)) {
        op->err = *err;
        op->last_words = loop_timer_new(t->loop, on_no_last_words, sb);
        loop_timer_start(op->last_words, LAST_WORDS_MS, 0);
        return;
    }
    if (err) {
        fail_start(sb, err);
        return;
    }
    sb->op = NULL;
    fire(sb, SANDBOX_EV_STARTED, NULL);
    if (!op->start_done && t->hooks.on_warm)
        t->hooks.on_warm(t->hooks_ctx, sb);
    op_finish(t, op, sb, NULL, NULL);
}

static void wait_ready(struct sandbox *sb)
{
    int64_t left_ms = sb->op->deadline_at_ms - clk_mono_ms();
    struct err err = {0};

    if (runner_ready(&sb->op->call, sb->table->cfg.http, sb, MAX(left_ms, 1000), on_ready, sb,
                     &err) < 0)
        fail_start(sb, &err);
}

static void on_created(void *ctx, const struct sandbox_endpoint *ep, const struct err *err)
{
    struct backend_op *bop = ctx;
    struct sandbox *sb = find(bop->table, bop->id);

    backend_op_free(bop);
    if (!sb || sb->state != SANDBOX_CREATING)
        return;
    if (err) {
        fail_start(sb, err);
        return;
    }
    sb->endpoint = *ep;
    wait_ready(sb);
}

int sandbox_start(struct sandbox_table *t, sandbox_start_fn done, void *ctx, struct err *err)
{
    char id[ID_SANDBOX_SIZE], hash[CRYPTO_HEX_SIZE];

    crypto_new_sandbox_id(id);
    struct sandbox *sb = sandbox_add(t, id);
    struct sandbox_op *op = op_new(sb, OP_START, t->cfg.start_deadline_ms);
    struct backend_op *bop = backend_op_new(t, id);

    op->start_done = done;
    op->ctx = ctx;
    crypto_token_hash(sb->token, hash);
    const struct sandbox_backend_spec spec = {
        .id = sb->id, .token_hash = hash, .deadline_ms = t->cfg.start_deadline_ms};
    int r = t->cfg.backend->ops->create(t->cfg.backend, &spec, on_created, bop, err);
    if (r < 0) {
        backend_op_free(bop);
        HASH_DELETE(hh, t->by_id, sb);
        t->counts[SANDBOX_CREATING]--;
        sandbox_free(sb);
        return r;
    }
    return 0;
}

/* ---- claiming ---- */

static json_t *claim_body(const struct sandbox *sb, const struct sandbox_op *op, json_t *env)
{
    json_t *o = json_object();

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

static void ask_who(struct sandbox *sb);

static void on_claimed(void *ctx, json_t *json, const struct err *failure)
{
    struct sandbox *sb = ctx;
    struct sandbox_op *op = sb->op;
    struct err err = {0};

    op->call = NULL;
    if (!failure && learn_claim(sb, op, json, &err) < 0)
        failure = &err;
    if (!failure) {
        sb->op = NULL;
        fire(sb, SANDBOX_EV_CLAIMED, NULL);
        _cleanup_(json_decrefp) json_t *o = sandbox_to_json(sb, json);
        op_finish(sb->table, op, sb, o, NULL);
        return;
    }
    if (failure->code == ERR_INVALID || failure->code == ERR_TOO_LARGE) {
        err = *failure;
        err.code = ERR_INVALID;
        sb->op = NULL;
        fire(sb, SANDBOX_EV_REFUSED, &err);
        op_finish(sb->table, op, sb, NULL, &err);
    } else if (failure->code == ERR_CONFLICT) { /* another controller has it: leave it alone */
        sb->op = NULL;
        op_new(sb, OP_ADOPT, ADOPT_DEADLINE_MS);
        if (sb->table->adoption)
            sb->table->adoption->pending++;
        ask_who(sb);
        op_finish(sb->table, op, NULL, NULL, failure);
    } else {
        fire(sb, SANDBOX_EV_FAILED, failure);
    }
}

int sandbox_claim(struct sandbox *sb, const char *owner, const struct sandbox_spec *spec,
                  const char *idempotency_key, int64_t deadline_ms, sandbox_json_fn done, void *ctx,
                  struct err *err)
{
    assert(sb->state == SANDBOX_WARM);
    fire(sb, SANDBOX_EV_CLAIM, NULL);
    struct sandbox_op *op = op_new(sb, OP_CLAIM, deadline_ms);

    op->claim_done = done;
    op->ctx = ctx;
    op->owner = mem_dup_str(owner);
    op->name = mem_dup_str(spec->name);
    op->key = mem_dup_str(idempotency_key);
    op->labels = json_incref(spec->labels);
    op->exec_timeout_ms = spec->exec_timeout_ms;
    op->idle_timeout_ms = spec->idle_timeout_ms;
    op->max_lifetime_ms = spec->max_lifetime_ms;
    struct err failed = {0};
    int r = runner_claim(&op->call, sb->table->cfg.http, sb, claim_body(sb, op, spec->env),
                         deadline_ms, on_claimed, sb, &failed);
    if (r < 0) {
        sb->op = NULL;
        op_free(op);
        fire(sb, SANDBOX_EV_FAILED, &failed);
        if (err)
            *err = failed;
    }
    return r;
}

/* ---- adopting ---- */

static void on_who(void *ctx, json_t *json, const struct err *failure)
{
    struct sandbox *sb = ctx;
    struct sandbox_table *t = sb->table;
    struct sandbox_op *op = sb->op;
    struct err err = {0};

    op->call = NULL;
    bool claimed = !failure && json_is_true(json_object_get(json, "claimed"));
    if (claimed && sandbox_learn(sb, json, &err) < 0)
        failure = &err;
    if (failure) {
        err = *failure;
        err_wrap(&err, "a runner that was found does not say who it is");
        fire(sb, SANDBOX_EV_FAILED, &err);
        return;
    }
    sb->op = NULL;
    if (claimed) {
        fire(sb, SANDBOX_EV_ADOPTED, NULL);
    } else if (sb->state == SANDBOX_CREATING) {
        op_new(sb, OP_START, t->cfg.start_deadline_ms);
        wait_ready(sb);
    } else { /* CLAIMING, and yet nobody's: the next asker may have it */
        fire(sb, SANDBOX_EV_REFUSED, NULL);
        if (t->hooks.on_warm)
            t->hooks.on_warm(t->hooks_ctx, sb);
    }
    op_finish(t, op, sb, NULL, NULL);
}

static void ask_who(struct sandbox *sb)
{
    struct err err = {0};

    if (runner_info(&sb->op->call, sb->table->cfg.http, sb, ADOPT_DEADLINE_MS, on_who, sb, &err) <
        0)
        fire(sb, SANDBOX_EV_FAILED, &err);
}

static void on_found(void *ctx, const char *id, const struct sandbox_endpoint *ep)
{
    struct sandbox_table *t = ctx;

    if (!id_is_sandbox(id) || find(t, id))
        return;
    struct sandbox *sb = sandbox_add(t, id);
    sb->endpoint = *ep;
    op_new(sb, OP_ADOPT, ADOPT_DEADLINE_MS);
    if (t->adoption)
        t->adoption->pending++;
    ask_who(sb);
}

static void on_lost(void *ctx, const char *id, const char *reason)
{
    struct sandbox_table *t = ctx;
    struct sandbox *sb = find(t, id);
    struct err err = {0};

    if (!sb)
        return;
    err_set(&err, ERR_SANDBOX_LOST, "the sandbox ended: %s", reason);
    fire(sb, SANDBOX_EV_LOST, &err);
}

static void on_backend_looked(void *ctx, const struct err *err)
{
    struct sandbox_table *t = ctx;

    if (err && t->adoption)
        t->adoption->err = *err;
    adoption_step(t);
}

int sandbox_table_adopt(struct sandbox_table *t, sandbox_done_fn done, void *ctx, struct err *err)
{
    struct adoption *a = MEM_NEW(struct adoption);

    assert(!t->adoption);
    *a = (struct adoption){.pending = 1, .done = done, .ctx = ctx};
    t->adoption = a;
    int r =
        t->cfg.backend->ops->adopt(t->cfg.backend, ADOPT_DEADLINE_MS, on_backend_looked, t, err);
    if (r < 0) {
        t->adoption = NULL;
        free(a);
    }
    return r;
}

/* ---- the table ---- */

int sandbox_table_new(struct sandbox_table **ret, struct loop *loop,
                      const struct sandbox_table_cfg *cfg, struct err *err)
{
    static const struct sandbox_backend_events events = {.on_found = on_found, .on_lost = on_lost};
    struct sandbox_table *t = MEM_NEW(struct sandbox_table);

    t->loop = loop;
    t->cfg = *cfg;
    if (t->cfg.start_deadline_ms <= 0)
        t->cfg.start_deadline_ms = START_DEADLINE_MS;
    sandbox_backend_listen(cfg->backend, &events, t);
    *ret = t;
    return 0;
}

struct sandbox_table *sandbox_table_free(struct sandbox_table *t)
{
    struct sandbox *sb, *next;
    struct backend_op *bop, *bop_next;

    if (!t)
        return NULL;
    HASH_ITER (hh, t->by_id, sb, next) {
        struct sandbox_watch *w;
        HASH_DELETE(hh, t->by_id, sb);
        while ((w = sb->watches))
            sandbox_watch_stop(w);
        sandbox_free(sb);
    }
    DL_FOREACH_SAFE (t->backend_ops, bop, bop_next)
        backend_op_free(bop);
    if (t->removal_of_all) {
        loop_timer_free(t->removal_of_all->deadline);
        free(t->removal_of_all);
    }
    free(t->adoption);
    explicit_bzero(t->cfg.key, sizeof(t->cfg.key));
    free(t);
    return NULL;
}

void sandbox_table_set_hooks(struct sandbox_table *t, const struct sandbox_table_hooks *hooks,
                             void *ctx)
{
    t->hooks = hooks ? *hooks : (struct sandbox_table_hooks){0};
    t->hooks_ctx = ctx;
}

const struct sandbox_defaults *sandbox_table_defaults(const struct sandbox_table *t)
{
    return &t->cfg.defaults;
}

struct loop *sandbox_table_loop(const struct sandbox_table *t)
{
    return t->loop;
}

struct httpc *sandbox_table_http(const struct sandbox_table *t)
{
    return t->cfg.http;
}

struct sandbox *sandbox_table_find(struct sandbox_table *t, const char *id, const char *owner)
{
    struct sandbox *sb = find(t, id);

    return sb && sandbox_is_visible(sb, owner) ? sb : NULL;
}

void sandbox_table_each_ready(struct sandbox_table *t, const char *owner,
                              void (*fn)(void *ctx, struct sandbox *sb), void *ctx)
{
    struct sandbox *sb, *next;

    HASH_ITER (hh, t->by_id, sb, next)
        if (sb->state == SANDBOX_READY && sandbox_is_visible(sb, owner))
            fn(ctx, sb);
}

struct sandbox *sandbox_table_find_key(struct sandbox_table *t, const char *owner,
                                       const char *idempotency_key)
{
    struct sandbox *sb, *next;

    HASH_ITER (hh, t->by_id, sb, next)
        if (sb->state == SANDBOX_READY && sb->idempotency_key && strcmp(sb->owner, owner) == 0 &&
            strcmp(sb->idempotency_key, idempotency_key) == 0)
            return sb;
    return NULL;
}

size_t sandbox_table_count(const struct sandbox_table *t, enum sandbox_state state)
{
    return t->counts[state];
}

size_t sandbox_table_count_owned(const struct sandbox_table *t)
{
    return t->n_owned;
}
