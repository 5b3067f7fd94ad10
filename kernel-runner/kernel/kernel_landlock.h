#pragma once
#include "lib/base/err.h"

#include <stdbool.h>

/*
 * Landlock for the processes of one kernel: files only beneath the root of this mount namespace,
 * so that a descriptor that leads elsewhere opens nothing; and, where Linux has it, signals and
 * abstract Unix sockets only among themselves: each kernel is a domain of its own.
 */
struct kernel_landlock {
    int ruleset_fd; /* -1: this host has no Landlock */
    int abi;        /* its version; 0: none */
    bool scopes_signals;
};

/*
 * Makes the rules. Where there is no Landlock (ENOSYS, EOPNOTSUPP) that is no failure; where there
 * is and it fails, -ERR_UNAVAILABLE with a sentence.
 */
int kernel_landlock_init(struct kernel_landlock *l, struct err *err);
void kernel_landlock_done(struct kernel_landlock *l);
/* On the calling thread, for good; it has PR_SET_NO_NEW_PRIVS. Async-signal-safe. -1: errno. */
int kernel_landlock_enter(const struct kernel_landlock *l);
