/*
 * Cheap first: RSS and page tables are an upper bound of what processes hold, objects are added as
 * they are. Only when that bound is over the limit is each mapping looked at, where pages that
 * several share count once (PSS), and mappings of objects are left out.
 */
#include "kernel-runner/kernel/mem_scan.h"

#include "kernel-runner/kernel/mem_objects.h"
#include "kernel-runner/kernel/proc_table.h"
#include "lib/base/cleanup.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

/* The root a process belongs to, or n_roots. */
static size_t owner_of(const struct mem_scan *s, const struct proc_table *t, pid_t pid)
{
    for (size_t i = 0; i < s->n_roots; i++)
        if (s->roots[i].pid && proc_table_descends(t, pid, s->roots[i].pid))
            return i;
    return s->n_roots;
}

/* Takes out of the table what does not count. */
static void keep_counted(const struct mem_scan *s, struct proc_table *t, size_t *owners)
{
    size_t n = 0;
    for (size_t i = 0; i < t->len; i++)
        owners[i] = owner_of(s, t, t->entries[i].pid);
    for (size_t i = 0; i < t->len; i++) {
        if (t->entries[i].pid == getpid() || (!s->is_init && owners[i] == s->n_roots))
            continue;
        owners[n] = owners[i];
        t->entries[n++] = t->entries[i];
    }
    t->len = n;
}

static void blame(struct mem_scan *s, const struct proc_table *t, const size_t *owners)
{
    uint64_t used[LIMIT_KERNELS] = {0};
    for (size_t i = 0; i < t->len; i++)
        used[owners[i] < s->n_roots ? owners[i] : 0] += t->entries[i].rss_bytes;
    for (size_t i = 1; i < s->n_roots; i++)
        if (used[i] > used[s->worst])
            s->worst = i;
}

/* "Pss:                  12 kB" */
static uint64_t kib_of(const char *line)
{
    return strtoull(line + strcspn(line, ":") + 1, NULL, 10) * 1024;
}

/* "start-end perms offset major:minor inode   name"; false: another line. */
static bool parse_mapping(const char *line, dev_t *dev, ino_t *ino, char name[16])
{
    unsigned major_ = 0, minor_ = 0;
    unsigned long long inode = 0;
    name[0] = '\0';
    if (sscanf(line, "%*x-%*x %*4s %*x %x:%x %llu %15s", &major_, &minor_, &inode, name) < 3)
        return false;
    *dev = makedev(major_, minor_);
    *ino = (ino_t)inode;
    return true;
}

uint64_t mem_scan_smaps(const char *path, const struct mem_objects *objects, uint64_t if_unreadable)
{
    _cleanup_(fclosep) FILE *f = fopen(path, "re");
    char line[512], name[16];
    uint64_t sum = 0, lines = 0;
    bool covered = false, whole = true;
    dev_t dev;
    ino_t ino;
    while (f && fgets(line, sizeof(line), f)) {
        /* The rest of a long line is part of a name, which user code chose. */
        bool begins = whole;
        whole = strchr(line, '\n') != NULL;
        lines++;
        if (!begins)
            continue;
        if (strncmp(line, "Pss:", 4) == 0)
            sum += covered ? 0 : kib_of(line);
        else if (parse_mapping(line, &dev, &ino, name))
            covered = ino != 0 && mem_objects_covers(objects, dev, ino, name);
    }
    return lines ? sum : if_unreadable;
}

static uint64_t exact_bytes(const struct mem_scan *s, const struct proc_table *t,
                            const struct mem_objects *o)
{
    uint64_t sum = 0;
    char path[64];
    for (size_t i = 0; i < t->len; i++) {
        snprintf(path, sizeof(path), "/proc/%d/smaps", (int)t->entries[i].pid);
        sum += mem_scan_smaps(path, o, t->entries[i].rss_bytes);
    }
    return sum;
}

static void count(struct mem_scan *s, const struct proc_table *t)
{
    struct mem_objects o = {0};
    uint64_t tables = 0, rss = 0;
    if (s->is_init)
        mem_objects_read(&o, s->files);
    for (size_t i = 0; i < t->len; i++) {
        rss += t->entries[i].rss_bytes;
        tables += proc_page_tables_bytes(t->entries[i].pid);
        if (s->is_init)
            mem_objects_add(&o, t->entries[i].pid);
    }
    mem_objects_settle(&o);
    uint64_t fixed = s->own_bytes + tables + mem_objects_bytes(&o);
    s->bytes = fixed + rss;
    if (s->bytes > s->limit_bytes)
        s->bytes = fixed + exact_bytes(s, t, &o);
    mem_objects_done(&o);
}

void mem_scan_run(struct mem_scan *s)
{
    struct proc_table t;
    proc_table_read(&t);
    _cleanup_(freep) size_t *owners = MEM_NEW_N(size_t, t.len + 1);
    s->worst = 0;
    keep_counted(s, &t, owners);
    blame(s, &t, owners);
    if (!s->only_blame)
        count(s, &t);
    proc_table_done(&t);
}
