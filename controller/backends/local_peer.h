#pragma once
#include "lib/base/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* The process that listens on a sandbox's socket, as the kernel names it. */
struct local_peer {
    int pidfd; /* the caller's */
    pid_t pid;
    uid_t uid;
};

/* Expected outcomes of local_peer_find(). */
enum { LOCAL_PEER_NONE = 1 }; /* nobody listens there */

/*
 * Connects (without waiting) and asks who listens. The pidfd is that process for certain: no other
 * that got its number meanwhile. `portable` leaves out what only newer kernels have.
 */
int local_peer_find(struct local_peer *ret, const char *path, bool portable, struct err *err);
/* The pid of the process that leads the session of `pid` and is its parent, or 0. */
pid_t local_peer_monitor(pid_t pid);
