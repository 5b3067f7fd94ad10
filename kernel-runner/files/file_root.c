/*
 * Resolution of user paths beneath one directory. No descriptor of the directory is kept: user code
 * may delete and remake it, and a kept one would then serve a ghost. It is opened anew for each use
 * by its real path without following any link, since a link that user code has put in its place
 * (to /proc/self, say) would show what only the runner may see.
 */
#include "kernel-runner/files/file_root.h"

#include "lib/base/beneath.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

struct file_root {
    struct loop *loop;
    char *path;
    uint64_t max_bytes;
};

/* ---- the directory itself ---- */

/* At the start, before any user code: the operator's path, with whatever links it has. */
static int make_all(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof(part)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

/* Later: each part by descriptor and without a link, as user code may have moved what is above. */
static int make_again(const char *path)
{
    _cleanup_(closep) int dir = beneath_open_real("/", O_PATH | O_DIRECTORY);
    while (dir >= 0 && *(path += strspn(path, "/"))) {
        char part[PATH_PART_MAX + 1];
        size_t len = strcspn(path, "/");
        if (len >= sizeof(part)) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(part, path, len);
        part[len] = '\0';
        path += len;
        if (mkdirat(dir, part, 0755) < 0 && errno != EEXIST)
            return -1;
        int next = beneath_open_plain(dir, part, O_PATH | O_DIRECTORY, 0);
        close(dir);
        dir = next;
    }
    return dir < 0 ? -1 : 0;
}

int file_root_open_dir(const char *root_path, int *ret_fd, struct err *err)
{
    const int flags = O_PATH | O_DIRECTORY;
    int fd = beneath_open_real(root_path, flags);
    if (fd < 0 && errno == ENOENT && make_again(root_path) == 0)
        fd = beneath_open_real(root_path, flags);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP || errno == EEXIST))
        return err_set(err, ERR_CONFLICT,
                       "something else stands where the directory of files should be");
    if (fd < 0)
        return err_errno(err, "cannot open the directory of files");
    *ret_fd = fd;
    return 0;
}

int file_root_new(struct file_root **ret, struct loop *loop, const char *path, uint64_t max_bytes,
                  struct err *err)
{
    if (make_all(path) < 0)
        return err_errno(err, "cannot make the directory of files %.500s", path);
    _cleanup_(freep) char *real = realpath(path, NULL);
    if (!real)
        return err_errno(err, "cannot find the directory of files %.500s", path);
    _cleanup_(closep) int fd = -1;
    int r = file_root_open_dir(real, &fd, err);
    if (r < 0)
        return err_wrap(err, "%.500s", path);
    struct file_root *root = MEM_NEW(struct file_root);
    root->loop = loop;
    root->path = TAKE_PTR(real);
    root->max_bytes = max_bytes;
    *ret = root;
    return 0;
}

struct file_root *file_root_free(struct file_root *r)
{
    if (r) {
        free(r->path);
        free(r);
    }
    return NULL;
}

const char *file_root_path(const struct file_root *r)
{
    return r->path;
}

uint64_t file_root_max_bytes(const struct file_root *r)
{
    return r->max_bytes;
}

struct loop *file_root_loop(const struct file_root *r)
{
    return r->loop;
}

/* ---- paths beneath it ---- */

static int refuse(struct err *err)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return err_set(err, ERR_NOT_FOUND, "there is no such file");
    case EXDEV:
        return err_set(err, ERR_FORBIDDEN, "the path leads out of the directory of files");
    case ELOOP:
        return err_set(err, ERR_FORBIDDEN, "a link in the path cannot be followed");
    case ENXIO:
    case ENODEV:
        return err_set(err, ERR_CONFLICT, "it is not a regular file");
    case EAGAIN:
        return err_set(err, ERR_UNAVAILABLE, "the file is being changed; try again");
    default:
        return err_errno(err, "cannot open the file");
    }
}

int file_open_beneath(int root_fd, const char *path, int flags, int *ret_fd, struct err *err)
{
    flags |= O_NONBLOCK | O_NOCTTY;
    if (flags & O_PATH)
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
    int fd = beneath_open(root_fd, *path ? path : ".", flags, 0);
    if (fd < 0)
        return refuse(err);
    *ret_fd = fd;
    return 0;
}

