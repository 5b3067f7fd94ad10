/*
 * Answers. Each builds libmicrohttpd's response and leaves it with the request; the access handler
 * hands it over at the next point where libmicrohttpd takes one. An answer that comes after the
 * client left is dropped here, so that owners need not check.
 */
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <assert.h>
#include <strings.h>

static struct http_set_header *find_header(const struct http_request *req, const char *name)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (strcasecmp(req->headers[i].name, name) == 0)
            return &req->headers[i];
    return NULL;
}

void http_set_header(struct http_request *req, const char *name, const char *value)
{
    bool repeatable = strcasecmp(name, "Set-Cookie") == 0;
    struct http_set_header *old = repeatable ? NULL : find_header(req, name);
    if (old) {
        free(old->value);
        old->value = mem_dup_str(value);
        return;
    }
    req->headers = mem_resize(req->headers, (req->n_headers + 1) * sizeof(*req->headers));
    req->headers[req->n_headers++] =
        (struct http_set_header){mem_dup_str(name), mem_dup_str(value)};
}

static void set_default(struct http_request *req, const char *name, const char *value)
{
    if (!find_header(req, name))
        http_set_header(req, name, value);
}

void http_answer_response(struct http_request *req, int status, const char *type,
                          struct MHD_Response *response_take)
{
    assert((status >= 200 && status <= 599) || status == 101);
    if (req->dead || req->status) {
        assert(req->dead);
        MHD_destroy_response(response_take);
        return;
    }
    if (type)
        set_default(req, "Content-Type", type);
    set_default(req, "X-Request-Id", req->id);
    /* A browser that is led here must not make a script or a style of what the types deny. */
    set_default(req, "X-Content-Type-Options", "nosniff");
    if (req->server->quiesced && status != 101)
        set_default(req, "Connection", "close");
    /* Empty values and those with CR or LF are refused there: the header is then missing. */
    for (size_t i = 0; i < req->n_headers; i++)
        MHD_add_response_header(response_take, req->headers[i].name, req->headers[i].value);
    req->response = response_take;
    req->status = status;
    /* Whoever answers in the middle of a body has no more use for it. */
    req->on_data = NULL;
    req->on_end = NULL;
    req->body_seen = 0;
    http_conn_resume(req->conn);
}

enum MHD_Result http_answer_queue(struct http_request *req)
{
    struct MHD_Response *response = TAKE_PTR(req->response);
    enum MHD_Result r = MHD_queue_response(req->conn->mhd, (unsigned)req->status, response);
    MHD_destroy_response(response);
    req->queued = r == MHD_YES;
    req->queued_us = clk_mono_us();
    if (req->queued && req->stream.pull)
        http_conn_streaming(req->conn);
    return r;
}

static struct MHD_Response *response_copy(const void *data, size_t len)
{
    /* With MUST_COPY the bytes are only read. */
    union {
        const void *in;
        void *out;
    } bytes = {.in = len ? data : ""};
    struct MHD_Response *r = MHD_create_response_from_buffer(
        len, bytes.out, len ? MHD_RESPMEM_MUST_COPY : MHD_RESPMEM_PERSISTENT);
    if (!r)
        abort(); /* out of memory, as everywhere */
    return r;
}

static struct MHD_Response *response_take(char *data_take, size_t len)
{
    if (len == 0) {
        free(data_take);
        return response_copy("", 0);
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(len, data_take, MHD_RESPMEM_MUST_FREE);
    if (!r)
        abort();
    return r;
}

void http_answer_empty(struct http_request *req, int status)
{
    http_answer_response(req, status, NULL, response_copy("", 0));
}

void http_answer_bytes(struct http_request *req, int status, const char *type, const void *data,
                       size_t len)
{
    http_answer_response(req, status, type, response_copy(data, len));
}

void http_answer_take(struct http_request *req, int status, const char *type, char *data_take,
                      size_t len)
{
    http_answer_response(req, status, type, response_take(data_take, len));
}

static void answer_text(struct http_request *req, int status, const char *type, char *text_take)
{
    set_default(req, "Cache-Control", "no-store");
    http_answer_take(req, status, type, text_take, strlen(text_take));
}

void http_answer_json(struct http_request *req, int status, json_t *json_take)
{
    char *text = jsonx_dump(json_take);
    json_decref(json_take);
    answer_text(req, status, "application/json", text);
}

void http_answer_err(struct http_request *req, const struct err *err)
{
    int status = http_problem_status(err);
    if (status == 429 || status == 503)
        set_default(req, "Retry-After", "1");
    if (status == 401)
        set_default(req, "WWW-Authenticate", "Bearer");
    if (req->phase == HTTP_AT_BODY && !req->problem) {
        req->problem = MEM_NEW(struct err);
        *req->problem = *err;
    }
    http_set_header(req, "Content-Type", "application/problem+json");
    answer_text(req, status, NULL, http_problem_text(req, err));
}
