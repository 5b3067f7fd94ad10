#pragma once
#include "kernel-runner/attach/hub_ring.h"
#include "kernel-runner/core/runner.h"
#include "lib/jupyter/jp_ws.h"

/*
 * One kernel with all the Jupyter clients attached to it. Requests go straight to the kernel, each
 * with its session's number before it, which comes back on the answers; what the kernel says goes
 * to a ring that every session reads at its own pace. A slow session slows nobody; what the ring
 * could not keep for it is said in its place.
 *
 * A session outlives its connection by HUB_SESSION_KEPT_MS when it has an id, and goes on behind
 * the last message that its client is known to have (hub_acked()).
 *
 * When the kernel's process ends, every request under way gets an error, its reply and `idle`, from
 * us in the kernel's name; kernel_info requests, and what came before a kernel could take it, wait
 * for the next process.
 */
struct hub;
struct hub_session;

#define HUB_SESSIONS_MAX    1000 /* connected to one kernel; more are refused */
#define HUB_DETACHED_MAX    64   /* without a connection; the oldest goes first */
#define HUB_SESSION_KEPT_MS (15 * 60 * 1000)
#define HUB_STREAM_BYTES    KIB(900) /* text of one stream message: WebSocket clients take 1 MiB */

/* The connection of a session. No callback comes after hub_detach(). */
struct hub_front {
    void (*on_more)(void *ctx); /* hub_peek() has something */
    void (*on_room)(void *ctx); /* after HUB_FULL: go on reading */
    /* The hub lets go: close with this code. The session is detached already. */
    void (*on_over)(void *ctx, int code, const char *reason);
    void *ctx;
};

struct hub_cfg {
    struct runner *runner;
    struct kernel *kernel;
    struct exec_queue *queue;
    struct hub_spill *spill; /* of all hubs of the sandbox */
    /* The kernel is gone, or ended by a client's wish: after this no session is attached. */
    void (*on_gone)(void *ctx, struct hub *h); /* free it */
    /* A client ended the kernel; `all`: it speaks for all of a user's kernels. */
    void (*on_shutdown)(void *ctx, struct hub *h, bool all);
    void *ctx;
};

struct hub *hub_new(const struct hub_cfg *cfg);
struct hub *hub_free(struct hub *h); /* closes every session; NULL ok */
const char *hub_kernel_id(const struct hub *h);
unsigned hub_connections(const struct hub *h);
void hub_close_all(struct hub *h, int code, const char *reason);

/*
 * session_id "": one that cannot come back. A connection that the session still has is closed.
 * `all`: see on_shutdown. -ERR_LIMIT.
 */
int hub_attach(struct hub *h, const char *session_id, bool all, const struct hub_front *front,
               struct hub_session **ret, struct err *err);
void hub_detach(struct hub_session *s);

/* What comes next for a session: a message, or what is missing in its place. */
struct hub_view {
    uint64_t seq; /* of the last entry it stands for */
    struct slice v1;
    uint64_t lost_messages; /* > 0: these outputs were dropped; `parent` is of the first */
    uint64_t lost_bytes;
    struct slice parent;
};
bool hub_peek(struct hub_session *s, struct hub_view *ret);
void hub_advance(struct hub_session *s, const struct hub_view *view); /* it was sent */
uint64_t hub_sent(const struct hub_session *s);                       /* the last number sent */
void hub_acked(struct hub_session *s, uint64_t seq);
/* The message that says what is missing, as v1 has it. */
void hub_put_lost(struct hub_session *s, const struct hub_view *view, struct buf *out);

/*
 * Takes a client's message; `v1` is the same as v1 has it, or empty. HUB_FULL: taken, but read no
 * more from this client until on_room. Messages that cannot be passed on are counted.
 */
enum { HUB_FULL = 1 };
int hub_send(struct hub_session *s, const struct jp_ws_msg *msg);
