/*
 * HTTP/1.1 client: libcurl's multi interface, its sockets and its one timer on the loop.
 *
 * libcurl forbids most calls from inside its own callbacks, and unpausing a transfer runs the
 * receiver's callback at once. So everything a caller asks for is either done outside of libcurl
 * (start, cancel) or kept in `pending` until libcurl has returned; resuming always waits for the
 * next turn, so that no callback comes from inside httpc_resume_*(). A call belongs to the client:
 * it is freed after on_done, or by httpc_cancel() as soon as libcurl is not inside it.
 */
#include "lib/httpc/httpc.h"

#include "lib/base/buf.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"
#include "lib/httpc/httpc_multi.h"

#include <curl/curl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#define IDLE_HANDLES_MAX 32
#define MAX_AGE_IDLE_S   50L /* below the servers' 75 s, so that a reused connection is alive */

struct httpc {
    struct loop *loop;
    struct httpc_multi multi;
    struct loop_timer *prune;
    int prune_rounds;
    struct loop_defer *defer;
    struct httpc_call *calls;
    CURL *idle[IDLE_HANDLES_MAX]; /* easy handles to use again: making one costs more than a call */
    unsigned n_idle;
    unsigned n_calls;
    unsigned max_calls;
    bool in_curl;
    bool unsettled; /* a call was started or cancelled while in_curl */
};

struct httpc_call {
    struct httpc *client;
    CURL *easy;
    struct curl_slist *headers;
    struct httpc_callbacks cb;
    void *ctx;
    void (*free_ctx)(void *ctx);
    char *body;
    struct httpc_call *prev, *next;
    struct err fail; /* why a callback ended the transfer */
    char curl_text[CURL_ERROR_SIZE];
    int status;
    bool added;
    bool want_add; /* started from inside a callback of libcurl */
    bool cancelled;
    bool finished;     /* on_done is running or ran */
    bool headers_done; /* later header lines are trailers */
    bool recv_paused, send_paused;
    bool resume; /* one of the two changed */
};

static void destroy(struct httpc_call *call)
{
    struct httpc *c = call->client;
    DL_DELETE(c->calls, call);
    c->n_calls--;
    if (call->added)
        curl_multi_remove_handle(c->multi.curl, call->easy);
    if (call->easy && c->n_idle < IDLE_HANDLES_MAX) {
        curl_easy_reset(call->easy);
        c->idle[c->n_idle++] = call->easy;
    } else if (call->easy) {
        curl_easy_cleanup(call->easy);
    }
    curl_slist_free_all(call->headers);
    if (call->free_ctx)
        call->free_ctx(call->ctx);
    free(call->body);
    free(call);
}

/* ---- how a call ends ---- */

static void map_error(const struct httpc_call *call, CURLcode code, struct err *err)
{
    const char *text = call->curl_text[0] ? call->curl_text : curl_easy_strerror(code);
    curl_off_t connected = 0;
    curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
    if (call->fail.code != ERR_OK) {
        *err = call->fail;
        return;
    }
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        err_set(err, ERR_UNAVAILABLE, "cannot connect: %s", text);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        if (connected == 0)
            err_set(err, ERR_UNAVAILABLE, "cannot connect: %s", text);
        else
            err_set(err, ERR_TIMEOUT, "no answer in time: %s", text);
        break;
    case CURLE_URL_MALFORMAT:
        err_set(err, ERR_INVALID, "unusable address: %s", text);
        break;
    default:
        err_set(err, ERR_SANDBOX_LOST, "the connection broke: %s", text);
    }
}

static void finish(struct httpc_call *call, const struct err *err)
{
    call->finished = true;
    if (call->added) {
        curl_multi_remove_handle(call->client->multi.curl, call->easy);
        call->added = false;
    }
    call->cb.on_done(call->ctx, err);
    destroy(call);
}

static void collect_finished(struct httpc *c)
{
    int left = 0;
    for (CURLMsg *m = curl_multi_info_read(c->multi.curl, &left); m;
         m = curl_multi_info_read(c->multi.curl, &left)) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct httpc_call *call = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&call);
        if (call->cancelled) {
            destroy(call);
            continue;
        }
        struct err err = {0};
        if (code != CURLE_OK)
            map_error(call, code, &err);
        else if (!call->headers_done) /* libcurl takes some header lines for an answer */
            err_set(&err, ERR_SANDBOX_LOST, "the connection broke: the answer's head was cut off");
        finish(call, err.code ? &err : NULL);
    }
}

