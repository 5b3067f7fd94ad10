#pragma once
#include "controller/sandbox/backend.h"

#include <stdbool.h>
#include <stdint.h>
struct loop;

/* Sandboxes as processes of this host: bubblewrap namespaces, or bare with isolation "none". */
struct backend_local_cfg {
    const char *state_dir; /* absolute, 0700, ours */
    const char
        *runtime_dir;   /* absolute, 0700, at most 60 bytes: one socket per sandbox goes here */
    const char *runner; /* the caesarion-runner binary, absolute */
    const char *python; /* interpreter of the kernels, absolute, or a name to find in PATH */
    const char *const *python_paths; /* what sandboxes may see of its sys.path outside of its own
                                        folders: absolute, ended by NULL; NULL: nothing */
    bool isolation_none;             /* --isolation none */
    bool network_host;               /* --network host */
    uint64_t memory_bytes;
    uint64_t pids_max;
    uint64_t files_max_bytes;
    uint64_t output_limit_bytes;
    int64_t exec_timeout_ms; /* the runner's defaults until it is claimed */
    int64_t idle_timeout_ms;
    bool idle_counts_connections; /* an attached Jupyter client keeps a sandbox, however silent */
    int64_t unclaimed_timeout_ms; /* a runner nobody claimed ends itself after this */
    const char *log_level;        /* the runners' */
};

/*
 * Copies cfg. Checks at once that what it needs is there (bwrap, runner, python): the error says
 * what is missing and what to do.
 */
int backend_local_new(struct sandbox_backend **ret, struct loop *loop,
                      const struct backend_local_cfg *cfg, struct err *err);
