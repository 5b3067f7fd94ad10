/*
 * A file_temp whose slow part (folders, room) runs on the pool, and whose writes are the loop's.
 * Preparation and upload end in either order: the later one frees.
 */
#include "kernel-runner/files/file_put.h"

#include "kernel-runner/files/file_job.h"
#include "kernel-runner/files/file_root.h"
#include "kernel-runner/files/file_temp.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

#include <assert.h>
#include <string.h>

struct file_put {
    struct file_job *job; /* while preparing */
    void (*on_ready)(void *ctx, const struct err *err);
    void *ctx;

    char *root_path, *path;
    int64_t length;
    struct file_temp temp;
    bool failed; /* the preparation, with err */
    struct err err;
};

static void put_free(struct file_put *p)
{
    file_temp_done(&p->temp);
    free(p->root_path);
    free(p->path);
    free(p);
}

/* The job's data is a pointer to the upload, so that the upload outlives it, or the other way. */
struct prepare_job {
    struct file_put *put;
    bool done;
};

static void on_job_work(void *data)
{
    struct file_put *p = ((struct prepare_job *)data)->put;
    p->failed = file_temp_open(&p->temp, p->length, &p->err) < 0;
}

static void on_job_done(void *data)
{
    struct prepare_job *j = data;
    struct file_put *p = j->put;
    j->done = true;
    p->job = NULL;
    struct err err = p->err; /* the upload may be freed inside the callback */
    p->on_ready(p->ctx, p->failed ? &err : NULL);
}

static void on_job_free(void *data)
{
    struct prepare_job *j = data;
    if (!j->done)
        put_free(j->put);
    free(j);
}

int file_put_start(struct file_put **ret, const struct file_root *root, const char *path,
                   int64_t length, void (*on_ready)(void *ctx, const struct err *err), void *ctx,
                   struct err *err)
{
    static const struct file_job_type type = {on_job_work, on_job_done, on_job_free};
    int r = path_check_relative(path, strlen(path), err);
    if (r < 0)
        return r;
    struct file_put *p = MEM_NEW(struct file_put);
    p->on_ready = on_ready;
    p->ctx = ctx;
    p->root_path = mem_dup_str(file_root_path(root));
    p->path = mem_dup_str(path);
    p->length = length;
    file_temp_init(&p->temp);
    p->temp.root_path = p->root_path;
    p->temp.path = p->path;
    p->temp.max_bytes = file_root_max_bytes(root);
    p->temp.make_folders = true;
    struct prepare_job *j = MEM_NEW(struct prepare_job);
    j->put = p;
    r = file_job_start(&p->job, file_root_loop(root), &type, j, err);
    if (r == 0)
        *ret = p;
    return r;
}

int file_put_write(struct file_put *p, const void *data, size_t len, struct err *err)
{
    assert(!p->job && len <= FILE_PUT_CHUNK);
    return file_temp_write(&p->temp, data, len, err);
}

int file_put_commit(struct file_put *p, bool *ret_created, struct stat *ret_stat, struct err *err)
{
    assert(!p->job);
    return file_temp_commit(&p->temp, ret_created, ret_stat, err);
}

struct file_put *file_put_free(struct file_put *p)
{
    if (!p)
        return NULL;
    if (p->job) /* goes with the job */
        file_job_detach(p->job);
    else
        put_free(p);
    return NULL;
}