static void add(struct httpc_call *call)
{
    call->want_add = false;
    CURLMcode m = curl_multi_add_handle(call->client->multi.curl, call->easy);
    if (m == CURLM_OK) {
        call->added = true;
        return;
    }
    struct err err = {0};
    err_set(&err, ERR_INTERNAL, "HTTP client: %s", curl_multi_strerror(m));
    finish(call, &err);
}

/* What callers asked for while libcurl was running. Not resuming: see above. */
static void settle(struct httpc *c)
{
    collect_finished(c);
    while (c->unsettled) {
        struct httpc_call *call, *tmp;
        c->unsettled = false;
        DL_FOREACH_SAFE (c->calls, call, tmp) {
            if (!call->cancelled && !call->want_add)
                continue;
            c->unsettled = true; /* on_done may change the list: look again from its start */
            if (call->cancelled)
                destroy(call);
            else
                add(call);
            break;
        }
    }
}

static void run(void *ctx, curl_socket_t fd, int mask)
{
    struct httpc *c = ctx;
    int running = 0;
    c->in_curl = true;
    curl_multi_socket_action(c->multi.curl, fd, mask, &running);
    c->in_curl = false;
    settle(c);
}

/* ---- the loop's side ---- */

static void on_defer(void *ctx)
{
    struct httpc *c = ctx;
    struct httpc_call *call, *tmp;
    /* Nothing is freed or added while in_curl is set, so the list stays as it is. */
    c->in_curl = true;
    DL_FOREACH_SAFE (c->calls, call, tmp) {
        if (!call->resume || !call->added || call->cancelled)
            continue;
        call->resume = false;
        curl_easy_pause(call->easy, (call->recv_paused ? CURLPAUSE_RECV : 0) |
                                        (call->send_paused ? CURLPAUSE_SEND : 0));
    }
    c->in_curl = false;
    run(c, CURL_SOCKET_TIMEOUT, 0);
}

/* ---- libcurl's callbacks of one transfer ---- */

static void one_header(struct httpc_call *call, const char *p, size_t len)
{
    const char *colon = memchr(p, ':', len);
    if (!colon || !call->cb.on_header)
        return;
    const char *value = colon + 1, *end = p + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && strchr(" \t\r\n", end[-1]))
        end--;
    call->cb.on_header(call->ctx, slice_make(p, (size_t)(colon - p)),
                       slice_make(value, (size_t)(end - value)));
}

static size_t on_curl_header(char *p, size_t size, size_t n, void *ctx)
{
    struct httpc_call *call = ctx;
    size_t len = size * n;
    if (call->cancelled)
        return 0;
    if (call->headers_done)
        return len; /* a trailer */
    if (len >= 12 && memcmp(p, "HTTP/", 5) == 0) {
        const char *blank = memchr(p, ' ', len);
        call->status = 0;
        for (const char *d = blank ? blank + 1 : p + len; d < p + len && *d >= '0' && *d <= '9';
             d++)
            call->status = call->status < 1000 ? call->status * 10 + (*d - '0') : call->status;
        return len;
    }
    if (call->status < 200) /* 100 Continue, 103 Early Hints */
        return len;
    if (len <= 2 && (p[0] == '\r' || p[0] == '\n')) {
        call->headers_done = true;
        if (call->cb.on_headers)
            call->cb.on_headers(call->ctx, call->status);
    } else {
        one_header(call, p, len);
    }
    return call->cancelled ? 0 : len;
}

static size_t on_curl_write(char *p, size_t size, size_t n, void *ctx)
{
    struct httpc_call *call = ctx;
    size_t len = size * n;
    if (call->cancelled)
        return CURL_WRITEFUNC_ERROR;
    if (!call->cb.on_data)
        return len;
    bool taken = call->cb.on_data(call->ctx, p, len);
    if (call->cancelled || call->fail.code != ERR_OK)
        return CURL_WRITEFUNC_ERROR;
    if (taken)
        return len;
    call->recv_paused = true;
    return CURL_WRITEFUNC_PAUSE;
}

