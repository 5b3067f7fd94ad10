#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The processes of this PID namespace, read from /proc: who descends from whom, and how much memory
 * they hold. Only meaningful where the runner is PID 1; elsewhere the kernel's own session stands
 * for what descends from it.
 */
#define PROC_TABLE_MAX 8192 /* beyond it, entries are not read; the pids limit is far below */

struct proc_entry {
    pid_t pid, ppid, group, session;
    uint64_t rss_bytes; /* upper bound of its PSS */
};
struct proc_table {
    struct proc_entry *entries;
    size_t len;
};

void proc_table_read(struct proc_table *t); /* empty when /proc cannot be read */
void proc_table_done(struct proc_table *t);
/* Is `pid` the process `root` or a descendant of it (by parent, or by session)? */
bool proc_table_descends(const struct proc_table *t, pid_t pid, pid_t root);
uint64_t proc_page_tables_bytes(pid_t pid); /* 0 when it is gone */

/* Memory of this process that is no file's. */
uint64_t proc_own_bytes(void);

/*
 * Kills what belongs to a dead or dying kernel: all processes that descend from none of `keep`
 * (other kernels) and are not the runner. With no kernel to keep, one kill(-1) reaches all at
 * once; otherwise rounds until none is left, at most 50.
 */
void proc_sweep(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep);
/* The same in one round: what is dying need not be gone. */
void proc_sweep_once(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep);

/*
 * pidfds of those that a sweep with the same arguments would kill, or did and that nobody has
 * reaped; at most `max`. The caller closes them.
 */
size_t proc_swept(bool is_init, pid_t dead, const pid_t *keep, size_t n_keep, int *pidfds,
                  size_t max);

/*
 * SIGINT for the process group that `leader` leads: the leader gets it on its main thread, the
 * others as processes; nobody gets two, as kill(-leader) and tgkill() together would do.
 */
void proc_interrupt(pid_t leader);
