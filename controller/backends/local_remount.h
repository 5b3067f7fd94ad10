#pragma once
#include "lib/base/err.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * Bounds of a sandbox's file systems that bubblewrap cannot set: how many files each one in memory
 * holds, and how many pseudo-terminals there are (the host has one pool for all). Set from outside,
 * as inside nobody may mount, before anybody gets the sandbox.
 */
#define LOCAL_PTYS_MAX     64
#define LOCAL_INODES_MIN   16384U /* also of /dev/shm and /run */
#define LOCAL_INODES_MAX   262144U
#define LOCAL_INODE_BYTES  KIB(16) /* one for so much of a file system's size */
#define LOCAL_REMOUNT_NONE 1

/* How many files a file system of this size may hold. */
uint64_t local_remount_inodes(uint64_t bytes);
/*
 * Starts a process that does it to the namespaces of `runner`; does not wait. Its exit status is 0
 * or an errno (local_remount_failure()). The caller owns the process.
 */
int local_remount_start(pid_t runner, uint64_t files_bytes, pid_t *ret_pid, struct err *err);
/*
 * What its exit says: 0; LOCAL_REMOUNT_NONE with err set when this host does not let us (the
 * sandbox works, without these bounds); -ERR_SANDBOX_FAILED.
 */
int local_remount_result(int exit_code, int signal, struct err *err);