static size_t on_curl_read(char *out, size_t size, size_t n, void *ctx)
{
    struct httpc_call *call = ctx;
    if (call->cancelled)
        return CURL_READFUNC_ABORT;
    ssize_t got = call->cb.on_send(call->ctx, out, size * n);
    if (call->cancelled)
        return CURL_READFUNC_ABORT;
    if (got > 0)
        return (size_t)got;
    if (got == HTTPC_SEND_END)
        return 0;
    if (got == 0) {
        call->send_paused = true;
        return CURL_READFUNC_PAUSE;
    }
    err_set(&call->fail, ERR_INVALID, "the request's body was cut off");
    return CURL_READFUNC_ABORT;
}

/* ---- the API ---- */

struct loop *httpc_loop(const struct httpc *c)
{
    return c->loop;
}

int httpc_new(struct httpc **ret, struct loop *loop, unsigned max_connections, struct err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    struct httpc *c = MEM_NEW(struct httpc);
    c->loop = loop;
    c->max_calls = max_connections;
    httpc_multi_init(&c->multi, loop, run, c);
    c->defer = loop_defer_new(loop, on_defer, c);
    curl_multi_setopt(c->multi.curl, CURLMOPT_MAXCONNECTS, (long)max_connections);
    *ret = c;
    return 0;
}

struct httpc *httpc_free(struct httpc *c)
{
    if (!c)
        return NULL;
    while (c->calls)
        destroy(c->calls);
    while (c->n_idle)
        curl_easy_cleanup(c->idle[--c->n_idle]);
    httpc_multi_done(&c->multi);
    loop_timer_free(c->prune);
    loop_defer_free(c->defer);
    free(c);
    curl_global_cleanup();
    return NULL;
}

static void set_headers(struct httpc_call *call, const struct httpc_request *req)
{
    bool accept = false, type = false;
    for (const char *const *h = req->headers; h && *h; h++) {
        accept = accept || strncasecmp(*h, "Accept:", 7) == 0;
        type = type || strncasecmp(*h, "Content-Type:", 13) == 0;
        call->headers = curl_slist_append(call->headers, *h);
    }
    /* What libcurl would add by itself. "Expect" costs a second against servers that ignore it. */
    call->headers = curl_slist_append(call->headers, "Expect:");
    if (!accept)
        call->headers = curl_slist_append(call->headers, "Accept:");
    if (!type)
        call->headers = curl_slist_append(call->headers, "Content-Type:");
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
}

static void set_body(struct httpc_call *call, const struct httpc_request *req)
{
    CURL *e = call->easy;
    if (req->send_streams) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_READFUNCTION, on_curl_read);
        curl_easy_setopt(e, CURLOPT_READDATA, call);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)req->send_length);
    } else if (req->body || strcmp(req->method, "POST") == 0 || strcmp(req->method, "PUT") == 0 ||
               strcmp(req->method, "PATCH") == 0) {
        call->body = mem_dup_n(req->body ? req->body : "", req->body_len);
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body_len);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->body);
    } else if (strcmp(req->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        return;
    }
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, req->method);
}

/*
 * What must not, or cannot, be sent twice never meets a connection that may just have gone stale;
 * and its own is not kept, as one after another they would fill the server.
 */
static bool goes_once(const struct httpc_request *req)
{
    static const char *const acting[] = {"POST", "PATCH", "DELETE"};
    bool acts = false;
    for (size_t i = 0; i < ARRAY_LEN(acting); i++)
        acts = acts || strcmp(req->method, acting[i]) == 0;
    return req->send_streams || (acts && !req->repeatable);
}

static void set_options(struct httpc_call *call, const struct httpc_request *req)
{
    CURL *e = call->easy;
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, (long)goes_once(req));
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, (long)goes_once(req));
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->curl_text);
    curl_easy_setopt(e, CURLOPT_URL, req->url);
    if (req->unix_path)
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, req->unix_path);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    /* A peer that vanished without a word, e.g. a node that lost its power. */
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 10L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)KIB(64));
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, MAX_AGE_IDLE_S);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(req->connect_timeout_ms ? req->connect_timeout_ms : 5000));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)req->total_timeout_ms);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_curl_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_curl_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
}

