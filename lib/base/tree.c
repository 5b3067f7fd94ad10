/*
 * A folder that lies deep is first moved up beside the tree's top folders, so neither descriptors
 * nor stack grow with the depth. A folder is read again until nothing is found in it: what is moved
 * up, and what user code still adds, comes later.
 */
#include "lib/base/tree.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_HELD 32 /* folders open at a time */
#define ROUNDS_MAX 4096
#define TRIES_MAX  32
/* The top folder's: each may bring up what lay one folder deeper. */
#define TOP_ROUNDS_MAX 65536

struct removal {
    int top_fd;
    unsigned moved;
};

/* It was exchanged for something else between two looks at it. */
static bool is_race(int error)
{
    return error == ENOTDIR || error == ELOOP || error == EISDIR;
}

static int open_folder(int parent, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent, name, flags);
    if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        fd = openat(parent, name, flags);
    return fd;
}

static int move_up(struct removal *r, int parent, const char *name)
{
    char moved[sizeof(TREE_MOVED_PREFIX) + 12];
    snprintf(moved, sizeof(moved), TREE_MOVED_PREFIX "%u", r->moved++);
    if (renameat(parent, name, r->top_fd, moved) == 0)
        return 0;
    /* A folder without write permission cannot be moved: its ".." would change. */
    if (errno == EACCES && fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        return renameat(parent, name, r->top_fd, moved) == 0 ? 0 : errno;
    return errno;
}

static int empty(struct removal *r, int fd_take, unsigned depth);

/* 0 when the entry is gone or has moved up; else errno. */
static int remove_entry(struct removal *r, int parent, const char *name, unsigned depth)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return errno;
    if (depth >= DEPTH_HELD)
        return move_up(r, parent, name);
    int fd = open_folder(parent, name);
    if (fd < 0)
        return errno;
    int failed = empty(r, fd, depth + 1);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return 0;
    return failed ? failed : errno;
}

/* Until a round finds nothing, or removes nothing of what it finds. */
static int empty(struct removal *r, int fd_take, unsigned depth)
{
    (void)fchmod(fd_take, 0700); /* code may have taken our write permission */
    _cleanup_(closedirp) DIR *dir = fdopendir(fd_take);
    if (!dir) {
        close(fd_take);
        return ENOMEM;
    }
    if (depth == 0)
        r->top_fd = dirfd(dir);
    const unsigned rounds = depth == 0 ? TOP_ROUNDS_MAX : ROUNDS_MAX;
    for (unsigned round = 0; round < rounds; round++) {
        bool found = false, removed = false;
        int failed = 0;
        rewinddir(dir);
        for (const struct dirent *e; (e = readdir(dir));) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            found = true;
            int one = remove_entry(r, dirfd(dir), e->d_name, depth);
            removed = removed || one == 0 || is_race(one);
            failed = failed ? failed : one;
        }
        if (!found)
            return 0;
        if (!removed)
            return failed;
    }
    return ENOTEMPTY;
}

static int remove_once(int parent_fd, const char *name)
{
    if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    int fd = open_folder(parent_fd, name);
    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    struct removal r = {.top_fd = -1};
    int failed = empty(&r, fd, 0);
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return failed ? failed : errno;
}

int tree_remove(int parent_fd, const char *name)
{
    int failed = remove_once(parent_fd, name);
    for (int i = 0; is_race(failed) && i < TRIES_MAX; i++)
        failed = remove_once(parent_fd, name);
    return failed;
}
