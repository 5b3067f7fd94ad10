#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/base/mem_budget.h"
#include "lib/base/slice.h"
#include "lib/json/jsonx.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
struct loop;

/*
 * HTTP/1.1 server over libmicrohttpd on the program's loop. A route's handler is called once per
 * request and answers now or later; exactly one answer per request. `struct http_request` lives
 * until the connection has finished with it: the handler's owner learns of that by `on_close`,
 * which comes exactly once for every request that set it, whatever happened.
 */
struct http_server;
struct http_request;
struct http_stream;

enum http_body {
    HTTP_BODY_NONE,   /* a body is read and thrown away */
    HTTP_BODY_BUFFER, /* the handler is called with the whole body, at most `max_body` bytes */
    HTTP_BODY_STREAM, /* the handler is called at the headers and calls http_body_read() */
};

typedef void (*http_handler_fn)(void *ctx, struct http_request *req);

/*
 * A row of a program's API. `path` has parameters in braces: "/executions/{eid}/events"; a last
 * part "{path...}" takes the rest with its slashes. Parameters reach the handler undecoded
 * percent-escapes resolved, except {path...}, which stays raw (see http_param_raw).
 */
struct http_route {
    const char *method; /* "GET", …, or "*" for all */
    const char *path;
    enum http_body body;
    /*
     * Of HTTP_BODY_BUFFER, and of HTTP_BODY_STREAM unless 0: a body announced as longer is
     * too_large, after it was read (≤ 64 MiB; a buffered one that turns out longer, too), and the
     * whole body must come within body_deadline_ms.
     */
    size_t max_body;
    http_handler_fn handler;
    unsigned flags; /* the program's own, e.g. "needs no token" */
};

/* What new connections cost others, or could not get: counts since the last report. */
struct http_shortage {
    unsigned gave_way;      /* without a request under way, cut for a new one */
    unsigned refused;       /* new, closed at once: all others had a request under way */
    unsigned no_descriptor; /* accept() found none, or no memory */
};
/* The same as a sentence. */
void http_shortage_text(const struct http_shortage *s, char *out, size_t max);

struct http_server_cfg {
    const struct http_route *routes;
    size_t n_routes;
    void *ctx; /* for handlers and `before` */
    /*
     * Called at the headers of every request that matched or not (route NULL: unknown path), before
     * the body: checks caller and origin. Returning < 0 with err set answers with that problem.
     */
    int (*before)(void *ctx, struct http_request *req, const struct http_route *route,
                  struct err *err);
    /* May add members to a problem that is going to be answered. May be NULL. */
    void (*problem)(void *ctx, const struct http_request *req, json_t *problem);
    /* Called once when an answered request is over: for logs and metrics. May be NULL. */
    void (*after)(void *ctx, struct http_request *req, int status, int64_t duration_us);
    /* Called at the first shortage, then once in shortage_ms while there is any. May be NULL. */
    void (*shortage)(void *ctx, const struct http_shortage *since);
    int shortage_ms;        /* default 60000 */
    int header_deadline_ms; /* headers complete within this, whatever the pace; default 10000 */
    int body_deadline_ms;   /* a body with a bound is whole, another moves; default 60000 */
    /* Buffered bodies are charged to it; without room: limit. NULL: they are not. */
    struct mem_budget *body_budget;
    unsigned body_account;
    int keepalive_ms;         /* idle kept-alive connections are closed after this; default 75000 */
    unsigned max_connections; /* default 4096; above, one without a request under way gives way */
    size_t max_header_bytes;  /* all header lines together; default 16 KiB → header_too_large */
    size_t max_uri_bytes;     /* default 8 KiB → uri_too_long */
};

/* Takes over a listening socket (TCP or AF_UNIX; non-blocking is set here). */
int http_server_new(struct http_server **ret, struct loop *loop, int listen_fd_take,
                    const struct http_server_cfg *cfg, struct err *err);
/* Stops accepting and closes idle connections; open requests go on. */
void http_server_quiesce(struct http_server *s);
unsigned http_server_active(const struct http_server *s); /* requests not yet finished */
/*
 * Ends every connection; on_close comes for each open request before this returns. Not from inside
 * a callback of the server. NULL ok.
 */
struct http_server *http_server_free(struct http_server *s);

/* ---- the request ---- */
const char *http_method(const struct http_request *req);
const char *http_path(const struct http_request *req);      /* raw, without query */
const char *http_query_raw(const struct http_request *req); /* raw, without "?"; "" when none */
const char *http_header(const struct http_request *req, const char *name); /* NULL when absent */
/*
 * The host the client believes to speak to, "host[:port]" as received: of an absolute target, else
 * of Host. Exactly one Host was checked to be there, naming the same. NULL: HTTP/1.0 without.
 */
const char *http_authority(const struct http_request *req);
/* Calls fn for each header in order. */
void http_headers_each(const struct http_request *req,
                       void (*fn)(void *ctx, const char *name, const char *value), void *ctx);