int httpc_start(struct httpc_call **ret, struct httpc *c, const struct httpc_request *req,
                const struct httpc_callbacks *cb, void *ctx, struct err *err)
{
    if (c->n_calls >= c->max_calls)
        return err_set(err, ERR_UNAVAILABLE, "too many requests to sandboxes at once (%u)",
                       c->max_calls);
    struct httpc_call *call = MEM_NEW(struct httpc_call);
    call->client = c;
    call->easy = c->n_idle ? c->idle[--c->n_idle] : curl_easy_init();
    if (!call->easy)
        abort();
    call->cb = *cb;
    call->ctx = ctx;
    DL_APPEND(c->calls, call);
    c->n_calls++;
    set_options(call, req);
    set_body(call, req);
    set_headers(call, req);
    *ret = call;
    if (c->in_curl) {
        call->want_add = true;
        c->unsettled = true;
        return 0;
    }
    CURLMcode m = curl_multi_add_handle(c->multi.curl, call->easy);
    if (m != CURLM_OK) {
        destroy(call);
        *ret = NULL;
        return err_set(err, ERR_INTERNAL, "HTTP client: %s", curl_multi_strerror(m));
    }
    call->added = true;
    return 0;
}

static void ask_resume(struct httpc_call *call)
{
    call->resume = true;
    loop_defer_post(call->client->defer);
}

void httpc_resume_recv(struct httpc_call *call)
{
    if (call->recv_paused) {
        call->recv_paused = false;
        ask_resume(call);
    }
}

void httpc_resume_send(struct httpc_call *call)
{
    if (call->send_paused) {
        call->send_paused = false;
        ask_resume(call);
    }
}

struct httpc_call *httpc_cancel(struct httpc_call *call)
{
    if (!call || call->finished)
        return NULL;
    call->cancelled = true;
    if (call->client->in_curl)
        call->client->unsettled = true;
    else
        destroy(call);
    return NULL;
}

/* ---- whole exchanges ---- */

struct exchange {
    struct httpc_call *call;
    struct buf body;
    httpc_reply_fn fn;
    void *ctx;
    int status;
};

static void exchange_headers(void *ctx, int status)
{
    struct exchange *x = ctx;
    x->status = status;
}

static bool exchange_data(void *ctx, const char *p, size_t len)
{
    struct exchange *x = ctx;
    if (buf_append(&x->body, p, len) < 0)
        err_set(&x->call->fail, ERR_TOO_LARGE, "the answer is longer than %zu bytes", x->body.max);
    return true;
}

static void exchange_done(void *ctx, const struct err *err)
{
    struct exchange *x = ctx;
    if (buf_reserve(&x->body, 0) == 0)
        x->body.ptr[x->body.len] = '\0';
    x->fn(x->ctx, err ? 0 : x->status, buf_slice(&x->body), err);
}

static void exchange_free(void *ctx)
{
    struct exchange *x = ctx;
    buf_done(&x->body);
    free(x);
}

int httpc_exchange(struct httpc_call **ret, struct httpc *c, const struct httpc_request *req,
                   size_t max_body, httpc_reply_fn fn, void *ctx, struct err *err)
{
    static const struct httpc_callbacks callbacks = {
        .on_headers = exchange_headers, .on_data = exchange_data, .on_done = exchange_done};
    struct exchange *x = MEM_NEW(struct exchange);
    buf_init(&x->body, max_body);
    x->fn = fn;
    x->ctx = ctx;
    int r = httpc_start(&x->call, c, req, &callbacks, x, err);
    if (r < 0) {
        exchange_free(x);
        return r;
    }
    x->call->free_ctx = exchange_free;
    if (ret)
        *ret = x->call;
    return 0;
}

/*
 * libcurl looks for dead connections only when it makes one, at most once a second, and has no call
 * for it. So a call is made that cannot connect; twice, as the first may fall within that second.
 */
#define PRUNE_MS     1100
#define PRUNE_ROUNDS 2

static void on_pruned(void *ctx, int status, struct slice body, const struct err *err)
{
    struct httpc *c = ctx;
    if (--c->prune_rounds > 0)
        loop_timer_start(c->prune, PRUNE_MS, 0);
    else
        malloc_trim(0);
}

static void on_prune(void *ctx)
{
    struct httpc *c = ctx;
    struct httpc_call *call = NULL;
    struct httpc_request req = {
        .method = "GET", .url = "http://nobody/", .unix_path = "/dev/null/nobody"};
    httpc_exchange(&call, c, &req, 1, on_pruned, c, NULL);
}

void httpc_prune_soon(struct httpc *c)
{
    if (!c->prune)
        c->prune = loop_timer_new(c->loop, on_prune, c);
    c->prune_rounds = PRUNE_ROUNDS;
    loop_timer_start(c->prune, PRUNE_MS, 0);
}
