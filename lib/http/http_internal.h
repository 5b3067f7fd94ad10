#pragma once
#include "lib/base/buf.h"
#include "lib/http/http.h"
#include "lib/http/http_query.h"
#include "lib/http/http_router.h"
#include "lib/loop/loop.h"

#include <microhttpd.h>

/*
 * What the files of this folder share. Life of a request: libmicrohttpd tells the URI (created),
 * then calls the access handler at the headers, for each piece of body, at the end, and again
 * after each resume; it tells the completion exactly once (freed). Nothing is freed elsewhere.
 */
#define HTTP_DRAIN_MAX      MIB(64) /* of a body nobody wants */
#define HTTP_CONN_MEMORY    KIB(64) /* libmicrohttpd's pool of one connection */
#define HTTP_STREAM_BLOCK   KIB(64) /* block of an answer with known length */
#define HTTP_FRESH_MS       1000    /* a kept connection is watched for a slow request after this */
#define HTTP_SCAN_MS        1000    /* how often silent connections are asked whether they live */
#define HTTP_REQUEST_ID_MAX 128
/* Above max_connections, of libmicrohttpd's: cut ones that have not yet ended. */
#define HTTP_SPARE_CONNECTIONS 64

/* What a connection waits for with a deadline; each kind has one duration, so lists are sorted. */
enum http_deadline {
    HTTP_DL_HEADERS, /* the headers' end */
    HTTP_DL_BODY,    /* the body's end, or of a streamed one its next bytes */
    HTTP_DL_FRESH,   /* the next request, right after one: nothing watches for its first byte */
    HTTP_DL_IDLE,    /* the next request; its first byte starts the deadline of its headers */
    HTTP_DL_NONE,
};

struct http_conn {
    struct http_server *server;
    struct MHD_Connection *mhd;
    struct http_request *req;     /* the one under way, or NULL */
    int fd;                       /* libmicrohttpd's */
    bool suspended;               /* libmicrohttpd does not look at it until http_conn_resume() */
    bool streaming;               /* a streamed answer is under way */
    bool cut;                     /* shut down by us; ends when libmicrohttpd runs */
    bool linger;                  /* closing: the client may still be sending */
    bool watched;                 /* counted in server->watched, see http_conn.c */
    struct loop_poll *first_byte; /* while HTTP_DL_IDLE */
    enum http_deadline deadline;
    int64_t deadline_ms;
    struct http_conn *dl_prev, *dl_next;
    struct http_conn *prev, *next;
};

struct http_server {
    struct loop *loop;
    struct http_server_cfg cfg;
    struct http_router *router;
    struct MHD_Daemon *daemon;
    struct loop_poll *poll; /* on libmicrohttpd's epoll descriptor */
    int listen_fd;          /* -1: no longer */
    struct loop_poll *listen_poll;
    struct loop_timer *accept_timer; /* accepts again */
    struct http_shortage shortage;   /* not yet reported */
    struct loop_timer *shortage_timer;
    struct loop_defer *defer;
    struct loop_timer *deadline_timer;
    int64_t deadline_armed_ms;
    struct loop_timer *scan_timer;
    struct http_conn *conns;
    unsigned n_conns, n_cut;
    struct http_conn *deadlines[HTTP_DL_NONE];
    struct http_upgrade *upgrades, *upgrades_over; /* open; and those the owner closed */
    struct http_linger *lingers;
    unsigned n_upgrades; /* which have no http_conn any more */
    unsigned n_lingers;
    unsigned watched;
    unsigned active;
    bool running; /* inside MHD_run() */
    bool again;   /* something was resumed meanwhile */
    bool quiesced;
    bool stopping;
    uint64_t id_seed, id_count;
};

enum http_phase {
    HTTP_AT_URI,  /* headers still coming */
    HTTP_AT_BODY, /* headers seen; body coming, if any */
    HTTP_AT_END,  /* whole request seen */
};

struct http_stream {
    struct http_request *req;
    http_pull_fn pull;
    void *ctx;
    int64_t length; /* -1: unknown */
    int64_t sent;
    bool woken;
};

struct http_upgrade {
    struct http_request *req;
    http_upgrade_fn on_open;
    void *ctx;
    int fd;
    bool open;  /* the 101 is out */
    bool held;  /* libmicrohttpd has not yet let go of the request */
    bool over;  /* the owner closed it */
    bool ended; /* on_close was told */
    struct http_upgrade *prev, *next;
};

struct http_set_header {
    char *name;
    char *value;
};

