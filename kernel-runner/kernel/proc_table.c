/* /proc as a table. Nothing here is trusted: processes come and go while it is read. */
#include "kernel-runner/kernel/proc_table.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define SWEEP_ROUNDS 50

/* Reads a small file of /proc; returns its length, or -1. */
static ssize_t read_small(const char *path, char *out, size_t size)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, out, size - 1);
    if (n >= 0)
        out[n] = '\0';
    return n;
}

/* "pid (comm) state ppid pgrp session … rss(24)": comm may hold anything, so from the last ')'. */
static bool parse_stat(const char *text, struct proc_entry *e)
{
    const char *p = strrchr(text, ')');
    if (!p)
        return false;
    int ppid = 0, group = 0, session = 0;
    long rss = 0;
    int n = sscanf(p + 1,
                   " %*c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d"
                   " %*u %*u %ld",
                   &ppid, &group, &session, &rss);
    if (n != 4)
        return false;
    e->ppid = ppid;
    e->group = group;
    e->session = session;
    e->rss_bytes = rss > 0 ? (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    return true;
}

void proc_table_read(struct proc_table *t)
{
    *t = (struct proc_table){0};
    _cleanup_(closedirp) DIR *d = opendir("/proc");
    if (!d)
        return;
    size_t cap = 0;
    struct dirent *de;
    while (t->len < PROC_TABLE_MAX && (de = readdir(d))) {
        uint64_t pid = 0;
        if (parse_u64(de->d_name, 1, INT32_MAX, &pid, NULL) < 0)
            continue;
        char path[64], text[1024];
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        struct proc_entry e = {.pid = (pid_t)pid};
        if (read_small(path, text, sizeof(text)) <= 0 || !parse_stat(text, &e))
            continue;
        if (t->len == cap) {
            cap = cap ? cap * 2 : 64;
            t->entries = mem_resize(t->entries, cap * sizeof(*t->entries));
        }
        t->entries[t->len++] = e;
    }
}

void proc_table_done(struct proc_table *t)
{
    free(t->entries);
    *t = (struct proc_table){0};
}

static const struct proc_entry *find(const struct proc_table *t, pid_t pid)
{
    for (size_t i = 0; i < t->len; i++)
        if (t->entries[i].pid == pid)
            return &t->entries[i];
    return NULL;
}

bool proc_table_descends(const struct proc_table *t, pid_t pid, pid_t root)
{
    /* The chain is finite in a consistent table; the bound is for an inconsistent one. */
    for (size_t hop = 0; hop <= t->len; hop++) {
        if (pid == root)
            return true;
        const struct proc_entry *e = find(t, pid);
        if (!e)
            return false;
        if (e->session == root)
            return true;
        if (e->ppid <= 1)
            return false;
        pid = e->ppid;
    }
    return false;
}

uint64_t proc_page_tables_bytes(pid_t pid)
{
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (read_small(path, text, sizeof(text)) <= 0)
        return 0;
    const char *p = strstr(text, "\nVmPTE:");
    unsigned long long kib = 0;
    if (!p || sscanf(p, "\nVmPTE: %llu kB", &kib) != 1)
        return 0;
    return kib * 1024;
}

uint64_t proc_own_bytes(void)
{
    char text[128];
    unsigned long long resident = 0, shared = 0;
    if (read_small("/proc/self/statm", text, sizeof(text)) <= 0 ||
        sscanf(text, "%*u %llu %llu", &resident, &shared) != 2 || shared > resident)
        return 0;
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool kept(const struct proc_table *t, pid_t pid, const pid_t *keep, size_t n_keep)
{
    for (size_t i = 0; i < n_keep; i++)
        if (proc_table_descends(t, pid, keep[i]))
            return true;
    return false;
}

static bool is_swept(const struct proc_table *t, const struct proc_entry *e, bool is_init,
                     pid_t dead, const pid_t *keep, size_t n_keep)
{
    if (e->pid == getpid())
        return false;
    return is_init ? e->pid != 1 && !kept(t, e->pid, keep, n_keep) : e->session == dead;
}

/* One round; returns how many processes it found to kill. */
static size_t sweep_round(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep)
{
    struct proc_table t;
    proc_table_read(&t);
    size_t found = 0;
    for (size_t i = 0; i < t.len; i++) {
        const struct proc_entry *e = &t.entries[i];
        if (!is_swept(&t, e, is_init, dead, keep, n_keep))
            continue;
        if (kill(e->pid, SIGKILL) == 0 && e->rss_bytes > 0)
            found++; /* zombies have no memory: they only wait for the reaper */
    }
    proc_table_done(&t);
    return found;
}

void proc_sweep_once(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep)
{
    if (is_init && n_keep == 0)
        kill(-1, SIGKILL);
    else
        sweep_round(is_init, dead, keep, n_keep);
}

void proc_sweep(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep)
{
    if (is_init && n_keep == 0) {
        kill(-1, SIGKILL);
        return;
    }
    for (int round = 0; round < SWEEP_ROUNDS; round++)
        if (sweep_round(is_init, dead, keep, n_keep) == 0)
            return;
}

size_t proc_swept(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep, int *pidfds,
                  size_t max)
{
    struct proc_table t;
    proc_table_read(&t);
    size_t n = 0;
    for (size_t i = 0; i < t.len && n < max; i++) {
        const struct proc_entry *e = &t.entries[i];
        int fd = is_swept(&t, e, is_init, dead, keep, n_keep)
                     ? (int)syscall(SYS_pidfd_open, e->pid, 0)
                     : -1;
        if (fd >= 0)
            pidfds[n++] = fd;
    }
    proc_table_done(&t);
    return n;
}

void proc_interrupt(pid_t leader)
{
    struct proc_table t;
    proc_table_read(&t);
    for (size_t i = 0; i < t.len; i++)
        if (t.entries[i].group == leader && t.entries[i].pid != leader)
            kill(t.entries[i].pid, SIGINT);
    proc_table_done(&t);
    syscall(SYS_tgkill, leader, leader, SIGINT);
}