const char *http_query(const struct http_request *req,
                       const char *name); /* decoded; NULL: absent */
const char *http_param(const struct http_request *req,
                       const char *name); /* of the route; never NULL */
const char *http_param_raw(const struct http_request *req,
                           const char *name); /* escapes as received; never NULL */
const char *
http_request_id(const struct http_request *req);        /* X-Request-Id: given (if sane) or made */
struct slice http_body(const struct http_request *req); /* HTTP_BODY_BUFFER */
/* It was read: its memory need not wait until the request is over. */
void http_body_drop(struct http_request *req);
const struct http_route *http_route_of(const struct http_request *req);
int64_t
http_received_us(const struct http_request *req); /* monotonic, when the headers were complete */
bool http_is_client_gone(const struct http_request *req);
/* The program's own data of this request (e.g. the caller found by `before`); not freed here. */
void http_set_data(struct http_request *req, void *data);
void *http_data(const struct http_request *req);

/*
 * on_gone: the client left before the answer was complete (noticed ≤ 1 s, also while suspended).
 * on_close: the request is over; `req` must not be touched afterwards. Either may be NULL.
 */
void http_on_gone(struct http_request *req, void (*on_gone)(void *ctx), void *ctx);
void http_on_close(struct http_request *req, void (*on_close)(void *ctx), void *ctx);

/*
 * HTTP_BODY_STREAM: body bytes as they come. `on_data` returns how many it took (0…len); taking
 * fewer suspends the connection until http_body_resume(). `on_end(ok)`: the whole body came (ok),
 * or the client left (not ok, the request is then over). After an answer neither comes: the rest
 * of the body is read and thrown away (≤ 64 MiB, above that the connection is closed).
 */
void http_body_read(struct http_request *req,
                    size_t (*on_data)(void *ctx, const char *p, size_t len),
                    void (*on_end)(void *ctx, bool ok), void *ctx);
void http_body_resume(struct http_request *req);
/* Content-Length, or -1 when chunked/unknown. */
int64_t http_content_length(const struct http_request *req);

/* ---- the answer: exactly one of these per request ---- */
/* A header of the coming answer; copies. Names and values are the program's, never with CR or LF.
 */
void http_set_header(struct http_request *req, const char *name, const char *value);
void http_answer_empty(struct http_request *req, int status);
void http_answer_bytes(struct http_request *req, int status, const char *type, const void *data,
                       size_t len); /* copies */
void http_answer_take(struct http_request *req, int status, const char *type, char *data_take,
                      size_t len); /* frees data with free() */
void http_answer_json(struct http_request *req, int status, json_t *json_take);
/* problem+json from err (RFC 9457); 429 and 503 get Retry-After: 1 unless it was set. */
void http_answer_err(struct http_request *req, const struct err *err);
/* The same object, for answers that add members to it. */
json_t *http_problem_json(const struct err *err);
/* len bytes of the file from offset; takes over fd. */
void http_answer_fd(struct http_request *req, int status, const char *type, int fd_take,
                    uint64_t offset, uint64_t len);

/*
 * A streamed answer (chunked, or with `length` ≥ 0 a Content-Length). `pull` fills up to max bytes
 * and returns how many; 0 means nothing now: the connection sleeps until http_stream_wake();
 * HTTP_PULL_END ends it well; HTTP_PULL_ABORT cuts the connection. The first pull may come
 * before this returns. on_gone/on_close of the request tell when it is over.
 */
enum { HTTP_PULL_END = -1, HTTP_PULL_ABORT = -2 };
typedef ssize_t (*http_pull_fn)(void *ctx, char *out, size_t max);
struct http_stream *http_answer_stream(struct http_request *req, int status, const char *type,
                                       int64_t length, http_pull_fn pull, void *ctx);
void http_stream_wake(struct http_stream *st);

/*
 * Gives the connection away after a 101 (RFC 9110 7.8), with the headers set before, "Upgrade"
 * among them; "Connection: Upgrade" is added. Not for routes with HTTP_BODY_STREAM. `on_open` gets
 * the socket, non-blocking, and what the client sent behind its request (borrowed). The socket
 * stays the server's, which does not look at it, and open until http_upgrade_close(). The request
 * lives on until the connection has ended, but http_header() ends with on_open: on_close
 * tells the end, soon after http_upgrade_close() or when the server is freed; whoever polls the
 * socket must have stopped before it returns. A client that left before the 101 gets no on_open,
 * only on_close. HTTP/1.0 is answered with a problem.
 */
struct http_upgrade;
typedef void (*http_upgrade_fn)(void *ctx, struct http_upgrade *u, int fd, struct slice early);
void http_answer_upgrade(struct http_request *req, http_upgrade_fn on_open, void *ctx);
void http_upgrade_close(struct http_upgrade *u); /* twice is once; not after on_close */
