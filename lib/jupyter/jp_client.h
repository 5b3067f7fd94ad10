#pragma once
#include "lib/base/cleanup.h"
#include "lib/jupyter/jp_msg.h"
struct loop;

/*
 * The client's four sockets to one kernel process over ipc:// (shell, control and stdin DEALER with
 * one routing id, IOPub SUB ""), connected before the kernel binds. The heartbeat is not used:
 * it lives on while the main thread hangs, and a pidfd tells death sooner.
 * IOPub is read with a high-water mark of 128 messages, above which the kernel waits (its launcher
 * sees to that), the rest without one; reading is fair: 256 messages or 4 MiB (and the message that
 * passes it) at a time, then the loop goes round. Messages with a bad signature or form are dropped
 * and counted.
 */
struct jp_client;

struct jp_client_cfg {
    const char *ipc_prefix; /* URLs are ipc://<prefix>-<port>, ports as in conn_file: 1…5 */
    const char *key;        /* HMAC-SHA256 key, ASCII, not empty */
    /*
     * The sockets lie where only those who know the key can bind them: signatures of received
     * messages prove nothing and are not computed (SHA-256 of 20 MB of output is 15 ms).
     */
    bool trusted;
    void (*on_msg)(void *ctx, const struct jp_msg *msg);
    void *ctx;
};
enum { JP_PORT_SHELL = 1, JP_PORT_IOPUB, JP_PORT_STDIN, JP_PORT_CONTROL, JP_PORT_HB };

/* One ZeroMQ context per program. */
struct jp_context;
int jp_context_new(struct jp_context **ret, struct loop *loop, struct err *err);
struct jp_context *jp_context_free(struct jp_context *c);

int jp_client_new(struct jp_client **ret, struct jp_context *context,
                  const struct jp_client_cfg *cfg, struct err *err);
/* Closes the sockets without lingering; safe from inside on_msg. NULL ok. */
struct jp_client *jp_client_free(struct jp_client *c);

const char *jp_client_session(const struct jp_client *c);
unsigned long jp_client_dropped(const struct jp_client *c); /* malformed or unsigned messages */

/*
 * Sends a request with a fresh header (username "caesarion", version 5.3). msg_id may be NULL (one
 * is made) and is copied to ret_msg_id when not NULL. `content` is JSON text; `ident` (may be
 * empty) goes before the delimiter and comes back on replies and input requests. `parent` is JSON
 * or empty. Never blocks: -ERR_UNAVAILABLE when the kernel's queue (10,000 messages) is full.
 */
struct jp_send {
    enum jp_channel channel;
    const char *msg_type;
    const char *msg_id;
    struct slice content;
    struct slice ident;
    struct slice parent;
};
int jp_client_send(struct jp_client *c, const struct jp_send *send, char ret_msg_id[JP_ID_SIZE],
                   struct err *err);
/* Sends four ready frames (and buffers) of another client, signing them: the relay's way. */
int jp_client_forward(struct jp_client *c, enum jp_channel channel, struct slice ident,
                      const struct slice frames[4], const struct slice *buffers, size_t n_buffers,
                      struct err *err);

DEFINE_CLEANUP(struct jp_client *, jp_client_free)
DEFINE_CLEANUP(struct jp_context *, jp_context_free)
