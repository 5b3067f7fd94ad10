/*
 * Why: one place where a sandbox changes state. Every change goes through sandbox_fire(): it looks
 * the change up in the machine's table, keeps the counts, logs once, and runs what entering the
 * state means. What waits for something is told by the loop afterwards, so that nobody waits for
 * ever and nobody is called from inside a call of somebody else.
 *
 * Ownership: the table owns the sandboxes. One that is GONE is out of the index at once and freed
 * by a post of its own, behind those that tell of its end: a sandbox in hand, or in a post that is
 * under way, stays valid.
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

#define START_DEADLINE_MS 60000
#define ADOPT_DEADLINE_MS 10000
#define KEY_WAIT_MS       120000 /* a runner silent for longer no longer holds up who has a key */

struct sandbox *sandbox_by_id(struct sandbox_table *t, const char *id)
{
    struct sandbox *sb = NULL;

    HASH_FIND_STR(t->by_id, id, sb);
    return sb;
}

struct sandbox *sandbox_add(struct sandbox_table *t, const char *id, enum sandbox_state state)
{
    struct sandbox *sb = MEM_NEW(struct sandbox);

    snprintf(sb->id, sizeof(sb->id), "%s", id);
    crypto_token_derive(t->cfg.key, id, sb->token);
    sb->table = t;
    sb->state = state;
    sb->created_at = sb->last_activity_at = clk_wall_us();
    HASH_ADD_STR(t->by_id, id, sb);
    t->counts[state]++;
    return sb;
}

static void sandbox_free(struct sandbox *sb)
{
    assert(!sb->watches && !sb->waiters);
    sandbox_op_free(sb->op);
    loop_post_cancel(&sb->bury);
    json_decref(sb->labels);
    free(sb->owner);
    free(sb->name);
    free(sb->session_id);
    free(sb->idempotency_key);
    free(sb->ended);
    explicit_bzero(sb->token, sizeof(sb->token));
    free(sb);
}

void sandbox_drop(struct sandbox *sb)
{
    HASH_DELETE(hh, sb->table->by_id, sb);
    sb->table->counts[sb->state]--;
    sandbox_free(sb);
}

/* ---- entering states ---- */

static void bury(void *ctx)
{
    struct sandbox *sb = ctx;

    DL_DELETE(sb->table->gone, sb);
    sandbox_free(sb);
}

/* TERMINATING and FAILED: the backend takes it away, whoever waits hears why. */
static void enter_ending(struct sandbox *sb, const struct err *why)
{
    if (sb->op)
        sandbox_op_end(sb->op, SANDBOX_OP_EV_ENDED, NULL, why);
    sandbox_removal_begin(sb);
    sandbox_notify(sb, why);
}

