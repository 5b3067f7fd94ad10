/*
 * Why: starting a kernel takes most of a second, taking one over takes a millisecond. Starts and
 * askers are not tied to each other: whatever becomes ready goes to who waits longest, and what is
 * left over refills the pool. So an asker that comes during a refill is served by whichever start
 * ends first, and each asker is matched by one start: when starts fail, askers hear of it one by
 * one, never more than failed.
 *
 * Nothing ticks: the pool acts when somebody asks, a start ends, a ready one is lost, or a back-off
 * is over. decide() is the one place that starts and hands out; it runs in a turn of its own, so
 * that no callback comes from inside a call.
 */
#include "controller/pool/warm_pool.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "controller/pool/ready_list.h"
#include "controller/pool/warm_pool_state.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/loop/loop.h"

#define CREATE_DEADLINE_MS 60000
#define BACKOFF_MIN_MS     1000
#define CLAIM_ATTEMPTS     3 /* beside those that the warm ones may waste */

struct warm_pool_create {
    struct warm_pool *pool;
    enum create_state state;
    char *owner, *key;
    struct sandbox_spec spec;
    struct loop_timer *deadline;
    struct sandbox *sb; /* CREATE_CLAIMING; valid until the claim is told */
    struct sandbox_describe *describe;
    struct warm_pool_create *leader; /* CREATE_JOINED */
    unsigned attempts;
    bool was_cold;             /* nothing was ready when it asked */
    bool is_late;              /* the deadline passed while claiming */
    warm_pool_created_fn done; /* NULL: forgotten */
    void *ctx;
    /* CREATE_OVER: what is told */
    struct loop_post tell;
    json_t *json;
    bool existed;
    struct err *err;
    struct warm_pool_create *prev, *next;
};

struct warm_pool {
    struct sandbox_table *table;
    struct loop *loop;
    struct warm_pool_cfg cfg;
    struct ready_list ready;
    struct warm_pool_create *creates; /* oldest first */
    unsigned n_creates[CREATE_STATES];
    struct loop_defer *decide;
    struct loop_timer *backoff;
    int64_t backoff_ms; /* the last one; 0: starts succeed */
    uint64_t rng;
    bool is_started;
    bool is_stopped;
    struct warm_pool_stats stats;
};

static void decide(void *ctx);

static void move(struct warm_pool_create *c, enum create_event ev)
{
    enum create_state to;

    if (!create_next_state(c->state, ev, &to)) {
        log_event(LOG_WARN, "create_bad_event", "state", create_state_name(c->state), "cause",
                  create_event_name(ev), NULL);
        assert(!"a change the table of the machine does not have");
        return;
    }
    c->pool->n_creates[c->state]--;
    c->pool->n_creates[to]++;
    c->state = to;
}

static struct warm_pool_create *first_waiting(const struct warm_pool *p)
{
    struct warm_pool_create *c;

    DL_FOREACH (p->creates, c)
        if (c->state == CREATE_WAITING)
            return c;
    return NULL;
}

/* ---- the end of a creation ---- */

static void create_free(struct warm_pool_create *c)
{
    DL_DELETE(c->pool->creates, c);
    c->pool->n_creates[c->state]--;
    loop_post_cancel(&c->tell);
    loop_timer_free(c->deadline);
    sandbox_describe_cancel(c->describe);
    sandbox_spec_done(&c->spec);
    json_decref(c->json);
    free(c->err);
    free(c->owner);
    free(c->key);
    free(c);
}

static struct warm_pool_create *first_joined(const struct warm_pool *p,
                                             const struct warm_pool_create *leader)
{
    struct warm_pool_create *j;

    DL_FOREACH (p->creates, j)
        if (j->leader == leader)
            return j;
    return NULL;
}

