#pragma once
#include "lib/base/err.h"

#include <stddef.h>
#include <sys/types.h>
struct local_stage;

#define LOCAL_KEEP_MAX 32

/*
 * A program to start, detached from the controller: its own session and session keyring, stdin
 * /dev/null.
 */
struct local_spawn {
    const char *const *argv; /* argv[0] is the absolute path; ended by NULL */
    const char *const *envp;
    int output_fd;    /* becomes 1 and 2 */
    const int *keep;  /* inherited under their own numbers (> 2); every other is closed */
    size_t n_keep;    /* at most LOCAL_KEEP_MAX */
    const char *cwd;  /* NULL: the controller's */
    const int *enter; /* cgroup.procs of the cgroups it is put into, before anything else */
    size_t n_enter;
    const struct local_stage *stage; /* NULL: stays who we are */
};

/*
 * Does not wait. *ret_failure_fd is the read end of a pipe for local_spawn_failure(); the caller
 * owns it and the child.
 */
int local_spawn(const struct local_spawn *s, pid_t *ret_pid, int *ret_failure_fd, struct err *err);
/*
 * After the child ended: why it never became the program. 0 when it did; otherwise err is set
 * (ERR_SANDBOX_FAILED) and -ERR_SANDBOX_FAILED returned.
 */
int local_spawn_failure(int failure_fd, const struct local_spawn *s, struct err *err);
