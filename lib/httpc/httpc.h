#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
struct loop;

/*
 * HTTP/1.1 client on the program's loop (libcurl multi, multi_socket). Connections are kept alive
 * and reused per endpoint. Streams both ways with back-pressure; nothing is held whole.
 */
struct httpc;
struct httpc_call;

int httpc_new(struct httpc **ret, struct loop *loop, unsigned max_connections, struct err *err);
/* Cancels what is open (without callbacks). NULL ok. */
struct httpc *httpc_free(struct httpc *c);
struct loop *httpc_loop(const struct httpc *c);

/*
 * A peer has gone for good: within three seconds the idle connections whose peer closed them are
 * closed, and memory that many calls took is given back. Cheap; may be called often.
 */
void httpc_prune_soon(struct httpc *c);

struct httpc_callbacks {
    /* Status line and headers are complete. May be NULL. */
    void (*on_headers)(void *ctx, int status);
    /* Each response header, before on_headers. May be NULL. */
    void (*on_header)(void *ctx, struct slice name, struct slice value);
    /*
     * Body bytes. Returns true when taken; false pauses: the same bytes come again after
     * httpc_resume_recv(). At most 64 KiB a call. NULL discards.
     */
    bool (*on_data)(void *ctx, const char *p, size_t len);
    /*
     * Request body, when body_len is not given whole: fills up to max, returns the number, 0 = not
     * now (until httpc_resume_send()), HTTPC_SEND_END or HTTPC_SEND_ABORT.
     */
    ssize_t (*on_send)(void *ctx, char *out, size_t max);
    /*
     * The call is over, exactly once, unless httpc_cancel() came first. err is NULL when a whole
     * response came (whatever its status). The call is freed after this returns.
     * ERR_UNAVAILABLE: no connection; ERR_TIMEOUT; ERR_SANDBOX_LOST: broken in the middle.
     */
    void (*on_done)(void *ctx, const struct err *err);
};
enum { HTTPC_SEND_END = -1, HTTPC_SEND_ABORT = -2 };

struct httpc_request {
    const char *method;
    const char *url;            /* "http://sandbox/path?query" */
    const char *unix_path;      /* AF_UNIX socket to connect to, or NULL */
    const char *const *headers; /* "Name: value", ended by NULL; may be NULL */
    const void *body;           /* whole body (copied), or NULL */
    size_t body_len;
    int64_t send_length; /* with on_send: Content-Length, -1 = chunked */
    bool send_streams;   /* true: the body comes by on_send */
    /*
     * A POST, PATCH or DELETE that may reach the server twice. Others, and streamed bodies, get a
     * connection of their own: on a kept one that the server closes meanwhile libcurl would send
     * the request again, although the server may have acted on it.
     */
    bool repeatable;
    int64_t connect_timeout_ms; /* default 5000 */
    int64_t total_timeout_ms;   /* 0: none */
};

/* Starts a call. Callbacks may come before the next loop turn but never before this returns. */
int httpc_start(struct httpc_call **ret, struct httpc *c, const struct httpc_request *req,
                const struct httpc_callbacks *cb, void *ctx, struct err *err);
void httpc_resume_recv(struct httpc_call *call);
void httpc_resume_send(struct httpc_call *call);
/* Ends the call at once; no callback comes after; frees it. NULL ok; returns NULL. */
struct httpc_call *httpc_cancel(struct httpc_call *call);

/* Convenience: a small whole exchange; `body` (NUL-terminated) is valid for the callback. */
typedef void (*httpc_reply_fn)(void *ctx, int status, struct slice body, const struct err *err);
int httpc_exchange(struct httpc_call **ret, struct httpc *c, const struct httpc_request *req,
                   size_t max_body, httpc_reply_fn fn, void *ctx, struct err *err);
