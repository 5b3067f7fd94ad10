/*
 * The contents API over HTTP: a request becomes one job on the pool, and its result one answer. A
 * request lives from the handler to on_close; a job whose client has left ends alone, and what it
 * saves is saved.
 */
#include "kernel-runner/attach/contents.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel-runner/attach/contents_escape.h"
#include "kernel-runner/attach/contents_work.h"
#include "kernel-runner/core/runner.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"

#define LARGE            MIB(1)  /* of a body or an answer */
#define FILE_SLACK_BYTES KIB(64) /* a file may grow by this between the looks at it */
#define LIST_ENTRY_BYTES 512
#define PATIENCE_MS      600000 /* for a whole body */

struct pending {
    struct http_request *req;
    struct runner *runner;
    struct contents_job *job; /* until it is started */
    struct file_job *started;
    struct mem_held held;        /* for the answer */
    struct loop_timer *patience; /* with a body that comes; or NULL */
    struct contents_escape escape;
    bool answered;
    bool large; /* the heap keeps what it took, and shall not */
};

static void on_close(void *ctx)
{
    struct pending *p = ctx;
    contents_job_free(p->job);
    file_job_detach(p->started);
    mem_held_release(&p->held);
    loop_timer_free(p->patience);
    contents_escape_done(&p->escape);
    if (p->large)
        exec_store_trim_heap(runner_execs(p->runner));
    free(p);
}

static void fail(struct pending *p, const struct err *err)
{
    p->answered = true;
    p->job = contents_job_free(p->job);
    p->patience = loop_timer_free(p->patience);
    http_answer_err(p->req, err);
}

static ssize_t pull(void *ctx, char *out, size_t max)
{
    struct pending *p = ctx;
    size_t n = contents_escape_pull(&p->escape, out, max);
    return n ? (ssize_t)n : HTTP_PULL_END;
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
    p->held = j->held;
    j->held = (struct mem_held){0};
    p->large = p->large || len > LARGE || j->text.len > LARGE;
    if (j->text.len > 0) {
        contents_escape_init(&p->escape, &j->json, &j->text);
        http_answer_stream(p->req, j->status, "application/json", -1, pull, p);
        return;
    }
    mem_held_shrink(&p->held, MIN((uint64_t)len, p->held.bytes));
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
    j->held = (struct mem_held){.budget = runner_budget(runner), .account = HELD_CONTENTS};
    struct pending *p = MEM_NEW(struct pending);
    p->req = req;
    p->runner = runner;
    p->job = TAKE_PTR(j);
    http_on_close(req, on_close, p);
    return p;
}

/* ---- what it will take ---- */

/* The most that an account may ever have: what is larger goes alone. */
static uint64_t bounded(const struct pending *p, uint64_t bytes)
{
    return MIN(bytes, p->job->held.budget->max_bytes / 4 * 3);
}

/*
 * Of a GET. A look at one entry, on the loop: what it finds is only what is charged; the job looks
 * anew, and reads no more than that.
 */
static int charge_read(struct pending *p, struct err *err)
{
    struct contents_job *j = p->job;
    _cleanup_(closep) int root_fd = -1;
    _cleanup_(closep) int fd = -1;
    struct stat st;
    uint64_t bytes = 3 * FILE_SLACK_BYTES; /* of what is not there yet */
    j->file_max = FILE_SLACK_BYTES;
    if (file_root_open_dir(j->root_path, &root_fd, NULL) < 0 ||
        file_open_beneath(root_fd, j->target.path, O_PATH, &fd, NULL) < 0 || fstat(fd, &st) < 0)
        return mem_held_grow(&j->held, bytes, err); /* the job says why */
    if (S_ISREG(st.st_mode)) {
        j->file_max = MIN((size_t)st.st_size, LIMIT_CONTENTS_FILE_BYTES) + FILE_SLACK_BYTES;
        bytes = (j->content ? 3 : 1) * (uint64_t)j->file_max;
    } else if (S_ISDIR(st.st_mode)) {
        /* On tmpfs an entry counts 20 bytes; elsewhere more. */
        bytes += MIN((uint64_t)st.st_size / 20, 2 * LIMIT_CONTENTS_ENTRIES) * LIST_ENTRY_BYTES;
    }
    return mem_held_grow(&j->held, bounded(p, bytes), err);
}

/* Of a save: what is written is about as long as what came, and made beside it. */
static int charge_save(struct pending *p, struct err *err)
{
    struct mem_held *held = &p->job->held;
    uint64_t all = bounded(p, 2 * held->bytes);
    return mem_held_grow(held, all > held->bytes ? all - held->bytes : 0, err);
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
    if (r == 0 && (j->content || j->hash))
        r = charge_read(p, &err);
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
    int r = mem_held_append(&p->job->held, &p->job->body, data, len, &err);
    if (r == -ERR_TOO_LARGE)
        too_large(&err);
    if (r < 0)
        fail(p, &err);
    return len;
}

static void on_end(void *ctx, bool ok)
{
    struct pending *p = ctx;
    struct err err;
    p->patience = loop_timer_free(p->patience);
    p->large = p->job && p->job->body.len > LARGE;
    if (!ok || p->answered || !p->job)
        return;
    if (charge_save(p, &err) < 0)
        fail(p, &err);
    else
        start(p);
}

/* The server's own deadline is about the next bytes, and one a minute would hold all that came. */
static void on_patience(void *ctx)
{
    struct pending *p = ctx;
    struct err err;
    err_set(&err, ERR_TIMEOUT, "the body was not complete within %d s", PATIENCE_MS / 1000);
    fail(p, &err);
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
    p->patience = loop_timer_new(runner_loop(p->runner), on_patience, p);
    loop_timer_start(p->patience, PATIENCE_MS, 0);
    http_body_read(req, on_data, on_end, p);
}
