#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/base/macros.h"
#include "lib/base/slice.h"

#include <stdint.h>
#include <sys/types.h>
struct httpc;

/*
 * A connection that a server upgrades (RFC 9110 7.8): one GET request, one answer's head, then
 * bytes both ways. http and https, TCP and Unix sockets. Once open over plain TCP or a Unix socket
 * it costs a descriptor and this object, no libcurl handle.
 */
struct httpc_tunnel;

#define HTTPC_TUNNEL_HEAD_MAX KIB(16) /* of the answer */
#define HTTPC_TUNNEL_BODY_MAX KIB(64) /* of an answer that refuses */

struct httpc_tunnel_cfg {
    const char *url;       /* http://host/path or https://… */
    const char *unix_path; /* AF_UNIX socket to connect to, or NULL */
    const char *const
        *headers;        /* "Name: value" with Upgrade, Connection and so on; ends with NULL */
    const char *ca_file; /* https: PEM of who is trusted; NULL: the system's */
    int64_t timeout_ms;  /* until the answer's head is whole; default 10000 */
    /* 101 came; bytes may be there already: ask for them. Its headers: httpc_tunnel_header(). */
    void (*on_open)(void *ctx);
    /*
     * It did not open, once: another answer (status, its body, err NULL), or no answer (status 0
     * and err: ERR_UNAVAILABLE no connection, ERR_TIMEOUT, ERR_SANDBOX_LOST broken). Free it then.
     */
    void (*on_refused)(void *ctx, int status, struct slice body, const struct err *err);
    /* What httpc_tunnel_want() asked for; LOOP_READ also at the end of the stream. */
    void (*on_ready)(void *ctx, int events);
    void *ctx;
};

/*
 * Callbacks never come before this returns. Of the headers given none is checked: no CR or LF.
 * The tunnel is freed before `c`.
 */
int httpc_tunnel_open(struct httpc_tunnel **ret, struct httpc *c,
                      const struct httpc_tunnel_cfg *cfg, struct err *err);
/* Of the answer, any case of the name; NULL: absent. Valid until the tunnel is freed. */
const char *httpc_tunnel_header(const struct httpc_tunnel *t, const char *name);
/* As read(2) and write(2), never blocking: > 0, 0 (recv: the end), -1 with errno. */
ssize_t httpc_tunnel_recv(struct httpc_tunnel *t, void *out, size_t max);
ssize_t httpc_tunnel_send(struct httpc_tunnel *t, const void *data, size_t len);
void httpc_tunnel_want(struct httpc_tunnel *t, int events); /* LOOP_READ | LOOP_WRITE; 0: none */
/* Closes it; no callback after; safe inside its callbacks. NULL ok. */
struct httpc_tunnel *httpc_tunnel_free(struct httpc_tunnel *t);

DEFINE_CLEANUP(struct httpc_tunnel *, httpc_tunnel_free)
