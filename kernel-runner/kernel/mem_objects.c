/*
 * Nothing is counted twice: what is known as an object here is left out of what processes map
 * (mem_scan.c). A deleted file's inode is asked by stat() through /proc/PID/fd, which does not open
 * it. What cannot be seen: descriptors of a process that made itself not dumpable, files on their
 * way through a socket, and what a closed end of a socket pair has sent in small pieces.
 */
#include "kernel-runner/kernel/mem_objects.h"

#include "kernel-runner/kernel/mem_sockets.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define TEXT_MAX  MIB(16)
#define SEM_BYTES 64 /* one semaphore of a set */
/* Of a pipe when the user's pages for pipes are used up: two, and the pipe itself. */
#define PIPE_BYTES  10240
#define SYSV_RSS    14 /* columns of /proc/sysvipc */
#define SYSV_CBYTES 3
#define SYSV_NSEMS  3

static char *read_text(const char *path)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct buf b;
    char chunk[8192];
    ssize_t n;
    buf_init(&b, TEXT_MAX);
    while (fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0 &&
           buf_append(&b, chunk, (size_t)n) == 0)
        ;
    return buf_take(&b);
}

uint64_t mem_objects_sysv_sum(const char *text, unsigned column)
{
    uint64_t sum = 0;
    const char *line = strchr(text, '\n'); /* behind the heading */
    while (line && line[1]) {
        const char *p = ++line;
        for (unsigned i = 0; i < column; i++) {
            p += strspn(p, " ");
            p += strcspn(p, " \n");
        }
        sum += strtoull(p, NULL, 10);
        line = strchr(line, '\n');
    }
    return sum;
}

static uint64_t sysv_column(const char *path, unsigned column)
{
    _cleanup_(freep) char *text = read_text(path);
    return mem_objects_sysv_sum(text, column);
}

void mem_objects_read(struct mem_objects *o, const char *const *files)
{
    struct stat st;
    struct statvfs fs;
    *o = (struct mem_objects){0};
    for (; *files && o->n_files < MEM_OBJECTS_FS_MAX; files++)
        if (stat(*files, &st) == 0)
            o->files[o->n_files++] = st.st_dev;
    if (stat("/dev/shm", &st) == 0 && statvfs("/dev/shm", &fs) == 0) {
        o->shm = st.st_dev;
        o->shm_bytes = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
    }
    o->sysv_bytes = sysv_column("/proc/sysvipc/shm", SYSV_RSS) +
                    sysv_column("/proc/sysvipc/msg", SYSV_CBYTES) +
                    sysv_column("/proc/sysvipc/sem", SYSV_NSEMS) * SEM_BYTES;
    o->socket_bytes = mem_sockets_bytes();
}

static bool is_files(const struct mem_objects *o, dev_t dev)
{
    for (size_t i = 0; i < o->n_files; i++)
        if (o->files[i] == dev)
            return true;
    return false;
}

static void add(struct mem_objects *o, const struct stat *st, uint64_t bytes)
{
    if (o->len == MEM_OBJECTS_MAX)
        return;
    if (o->len == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 256;
        o->list = mem_resize(o->list, o->cap * sizeof(*o->list));
    }
    o->list[o->len++] = (struct mem_object){st->st_dev, st->st_ino, bytes};
}

static void look_at(struct mem_objects *o, int dir, const char *name)
{
    struct stat st;
    struct statfs fs;
    char link[300];
    if (fstatat(dir, name, &st, 0) < 0)
        return;
    if (S_ISFIFO(st.st_mode)) {
        add(o, &st, PIPE_BYTES);
        return;
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink > 0 || st.st_dev == o->shm || is_files(o, st.st_dev))
        return;
    /* On a disk it is no memory. */
    snprintf(link, sizeof(link), "/proc/self/fd/%d/%s", dir, name);
    if (statfs(link, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC))
        add(o, &st, (uint64_t)st.st_blocks * 512);
}

void mem_objects_add(struct mem_objects *o, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    _cleanup_(closedirp) DIR *d = opendir(path);
    const struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            look_at(o, dirfd(d), e->d_name);
}

static int compare(const void *a, const void *b)
{
    const struct mem_object *x = a, *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

void mem_objects_settle(struct mem_objects *o)
{
    if (o->len)
        qsort(o->list, o->len, sizeof(*o->list), compare);
    o->object_bytes = 0;
    for (size_t i = 0; i < o->len; i++)
        if (i == 0 || compare(&o->list[i - 1], &o->list[i]) != 0)
            o->object_bytes += o->list[i].bytes;
}

uint64_t mem_objects_bytes(const struct mem_objects *o)
{
    return o->shm_bytes + o->sysv_bytes + o->socket_bytes + o->object_bytes;
}

bool mem_objects_covers(const struct mem_objects *o, dev_t dev, ino_t ino, const char *name)
{
    struct mem_object key = {.dev = dev, .ino = ino};
    if ((o->shm && dev == o->shm) || is_files(o, dev) || strncmp(name, "/SYSV", 5) == 0)
        return true;
    return o->len && bsearch(&key, o->list, o->len, sizeof(key), compare);
}

void mem_objects_done(struct mem_objects *o)
{
    free(o->list);
    *o = (struct mem_objects){0};
}
