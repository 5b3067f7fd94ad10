/*
 * By system call, as no library has it. Headers of the build may be older than the host: what came
 * after version 1 is defined here.
 *
 * All rights that a version knows are handled, and all are given beneath "/". So nothing changes
 * for a file that has a name here; one without (on a mount that is not of this namespace) is
 * closed.
 */
#include "kernel-runner/kernel/kernel_landlock.h"

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#define ACCESS_TRUNCATE  (1ULL << 14)
#define ACCESS_IOCTL_DEV (1ULL << 15)
#define SCOPE_ABSTRACT   (1ULL << 0)
#define SCOPE_SIGNAL     (1ULL << 1)

#define ABI_REFER    2 /* rename and link between folders; before, they are always refused */
#define ABI_TRUNCATE 3
#define ABI_IOCTL    5
#define ABI_SCOPE    6

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

static uint64_t rights(int abi)
{
    uint64_t fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* version 1: the first to the last */
    if (abi >= ABI_REFER)
        fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= ABI_TRUNCATE)
        fs |= ACCESS_TRUNCATE;
    if (abi >= ABI_IOCTL)
        fs |= ACCESS_IOCTL_DEV;
    return fs;
}

static int fail(const char *what, struct err *err)
{
    const char *why = strerrordesc_np(errno);
    return err_set(err, ERR_UNAVAILABLE,
                   "this host has Landlock, but it cannot be used (%s: %s); a container's seccomp "
                   "profile may refuse it",
                   what, why ? why : "unknown error");
}

int kernel_landlock_init(struct kernel_landlock *l, struct err *err)
{
    *l = (struct kernel_landlock){.ruleset_fd = -1};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
        return 0;
    if (abi < 1)
        return fail("version", err);
    struct ruleset_attr attr = {.fs = rights((int)abi)};
    size_t size = sizeof(attr.fs);
    if (abi >= ABI_SCOPE) {
        attr.scoped = SCOPE_SIGNAL | SCOPE_ABSTRACT;
        size = sizeof(attr);
    }
    _cleanup_(closep) int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return fail("landlock_create_ruleset", err);
    _cleanup_(closep) int root = beneath_open_real("/", O_PATH | O_DIRECTORY);
    struct landlock_path_beneath_attr all = {.allowed_access = attr.fs, .parent_fd = root};
    if (root < 0 ||
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &all, 0) < 0)
        return fail("landlock_add_rule", err);
    *l = (struct kernel_landlock){TAKE_FD(ruleset), (int)abi, attr.scoped != 0};
    return 0;
}

void kernel_landlock_done(struct kernel_landlock *l)
{
    closep(&l->ruleset_fd);
    l->ruleset_fd = -1;
}

int kernel_landlock_enter(const struct kernel_landlock *l)
{
    return l->ruleset_fd < 0 ? 0 : (int)syscall(SYS_landlock_restrict_self, l->ruleset_fd, 0);
}
