/* Reading a request: what handlers ask for. Strings live as long as the request. */
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

const char *http_method(const struct http_request *req)
{
    return req->method;
}

const char *http_path(const struct http_request *req)
{
    return req->path;
}

const char *http_query_raw(const struct http_request *req)
{
    return req->query;
}

const char *http_header(const struct http_request *req, const char *name)
{
    if (!req->conn)
        return NULL;
    return MHD_lookup_connection_value(req->conn->mhd, MHD_HEADER_KIND, name);
}

const char *http_authority(const struct http_request *req)
{
    return req->authority_own ? req->authority_own : http_header(req, "Host");
}

struct each {
    void (*fn)(void *ctx, const char *name, const char *value);
    void *ctx;
};

static enum MHD_Result each_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct each *each = cls;
    each->fn(each->ctx, name, value ? value : "");
    return MHD_YES;
}

void http_headers_each(const struct http_request *req,
                       void (*fn)(void *ctx, const char *name, const char *value), void *ctx)
{
    struct each each = {fn, ctx};
    if (req->conn)
        MHD_get_connection_values(req->conn->mhd, MHD_HEADER_KIND, each_header, &each);
}

const char *http_query(const struct http_request *req, const char *name)
{
    /* The parsed form is a cache: const for the caller. */
    struct http_request *mutable_req = req->conn ? req->conn->req : req->upgrade.req;
    if (!mutable_req->queries)
        mutable_req->queries = http_query_parse(req->query);
    return http_query_get(mutable_req->queries, name);
}

static const struct http_param *find_param(const struct http_request *req, const char *name)
{
    for (size_t i = 0; i < req->match.n_params; i++)
        if (slice_eq_str(req->match.params[i].name, name))
            return &req->match.params[i];
    return NULL;
}

const char *http_param(const struct http_request *req, const char *name)
{
    const struct http_param *param = find_param(req, name);
    return param ? param->text : "";
}

const char *http_param_raw(const struct http_request *req, const char *name)
{
    const struct http_param *param = find_param(req, name);
    return param ? param->raw : "";
}

const char *http_request_id(const struct http_request *req)
{
    return req->id;
}

void http_body_drop(struct http_request *req)
{
    buf_done(&req->body);
    mem_held_release(&req->body_held);
}

struct slice http_body(const struct http_request *req)
{
    return buf_slice(&req->body);
}

const struct http_route *http_route_of(const struct http_request *req)
{
    return req->match.route;
}

int64_t http_received_us(const struct http_request *req)
{
    return req->received_us;
}

bool http_is_client_gone(const struct http_request *req)
{
    return req->gone;
}

void http_set_data(struct http_request *req, void *data)
{
    req->data = data;
}

void *http_data(const struct http_request *req)
{
    return req->data;
}

void http_on_gone(struct http_request *req, void (*on_gone)(void *ctx), void *ctx)
{
    req->on_gone = on_gone;
    req->gone_ctx = ctx;
}

void http_on_close(struct http_request *req, void (*on_close)(void *ctx), void *ctx)
{
    req->on_close = on_close;
    req->close_ctx = ctx;
}

int64_t http_content_length(const struct http_request *req)
{
    return req->content_length;
}

void http_body_read(struct http_request *req,
                    size_t (*on_data)(void *ctx, const char *p, size_t len),
                    void (*on_end)(void *ctx, bool ok), void *ctx)
{
    req->on_data = on_data;
    req->on_end = on_end;
    req->body_ctx = ctx;
    http_body_resume(req);
}

void http_body_resume(struct http_request *req)
{
    req->body_resume = true;
    http_conn_resume(req->conn);
}