/* Opens the first `len` bytes of path as a folder. */
static int open_prefix(int root_fd, const char *path, size_t len, int *ret_fd, struct err *err)
{
    char prefix[PATH_USER_MAX + 1];
    len = MIN(len, sizeof(prefix) - 1);
    memcpy(prefix, path, len);
    prefix[len] = '\0';
    return file_open_beneath(root_fd, prefix, O_PATH | O_DIRECTORY, ret_fd, err);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int file_open_parent(int root_fd, const char *path, int *ret_fd, const char **ret_name,
                     struct err *err)
{
    int r = path_check_relative(path, strlen(path), err);
    if (r < 0)
        return r;
    const char *name = last_part(path);
    *ret_name = name;
    return open_prefix(root_fd, path, name > path ? (size_t)(name - path - 1) : 0, ret_fd, err);
}

/* Opens one folder of the path, or makes it in `parent`. */
static int make_prefix(int root_fd, int parent, const char *path, size_t len, int *ret_fd,
                       size_t *made, struct err *err)
{
    int r = open_prefix(root_fd, path, len, ret_fd, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    char name[PATH_PART_MAX + 1];
    size_t start = len;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t n = MIN(len - start, sizeof(name) - 1);
    memcpy(name, path + start, n);
    name[n] = '\0';
    if (mkdirat(parent, name, 0755) == 0) {
        *made = *made ? *made : len;
    } else if (errno == EEXIST) { /* a file, or a link that leads nowhere */
        struct stat st;
        if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
            return err_set(err, ERR_CONFLICT, "a part of the path is a file, not a folder");
    } else {
        return err_errno(err, "cannot make a folder");
    }
    return open_prefix(root_fd, path, len, ret_fd, err);
}

int file_make_parent(int root_fd, const char *path, int *ret_fd, const char **ret_name,
                     size_t *ret_made, struct err *err)
{
    int depth = 0;
    *ret_made = 0;
    int r = file_open_parent(root_fd, path, ret_fd, ret_name, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    if (depth > FILE_DEPTH_MAX)
        return err_field(err, "path", "the path has more than %d folders", FILE_DEPTH_MAX);
    _cleanup_(closep) int dir = -1;
    r = open_prefix(root_fd, path, 0, &dir, err);
    for (const char *p = strchr(path, '/'); p && r == 0; p = strchr(p + 1, '/')) {
        int next = -1;
        r = make_prefix(root_fd, dir, path, (size_t)(p - path), &next, ret_made, err);
        close(dir);
        dir = next;
    }
    if (r < 0) {
        file_remove_made(root_fd, path, *ret_made);
        *ret_made = 0;
        return r;
    }
    *ret_fd = TAKE_FD(dir);
    return 0;
}

void file_remove_made(int root_fd, const char *path, size_t made)
{
    if (made == 0)
        return;
    const char *end = strrchr(path, '/');
    for (size_t len = end ? (size_t)(end - path) : 0; len >= made;) {
        char folder[PATH_USER_MAX + 1];
        memcpy(folder, path, len);
        folder[len] = '\0';
        _cleanup_(closep) int parent = -1;
        const char *name = NULL;
        if (file_open_parent(root_fd, folder, &parent, &name, NULL) == 0 &&
            unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return;
        if (name == folder || !name)
            return;
        len = (size_t)(name - folder - 1);
    }
}

int file_open_read(const struct file_root *r, const char *path, int *ret_fd, struct stat *ret_stat,
                   struct err *err)
{
    int rc = path_check_relative(path, strlen(path), err);
    if (rc < 0)
        return rc;
    _cleanup_(closep) int root_fd = -1;
    rc = file_root_open_dir(r->path, &root_fd, err);
    if (rc < 0)
        return rc;
    _cleanup_(closep) int fd = -1;
    rc = file_open_beneath(root_fd, path, O_RDONLY, &fd, err);
    if (rc < 0)
        return rc;
    if (fstat(fd, ret_stat) < 0)
        return err_errno(err, "cannot read the file");
    if (S_ISDIR(ret_stat->st_mode))
        return err_set(err, ERR_CONFLICT, "it is a directory; list it with ?dir=");
    if (!S_ISREG(ret_stat->st_mode))
        return err_set(err, ERR_CONFLICT, "it is not a regular file");
    *ret_fd = TAKE_FD(fd);
    return 0;
}
