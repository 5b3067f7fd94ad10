#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
struct kernel_walls;

/* How every kernel of this sandbox is started: from the runner's options, constant afterwards. */
struct kernel_cfg {
    const char *python;   /* interpreter with ipykernel */
    const char *launcher; /* launcher.py */
    const char *run_dir;  /* private directories are made in it, one per kernel process */
    const char *cwd;      /* working directory unless the kernel names another: the files root */
    struct kernel_room *room; /* on run_dir's file system, for the next start; NULL: none */
    uint64_t memory_bytes;    /* RLIMIT_DATA of a kernel; 0: none */
    int join[3];              /* cgroup.procs of the cgroups of kernels: each moves itself there */
    size_t n_join;
    unsigned pids;            /* RLIMIT_NPROC; 0: none */
    int64_t start_timeout_ms; /* from exec to the kernel's first answer */
    const struct kernel_walls *walls;
    bool is_init; /* the runner is PID 1 of its namespace */
};
