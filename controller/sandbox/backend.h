#pragma once
#include "lib/base/err.h"
#include "lib/base/ids.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The seam between the controller and what makes sandboxes: local processes, Kubernetes pods, or
 * a test's fake. A backend knows ids, endpoints and life or death; names, owners and labels are
 * the runner's business (POST /claim), so that nothing about a sandbox lives only here.
 *
 * Rules for every backend:
 *  - Callbacks never come before the call that asked for them has returned, come exactly once, on
 *    the loop's thread, and never after close().
 *  - Every operation ends within its deadline; nothing blocks.
 *  - A failed create leaves nothing behind: the backend has removed it when `done` comes.
 *  - remove() of an id that is still being created ends the creation: its `done` comes first, with
 *    an error. remove() of an unknown id succeeds.
 *  - on_lost comes once for a sandbox that ended by itself (or was killed), never for one that
 *    remove() ends. What is left of it the backend removes on its own: no remove() is needed.
 */
struct sandbox_backend;

/* Where a runner listens: exactly one of the two is set. */
struct sandbox_endpoint {
    char unix_path[108];
    char host_port[256]; /* "10.1.2.3:8000", "[fd00::1]:8000", "sb-x.ns.svc:8000" */
};

struct sandbox_backend_spec {
    const char *id;         /* borrowed for the call */
    const char *token_hash; /* what the runner gets by --token-hash; the token itself never */
    int64_t deadline_ms;    /* from now; afterwards `done` comes with ERR_TIMEOUT */
};

/*
 * err NULL: the runner accepts connections at `ep` (its kernel may still be starting). Otherwise
 * ERR_SANDBOX_FAILED whose text ends with the last 2 KiB of the backend's own words, ERR_TIMEOUT,
 * ERR_UNAVAILABLE (the backend itself cannot be reached) or ERR_NO_SPACE.
 */
typedef void (*sandbox_backend_created_fn)(void *ctx, const struct sandbox_endpoint *ep,
                                           const struct err *err);
/* err NULL: every process and file of it is gone, or it never existed. */
typedef void (*sandbox_backend_done_fn)(void *ctx, const struct err *err);

struct sandbox_backend_events {
    /*
     * A running sandbox that this controller did not create: found by adopt(), or later made by
     * another replica (Kubernetes).
     */
    void (*on_found)(void *ctx, const char *id, const struct sandbox_endpoint *ep);
    /* The runner process (or pod) ended; reason: a sentence, with its last words if any. */
    void (*on_lost)(void *ctx, const char *id, const char *reason);
};

/* Failing at once (< 0, err filled) means that `done` does not come. */
struct sandbox_backend_ops {
    const char *name; /* "local", "kubernetes" */
    int (*create)(struct sandbox_backend *b, const struct sandbox_backend_spec *spec,
                  sandbox_backend_created_fn done, void *ctx, struct err *err);
    int (*remove)(struct sandbox_backend *b, const char *id, int64_t deadline_ms,
                  sandbox_backend_done_fn done, void *ctx, struct err *err);
    /*
     * Looks once for what an earlier controller left: on_found for each that still runs, then
     * `done`. Remains of dead ones are removed silently. Called before anything else.
     */
    int (*adopt)(struct sandbox_backend *b, int64_t deadline_ms, sandbox_backend_done_fn done,
                 void *ctx, struct err *err);
    /* One line for logs and error texts: what makes the sandboxes and how they are isolated. */
    const char *(*describe)(const struct sandbox_backend *b);
    /* Ends callbacks and frees; sandboxes go on running. */
    void (*close)(struct sandbox_backend *b);
};

/* The first member of every backend's own struct. */
struct sandbox_backend {
    const struct sandbox_backend_ops *ops;
    const struct sandbox_backend_events *events; /* set by sandbox_backend_listen() */
    void *events_ctx;
};

static inline void sandbox_backend_listen(struct sandbox_backend *b,
                                          const struct sandbox_backend_events *events, void *ctx)
{
    b->events = events;
    b->events_ctx = ctx;
}

/* NULL ok; returns NULL. */
static inline struct sandbox_backend *sandbox_backend_close(struct sandbox_backend *b)
{
    if (b)
        b->ops->close(b);
    return NULL;
}