static void enter_gone(struct sandbox *sb, enum sandbox_state from, const struct err *why)
{
    struct sandbox_table *t = sb->table;
    struct err failed = *why;

    httpc_prune_soon(t->cfg.http);
    HASH_DELETE(hh, t->by_id, sb);
    t->n_owned -= sb->owner ? 1 : 0;
    if (sb->op && sb->op->kind == SANDBOX_OP_START)
        failed.code = ERR_SANDBOX_FAILED;
    if (sb->op)
        sandbox_op_end(sb->op, SANDBOX_OP_EV_ENDED, NULL, &failed);
    sandbox_notify(sb, why);
    if (t->hooks.on_gone)
        t->hooks.on_gone(t->hooks_ctx, sb, from);
    sandbox_removal_tell(sb, NULL);
    DL_APPEND(t->gone, sb);
    loop_post(&sb->bury, t->loop, bury, sb);
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

void sandbox_fire(struct sandbox *sb, enum sandbox_event ev, const struct err *why)
{
    enum sandbox_state from = sb->state, to = from;
    struct err removed = {0};

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
    if (!why) {
        err_set(&removed, ERR_NOT_FOUND, "the sandbox was removed");
        why = &removed;
    }
    if (to == SANDBOX_ASKING)
        sb->found_ms = clk_mono_ms();
    else
        sandbox_heard(sb);
    if (to == SANDBOX_TERMINATING || to == SANDBOX_FAILED)
        enter_ending(sb, why);
    else if (to == SANDBOX_GONE)
        enter_gone(sb, from, why);
}

/* ---- the table ---- */

int sandbox_table_new(struct sandbox_table **ret, struct loop *loop,
                      const struct sandbox_table_cfg *cfg, struct err *err)
{
    struct sandbox_table *t = MEM_NEW(struct sandbox_table);

    t->loop = loop;
    t->cfg = *cfg;
    if (t->cfg.start_deadline_ms <= 0)
        t->cfg.start_deadline_ms = START_DEADLINE_MS;
    if (t->cfg.adopt_deadline_ms <= 0)
        t->cfg.adopt_deadline_ms = ADOPT_DEADLINE_MS;
    sandbox_adoption_listen(t);
    *ret = t;
    return 0;
}

/* Nobody is told any more. */
static void silence(struct sandbox *sb)
{
    while (sb->watches)
        sandbox_watch_stop(sb->watches);
    sandbox_removal_tell(sb, NULL); /* to where the waiters are freed */
    sandbox_free(sb);
}

struct sandbox_table *sandbox_table_free(struct sandbox_table *t)
{
    struct sandbox *sb, *next;
    struct sandbox_op *op, *op_next;

    if (!t)
        return NULL;
    DL_FOREACH_SAFE (t->over, op, op_next)
        sandbox_op_free(op);
    HASH_ITER (hh, t->by_id, sb, next) {
        HASH_DELETE(hh, t->by_id, sb);
        silence(sb);
    }
    DL_FOREACH_SAFE (t->gone, sb, next)
        silence(sb);
    sandbox_removals_free(t);
    sandbox_adoption_free(t);
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

/* ---- looking up ---- */

struct sandbox *sandbox_table_find(struct sandbox_table *t, const char *id, const char *owner)
{
    struct sandbox *sb = sandbox_by_id(t, id);

    return sb && sandbox_is_visible(sb, owner) ? sb : NULL;
}

int sandbox_table_get(struct sandbox_table *t, const char *id, const char *owner,
                      struct sandbox **ret, struct err *err)
{
    struct sandbox *sb = sandbox_by_id(t, id);

    *ret = NULL;
    if (sb && sandbox_is_visible(sb, owner))
        *ret = sb;
    else if (sb && sb->state == SANDBOX_ASKING)
        return err_set(
            err, ERR_UNAVAILABLE,
            "the sandbox %s has not said yet whose it is, since this controller started; "
            "try again",
            id);
    return *ret ? 0 : err_set(err, ERR_NOT_FOUND, "there is no sandbox %.64s", id);
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

bool sandbox_table_may_hold_key(const struct sandbox_table *t)
{
    const struct sandbox *sb;
    int64_t now = clk_mono_ms();

    if (t->counts[SANDBOX_ASKING] == 0)
        return false;
    for (sb = t->by_id; sb; sb = sb->hh.next)
        if (sb->state == SANDBOX_ASKING && !sb->is_foreign && now - sb->found_ms < KEY_WAIT_MS)
            return true;
    return false;
}

size_t sandbox_table_count(const struct sandbox_table *t, enum sandbox_state state)
{
    return t->counts[state];
}

size_t sandbox_table_count_owned(const struct sandbox_table *t)
{
    return t->n_owned + t->counts[SANDBOX_ASKING];
}

size_t sandbox_table_count_of(const struct sandbox_table *t, const char *owner)
{
    const struct sandbox *sb;
    size_t n = 0;

    for (sb = t->by_id; sb; sb = sb->hh.next)
        n += sb->owner && strcmp(sb->owner, owner) == 0 ? 1 : 0;
    return n;
}
