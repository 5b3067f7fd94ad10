/*
 * A request from its URI to its end, as libmicrohttpd calls us. Facts of 0.9.75 this relies on:
 * the access handler is called at the headers, for each piece of body, at the end, and again after
 * each resume; an answer is taken at the headers (then the connection closes) or at the end, not
 * in between, so an early answer waits until the body was drained; suspending is safe only inside
 * the access handler and the content reader. What cannot wait (a body above every bound, a
 * deadline) is written to the socket by http_conn_answer_raw().
 */
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static bool sane_id(const char *s)
{
    size_t len = s ? strlen(s) : 0;
    if (len == 0 || len > HTTP_REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("-_.:", s[i]))
            return false;
    return true;
}

static void make_id(struct http_request *req)
{
    /* splitmix64: distinct for each count, unlike between processes; not a secret. */
    struct http_server *s = req->server;
    uint64_t z = s->id_seed + ++s->id_count * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    snprintf(req->id, sizeof(req->id), "%016llx", (unsigned long long)(z ^ (z >> 31)));
}

/* Path and query of the request target, and the host of an absolute one (RFC 9112 3.2.2). */
static void split_target(struct http_request *req)
{
    const char *target = req->uri;
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        target = strstr(target, "://") + 3;
        size_t n = strcspn(target, "/?");
        req->authority_own = mem_dup_n(target, n);
        target += n;
    }
    size_t len = strcspn(target, "?");
    req->path_own = len > 0 ? mem_dup_n(target, len) : mem_dup_str("/");
    req->path = req->path_own;
    req->query = target[len] ? target + len + 1 : "";
}

/*
 * libmicrohttpd would now take the query apart into records in the connection's memory, which
 * nobody reads and which a query of 4,000 parts overflows: 0.9.75 then hangs. The text is in its
 * read buffer, so the query can be ended before it begins.
 */
static void hide_query(const char *uri)
{
    const char *mark = uri ? strchr(uri, '?') : NULL;
    union {
        const char *in;
        char *out;
    } text = {.in = mark};
    if (mark && mark[1])
        text.out[1] = '\0';
}

void *http_serve_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *s = cls;
    struct http_request *req = MEM_NEW(struct http_request);
    req->conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    req->server = s;
    size_t len = uri ? strlen(uri) : 0;
    req->uri_len = len;
    req->uri_too_long = len > s->cfg.max_uri_bytes;
    req->uri = mem_dup_n(len ? uri : "/", MIN(MAX(len, 1U), s->cfg.max_uri_bytes));
    split_target(req);
    hide_query(uri);
    buf_init(&req->body, 0);
    make_id(req);
    req->conn->req = req;
    /* The first request's headers have their deadline since the connection was made. */
    if (req->conn->deadline == HTTP_DL_IDLE || req->conn->deadline == HTTP_DL_FRESH)
        http_conn_deadline(req->conn, HTTP_DL_HEADERS);
    return req;
}

void http_serve_free(struct http_request *req)
{
    if (req->response)
        MHD_destroy_response(req->response);
    for (size_t i = 0; i < req->n_headers; i++) {
        free(req->headers[i].name);
        free(req->headers[i].value);
    }
    free(req->headers);
    free(req->problem);
    http_body_drop(req);
    http_query_free(req->queries);
    free(req->scratch);
    free(req->path_own);
    free(req->authority_own);
    free(req->uri);
    free(req->method);
    free(req);
}

static int check_sizes(struct http_request *req, const struct http_head *head, struct err *err)
{
    const struct http_server_cfg *cfg = &req->server->cfg;
    if (req->uri_too_long)
        return err_set(err, ERR_URI_TOO_LONG, "the request's URI is longer than %zu bytes",
                       cfg->max_uri_bytes);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    /* libmicrohttpd's figure includes the request line and the empty line. */
    size_t line = strlen(head->method) + req->uri_len + strlen(head->version) + 4;
    if (info && info->header_size > line + 2 + cfg->max_header_bytes)
        return err_set(err, ERR_HEADER_TOO_LARGE, "the request's headers exceed %zu bytes",
                       cfg->max_header_bytes);
    return 0;
}

