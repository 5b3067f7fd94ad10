/*
 * Removal of trees that user code made, so of any depth: a folder that lies deep is first moved up
 * beside the tree's other folders, and so neither descriptors nor stack grow with the depth.
 */
#include "kernel-runner/files/file_delete.h"

#include "kernel-runner/files/file_root.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define DEPTH_HELD 32   /* folders open at a time */
#define ROUNDS_MAX 4096 /* readings of one folder; user code may fill it meanwhile */

struct delete
{
    char *root_path, *path;
    bool recursive;
    void (*done)(void *ctx, const struct err *err);
    void *ctx;
    int top_fd; /* the folder that is removed */
    unsigned moved;
    bool failed;
    struct err err;
};

static int empty_dir(struct delete *d, int dir_fd, unsigned depth);

static int open_dir(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* Returns -1 with errno. */
static int remove_folder(struct delete *d, int parent, const char *name, unsigned depth)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -1;
    if (depth >= DEPTH_HELD) {
        char moved[64];
        snprintf(moved, sizeof(moved), FILE_UPLOAD_PREFIX "removed-%u", d->moved++);
        return renameat(parent, name, d->top_fd, moved);
    }
    _cleanup_(closep) int fd = open_dir(parent, name);
    if (fd < 0 || empty_dir(d, fd, depth + 1) < 0)
        return -1;
    return unlinkat(parent, name, AT_REMOVEDIR);
}

static int remove_entry(struct delete *d, int parent, const char *name, unsigned depth)
{
    int r = unlinkat(parent, name, 0);
    if (r < 0 && (errno == EISDIR || errno == EPERM))
        r = remove_folder(d, parent, name, depth);
    return r < 0 && errno != ENOENT && errno != ENOTEMPTY ? -1 : 0;
}

/* Reads the folder again until it is empty: what is moved up into it comes later. */
static int empty_dir(struct delete *d, int dir_fd, unsigned depth)
{
    int fd = open_dir(dir_fd, ".");
    _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        closep(&fd);
        return -1;
    }
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        bool found = false;
        rewinddir(dir);
        for (struct dirent *e; (e = readdir(dir));) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            found = true;
            if (remove_entry(d, dir_fd, e->d_name, depth) < 0)
                return -1;
        }
        if (!found)
            return 0;
    }
    errno = ENOTEMPTY;
    return -1;
}

static int remove_tree(struct delete *d, int parent, const char *name, struct err *err)
{
    d->top_fd = open_dir(parent, name);
    if (d->top_fd < 0 || empty_dir(d, d->top_fd, 0) < 0 ||
        unlinkat(parent, name, AT_REMOVEDIR) < 0) {
        if (errno == ENOTEMPTY)
            return err_set(err, ERR_CONFLICT, "files are being added to the directory");
        return err_errno(err, "cannot remove the directory");
    }
    return 0;
}

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
    return remove_tree(d, parent, name, err);
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
    closep(&d->top_fd);
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
    d->top_fd = -1;
    return file_job_start(ret, file_root_loop(root), &type, d, err);
}
