#pragma once
#include "controller/sandbox/backend.h"
#include "lib/base/err.h"
#include "lib/base/ids.h"
#include "lib/json/jsonx.h"
#include "lib/loop/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>
struct sandbox_table;

/*
 * One sandbox as the controller knows it: a cache of what its runner says, plus where it is.
 * Made, changed and freed only by controller/sandbox; everybody else reads, and keeps no pointer
 * over a loop turn without a sandbox_watch.
 *
 *   CREATING ─started→ WARM ─claim→ CLAIMING ─claimed→ READY ─remove→ TERMINATING ─removed→ GONE
 *   CLAIMING ─refused→ WARM          the runner refused the request, and is still nobody's
 *   CLAIMING ─taken→ ASKING          another controller was faster
 *   ASKING ─adopted→ READY           it has an owner
 *   ASKING ─nobodys→ CREATING        it has none, and its kernel may still be starting
 *   CREATING, CLAIMING ─failed→ FAILED ─removed→ GONE
 *   ASKING, WARM, CREATING, CLAIMING ─remove→ TERMINATING
 *   any but GONE ─lost→ GONE
 */
enum sandbox_state {
    SANDBOX_ASKING,      /* it was found, and has not said yet whose it is; never listed */
    SANDBOX_CREATING,    /* the backend makes it and its kernel starts */
    SANDBOX_WARM,        /* kernel ready, nobody's; never listed */
    SANDBOX_CLAIMING,    /* the runner is being told whose it is */
    SANDBOX_READY,       /* somebody's, and works */
    SANDBOX_TERMINATING, /* the backend removes it */
    SANDBOX_FAILED,      /* could not be made; the backend removes it */
    SANDBOX_GONE,        /* out of the table; freed when all who wait for its end were told */
    SANDBOX_STATES
};
enum sandbox_event {
    SANDBOX_EV_STARTED,
    SANDBOX_EV_ADOPTED,
    SANDBOX_EV_NOBODYS,
    SANDBOX_EV_CLAIM,
    SANDBOX_EV_CLAIMED,
    SANDBOX_EV_REFUSED,
    SANDBOX_EV_TAKEN,
    SANDBOX_EV_FAILED,
    SANDBOX_EV_REMOVE,
    SANDBOX_EV_REMOVED,
    SANDBOX_EV_LOST,
    SANDBOX_EVENTS
};

const char *sandbox_state_name(enum sandbox_state s); /* "warm" */
const char *sandbox_event_name(enum sandbox_event e);
/* As the API says it: creating, ready, terminating or failed. */
const char *sandbox_status_name(enum sandbox_state s);
/* The table of the machine: true and *ret set when the change is allowed. Pure. */
bool sandbox_next_state(enum sandbox_state from, enum sandbox_event ev, enum sandbox_state *ret);

#define SANDBOX_TOKEN_SIZE 65 /* 64 hex digits and the NUL */

struct sandbox_watch;
struct sandbox_op;
struct removal_waiter;

struct sandbox {
    char id[ID_SANDBOX_SIZE];
    char token[SANDBOX_TOKEN_SIZE]; /* Authorization: Bearer <token> towards its runner */
    enum sandbox_state state;
    struct sandbox_endpoint endpoint;
    struct sandbox_table *table;
    /* Known once it is somebody's; NULL before. */
    char *owner;
    char *name;            /* "" when none was given */
    char *session_id;      /* of a chat, or NULL */
    char *idempotency_key; /* or NULL */
    json_t *labels;
    int64_t exec_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t max_lifetime_ms;  /* 0: none */
    int64_t created_at;       /* wall, µs */
    int64_t claimed_at;       /* wall, µs: where the lifetime began */
    int64_t last_activity_at; /* wall, µs: as last heard, or touched */

    /* controller/sandbox only, below */
    struct sandbox_op *op; /* what is under way, or NULL */
    struct sandbox_watch *watches;
    struct removal_waiter *waiters;
    struct err *ended; /* why it is TERMINATING, FAILED or GONE, once that is so */
    int64_t found_ms;  /* monotonic: since when it is ASKING */
    bool is_awaited;   /* the ready line waits for its word */
    bool is_foreign;   /* its runner obeys another key */
    UT_hash_handle hh;
    struct sandbox *prev, *next; /* GONE */
    struct loop_post bury;
};

/* A request that changes things was passed to it: keeps last_activity_at and expires_at fresh. */
void sandbox_touch(struct sandbox *sb);

/*
 * The API's sandbox object. `fresh`: what its runner just answered (kernel, last_activity_at,
 * expires_at are taken from there), or NULL: from what is known, without `kernel`.
 */
json_t *sandbox_to_json(const struct sandbox *sb, const json_t *fresh);

/*
 * Tells when a sandbox ends. Embedded in its owner; fn comes at most once, from the loop itself,
 * after which the watch is off and `sb` must not be touched any more: it is valid until then, also
 * when it is GONE. err: ERR_SANDBOX_LOST when it died, ERR_NOT_FOUND when somebody removed it.
 */
struct sandbox_watch {
    void (*fn)(void *ctx, const struct err *err);
    void *ctx;
    struct sandbox *sandbox; /* NULL: off */
    struct loop_post tell;
    struct sandbox_watch *prev, *next;
};
void sandbox_watch_start(struct sandbox_watch *w, struct sandbox *sb,
                         void (*fn)(void *ctx, const struct err *err), void *ctx);
void sandbox_watch_stop(struct sandbox_watch *w); /* also when off */
