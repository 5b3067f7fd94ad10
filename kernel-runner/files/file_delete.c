/* Removal of what a user names, on the pool: user code may have made a tree of any size. */
#include "kernel-runner/files/file_delete.h"

#include "kernel-runner/files/file_root.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"
#include "lib/base/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* What a removal moves about is never listed, as unfinished uploads are not. */
_Static_assert(sizeof(TREE_MOVED_PREFIX) > sizeof(FILE_UPLOAD_PREFIX), "one begins the other");

struct delete
{
    char *root_path, *path;
    bool recursive;
    void (*done)(void *ctx, const struct err *err);
    void *ctx;
    bool failed;
    struct err err;
};

static int remove_path(struct delete *d, struct err *err)
{
    _cleanup_(closep) int root_fd = -1;
    _cleanup_(closep) int parent = -1;
    const char *name = "";
    int r = file_root_open_dir(d->root_path, &root_fd, err);
    if (r == 0)
        r = file_open_parent(root_fd, d->path, &parent, &name, err);
    if (r < 0)
        return r;
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    if (errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "there is no such file");
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, "cannot remove the file");
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return err_errno(err, "cannot remove the directory");
    if (!d->recursive)
        return err_set(err, ERR_CONFLICT, "the directory is not empty; use ?recursive=true");
    errno = tree_remove(parent, name);
    if (errno == ENOTEMPTY)
        return err_set(err, ERR_CONFLICT, "files are being added to the directory");
    return errno ? err_errno(err, "cannot remove the directory") : 0;
}

static void on_work(void *data)
{
    struct delete *d = data;
    d->failed = remove_path(d, &d->err) < 0;
}

static void on_done(void *data)
{
    struct delete *d = data;
    d->done(d->ctx, d->failed ? &d->err : NULL);
}

static void delete_free(void *data)
{
    struct delete *d = data;
    free(d->root_path);
    free(d->path);
    free(d);
}

int file_delete_start(struct file_job **ret, const struct file_root *root, const char *path,
                      bool recursive, void (*done)(void *ctx, const struct err *err), void *ctx,
                      struct err *err)
{
    static const struct file_job_type type = {on_work, on_done, delete_free};
    int r = path_check_relative(path, strlen(path), err);
    if (r < 0)
        return r;
    struct delete *d = MEM_NEW(struct delete);
    d->root_path = mem_dup_str(file_root_path(root));
    d->path = mem_dup_str(path);
    d->recursive = recursive;
    d->done = done;
    d->ctx = ctx;
    return file_job_start(ret, file_root_loop(root), &type, d, err);
}
