/*
 * O_TMPFILE has no way to replace a file, so the bytes wait under a hidden random name in the
 * target's folder. The folder is held by descriptor from the check to the rename: user code may
 * move it meanwhile, but cannot make us write elsewhere.
 */
#include "kernel-runner/files/file_put.h"

#include "kernel-runner/files/file_job.h"
#include "kernel-runner/files/file_root.h"
#include "kernel-runner/files/file_usage.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>

struct file_put {
    struct file_job *job; /* while preparing */
    void (*on_ready)(void *ctx, const struct err *err);
    void *ctx;

    char *root_path, *path;
    const char *name; /* last part of path */
    uint64_t max_bytes, room, written;
    int64_t length;
    int root_fd, folder_fd, fd;
    size_t made; /* see file_make_parent() */
    char temp[64];
    bool committed;
    bool failed; /* the preparation, with err */
    struct err err;
};

/* ---- preparation, on the pool ---- */

static int check_target(const struct file_put *p, struct err *err)
{
    struct stat st;
    if (strncmp(p->name, FILE_UPLOAD_PREFIX, strlen(FILE_UPLOAD_PREFIX)) == 0)
        return err_field(err, "path", "names that begin with " FILE_UPLOAD_PREFIX " are reserved");
    if (fstatat(p->folder_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_errno(err, "cannot look at the file");
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_CONFLICT, "it is a directory");
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return err_set(err, ERR_CONFLICT, "it is not a regular file");
    return 0;
}

static int no_space(const struct file_put *p, struct err *err)
{
    return err_set(err, ERR_NO_SPACE, "the files may take %llu bytes together; %llu are left",
                   (unsigned long long)p->max_bytes, (unsigned long long)p->room);
}

/* A file system that is itself no larger than the limit needs no counting: it says ENOSPC. */
static int check_room(struct file_put *p, struct err *err)
{
    struct statvfs fs;
    p->room = p->max_bytes;
    if (fstatvfs(p->root_fd, &fs) < 0 || (uint64_t)fs.f_blocks * fs.f_frsize > p->max_bytes) {
        uint64_t used = file_usage(p->root_fd, p->max_bytes);
        p->room = used < p->max_bytes ? p->max_bytes - used : 0;
    }
    return p->length > 0 && (uint64_t)p->length > p->room ? no_space(p, err) : 0;
}

static int make_temp(struct file_put *p, struct err *err)
{
    for (int i = 0; i < 8; i++) {
        uint64_t random = 0;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return err_errno(err, "no randomness");
        snprintf(p->temp, sizeof(p->temp), FILE_UPLOAD_PREFIX "%016llx",
                 (unsigned long long)random);
        p->fd = openat(p->folder_fd, p->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       0644);
        if (p->fd >= 0 || errno != EEXIST)
            break;
    }
    if (p->fd < 0) {
        p->temp[0] = '\0';
        return err_errno(err, "cannot make a file");
    }
    return 0;
}

static int prepare(struct file_put *p, struct err *err)
{
    int r = file_root_open_dir(p->root_path, &p->root_fd, err);
    if (r == 0)
        r = check_room(p, err);
    if (r == 0)
        r = file_make_parent(p->root_fd, p->path, &p->folder_fd, &p->name, &p->made, err);
    if (r == 0)
        r = check_target(p, err);
    return r == 0 ? make_temp(p, err) : r;
}

static void on_work(void *data)
{
    struct file_put *p = data;
    p->failed = prepare(p, &p->err) < 0;
    if (!p->made && p->root_fd >= 0) /* only needed to take folders back */
        close(TAKE_FD(p->root_fd));
}

/* ---- the loop's thread again ---- */

static void take_back(struct file_put *p)
{
    if (p->committed)
        return;
    if (p->temp[0])
        unlinkat(p->folder_fd, p->temp, 0);
    if (p->made)
        file_remove_made(p->root_fd, p->path, p->made);
}

static void put_free(struct file_put *p)
{
    take_back(p);
    closep(&p->fd);
    closep(&p->folder_fd);
    closep(&p->root_fd);
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
    on_work(((struct prepare_job *)data)->put);
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
    p->max_bytes = file_root_max_bytes(root);
    p->length = length;
    p->root_fd = p->folder_fd = p->fd = -1;
    struct prepare_job *j = MEM_NEW(struct prepare_job);
    j->put = p;
    r = file_job_start(&p->job, file_root_loop(root), &type, j, err);
    if (r == 0)
        *ret = p;
    return r;
}

int file_put_write(struct file_put *p, const void *data, size_t len, struct err *err)
{
    assert(!p->job && p->fd >= 0 && len <= FILE_PUT_CHUNK);
    if (len > p->room - p->written)
        return no_space(p, err);
    const char *next = data;
    while (len > 0) {
        ssize_t n = write(p->fd, next, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot write the file");
        next += n;
        len -= (size_t)n;
        p->written += (size_t)n;
    }
    return 0;
}

/* First without replacing, so that of two uploads at once only one says it made the file. */
static int rename_temp(const struct file_put *p, bool *ret_created)
{
    *ret_created = true;
    if (renameat2(p->folder_fd, p->temp, p->folder_fd, p->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) { /* a file system that cannot */
        struct stat st;
        *ret_created = fstatat(p->folder_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0;
    } else if (errno == EEXIST) {
        *ret_created = false;
    } else {
        return -1;
    }
    return renameat(p->folder_fd, p->temp, p->folder_fd, p->name);
}

int file_put_commit(struct file_put *p, bool *ret_created, struct stat *ret_stat, struct err *err)
{
    assert(!p->job && p->fd >= 0 && !p->committed);
    /* Some file systems report a lost write only here. */
    if (fstat(p->fd, ret_stat) < 0 || close(TAKE_FD(p->fd)) < 0)
        return err_errno(err, "cannot write the file");
    if (rename_temp(p, ret_created) < 0) {
        if (errno == ENOENT)
            return err_set(err, ERR_CONFLICT, "the folder was removed during the upload");
        return err_errno(err, "cannot put the file in its place");
    }
    p->committed = true;
    return 0;
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
