#pragma once
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/cleanup.h"

/*
 * Sandboxes with their kernel started, waiting for an owner, over any backend; and the flow of
 * POST /api/sandboxes above them. Keeps `min_ready` ready, one start at a time in the background,
 * backing off while starts fail. Whatever becomes ready first serves the caller that waits longest.
 */
struct warm_pool;
struct warm_pool_create;

#define WARM_POOL_STARTS_MAX     8 /* under way at once, whoever waits for them */
#define WARM_POOL_BACKOFF_MAX_MS 60000
#define WARM_POOL_CLAIM_MS       2000 /* a sandbox that does not take its owner in this is dropped */

struct warm_pool_cfg {
    unsigned min_ready;         /* --warm */
    unsigned max_sandboxes;     /* --max-sandboxes: with an owner; the warm ones do not count */
    unsigned max_per_caller;    /* --max-sandboxes-per-caller: of one owner; 0: no limit */
    int64_t create_deadline_ms; /* default 60000 */
    uint64_t seed;              /* of the jitter; 0: from the clock */
};

/* Takes the table's hooks. Starts nothing until warm_pool_start(), but takes adopted sandboxes. */
int warm_pool_new(struct warm_pool **ret, struct sandbox_table *table,
                  const struct warm_pool_cfg *cfg, struct err *err);
/* Open creations get no callback. The table is freed in the same turn, after this. NULL ok. */
struct warm_pool *warm_pool_free(struct warm_pool *p);
void warm_pool_start(struct warm_pool *p);
void warm_pool_pause(struct warm_pool *p); /* no refill any more; who asks is still served */
/* No refill any more; open creations fail with ERR_UNAVAILABLE, new ones too. */
void warm_pool_stop(struct warm_pool *p);

/*
 * POST /api/sandboxes. `done` gets the API's sandbox object (borrowed, with kernel); existed: it
 * is the one an earlier request with this key made (200 instead of 201). Errors: ERR_LIMIT,
 * ERR_SANDBOX_FAILED, ERR_TIMEOUT, ERR_UNAVAILABLE. `done` comes from the loop itself.
 * The spec is taken over (and emptied) also on failure. idempotency_key: checked by
 * its door, or NULL.
 */
typedef void (*warm_pool_created_fn)(void *ctx, json_t *json, bool existed, const struct err *err);
int warm_pool_create(struct warm_pool_create **ret, struct warm_pool *p, const char *owner,
                     struct sandbox_spec *spec_take, const char *idempotency_key,
                     warm_pool_created_fn done, void *ctx, struct err *err);
/* The asker left: no callback comes; the creation itself goes on only when it has a key. */
struct warm_pool_create *warm_pool_create_forget(struct warm_pool_create *c); /* NULL ok */
/* Is a creation with this key under way, be its asker there or not? */
bool warm_pool_is_making(const struct warm_pool *p, const char *owner, const char *key);

struct warm_pool_stats {
    unsigned ready, starting, waiting;
    uint64_t claimed_warm, claimed_cold, created_ok, created_failed, discarded;
};
void warm_pool_stats(const struct warm_pool *p, struct warm_pool_stats *ret);

DEFINE_CLEANUP(struct warm_pool *, warm_pool_free)