static void tell_created(void *ctx)
{
    struct warm_pool_create *c = ctx;
    warm_pool_created_fn done = c->done;
    void *done_ctx = c->ctx;
    _cleanup_(json_decrefp) json_t *json = TAKE_PTR(c->json);
    _cleanup_(freep) struct err *err = TAKE_PTR(c->err);
    bool existed = c->existed;

    create_free(c);
    if (done)
        done(done_ctx, json, existed, err);
}

static void end_one(struct warm_pool_create *c, json_t *json, bool existed, const struct err *err)
{
    move(c, CREATE_EV_END);
    loop_timer_stop(c->deadline);
    c->describe = sandbox_describe_cancel(c->describe);
    c->leader = NULL;
    c->json = json_incref(json);
    c->existed = existed;
    if (err) {
        c->err = MEM_NEW(struct err);
        *c->err = *err;
    }
    loop_post(&c->tell, c->pool->loop, tell_created, c);
}

/* For the asker, and for those who asked with the same key meanwhile. */
static void finish(struct warm_pool_create *c, json_t *json, bool existed, const struct err *err)
{
    struct warm_pool_create *j;

    end_one(c, json, existed, err);
    if (c->pool->n_creates[CREATE_JOINED] == 0)
        return;
    DL_FOREACH (c->pool->creates, j)
        if (j->leader == c)
            end_one(j, json, /* existed= */ true, err);
}

static void on_deadline(void *ctx)
{
    struct warm_pool_create *c = ctx;
    struct err err = {0};

    if (c->state == CREATE_CLAIMING) {
        c->is_late = true;
        return;
    }
    err_set(&err, ERR_TIMEOUT, "no sandbox became ready within %" PRId64 " s",
            c->pool->cfg.create_deadline_ms / 1000);
    finish(c, NULL, false, &err);
}

/* ---- ready ones ---- */

/* A sandbox that is nobody's: kept when somebody waits or the pool lacks one, else removed. */
static void put(struct warm_pool *p, struct sandbox *sb)
{
    bool wanted =
        p->n_creates[CREATE_WAITING] > 0 || ready_list_count(&p->ready) < p->cfg.min_ready;

    if (p->is_stopped || !wanted) {
        sandbox_remove(sb, NULL, NULL);
        return;
    }
    ready_list_add(&p->ready, sb);
    loop_defer_post(p->decide);
}

static void on_warm(void *ctx, struct sandbox *sb)
{
    put(ctx, sb);
}

static void on_gone(void *ctx, struct sandbox *sb, enum sandbox_state from)
{
    struct warm_pool *p = ctx;

    ready_list_forget(&p->ready, sb);
    loop_defer_post(p->decide);
}

/* ---- claiming ---- */

/* It was made, and nobody will ever know its id. */
static void drop_unknown(struct warm_pool_create *c)
{
    const char *id = json_string_value(json_object_get(c->json, "id"));
    struct sandbox *sb = id ? sandbox_table_find(c->pool->table, id, c->owner) : NULL;

    if (sb && !c->key && !c->existed)
        sandbox_remove(sb, NULL, NULL);
}

static void on_claimed(void *ctx, struct sandbox *sb, json_t *json, const struct err *err)
{
    struct warm_pool_create *c = ctx;
    struct warm_pool *p = c->pool;
    struct err why = {0};

    c->sb = NULL;
    if (!err) {
        *(c->was_cold ? &p->stats.claimed_cold : &p->stats.claimed_warm) += 1;
        finish(c, json, /* existed= */ false, NULL);
        if (!c->done)
            drop_unknown(c);
        return;
    }
    why = *err;
    if (err->code == ERR_INVALID) {
        finish(c, NULL, false, &why);
        if (sb)
            put(p, sb);
        return;
    }
    p->stats.discarded += 1;
    log_event(LOG_WARN, "warm_pool_discarded", "reason", why.text, NULL);
    bool is_wanted = c->done || c->key;
    if (!is_wanted || c->is_late || p->is_stopped ||
        ++c->attempts >= CLAIM_ATTEMPTS + p->cfg.min_ready) {
        why.code = ERR_SANDBOX_FAILED;
        err_wrap(&why, "no sandbox took its owner");
        finish(c, NULL, false, &why);
        return;
    }
    move(c, CREATE_EV_RETRY);
    loop_defer_post(p->decide);
}

