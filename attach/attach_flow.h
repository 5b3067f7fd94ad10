#pragma once
#include "attach/attach_url.h"
#include "lib/jupyter/jp_conn_file.h"
#include "lib/jupyter/jp_guard.h"

#include <stdbool.h>
struct httpc;
struct loop;

/*
 * Messages between the clients of a connection file and the WebSocket to a kernel. Requests are
 * taken from the start and kept until there is a kernel, and while the connection is broken.
 */
struct attach_flow;

#define ATTACH_KEPT_MESSAGES 10000 /* requests on their way; then the clients' queues fill */
#define ATTACH_KEPT_BYTES    MIB(64)
#define ATTACH_STALL_MS      10000 /* an output waits so long for a client that does not read */

struct attach_flow_cfg {
    struct loop *loop;
    struct httpc *http;
    struct jp_context *jupyter;
    struct jp_conn *conn; /* for the call only; ports are filled in */
    /* A shutdown_request came; true: it is answered here and does not go to the kernel. */
    bool (*on_shutdown)(void *ctx, const struct jp_request *req, bool restart);
    void (*on_replied)(void *ctx, const char *parent_id); /* to a request on control */
    void (*on_up)(void *ctx);                             /* the first connection */
    void (*on_failed)(void *ctx, const struct err *err);  /* the kernel is gone for good */
    void *ctx;
};

struct attach_target {
    const struct attach_url *url; /* must outlive the flow, as the token */
    const char *token;
    const char *path; /* of its channels */
    const char *what; /* "sandbox sb-…", for errors */
    const char *kernel_id;
};

/* Binds the sockets. */
int attach_flow_new(struct attach_flow **ret, const struct attach_flow_cfg *cfg, struct err *err);
struct attach_flow *attach_flow_free(struct attach_flow *f); /* not inside its callbacks */
void attach_flow_connect(struct attach_flow *f, const struct attach_target *target);
/* It ends: what comes from now on is for nobody. */
void attach_flow_disconnect(struct attach_flow *f);
/* Answers a request in the kernel's place: shutdown_reply, to its client and to all on IOPub. */
void attach_flow_shutdown_reply(struct attach_flow *f, const struct jp_request *req, bool restart);
/* What was dropped and lost, to the log. */
void attach_flow_log(const struct attach_flow *f);
