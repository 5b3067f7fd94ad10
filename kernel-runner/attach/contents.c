/*
 * The contents API over HTTP: a request becomes one job on the pool, and its result one answer. A
 * request lives from the handler to on_close; a job whose client has left ends alone, and what it
 * saves is saved.
 */
#include "kernel-runner/attach/contents.h"

#include <stdlib.h>
#include <string.h>

#include "kernel-runner/attach/contents_work.h"
#include "kernel-runner/core/runner.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"

#define LARGE MIB(1) /* of a body or an answer */

struct pending {
    struct http_request *req;
    struct runner *runner;
    struct contents_job *job; /* until it is started */
    struct file_job *started;
    bool answered;
    bool large; /* the heap keeps what it took, and shall not */
};

static void on_close(void *ctx)
{
    struct pending *p = ctx;
    contents_job_free(p->job);
    file_job_detach(p->started);
    if (p->large)
        exec_store_trim_heap(runner_execs(p->runner));
    free(p);
}

static void fail(struct pending *p, const struct err *err)
{
    p->answered = true;
    http_answer_err(p->req, err);
}

static void on_done(void *ctx, struct contents_job *j)
{
    struct pending *p = ctx;
    p->started = NULL;
    if (j->failed) {
        fail(p, &j->err);
        return;
    }
    p->answered = true;
    http_set_header(p->req, "Cache-Control", "no-store");
    if (j->location.len > 0)
        http_set_header(p->req, "Location", j->location.ptr);
    if (j->cut)
        http_set_header(p->req, "X-Caesarion-Truncated", "true");
    size_t len = j->json.len;
    p->large = p->large || len > LARGE;
    if (len == 0)
        http_answer_empty(p->req, j->status);
    else
        http_answer_take(p->req, j->status, "application/json", buf_take(&j->json), len);
}

static void start(struct pending *p)
{
    struct err err;
    struct contents_job *j = TAKE_PTR(p->job);
    j->done = on_done;
    j->ctx = p;
    if (contents_job_start(&p->started, runner_loop(p->runner), j, &err) < 0)
        fail(p, &err);
}

/* NULL when it is answered. */
static struct pending *accept_request(struct runner *runner, struct http_request *req,
                                      enum contents_op op)
{
    struct err err;
    _cleanup_(contents_job_freep) struct contents_job *j =
        contents_job_new(op, runner_file_root(runner));
    if (contents_target_parse(&j->target, http_param_raw(req, "path"), &err) < 0) {
        http_answer_err(req, &err);
        return NULL;
    }
    struct pending *p = MEM_NEW(struct pending);
    p->req = req;
    p->runner = runner;
    p->job = TAKE_PTR(j);
    http_on_close(req, on_close, p);
    return p;
}

/* ---- without a body, or with a small one ---- */

static int read_flag(struct http_request *req, const char *name, bool missing, bool *ret,
                     struct err *err)
{
    const char *text = http_query(req, name);
    *ret = text ? strcmp(text, "1") == 0 : missing;
    if (text && !*ret && strcmp(text, "0") != 0)
        return err_field(err, name, "%s must be 0 or 1", name);
    return 0;
}

void contents_get(void *ctx, struct http_request *req)
{
    struct err err;
    struct pending *p = accept_request(ctx, req, CONTENTS_GET);
    if (!p)
        return;
    struct contents_job *j = p->job;
    j->type = contents_type_parse(http_query(req, "type"));
    int r = contents_format_parse(http_query(req, "format"), &j->format, &err);
    if (r == 0)
        r = read_flag(req, "content", /* missing= */ true, &j->content, &err);
    if (r == 0)
        r = read_flag(req, "hash", /* missing= */ false, &j->hash, &err);
    if (r < 0)
        fail(p, &err);
    else
        start(p);
}

static void with_body(void *ctx, struct http_request *req, enum contents_op op)
{
    struct pending *p = accept_request(ctx, req, op);
    if (!p)
        return;
    (void)buf_append_slice(&p->job->body, http_body(req)); /* its route's bound is lower */
    start(p);
}

void contents_post(void *ctx, struct http_request *req)
{
    with_body(ctx, req, CONTENTS_POST);
}

void contents_patch(void *ctx, struct http_request *req)
{
    with_body(ctx, req, CONTENTS_PATCH);
}

void contents_delete(void *ctx, struct http_request *req)
{
    struct pending *p = accept_request(ctx, req, CONTENTS_DELETE);
    if (p)
        start(p);
}

/* ---- put: megabytes, collected so that the job gets them without a copy ---- */

static int too_large(struct err *err)
{
    return err_set(err, ERR_TOO_LARGE,
                   "a body has at most %zu bytes here; save in chunks, or use /files",
                   LIMIT_CONTENTS_BYTES);
}

static size_t on_data(void *ctx, const char *data, size_t len)
{
    struct pending *p = ctx;
    struct err err;
    if (p->answered)
        return len;
    if (buf_append(&p->job->body, data, len) < 0) {
        too_large(&err);
        fail(p, &err);
    }
    return len;
}

static void on_end(void *ctx, bool ok)
{
    struct pending *p = ctx;
    p->large = p->job && p->job->body.len > LARGE;
    if (ok && !p->answered)
        start(p);
}

void contents_put(void *ctx, struct http_request *req)
{
    struct err err;
    struct pending *p = accept_request(ctx, req, CONTENTS_PUT);
    if (!p)
        return;
    if (http_content_length(req) > (int64_t)LIMIT_CONTENTS_BYTES) {
        too_large(&err);
        fail(p, &err);
        return;
    }
    http_body_read(req, on_data, on_end, p);
}