static void claim(struct warm_pool_create *c, struct sandbox *sb)
{
    struct err err = {0};

    move(c, CREATE_EV_CLAIM);
    c->sb = sb;
    if (sandbox_claim(sb, c->owner, &c->spec, c->key, WARM_POOL_CLAIM_MS, on_claimed, c, &err) < 0)
        on_claimed(c, NULL, NULL, &err);
}

/* ---- starting ---- */

static int64_t next_backoff(struct warm_pool *p)
{
    p->backoff_ms = MIN(MAX(p->backoff_ms * 2, BACKOFF_MIN_MS), WARM_POOL_BACKOFF_MAX_MS);
    p->rng ^= p->rng << 13;
    p->rng ^= p->rng >> 7;
    p->rng ^= p->rng << 17;
    return p->backoff_ms / 2 + (int64_t)(p->rng % (uint64_t)(p->backoff_ms / 2 + 1));
}

static void start_failed(struct warm_pool *p, const struct err *err)
{
    struct warm_pool_create *c;
    int64_t wait_ms = next_backoff(p);
    char text[24];

    p->stats.created_failed++;
    snprintf(text, sizeof(text), "%" PRId64, wait_ms);
    log_event(LOG_ERROR, "sandbox_start_failed", "code", err_code_name(err->code), "reason",
              err->text, "next_refill_ms", text, NULL);
    loop_timer_start(p->backoff, wait_ms, 0);
    c = first_waiting(p);
    if (c && p->n_creates[CREATE_WAITING] > p->stats.starting)
        finish(c, NULL, false, err);
}

static void on_started(void *ctx, struct sandbox *sb, const struct err *err)
{
    struct warm_pool *p = ctx;

    p->stats.starting--;
    if (err && p->is_stopped)
        return;
    if (err) {
        start_failed(p, err);
        loop_defer_post(p->decide);
        return;
    }
    p->stats.created_ok++;
    p->backoff_ms = 0;
    loop_timer_stop(p->backoff);
    put(p, sb);
    loop_defer_post(p->decide);
}

static bool start_one(struct warm_pool *p)
{
    struct err err = {0};

    if (sandbox_start(p->table, on_started, p, &err) < 0) {
        start_failed(p, &err);
        return false;
    }
    p->stats.starting++;
    return true;
}

/* Ready, or adopted and about to be. */
static unsigned count_coming(const struct warm_pool *p)
{
    size_t creating = sandbox_table_count(p->table, SANDBOX_CREATING);

    return ready_list_count(&p->ready) +
           (unsigned)(creating - MIN(creating, (size_t)p->stats.starting));
}

static void decide(void *ctx)
{
    struct warm_pool *p = ctx;
    struct warm_pool_create *c;
    struct sandbox *sb;

    if (p->is_stopped)
        return;
    while ((c = first_waiting(p)) && (sb = ready_list_take(&p->ready)))
        claim(c, sb);
    DL_FOREACH (p->creates, c)
        c->was_cold = c->was_cold || c->state == CREATE_WAITING;
    unsigned waiting = p->n_creates[CREATE_WAITING];
    bool refill =
        p->is_started && count_coming(p) < p->cfg.min_ready && !loop_timer_active(p->backoff);
    unsigned want = MIN(waiting + (refill ? 1U : 0U), WARM_POOL_STARTS_MAX);
    while (p->stats.starting < want) {
        if (!start_one(p)) {
            /* It failed at once and one asker heard of it; the others' turn comes next. */
            if (p->n_creates[CREATE_WAITING] > p->stats.starting)
                loop_defer_post(p->decide);
            break;
        }
    }
}

static void on_backoff_over(void *ctx)
{
    decide(ctx);
}

