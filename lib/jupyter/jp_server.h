#pragma once
#include "lib/base/cleanup.h"
#include "lib/jupyter/jp_conn_file.h"
#include "lib/jupyter/jp_guard.h"
#include "lib/jupyter/jp_wire.h"

/*
 * The kernel's side of a connection file: five bound sockets, so that ZeroMQ clients see a kernel.
 * Shell, control and stdin are ROUTERs, IOPub an XPUB that greets every new subscription with
 * iopub_welcome, and the heartbeat is answered here. What is forged, repeated or no message at all
 * is dropped and counted (jp_guard.h).
 */
struct jp_server;

/* Expected outcome of jp_server_publish(): a subscriber does not take; on_room comes. */
enum { JP_SERVER_FULL = 1 };

#define JP_SERVER_FRAME_BYTES MIB(64) /* of a request; libzmq cuts a client that sends more */
#define JP_SERVER_REPLIES     10000   /* that wait for one client; more are dropped and counted */
#define JP_SERVER_OUTPUTS     128     /* the same on IOPub, where the publisher is told to wait */

struct jp_server_cfg {
    struct jp_conn *conn; /* for the call only; ports that are 0 are filled in */
    void (*on_request)(void *ctx, const struct jp_request *req);
    /* One was dropped: ERR_UNAUTHORIZED forged, ERR_CONFLICT replayed, ERR_INVALID malformed. */
    void (*on_dropped)(void *ctx, enum err_code why);
    void (*on_room)(void *ctx); /* publish again: after JP_SERVER_FULL, and now and then in vain */
    void *ctx;
};

struct jp_server_counts {
    struct jp_guard_counts dropped;
    unsigned long undelivered; /* replies to clients that are gone or take nothing */
    unsigned long lost; /* outputs that were published although a subscriber's queue was full */
};

/* Binds. -ERR_CONFLICT: a port is taken; -ERR_INVALID: not an address of this machine. */
int jp_server_new(struct jp_server **ret, struct jp_context *context,
                  const struct jp_server_cfg *cfg, struct err *err);
/* What was sent goes out within a second, in jp_context_free(). Safe inside callbacks; NULL ok. */
struct jp_server *jp_server_free(struct jp_server *s);

/* Stops reading requests (not heartbeats and subscriptions): the clients' queues then fill. */
void jp_server_hold(struct jp_server *s, bool held);

struct jp_outgoing {
    const struct slice *json; /* the JP_JSON_FRAMES frames; signed here */
    const struct slice *buffers;
    size_t n_buffers; /* at most JP_BUFFERS_MAX */
};
/* To the client that these identity frames name. False: it is gone, or takes nothing. */
bool jp_server_reply(struct jp_server *s, enum jp_channel channel, const struct slice *idents,
                     size_t n_idents, const struct jp_outgoing *msg);
/*
 * To all subscribers: 0, or JP_SERVER_FULL when one of them does not take and nobody was sent
 * anything. `lossy`: all the others get it, and that one loses it.
 */
int jp_server_publish(struct jp_server *s, struct slice topic, const struct jp_outgoing *msg,
                      bool lossy);
struct jp_server_counts jp_server_counts(const struct jp_server *s);

DEFINE_CLEANUP(struct jp_server *, jp_server_free)
