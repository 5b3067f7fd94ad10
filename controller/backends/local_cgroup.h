#pragma once
#include "lib/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct local_dir;

/*
 * The cgroups of the sandboxes. Each has one of its own beneath the controller's, with two leaves:
 * `runner`, where its processes are put before exec, and `kernels`, where the runner's children
 * move themselves. The limits are on `kernels`, so what passes them can never cost the runner its
 * life.
 *
 * Version 1 has a tree for each of memory, pids and cpu, and is taken where memory is such a tree;
 * version 2 has one tree, and there the controller moves itself into a leaf `controller` first, as
 * a cgroup that hands controllers on may hold no process.
 */
enum local_cgroup_version { LOCAL_CGROUP_NONE, LOCAL_CGROUP_V1, LOCAL_CGROUP_V2 };

enum local_cgroup_tree { LOCAL_CGROUP_MEMORY, LOCAL_CGROUP_PIDS, LOCAL_CGROUP_CPU };
#define LOCAL_CGROUP_TREES 3

/* Where they are made: learnt once. Version 2 has only the first place, which stands for all. */
struct local_cgroups {
    enum local_cgroup_version version;
    char *places[LOCAL_CGROUP_TREES]; /* NULL: not to be had */
    bool has[LOCAL_CGROUP_TREES];
};

struct local_cgroup_limits {
    uint64_t memory_bytes; /* what the processes may hold; 0: no limit of memory */
    uint64_t files_bytes;  /* what the file systems in memory may hold beside that */
    uint64_t pids;         /* 0: no limit */
};

/* The descriptors for one sandbox's start: all close-on-exec, closed by _close(). */
#define LOCAL_CGROUP_READS 5
struct local_cgroup {
    enum local_cgroup_version version;
    int enter[LOCAL_CGROUP_TREES]; /* to write "0" to: moves the writer into `runner` */
    int join[LOCAL_CGROUP_TREES];  /* the same for `kernels`; the runner inherits these … */
    size_t n_trees;
    /* … and these: memory in use, statistics and OOM events of `kernels`, statistics of `runner`,
     * and with version 1 TCP's buffers. */
    int reads[LOCAL_CGROUP_READS];
    size_t n_reads;
};

/*
 * Finds where cgroups can be made, by making one. Never fails: without a place the version is NONE,
 * and `why` says what is in the way.
 */
void local_cgroups_find(struct local_cgroups *ret, struct err *why);
void local_cgroups_done(struct local_cgroups *c);
/* "cgroup v1", "cgroup v2", or NULL: what holds this resource. */
const char *local_cgroups_holder(const struct local_cgroups *c, enum local_cgroup_tree tree);

/*
 * Makes the cgroups of a sandbox. Their names are kept in its folder first (file `cgroups`), so
 * that whoever removes the folder finds them, after a crash too.
 */
int local_cgroup_make(struct local_cgroup *ret, const struct local_cgroups *c,
                      const struct local_dir *dir, const char *id,
                      const struct local_cgroup_limits *limits, struct err *err);
void local_cgroup_close(struct local_cgroup *g);
/*
 * Removes those of a sandbox whose processes have ended or are about to: blocks for the ends of
 * those that are still in, wait_ms at the most (0: does not block). 0, or an errno; ENOENT is none;
 * EBUSY: somebody is still in.
 */
int local_cgroup_remove(const struct local_dir *dir, int wait_ms);

/* ---- pure ---- */

/*
 * The directory of this process's cgroup in the tree of `controller` (version 1), or in the one of
 * version 2 (NULL), from the texts of /proc/self/cgroup and /proc/self/mountinfo. NULL: there is
 * none, or it lies outside of what is mounted. The caller frees it.
 */
char *local_cgroup_own(const char *cgroup, const char *mountinfo, const char *controller);
/* Is `word` one of the blank-separated words of `text`? */
bool local_cgroup_has_word(const char *text, const char *word);
