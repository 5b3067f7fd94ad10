/*
 * The file API over HTTP. A request that waits for the pool or for its body has a small struct that
 * lives from the handler to on_close; what is still under way then is detached or taken back.
 */
#include "kernel-runner/routes/routes_files.h"

#include "kernel-runner/core/runner.h"
#include "kernel-runner/files/file_delete.h"
#include "kernel-runner/files/file_get.h"
#include "kernel-runner/files/file_list.h"
#include "kernel-runner/files/file_put.h"
#include "kernel-runner/files/file_root.h"
#include "kernel-runner/routes/runner_ctx.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/base/path.h"
#include "lib/http/http.h"

/* The {path...} of the request, decoded once; the caller frees. */
static int read_path(struct http_request *req, char **ret, struct err *err)
{
    const char *raw = http_param(req, "path");
    size_t len = strlen(raw);
    _cleanup_(freep) char *path = mem_alloc(len + 1);
    int r = parse_percent(raw, len, path, &len, err);
    if (r == 0)
        r = path_check_relative(path, len, err);
    if (r == 0)
        *ret = TAKE_PTR(path);
    return r;
}

static int read_bool(struct http_request *req, const char *name, bool *ret, struct err *err)
{
    const char *text = http_query(req, name);
    *ret = false;
    if (!text || parse_bool(*text ? text : "true", ret, err) == 0)
        return 0;
    return err_field(err, name, "%s must be true or false", name);
}

/* ---- list and delete: one job a request ---- */

struct waiting {
    struct http_request *req;
    struct file_job *job;
    struct mem_budget *budget;
    struct mem_held held; /* for the answer */
};

static void on_waiting_close(void *ctx)
{
    struct waiting *w = ctx;
    file_job_detach(w->job);
    mem_held_release(&w->held);
    free(w);
}

static struct waiting *waiting_new(struct http_request *req)
{
    struct waiting *w = MEM_NEW(struct waiting);
    w->req = req;
    http_on_close(req, on_waiting_close, w);
    return w;
}

static void on_list(void *ctx, char *json_take, size_t len, const struct err *err)
{
    struct waiting *w = ctx;
    w->job = NULL;
    struct err limit;
    if (!err && mem_hold(&w->held, w->budget, HELD_ANSWERS, len, &limit) < 0) {
        free(json_take);
        err = &limit;
    }
    if (err) {
        http_answer_err(w->req, err);
        return;
    }
    http_set_header(w->req, "Cache-Control", "no-store");
    http_answer_take(w->req, 200, "application/json", json_take, len);
}

static int read_query(struct http_request *req, struct file_list_query *q, struct err *err)
{
    uint64_t limit = FILE_LIST_MAX;
    const char *text = http_query(req, "limit");
    if (text && parse_u64(text, 1, FILE_LIST_MAX, &limit, err) < 0)
        return err_field(err, "limit", "limit must be a whole number from 1 to %d", FILE_LIST_MAX);
    q->limit = (unsigned)limit;
    q->dir = http_query(req, "dir");
    q->after = http_query(req, "continue");
    return read_bool(req, "recursive", &q->recursive, err);
}

void routes_files_list(void *ctx, struct http_request *req)
{
    struct err err;
    struct file_list_query q = {0};
    int r = read_query(req, &q, &err);
    if (r == 0) {
        struct waiting *w = waiting_new(req);
        w->budget = runner_budget(ctx);
        r = file_list_start(&w->job, runner_files(ctx), &q, on_list, w, &err);
    }
    if (r < 0)
        http_answer_err(req, &err);
}

static void on_deleted(void *ctx, const struct err *err)
{
    struct waiting *w = ctx;
    w->job = NULL;
    if (err)
        http_answer_err(w->req, err);
    else
        http_answer_empty(w->req, 204);
}

void routes_files_delete(void *ctx, struct http_request *req)
{
    struct err err;
    bool recursive = false;
    _cleanup_(freep) char *path = NULL;
    int r = read_bool(req, "recursive", &recursive, &err);
    if (r == 0)
        r = read_path(req, &path, &err);
    if (r == 0) {
        struct waiting *w = waiting_new(req);
        r = file_delete_start(&w->job, runner_files(ctx), path, recursive, on_deleted, w, &err);
    }
    if (r < 0)
        http_answer_err(req, &err);
}

/* ---- get ---- */

