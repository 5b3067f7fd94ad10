/*
 * Everything goes by descriptors and without links: processes of other kernels may rearrange what
 * is being looked at. Times are the system's own (ctime), which code cannot set back or forward.
 *
 * A semaphore set does not tell who made it; its last change or use is compared, and it goes where
 * no other kernel lives, as does a message queue whose last sender and receiver are gone.
 */
#include "kernel-runner/kernel/leftovers.h"

#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DEPTH_MAX    32
#define ROUNDS_MAX   1024 /* each goes DEPTH_MAX deeper */
#define MOVED_PREFIX ".caesarion-left-"
#define USED_MAX     262144

/* ---- System V ---- */

bool leftovers_parse(enum leftovers_kind kind, const char *line, struct leftovers_object *ret)
{
    int creator = 0, last = 0;
    unsigned long long attached = 0;
    long long changed = 0;
    int n = 0;
    *ret = (struct leftovers_object){0};
    switch (kind) {
    case LEFTOVERS_SHM:
        /* key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap */
        n = sscanf(line, "%*d %d %*o %*u %d %*d %llu %*u %*u %*u %*u %*d %*d %lld", &ret->id,
                   &creator, &attached, &changed) == 4;
        break;
    case LEFTOVERS_MSG:
        /* key msqid perms cbytes qnum lspid lrpid uid gid cuid cgid stime rtime ctime */
        n = sscanf(line, "%*d %d %*o %*u %*u %d %d %*u %*u %*u %*u %*d %*d %lld", &ret->id,
                   &creator, &last, &changed) == 4;
        if (creator == 0)
            creator = last;
        break;
    case LEFTOVERS_SEM:
        /* key semid perms nsems uid gid cuid cgid otime ctime */
        n = sscanf(line, "%*d %d %*o %*u %*u %*u %*u %*u %*d %lld", &ret->id, &changed) == 2;
        break;
    }
    ret->creator = creator;
    ret->attached = attached;
    ret->made_at = changed;
    return n == 1;
}

/* One that only waits to be reaped lives no more. */
static bool lives(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    return p && p[1] == ' ' && p[2] != 'Z' && p[2] != 'X';
}

static bool is_left(const struct leftovers *l, const struct leftovers_object *o)
{
    if (o->made_at > l->before.tv_sec)
        return false;
    if (l->all)
        return true;
    return o->creator > 0 && !lives(o->creator) && o->attached == 0;
}

static int remove_object(enum leftovers_kind kind, int id)
{
    switch (kind) {
    case LEFTOVERS_SHM:
        return shmctl(id, IPC_RMID, NULL);
    case LEFTOVERS_MSG:
        return msgctl(id, IPC_RMID, NULL);
    case LEFTOVERS_SEM:
        return semctl(id, 0, IPC_RMID);
    }
    return -1;
}

static void clear_sysv(struct leftovers *l, enum leftovers_kind kind, const char *path)
{
    _cleanup_(fclosep) FILE *f = fopen(path, "re");
    struct leftovers_object o;
    char line[512];
    while (f && fgets(line, sizeof(line), f))
        if (leftovers_parse(kind, line, &o) && is_left(l, &o) && remove_object(kind, o.id) == 0)
            l->removed++;
}

/* ---- /dev/shm ---- */

/* Inodes of one file system that living processes have open or mapped. */
struct used {
    dev_t dev;
    ino_t *list;
    size_t len, cap;
};

static void use(struct used *u, ino_t ino)
{
    if (u->len == USED_MAX)
        return;
    if (u->len == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 256;
        u->list = mem_resize(u->list, u->cap * sizeof(*u->list));
    }
    u->list[u->len++] = ino;
}

static void use_open(struct used *u, const char *pid)
{
    char path[300];
    struct stat st;
    const struct dirent *e;
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    _cleanup_(closedirp) DIR *d = opendir(path);
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_dev == u->dev)
            use(u, st.st_ino);
}

static void use_mapped(struct used *u, const char *pid)
{
    char path[300], line[512];
    unsigned major_, minor_;
    unsigned long long ino;
    bool begins = true;
    snprintf(path, sizeof(path), "/proc/%s/maps", pid);
    _cleanup_(fclosep) FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (begins && sscanf(line, "%*x-%*x %*s %*x %x:%x %llu", &major_, &minor_, &ino) == 3 &&
            makedev(major_, minor_) == u->dev)
            use(u, (ino_t)ino);
        begins = strchr(line, '\n') != NULL;
    }
}

static int compare(const void *a, const void *b)
{
    ino_t x = *(const ino_t *)a, y = *(const ino_t *)b;
    return x < y ? -1 : x > y;
}

static void find_used(struct used *u)
{
    _cleanup_(closedirp) DIR *d = opendir("/proc");
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        use_open(u, e->d_name);
        use_mapped(u, e->d_name);
    }
    if (u->len)
        qsort(u->list, u->len, sizeof(*u->list), compare);
}