/* ---- creating ---- */

static struct warm_pool_create *find_leader(const struct warm_pool *p, const char *owner,
                                            const char *key)
{
    struct warm_pool_create *c;

    DL_FOREACH (p->creates, c)
        if (c->key && c->state != CREATE_JOINED && c->state != CREATE_OVER &&
            strcmp(c->key, key) == 0 && strcmp(c->owner, owner) == 0)
            return c;
    return NULL;
}

/*
 * Has it a place that the table does not know of? Until a sandbox is its owner's, what is being
 * made for somebody is counted here: so two that ask at once cannot both have the last place.
 */
static bool holds_place(const struct warm_pool_create *c)
{
    if (c->state == CREATE_CLAIMING)
        return !c->sb->owner || c->sb->state == SANDBOX_GONE;
    return c->state == CREATE_WAITING;
}

/* Room for one more with this owner? */
static int check_room(const struct warm_pool *p, const char *owner, struct err *err)
{
    const struct warm_pool_create *c;
    unsigned max = p->cfg.max_per_caller;
    size_t all = sandbox_table_count_owned(p->table);
    size_t own = max ? sandbox_table_count_of(p->table, owner) : 0;

    DL_FOREACH (p->creates, c) {
        all += holds_place(c) ? 1 : 0;
        own += holds_place(c) && strcmp(c->owner, owner) == 0 ? 1 : 0;
    }
    if (all >= p->cfg.max_sandboxes)
        return err_set(err, ERR_LIMIT,
                       "there are %u sandboxes, the most this controller allows "
                       "(--max-sandboxes); delete one",
                       p->cfg.max_sandboxes);
    if (max && own >= max)
        return err_set(err, ERR_LIMIT,
                       "you have %u sandboxes, the most this controller allows one caller "
                       "(--max-sandboxes-per-caller); delete one",
                       max);
    return 0;
}

/* The sandbox of its key ended while we asked: the key is free again. */
static void key_is_free(struct warm_pool_create *c)
{
    struct err full = {0};

    if (check_room(c->pool, c->owner, &full) < 0) {
        finish(c, NULL, false, &full);
        return;
    }
    move(c, CREATE_EV_KEY_FREE);
    loop_defer_post(c->pool->decide);
}

static void on_described(void *ctx, struct sandbox *sb, json_t *json, const struct err *err)
{
    struct warm_pool_create *c = ctx;

    c->describe = NULL;
    if (err && (err->code == ERR_NOT_FOUND || err->code == ERR_SANDBOX_LOST))
        key_is_free(c);
    else
        finish(c, json, /* existed= */ true, err);
}

static void describe_existing(struct warm_pool_create *c, struct sandbox *sb)
{
    struct err err = {0};

    move(c, CREATE_EV_DESCRIBE);
    if (sandbox_describe(&c->describe, sb, on_described, c, &err) < 0)
        finish(c, NULL, false, &err);
}

int warm_pool_create(struct warm_pool_create **ret, struct warm_pool *p, const char *owner,
                     struct sandbox_spec *spec_take, const char *idempotency_key,
                     warm_pool_created_fn done, void *ctx, struct err *err)
{
    struct sandbox_spec spec = *spec_take;
    struct sandbox *existing = NULL;
    struct warm_pool_create *leader = NULL;
    int r = 0;

    *spec_take = (struct sandbox_spec){0};
    if (idempotency_key) {
        existing = sandbox_table_find_key(p->table, owner, idempotency_key);
        leader = find_leader(p, owner, idempotency_key);
    }
    if (r == 0 && p->is_stopped)
        r = err_set(err, ERR_UNAVAILABLE, "the controller is stopping");
    if (r == 0 && idempotency_key && !existing && !leader && sandbox_table_may_hold_key(p->table))
        r = err_set(
            err, ERR_UNAVAILABLE,
            "a sandbox of an earlier start has not said yet whose it is, and may be the one "
            "with this Idempotency-Key; try again");
    if (r == 0 && !existing && !leader)
        r = check_room(p, owner, err);
    if (r < 0) {
        sandbox_spec_done(&spec);
        return r;
    }
    struct warm_pool_create *c = MEM_NEW(struct warm_pool_create);
    *c = (struct warm_pool_create){.pool = p, .spec = spec, .done = done, .ctx = ctx};
    c->owner = mem_dup_str(owner);
    c->key = mem_dup_str(idempotency_key);
    c->deadline = loop_timer_new(p->loop, on_deadline, c);
    loop_timer_start(c->deadline, p->cfg.create_deadline_ms, 0);
    p->n_creates[c->state]++;
    DL_APPEND(p->creates, c);
    if (leader) {
        move(c, CREATE_EV_JOIN);
        c->leader = leader;
    }
    if (existing && !leader)
        describe_existing(c, existing);
    loop_defer_post(p->decide);
    *ret = c;
    return 0;
}

