#pragma once
#include "kernel-runner/kernel/kernel_cfg.h"
#include "kernel-runner/kernel/kernel_walls.h"
#include "lib/base/err.h"

/*
 * Starts one kernel process: its own session and process group, no inherited descriptors, a cleared
 * environment plus `env`, no new privileges, within the walls of the cfg. Does not wait for it.
 */
/* Why the child did not become the kernel. */
struct kernel_spawn_failure {
    int error;             /* errno */
    enum kernel_wall wall; /* that did not stand; NONE: descriptors, its folder or exec */
};

struct kernel_process {
    pid_t pid;
    int failure_fd; /* readable: a kernel_spawn_failure, or EOF when exec succeeded */
    int output_fd;  /* what it writes to fd 1 and 2 before ipykernel captures them */
};

struct kernel_spawn {
    const struct kernel_cfg *cfg;
    const char *launcher;
    const char *conn_file;
    const char *private_dir; /* HOME, IPYTHONDIR and temporary files of the kernel live there */
    const char *cwd;         /* absolute; the files root when it is gone */
    const char *const *env;  /* "NAME=value", ended by NULL: the user's */
};

int kernel_spawn(const struct kernel_spawn *spawn, struct kernel_process *ret, struct err *err);