static int find_route(struct http_request *req, struct err *err)
{
    req->scratch = mem_alloc(http_router_scratch(req->path));
    http_router_match(req->server->router, req->method, req->path, req->scratch, &req->match);
    const struct http_server_cfg *cfg = &req->server->cfg;
    int r = cfg->before ? cfg->before(cfg->ctx, req, req->match.route, err) : 0;
    if (r < 0 || req->match.route)
        return r;
    if (!req->match.path_known)
        return err_set(err, ERR_NOT_FOUND, "there is nothing at this path");
    if (req->match.allow[0])
        http_set_header(req, "Allow", req->match.allow);
    return err_set(err, ERR_METHOD_NOT_ALLOWED, "%.32s is not possible here", req->method);
}

/* The bound of a body that is read to its end before it is refused. */
static uint64_t drain_max(const struct http_request *req)
{
    const struct http_route *route = req->match.route;
    return MAX(route ? route->max_body : 0, HTTP_DRAIN_MAX);
}

static int too_large(const struct http_request *req, struct err *err)
{
    const struct http_route *route = req->match.route;
    if (route && route->max_body)
        return err_set(err, ERR_TOO_LARGE, "the body is larger than %zu bytes", route->max_body);
    return err_set(err, ERR_TOO_LARGE, "the body is too large");
}

static int check_length(struct http_request *req, struct err *err)
{
    const struct http_route *route = req->match.route;
    if (req->content_length < 0 || (route->body == HTTP_BODY_STREAM && !route->max_body))
        return 0;
    uint64_t length = (uint64_t)req->content_length;
    if ((route->body != HTTP_BODY_NONE && length > route->max_body) || length > drain_max(req))
        return too_large(req, err);
    return 0;
}

static void call_handler(struct http_request *req)
{
    req->handled = true;
    req->match.route->handler(req->server->cfg.ctx, req);
}

/* Everything that can be said of a request before its body. */
static int admit(struct http_request *req, const struct http_head *head, bool *framed,
                 struct err *err)
{
    int r = http_head_check(req, head, err);
    *framed = r == 0;
    if (r == 0)
        r = check_sizes(req, head, err);
    if (r == 0)
        r = find_route(req, err);
    if (r == 0)
        r = check_length(req, err);
    return r;
}

/* libmicrohttpd takes an answer now, and closes then; or at the end of the request. */
static enum MHD_Result answer_at_headers(struct http_request *req, bool framed)
{
    bool endless = req->content_length > 0 && (uint64_t)req->content_length > drain_max(req);
    if (!framed || endless || req->expects_continue) {
        req->conn->linger = true;
        return http_answer_queue(req);
    }
    return MHD_YES;
}

/* Headers are complete. Nothing is suspended here: libmicrohttpd would repeat this call. */
static enum MHD_Result at_headers(struct http_request *req, const struct http_head *head)
{
    struct err err;
    bool framed = false;
    req->phase = HTTP_AT_BODY;
    req->method = mem_dup_str(head->method);
    req->http_1_0 = strcmp(head->version, "HTTP/1.0") == 0;
    req->received_us = clk_mono_us();
    req->server->active++;
    const char *given = http_header(req, "X-Request-Id");
    if (sane_id(given))
        memcpy(req->id, given, strlen(given) + 1);
    const char *expect = http_header(req, "Expect");
    req->expects_continue = expect && strcasecmp(expect, "100-continue") == 0 && !req->http_1_0;

    int r = admit(req, head, &framed, &err);
    const struct http_route *route = req->match.route;
    if (r < 0) {
        http_answer_err(req, &err);
    } else {
        assert(route);
        if (route->body == HTTP_BODY_BUFFER) {
            buf_init(&req->body, route->max_body);
            req->body_held = (struct mem_held){.budget = req->server->cfg.body_budget,
                                               .account = req->server->cfg.body_account};
        }
        if (route->body == HTTP_BODY_STREAM)
            call_handler(req);
    }
    http_conn_deadline(req->conn, req->content_length != 0 ? HTTP_DL_BODY : HTTP_DL_NONE);
    return req->response ? answer_at_headers(req, framed) : MHD_YES;
}

static enum MHD_Result give_up(struct http_request *req)
{
    struct err err;
    if (!req->status)
        too_large(req, &err);
    if (!req->status || req->problem)
        http_conn_answer_raw(req->conn, req->problem ? req->problem : &err);
    return MHD_NO;
}