static bool is_used(const struct used *u, ino_t ino)
{
    return u->len && bsearch(&ino, u->list, u->len, sizeof(ino), compare);
}

static bool is_young(const struct leftovers *l, const struct stat *st)
{
    return st->st_ctim.tv_sec > l->before.tv_sec ||
           (st->st_ctim.tv_sec == l->before.tv_sec && st->st_ctim.tv_nsec > l->before.tv_nsec);
}

/* One walk over the folder: what lies deeper than it goes is moved up, for the next walk. */
struct walk {
    struct leftovers *l;
    const struct used *used;
    int top_fd;
    unsigned moved;
};

static void clear_folder(struct walk *w, int fd_take, unsigned depth);

/* Code may have taken the folder's write permission. */
static bool unlink_in(int parent, const char *name, int flags)
{
    if (unlinkat(parent, name, flags) == 0)
        return true;
    return errno == EACCES && fchmod(parent, 0700) == 0 && unlinkat(parent, name, flags) == 0;
}

static void move_up(struct walk *w, int parent, const char *name, int fd)
{
    char moved[sizeof(MOVED_PREFIX) + 64];
    snprintf(moved, sizeof(moved), MOVED_PREFIX "%lld.%ld-%u", (long long)w->l->before.tv_sec,
             w->l->before.tv_nsec, w->moved);
    /* To be moved it has to be writable itself, as its ".." changes. */
    if (renameat(parent, name, w->top_fd, moved) == 0 ||
        (errno == EACCES && fchmod(fd, 0700) == 0 && fchmod(parent, 0700) == 0 &&
         renameat(parent, name, w->top_fd, moved) == 0))
        w->moved++;
}

static void clear_subfolder(struct walk *w, int parent, const char *name, const struct stat *st,
                            unsigned depth)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    /* Looking into it may change it, and moving did. */
    bool young =
        is_young(w->l, st) && (depth > 0 || strncmp(name, MOVED_PREFIX, strlen(MOVED_PREFIX)) != 0);
    int fd = openat(parent, name, flags);
    if (fd < 0 && fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        fd = openat(parent, name, flags);
    if (fd >= 0 && depth < DEPTH_MAX) {
        clear_folder(w, fd, depth + 1);
    } else if (fd >= 0) {
        if (!young && !is_used(w->used, st->st_ino))
            move_up(w, parent, name, fd);
        close(fd);
        return;
    }
    if (!young && !is_used(w->used, st->st_ino) && unlink_in(parent, name, AT_REMOVEDIR))
        w->l->removed++;
}

static void clear_entry(struct walk *w, int parent, const char *name, unsigned depth)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != w->used->dev)
        return;
    if (S_ISDIR(st.st_mode))
        clear_subfolder(w, parent, name, &st, depth);
    else if (!is_young(w->l, &st) && !is_used(w->used, st.st_ino) && unlink_in(parent, name, 0))
        w->l->removed++;
}

static void clear_folder(struct walk *w, int fd_take, unsigned depth)
{
    _cleanup_(closedirp) DIR *d = fdopendir(fd_take);
    const struct dirent *e;
    if (!d) {
        close(fd_take);
        return;
    }
    if (depth == 0)
        w->top_fd = dirfd(d);
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            clear_entry(w, dirfd(d), e->d_name, depth);
}

/* User code may have taken every permission. */
static int open_top(const char *path)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = open(path, flags);
    if (fd < 0 && errno == EACCES && chmod(path, 0700) == 0)
        fd = open(path, flags);
    return fd;
}

void leftovers_clear_dir(struct leftovers *l, const char *path)
{
    struct used used = {0};
    struct walk w = {.l = l, .used = &used};
    struct stat st;
    unsigned moved_before;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        int fd = open_top(path);
        if (fd < 0)
            break;
        if (fstat(fd, &st) < 0) {
            close(fd);
            break;
        }
        used.dev = st.st_dev;
        if (round == 0 && !l->all)
            find_used(&used);
        moved_before = w.moved;
        clear_folder(&w, fd, 0);
        if (w.moved == moved_before)
            break;
    }
    free(used.list);
}

bool leftovers_await(const int *pidfds, size_t n, int64_t timeout_ms)
{
    int64_t deadline_us = clk_mono_us() + timeout_ms * 1000;
    for (size_t i = 0; i < n;) {
        struct pollfd p = {.fd = pidfds[i], .events = POLLIN};
        int64_t left_us = MAX(deadline_us - clk_mono_us(), 0);
        int r = poll(&p, 1, (int)((left_us + 999) / 1000));
        if (r > 0)
            i++;
        else if (r == 0 || errno != EINTR)
            return false;
    }
    return true;
}

void leftovers_clear(struct leftovers *l)
{
    clear_sysv(l, LEFTOVERS_SHM, "/proc/sysvipc/shm");
    clear_sysv(l, LEFTOVERS_MSG, "/proc/sysvipc/msg");
    clear_sysv(l, LEFTOVERS_SEM, "/proc/sysvipc/sem");
    leftovers_clear_dir(l, "/dev/shm");
}
