#pragma once
#include "controller/backends/local_bwrap.h"
#include "controller/backends/local_cgroup.h"
#include "controller/backends/local_etc.h"
#include "controller/backends/local_python.h"
#include "controller/backends/local_spawn.h"
#include "controller/backends/local_stage.h"
#include "controller/backends/local_uid.h"

#include <stdbool.h>

/* Where the runner stands inside a bubblewrap sandbox. */
#define LOCAL_RUNNER_INSIDE "/caesarion-runner"
#define LOCAL_ARGV_MAX      72
#define LOCAL_RUN_BYTES     MIB(64) /* /run: connection files, caches, temporary files of kernels */

/* What was learnt about this host at the start. */
struct local_host {
    bool isolated;
    bool network_host;
    bool is_root;
    char *bwrap;  /* when isolated */
    char *runner; /* outside */
    struct local_python *python;
    struct local_uid_window uids; /* when isolated and root */
    struct local_cgroups cgroups; /* when isolated */
    uint64_t files_bytes, memory_bytes;
    char *top_targets[8]; /* links of the host's root into /usr */
    struct local_bwrap_link tops[8];
    size_t n_tops;
    const char *masks[2]; /* see local_bwrap */
    size_t n_masks;
};

/* Everything that a fork needs, until the child has become its program. */
struct local_launch {
    struct local_spawn spawn; /* what local_spawn() takes; output_fd is the caller's to set */
    /* below: what it points to */
    char *owned[LOCAL_ARGV_MAX + 16];
    size_t n_owned;
    const char *argv[LOCAL_ARGV_MAX];
    size_t n_argv;
    const char *envp[8];
    int keep[LOCAL_KEEP_MAX];
    size_t n_keep;
    int memfds[LOCAL_ETC_MAX + 1];
    size_t n_memfds;
    const char **sources;
    int *source_fds;
    struct local_stage stage;
};

/* Reads the links and folders of the host's root, and what its /proc has. */
void local_host_tops(struct local_host *h);
void local_host_done(struct local_host *h);
/* /dev/shm: all the memory there is, which it counts against; libraries fill a small one. */
uint64_t local_shm_bytes(const struct local_host *h);
/* What its file systems may hold, and the kernel for their files: it does not count as its memory.
 */
uint64_t local_files_bytes(const struct local_host *h);

/*
 * Prepares the command (ended by NULL, argv[0] as seen inside) to run in a sandbox, as `uid` when
 * the controller is root; `keep` are descriptors it inherits. `cwd` counts without isolation only.
 * local_launch_close_fds() after the fork, local_launch_free() when the failure pipe was read.
 */
int local_launch_new(struct local_launch **ret, const struct local_host *h, uid_t uid,
                     const char *const *command, const int *keep, size_t n_keep, const char *cwd,
                     struct err *err);
void local_launch_close_fds(struct local_launch *l);
struct local_launch *local_launch_free(struct local_launch *l); /* NULL ok */

DEFINE_CLEANUP(struct local_launch *, local_launch_free)
