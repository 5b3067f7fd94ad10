/*
 * Answers that are pulled: streams and files. libmicrohttpd asks for a block when the socket takes
 * one, so at most one block per connection waits in memory. A source that has nothing suspends the
 * connection from inside the content reader, as its contract demands; wake resumes it.
 */
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <assert.h>
#include <errno.h>

static ssize_t on_pull(void *cls, uint64_t pos, char *out, size_t max)
{
    struct http_stream *st = cls;
    struct http_request *req = st->req;
    if (req->dead)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    st->woken = false;
    ssize_t n = st->pull(st->ctx, out, max);
    if (n > 0) {
        assert((size_t)n <= max);
        st->sent += n;
        return n;
    }
    if (n == 0) {
        http_conn_suspend(req->conn);
        if (st->woken)
            http_conn_resume(req->conn);
        return 0;
    }
    if (n == HTTP_PULL_END && (st->length < 0 || st->sent == st->length))
        return MHD_CONTENT_READER_END_OF_STREAM;
    req->aborted = true;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *pulled(struct http_request *req, int64_t length,
                                   MHD_ContentReaderCallback fn, void *ctx,
                                   MHD_ContentReaderFreeCallback free_fn)
{
    /* Chunks are made in the connection's own memory; the block serves the other cases. */
    bool chunked = length < 0 && !req->http_1_0;
    struct MHD_Response *r =
        MHD_create_response_from_callback(length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)length,
                                          chunked ? KIB(1) : HTTP_STREAM_BLOCK, fn, ctx, free_fn);
    if (!r)
        abort(); /* out of memory, as everywhere */
    return r;
}

struct http_stream *http_answer_stream(struct http_request *req, int status, const char *type,
                                       int64_t length, http_pull_fn pull, void *ctx)
{
    struct http_stream *st = &req->stream;
    if (!req->status)
        *st = (struct http_stream){.req = req, .pull = pull, .ctx = ctx, .length = length};
    st->req = req;
    struct MHD_Response *r = pulled(req, length, on_pull, st, NULL);
    /* libmicrohttpd 0.9.75 sends the last chunk also where an answer has no body. */
    if (length < 0 && (strcmp(req->method, "HEAD") == 0 || status == 304))
        MHD_set_response_options(r, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    http_answer_response(req, status, type, r);
    return st;
}

void http_stream_wake(struct http_stream *st)
{
    if (st->req->dead)
        return;
    st->woken = true;
    http_conn_resume(st->req->conn);
}

struct file {
    struct http_request *req;
    int fd;
    uint64_t offset;
};

static ssize_t on_file(void *cls, uint64_t pos, char *out, size_t max)
{
    struct file *f = cls;
    ssize_t n;
    do
        n = pread(f->fd, out, max, (off_t)(f->offset + pos));
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    /* Shorter than promised, or unreadable: the client must not take it for whole. */
    f->req->aborted = true;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_file(void *cls)
{
    struct file *f = cls;
    close(f->fd);
    free(f);
}

void http_answer_fd(struct http_request *req, int status, const char *type, int fd_take,
                    uint64_t offset, uint64_t len)
{
    assert(len <= INT64_MAX);
    if (len == 0) {
        close(fd_take);
        http_answer_bytes(req, status, type, "", 0);
        return;
    }
    struct file *f = MEM_NEW(struct file);
    *f = (struct file){.req = req, .fd = fd_take, .offset = offset};
    http_answer_response(req, status, type, pulled(req, (int64_t)len, on_file, f, free_file));
}
