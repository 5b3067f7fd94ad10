#pragma once
#include "controller/sandbox/sandbox.h"
#include "controller/sandbox/sandbox_spec.h"
#include "lib/base/cleanup.h"

#include <stddef.h>
struct httpc;
struct loop;

/*
 * All sandboxes by id, and the operations that move one through its states. The table is a cache:
 * sandbox_table_adopt() rebuilds it from the backend and the runners.
 */
struct sandbox_table;

struct sandbox_table_cfg {
    struct sandbox_backend *backend; /* borrowed; the table listens to its events */
    struct httpc *http;              /* borrowed */
    uint8_t key[32];                 /* of the state directory: sandbox tokens derive from it */
    int64_t start_deadline_ms;       /* create + kernel ready; default 60000 */
    int64_t adopt_deadline_ms;       /* how long adoption waits for runners; default 10000 */
    struct sandbox_defaults defaults;
};

struct sandbox_table_hooks {
    /* An adopted runner is nobody's. */
    void (*on_warm)(void *ctx, struct sandbox *sb);
    /* Left the table by itself or by removal; `sb` is valid for the call. state: before it went. */
    void (*on_gone)(void *ctx, struct sandbox *sb, enum sandbox_state state);
};

int sandbox_table_new(struct sandbox_table **ret, struct loop *loop,
                      const struct sandbox_table_cfg *cfg, struct err *err);
/*
 * Forgets everything without touching the sandboxes; no callback comes after. The backend must
 * have been closed, and whoever watches sandboxes have stopped. NULL ok.
 */
struct sandbox_table *sandbox_table_free(struct sandbox_table *t);
void sandbox_table_set_hooks(struct sandbox_table *t, const struct sandbox_table_hooks *hooks,
                             void *ctx);
const struct sandbox_defaults *sandbox_table_defaults(const struct sandbox_table *t);
struct loop *sandbox_table_loop(const struct sandbox_table *t);
struct httpc *sandbox_table_http(const struct sandbox_table *t);

typedef void (*sandbox_done_fn)(void *ctx, const struct err *err);

/*
 * Finds what an earlier controller left and asks each runner whose it is. `done` comes once, when
 * all have answered, or adopt_deadline_ms later: err only when the backend failed. A runner that
 * does not answer keeps its sandbox, which is ASKING until it does.
 */
int sandbox_table_adopt(struct sandbox_table *t, sandbox_done_fn done, void *ctx, struct err *err);

/* owner NULL: an admin asks. NULL when it is not there, nobody's, or somebody else's. */
struct sandbox *sandbox_table_find(struct sandbox_table *t, const char *id, const char *owner);
/*
 * As _find(), for an answer: ERR_NOT_FOUND, or ERR_UNAVAILABLE while it is ASKING and nobody knows
 * whose it is.
 */
int sandbox_table_get(struct sandbox_table *t, const char *id, const char *owner,
                      struct sandbox **ret, struct err *err);
struct sandbox *sandbox_table_find_key(struct sandbox_table *t, const char *owner,
                                       const char *idempotency_key);
/* Some sandbox may have been made with a key that is not known yet (for at most two minutes). */
bool sandbox_table_may_hold_key(const struct sandbox_table *t);
/* Calls fn for each READY sandbox of the owner (NULL: of all), in no order; fn changes nothing. */
void sandbox_table_each_ready(struct sandbox_table *t, const char *owner,
                              void (*fn)(void *ctx, struct sandbox *sb), void *ctx);
size_t sandbox_table_count(const struct sandbox_table *t, enum sandbox_state state);
/* With an owner (ready, terminating), and those that may have one (asking). */
size_t sandbox_table_count_owned(const struct sandbox_table *t);
size_t sandbox_table_count_of(const struct sandbox_table *t, const char *owner);

/*
 * Brings up a sandbox that is nobody's: backend, then kernel ready. `done`: it is WARM, or err
 * (and it is already being removed; sb NULL). All callbacks here come from the loop itself, never
 * from inside a call of this module.
 */
typedef void (*sandbox_start_fn)(void *ctx, struct sandbox *sb, const struct err *err);
int sandbox_start(struct sandbox_table *t, sandbox_start_fn done, void *ctx, struct err *err);

/*
 * Gives a WARM sandbox to its owner. `done` gets the API's sandbox object (borrowed, with kernel).
 * On ERR_INVALID it is WARM again; on any other error it is being removed (or somebody else's) and
 * sb is NULL. Failing at once (< 0) also removes it.
 */
typedef void (*sandbox_json_fn)(void *ctx, struct sandbox *sb, json_t *json, const struct err *err);
int sandbox_claim(struct sandbox *sb, const char *owner, const struct sandbox_spec *spec,
                  const char *idempotency_key, int64_t deadline_ms, sandbox_json_fn done, void *ctx,
                  struct err *err);

/*
 * GET /api/sandboxes/{id}: asks the runner (≤ 5 s). `done` comes exactly once unless the returned
 * call was cancelled; a sandbox that ends meanwhile gives ERR_SANDBOX_LOST or ERR_NOT_FOUND.
 */
struct sandbox_describe;
int sandbox_describe(struct sandbox_describe **ret, struct sandbox *sb, sandbox_json_fn done,
                     void *ctx, struct err *err);
struct sandbox_describe *sandbox_describe_cancel(struct sandbox_describe *d); /* NULL ok */

/*
 * Any number of callers may wait for the same removal. done may be NULL; with an err the backend
 * failed for now and goes on trying.
 */
void sandbox_remove(struct sandbox *sb, sandbox_done_fn done, void *ctx);
/* Removes all; `done` when the last is gone or the deadline passed (err then says how many). */
void sandbox_table_remove_all(struct sandbox_table *t, int64_t deadline_ms, sandbox_done_fn done,
                              void *ctx);

/* GET /api/sandboxes: what an owner (NULL: admin) sees, oldest first. */
struct sandbox_list_query {
    const char *owner;
    const char *label;  /* "key=value", or NULL */
    const char *status; /* creating, ready, terminating, failed, or NULL */
    const char *limit;  /* 1…1000, default 100, as the query has it */
    const char *cont;   /* `continue` of the answer before, or NULL */
};
int sandbox_table_list(struct sandbox_table *t, const struct sandbox_list_query *q, json_t **ret,
                       struct err *err);

DEFINE_CLEANUP(struct sandbox_table *, sandbox_table_free)