struct warm_pool_create *warm_pool_create_forget(struct warm_pool_create *c)
{
    if (!c)
        return NULL;
    c->done = NULL;
    switch (c->state) {
    case CREATE_OVER:
        drop_unknown(c);
        create_free(c);
        break;
    case CREATE_JOINED:
        create_free(c);
        break;
    case CREATE_DESCRIBING:
    case CREATE_WAITING:
        if ((c->state == CREATE_DESCRIBING || !c->key) && !first_joined(c->pool, c))
            create_free(c);
        break;
    case CREATE_CLAIMING: /* its end comes */
    case CREATE_STATES:
        break;
    }
    return NULL;
}

bool warm_pool_is_making(const struct warm_pool *p, const char *owner, const char *key)
{
    return find_leader(p, owner, key) != NULL;
}

/* ---- the pool ---- */

int warm_pool_new(struct warm_pool **ret, struct sandbox_table *table,
                  const struct warm_pool_cfg *cfg, struct err *err)
{
    static const struct sandbox_table_hooks hooks = {.on_warm = on_warm, .on_gone = on_gone};
    struct warm_pool *p = MEM_NEW(struct warm_pool);

    p->table = table;
    p->loop = sandbox_table_loop(table);
    p->cfg = *cfg;
    if (p->cfg.create_deadline_ms <= 0)
        p->cfg.create_deadline_ms = CREATE_DEADLINE_MS;
    p->rng = (cfg->seed ? cfg->seed : (uint64_t)clk_wall_us()) | 1U;
    p->decide = loop_defer_new(p->loop, decide, p);
    p->backoff = loop_timer_new(p->loop, on_backoff_over, p);
    sandbox_table_set_hooks(table, &hooks, p);
    *ret = p;
    return 0;
}

struct warm_pool *warm_pool_free(struct warm_pool *p)
{
    struct warm_pool_create *c, *next;

    if (!p)
        return NULL;
    DL_FOREACH_SAFE (p->creates, c, next)
        create_free(c);
    ready_list_clear(&p->ready);
    loop_defer_free(p->decide);
    loop_timer_free(p->backoff);
    free(p);
    return NULL;
}

void warm_pool_start(struct warm_pool *p)
{
    p->is_started = true;
    loop_defer_post(p->decide);
}

void warm_pool_pause(struct warm_pool *p)
{
    p->is_started = false;
}

void warm_pool_stop(struct warm_pool *p)
{
    struct warm_pool_create *c;
    struct err err = {0};

    p->is_stopped = true;
    loop_timer_stop(p->backoff);
    err_set(&err, ERR_UNAVAILABLE, "the controller is stopping");
    while ((c = first_waiting(p)))
        finish(c, NULL, false, &err);
}

void warm_pool_stats(const struct warm_pool *p, struct warm_pool_stats *ret)
{
    *ret = p->stats;
    ret->ready = ready_list_count(&p->ready);
    ret->waiting = p->n_creates[CREATE_WAITING];
}