/* A body that is wanted whole, or not at all. */
static enum MHD_Result collect(struct http_request *req, const char *data, size_t *len)
{
    struct err err;
    req->body_seen += *len;
    if (req->body_seen > drain_max(req))
        return give_up(req);
    const struct http_route *route = req->match.route;
    bool wanted = !req->response && route && route->body == HTTP_BODY_BUFFER;
    int r = wanted ? mem_held_append(&req->body_held, &req->body, data, *len, &err) : 0;
    if (r < 0) {
        http_body_drop(req);
        if (r == -ERR_TOO_LARGE)
            too_large(req, &err);
        http_answer_err(req, &err);
    }
    *len = 0;
    return MHD_YES;
}

/* Without a bound the next bytes have a deadline, but not while the handler takes none. */
static void body_moves(struct http_request *req, enum http_deadline kind)
{
    if (!req->match.route->max_body)
        http_conn_deadline(req->conn, kind);
}

static enum MHD_Result hand_out(struct http_request *req, const char *data, size_t *len)
{
    size_t given = *len;
    if (req->match.route->max_body && req->body_seen + given > drain_max(req))
        return give_up(req);
    req->body_resume = false;
    size_t taken = req->on_data ? req->on_data(req->body_ctx, data, given) : 0;
    assert(taken <= given);
    req->body_seen += taken;
    if (req->dead)
        return MHD_NO;
    if (req->response) {
        /* Answered in the middle of its body: the rest is drained. */
        *len = given - taken;
        http_conn_deadline(req->conn, HTTP_DL_BODY);
        return *len ? collect(req, data + taken, len) : MHD_YES;
    }
    *len = given - taken;
    if (*len == 0) {
        body_moves(req, HTTP_DL_BODY);
        return MHD_YES;
    }
    body_moves(req, HTTP_DL_NONE);
    http_conn_suspend(req->conn);
    if (req->body_resume)
        http_conn_resume(req->conn);
    return MHD_YES;
}

static enum MHD_Result at_body(struct http_request *req, const char *data, size_t *len)
{
    const struct http_route *route = req->match.route;
    if (route && route->body == HTTP_BODY_STREAM && req->handled && !req->response)
        return hand_out(req, data, len);
    return collect(req, data, len);
}

/* The whole request is here; called again after each resume until it is answered. */
static enum MHD_Result at_end(struct http_request *req)
{
    if (req->phase != HTTP_AT_END) {
        req->phase = HTTP_AT_END;
        http_conn_deadline(req->conn, HTTP_DL_NONE);
        if (!req->response && !req->handled)
            call_handler(req);
    }
    if (req->on_end && !req->ended && !req->response) {
        req->ended = true;
        req->on_end(req->body_ctx, true);
    }
    if (req->dead)
        return MHD_NO;
    if (req->response)
        return http_answer_queue(req);
    http_conn_suspend(req->conn);
    return MHD_YES;
}

enum MHD_Result http_serve_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                     const char *method, const char *version, const char *data,
                                     size_t *len, void **con_cls)
{
    struct http_request *req = *con_cls;
    if (!req || req->dead)
        return MHD_NO;
    if (req->phase == HTTP_AT_URI)
        return at_headers(req, &(struct http_head){method, url, version});
    if (*len > 0)
        return at_body(req, data, len);
    return at_end(req);
}

void http_serve_gone(struct http_request *req)
{
    if (req->gone)
        return;
    req->gone = true;
    req->dead = true;
    if (req->on_gone)
        req->on_gone(req->gone_ctx);
}

void http_serve_finish(struct http_request *req, bool complete)
{
    struct http_server *s = req->server;
    req->dead = true;
    if (req->on_end && !req->ended) {
        req->ended = true;
        req->on_end(req->body_ctx, false);
    }
    if (!complete && !req->aborted && !s->stopping)
        http_serve_gone(req);
    if (req->status && s->cfg.after)
        s->cfg.after(s->cfg.ctx, req, req->status, clk_mono_us() - req->received_us);
    if (req->on_close)
        req->on_close(req->close_ctx);
    s->active--;
}

void http_serve_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                             enum MHD_RequestTerminationCode code)
{
    struct http_request *req = *con_cls;
    *con_cls = NULL;
    if (!req)
        return;
    struct http_conn *c = req->conn;
    if (req->upgrade.open) {
        /* No callback and nothing of libmicrohttpd here: it holds a lock. */
        c->req = NULL;
        http_upgrade_released(&req->upgrade);
        return;
    }
    if (req->phase != HTTP_AT_URI)
        http_serve_finish(req, code == MHD_REQUEST_TERMINATED_COMPLETED_OK && req->queued);
    http_conn_idle(c);
    http_serve_free(req);
}