/* User code wrote the file: a browser shall neither guess its type nor run what is in it. */
static const char *set_type(struct http_request *req, const char *path, bool download)
{
    const char *type = file_type_of(path);
    char disposition[FILE_DISPOSITION_SIZE];
    http_set_header(req, "Referrer-Policy", "no-referrer");
    http_set_header(req, "Cross-Origin-Resource-Policy", "same-origin");
    http_set_header(req, "Content-Security-Policy",
                    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:");
    if (download || !file_type_is_shown(type)) {
        file_disposition(path, disposition);
        http_set_header(req, "Content-Disposition", disposition);
    }
    return type;
}

static void answer_view(struct http_request *req, const char *path, bool download,
                        struct file_view *view)
{
    struct err err;
    char text[96];
    uint64_t offset = 0, len = 0;
    const char *if_none_match = http_header(req, "If-None-Match");
    bool same = if_none_match && file_etag_matches(if_none_match, view->etag);
    int r = same ? 0
                 : file_range_parse(http_header(req, "Range"), http_header(req, "If-Range"), view,
                                    &offset, &len, &err);
    if (r < 0) {
        close(view->fd);
        snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)view->size);
        http_set_header(req, "Content-Range", text);
        http_answer_err(req, &err);
        return;
    }
    http_set_header(req, "ETag", view->etag);
    http_set_header(req, "Cache-Control", "private, no-cache");
    http_set_header(req, "Accept-Ranges", "bytes");
    if (same) {
        close(view->fd);
        http_answer_empty(req, 304);
        return;
    }
    if (r == FILE_RANGE_PART) {
        snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)offset,
                 (unsigned long long)(offset + len - 1), (unsigned long long)view->size);
        http_set_header(req, "Content-Range", text);
    }
    http_answer_fd(req, r == FILE_RANGE_PART ? 206 : 200, set_type(req, path, download), view->fd,
                   offset, len);
}

void routes_files_get(void *ctx, struct http_request *req)
{
    struct err err;
    struct file_view view = {.fd = -1};
    _cleanup_(freep) char *path = NULL;
    bool download = false;
    const char *dest = http_header(req, "Sec-Fetch-Dest");
    int r = read_path(req, &path, &err);
    if (r == 0)
        r = read_bool(req, "download", &download, &err);
    if (r == 0 && !file_may_be_loaded_as(dest, file_type_of(path)))
        r = err_set(&err, ERR_FORBIDDEN,
                    "a file of a sandbox is not served as %.32s: a program wrote it", dest);
    if (r == 0)
        r = file_get(runner_files(ctx), path, &view, &err);
    if (r < 0)
        http_answer_err(req, &err);
    else
        answer_view(req, path, download, &view);
}

/* ---- put ---- */

/* The body waits (connection suspended) until the upload is ready; the server drains the rest of
 * one that failed. */
struct upload {
    struct http_request *req;
    struct file_put *put;
    bool ready, ended, answered;
};

static void fail(struct upload *u, const struct err *err)
{
    u->answered = true;
    u->put = file_put_free(u->put);
    http_answer_err(u->req, err);
}

static void commit(struct upload *u)
{
    struct err err;
    struct stat st;
    bool created = false;
    char etag[FILE_ETAG_SIZE];
    if (file_put_commit(u->put, &created, &st, &err) < 0) {
        fail(u, &err);
        return;
    }
    u->answered = true;
    file_etag_format(&st, etag);
    http_set_header(u->req, "ETag", etag);
    http_answer_empty(u->req, created ? 201 : 204);
}

static void on_ready(void *ctx, const struct err *err)
{
    struct upload *u = ctx;
    if (err) {
        fail(u, err);
        return;
    }
    u->ready = true;
    if (u->ended)
        commit(u);
    else
        http_body_resume(u->req);
}

static size_t on_data(void *ctx, const char *p, size_t len)
{
    struct upload *u = ctx;
    struct err err;
    if (u->answered)
        return len;
    if (!u->ready)
        return 0;
    len = MIN(len, FILE_PUT_CHUNK);
    if (file_put_write(u->put, p, len, &err) < 0)
        fail(u, &err);
    return len;
}

static void on_end(void *ctx, bool ok)
{
    struct upload *u = ctx;
    if (!ok) /* on_close follows */
        return;
    u->ended = true;
    if (u->ready && !u->answered)
        commit(u);
}

static void on_upload_close(void *ctx)
{
    struct upload *u = ctx;
    file_put_free(u->put);
    free(u);
}

void routes_files_put(void *ctx, struct http_request *req)
{
    struct err err;
    _cleanup_(freep) char *path = NULL;
    int r = read_path(req, &path, &err);
    if (r == 0) {
        struct upload *u = MEM_NEW(struct upload);
        u->req = req;
        http_on_close(req, on_upload_close, u);
        r = file_put_start(&u->put, runner_files(ctx), path, http_content_length(req), on_ready, u,
                           &err);
        if (r == 0)
            http_body_read(req, on_data, on_end, u);
    }
    if (r < 0)
        http_answer_err(req, &err);
}