struct http_request {
    struct http_conn *conn; /* NULL: upgraded */
    struct http_server *server;
    enum http_phase phase;
    bool uri_too_long;
    bool http_1_0;
    bool expects_continue;
    bool dead;    /* the connection is being given up: answers are dropped */
    bool gone;    /* the client left, and on_gone was told */
    bool aborted; /* we cut it ourselves */
    bool handled; /* the handler was called */

    char *method;
    char *uri; /* as received, up to the bound */
    size_t uri_len;
    const char *path, *query;
    char *path_own;
    char *authority_own; /* of an absolute target, else NULL */
    char *scratch;       /* of the match */
    struct http_match match;
    struct http_query *queries; /* parsed at the first http_query() */
    char id[HTTP_REQUEST_ID_MAX + 1];
    int64_t received_us;
    void *data;
    void (*on_gone)(void *ctx);
    void *gone_ctx;
    void (*on_close)(void *ctx);
    void *close_ctx;

    int64_t content_length; /* -1: unknown */
    uint64_t body_seen;
    struct buf body;
    struct mem_held body_held;
    size_t (*on_data)(void *ctx, const char *p, size_t len);
    void (*on_end)(void *ctx, bool ok);
    void *body_ctx;
    bool ended;       /* on_end was told */
    bool body_resume; /* http_body_resume() came while on_data ran */

    struct http_set_header *headers;
    size_t n_headers;
    struct MHD_Response *response; /* given, not yet with libmicrohttpd */
    bool queued;
    int64_t queued_us;   /* when */
    int status;          /* 0: not answered */
    struct err *problem; /* the problem that is the answer, while the body still comes */
    struct http_stream stream;
    struct http_upgrade upgrade;
};

/* http_server.c */
void http_server_kick(struct http_server *s); /* MHD_run() soon, without waiting for I/O */
void http_server_run(struct http_server *s);  /* now; not from inside a callback of it */

/* http_accept.c */
int http_accept_start(struct http_server *s, struct err *err);
void http_accept_stop(struct http_server *s); /* closes the listening socket; twice is once */

/* http_conn.c: callbacks of libmicrohttpd, deadlines, departed clients */
void http_conn_on_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                         enum MHD_ConnectionNotificationCode code);
void http_conn_deadline(struct http_conn *c, enum http_deadline kind);
void http_conn_on_deadline(void *server);
void http_conn_on_scan(void *server);
void http_conn_suspend(struct http_conn *c);
void http_conn_resume(struct http_conn *c);
void http_conn_streaming(struct http_conn *c);
void http_conn_idle(struct http_conn *c); /* its request is over */
/* Shuts the socket down; the request, if any, ends as soon as libmicrohttpd runs. */
void http_conn_cut(struct http_conn *c);
/* Writes a problem past libmicrohttpd, for states in which it takes no answer. The connection must
 * end then. */
void http_conn_answer_raw(struct http_conn *c, const struct err *err);

/* http_linger.c */
void http_linger_start(struct http_server *s, int fd); /* fd stays the caller's */
void http_linger_end_all(struct http_server *s);

/* http_head.c */
struct http_head { /* where libmicrohttpd found these, in its buffer */
    const char *method, *target, *version;
};
/* ERR_INVALID for a head that two readers could understand differently. Sets content_length. */
int http_head_check(struct http_request *req, const struct http_head *head, struct err *err);

/* http_serve.c: callbacks of libmicrohttpd for one request */
void *http_serve_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_serve_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                     const char *method, const char *version, const char *data,
                                     size_t *len, void **con_cls);
void http_serve_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                             enum MHD_RequestTerminationCode code);
void http_serve_gone(struct http_request *req); /* tells on_gone once */
/* Tells the owner that the request is over; once. */
void http_serve_finish(struct http_request *req, bool complete);
void http_serve_free(struct http_request *req);

/* http_upgrade.c */
void http_upgrade_released(struct http_upgrade *u); /* libmicrohttpd's connection has ended */
void http_upgrade_end(struct http_server *s);       /* tells the owners of those that were closed */
void http_upgrade_end_all(struct http_server *s);

/* http_response.c */
void http_answer_response(struct http_request *req, int status, const char *type,
                          struct MHD_Response *response_take);
/* Hands the answer over; only where libmicrohttpd takes one. MHD_NO: give the connection up. */
enum MHD_Result http_answer_queue(struct http_request *req);

/* http_problem.c */
char *http_problem_text(const struct http_request *req,
                        const struct err *err); /* JSON; the caller frees */
int http_problem_status(const struct err *err);
