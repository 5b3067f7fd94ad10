#pragma once
/* Between the two files of a tunnel. */
#include <stdbool.h>

#include "lib/base/buf.h"
#include "lib/httpc/httpc_dial.h"
#include "lib/httpc/httpc_head.h"
#include "lib/httpc/httpc_tunnel.h"
#include "lib/loop/loop.h"

enum tunnel_phase {
    TUNNEL_DIAL,    /* libcurl connects */
    TUNNEL_REQUEST, /* the request's head is written */
    TUNNEL_HEAD,    /* the answer's head is read */
    TUNNEL_BODY,    /* … and the body of one that refuses */
    TUNNEL_OPEN,
    TUNNEL_END, /* refused */
};

struct tunnel_opening;

struct httpc_tunnel {
    struct loop *loop;
    void (*on_open)(void *ctx);
    void (*on_refused)(void *ctx, int status, struct slice body, const struct err *err);
    void (*on_ready)(void *ctx, int events);
    void *ctx;
    struct tunnel_opening *opening; /* NULL once it is open */
    struct httpc_dial *tls;         /* or NULL, then fd is ours */
    int fd;
    struct loop_poll *poll;
    struct loop_defer *defer;
    struct httpc_head head;
    struct buf early; /* came with the head */
    struct buf stash; /* TLS wants the same bytes at the same place again */
    enum tunnel_phase phase;
    int want;
    bool tls_more; /* the last read did not empty it */
};

/* httpc_tunnel.c: bytes, of whichever kind of connection */
ssize_t tunnel_recv(struct httpc_tunnel *t, void *out, size_t max);
ssize_t tunnel_send(struct httpc_tunnel *t, const void *data, size_t len);
bool tunnel_is_again(void); /* errno of the last: nothing now */
void tunnel_on_poll(void *ctx, int events);

/* httpc_tunnel_open.c */
void tunnel_opening_ready(struct httpc_tunnel *t); /* what its phase waits for */
void tunnel_opening_free(struct httpc_tunnel *t);
