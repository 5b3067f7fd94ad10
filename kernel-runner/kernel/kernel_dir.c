/* The private directory of a kernel process; hostile code with our uid may have been at its parent.
 */
#include "kernel-runner/kernel/kernel_dir.h"

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/tree.h"
#include "lib/crypto/crypto.h"
#include "lib/loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SOCKET_PATH_MAX 100 /* sun_path is 108; "/k-1" is added */
#define NAME_SIZE       9   /* "k-" and six characters */
#define NAME_TRIES      8

struct kernel_dir {
    char *path;
    char name[NAME_SIZE];
    int run_fd; /* the directory it was made in, wherever that is now */
    int fd;
    int failed; /* errno of the removal */
};

static void dir_free(struct kernel_dir *d)
{
    closep(&d->fd);
    closep(&d->run_fd);
    free(d->path);
    free(d);
}
DEFINE_CLEANUP(struct kernel_dir *, dir_free)

/* Opens `name` of `parent` as a directory of ours with mode 0700, whatever stood there. */
static int open_own(int parent, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY;
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()))
        unlinkat(parent, name, 0);
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return -1;
    int fd = beneath_open_plain(parent, name, flags, 0);
    if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        fd = beneath_open_plain(parent, name, flags, 0);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
        ((st.st_mode & 0777) == 0700 || fchmod(fd, 0700) == 0))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

/* User code may close the folder above as well, and no kernel would be left to open it again. */
static bool give_back(int above)
{
    struct stat st;
    char path[64];
    if (errno != EACCES || fstat(above, &st) < 0 || st.st_uid != geteuid())
        return false;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", above); /* fchmod() takes no O_PATH */
    return chmod(path, (st.st_mode & 07777) | 0700) == 0;
}

static int open_run_dir(const char *run_dir, int *ret_fd, struct err *err)
{
    _cleanup_(freep) char *parent = mem_dup_str(run_dir);
    size_t len = strlen(parent);
    while (len > 1 && parent[len - 1] == '/')
        parent[--len] = '\0';
    char *slash = strrchr(parent, '/');
    if (parent[0] != '/' || !slash || !slash[1])
        return err_set(err, ERR_INVALID, "runtime directory %s is not an absolute path", run_dir);
    *slash = '\0';
    /* Links on the way are the operator's; the last part is where user code can write. */
    _cleanup_(closep) int above = beneath_open_named(*parent ? parent : "/", O_PATH | O_DIRECTORY);
    *ret_fd = above < 0 ? -1 : open_own(above, slash + 1);
    if (above >= 0 && *ret_fd < 0 && give_back(above))
        *ret_fd = open_own(above, slash + 1);
    if (*ret_fd < 0)
        return err_errno(err, "runtime directory %s cannot be made", run_dir);
    return 0;
}

static void pick_name(char name[NAME_SIZE])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t random[NAME_SIZE - 3];
    crypto_random(random, sizeof(random));
    name[0] = 'k';
    name[1] = '-';
    for (size_t i = 0; i < sizeof(random); i++)
        name[i + 2] = digits[random[i] % 32];
    name[NAME_SIZE - 1] = '\0';
}

int kernel_dir_make(struct kernel_dir **ret, const char *run_dir, struct err *err)
{
    if (strlen(run_dir) + NAME_SIZE > SOCKET_PATH_MAX)
        return err_set(err, ERR_INVALID,
                       "runtime directory %s is too long for a socket's path (at most %d bytes)",
                       run_dir, SOCKET_PATH_MAX - NAME_SIZE);
    _cleanup_(dir_freep) struct kernel_dir *d = MEM_NEW(struct kernel_dir);
    d->fd = d->run_fd = -1;
    int r = open_run_dir(run_dir, &d->run_fd, err);
    if (r < 0)
        return r;
    int made = -1;
    for (int i = 0; i < NAME_TRIES && made < 0; i++) {
        pick_name(d->name);
        made = mkdirat(d->run_fd, d->name, 0700);
        if (made < 0 && errno != EEXIST)
            break;
    }
    if (made == 0)
        d->fd = open_own(d->run_fd, d->name);
    if (d->fd < 0)
        return err_errno(err, "runtime directory %s is not writable", run_dir);
    d->path = mem_printf("%s/%s", run_dir, d->name);
    *ret = TAKE_PTR(d);
    return 0;
}

const char *kernel_dir_path(const struct kernel_dir *d)
{
    return d->path;
}

int kernel_dir_fd(const struct kernel_dir *d)
{
    return d->fd;
}

int kernel_dir_write(const struct kernel_dir *d, const char *name, unsigned mode, const void *bytes,
                     size_t len, struct err *err)
{
    _cleanup_(closep) int fd =
        beneath_open_plain(d->fd, name, O_WRONLY | O_CREAT | O_EXCL, (mode_t)mode);
    errno = fd < 0 ? errno : ENOSPC; /* what a short write means */
    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        return err_errno(err, "writing %s/%s", d->path, name);
    return 0;
}

void kernel_room_take(struct kernel_room *room, const char *run_dir)
{
    if (room->len > 0)
        return;
    struct err err;
    _cleanup_(closep) int dir = -1;
    if (open_run_dir(run_dir, &dir, &err) < 0)
        return; /* the next start says so, if it still is so */
    while (room->len < KERNEL_ROOM_FILES) {
        int fd = beneath_open_plain(dir, ".", O_TMPFILE | O_RDWR, 0600);
        if (fd < 0)
            return;
        room->fds[room->len++] = fd;
        if (room->len == 1)
            posix_fallocate(fd, 0, KERNEL_ROOM_BYTES);
    }
}

void kernel_room_give(struct kernel_room *room)
{
    while (room->len > 0)
        close(room->fds[--room->len]);
}

static void on_remove(void *ctx)
{
    struct kernel_dir *d = ctx;
    d->failed = tree_remove(d->run_fd, d->name);
}

static void on_removed(void *ctx)
{
    struct kernel_dir *d = ctx;
    if (d->failed) {
        struct err err;
        errno = d->failed;
        err_errno(&err, "%s", d->path);
        log_event(LOG_WARN, "kernel_dir_left", "reason", err.text, NULL);
    }
    dir_free(d);
}

struct kernel_dir *kernel_dir_free(struct kernel_dir *d, struct loop *loop)
{
    if (!d)
        return NULL;
    struct err err;
    if (loop_work(loop, on_remove, on_removed, d, &err) < 0) {
        log_event(LOG_WARN, "kernel_dir_left", "reason", err.text, NULL);
        dir_free(d);
    }
    return NULL;
}
