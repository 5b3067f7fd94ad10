/*
 * The mount namespace belongs to a user namespace that bubblewrap made, above the one its processes
 * are in: only there somebody may change the mounts. The process enters that one, then the mount
 * namespace, and reconfigures the file systems by the mount API, which changes what it names and
 * nothing else. It stays outside of the PID namespace: nobody inside sees it.
 *
 * Between fork and exit only async-signal-safe calls.
 */
#include "controller/backends/local_remount.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/macros.h"

struct change {
    const char *path;
    const char *options[3][2]; /* name and value; NULL: no more */
};

uint64_t local_remount_inodes(uint64_t bytes)
{
    return MIN(MAX(bytes / LOCAL_INODE_BYTES, (uint64_t)LOCAL_INODES_MIN),
               (uint64_t)LOCAL_INODES_MAX);
}

static int change_one(const struct change *c)
{
    int fd = (int)syscall(SYS_fspick, AT_FDCWD, c->path, FSPICK_CLOEXEC | FSPICK_NO_AUTOMOUNT);

    if (fd < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(c->options) && c->options[i][0]; i++)
        if (syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, c->options[i][0], c->options[i][1], 0) <
            0)
            return -1;
    return (int)syscall(SYS_fsconfig, fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

static int run(const char *namespace, const struct change *changes, size_t n)
{
    int mounts = open(namespace, O_RDONLY | O_CLOEXEC);
    int users = mounts < 0 ? -1 : ioctl(mounts, NS_GET_USERNS);

    if (users < 0 || setns(users, CLONE_NEWUSER) < 0 || setns(mounts, CLONE_NEWNS) < 0)
        return errno;
    for (size_t i = 0; i < n; i++)
        if (change_one(&changes[i]) < 0)
            return errno;
    return 0;
}

int local_remount_start(pid_t runner, uint64_t files_bytes, pid_t *ret_pid, struct err *err)
{
    char namespace[64], files[24], few[24], ptys[24];
    /* Those of devpts that older kernels would otherwise reset are bubblewrap's. */
    const struct change changes[] = {
        {"/uploaded_files", {{"nr_inodes", files}}},
        {"/tmp", {{"nr_inodes", files}}},
        {"/run", {{"nr_inodes", few}}},
        {"/dev/shm", {{"nr_inodes", few}}},
        {"/dev/pts", {{"ptmxmode", "0666"}, {"mode", "620"}, {"max", ptys}}},
    };

    snprintf(namespace, sizeof(namespace), "/proc/%d/ns/mnt", (int)runner);
    snprintf(files, sizeof(files), "%" PRIu64, local_remount_inodes(files_bytes));
    snprintf(few, sizeof(few), "%u", LOCAL_INODES_MIN);
    snprintf(ptys, sizeof(ptys), "%d", LOCAL_PTYS_MAX);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        _exit(run(namespace, changes, ARRAY_LEN(changes)) & 0xff);
    }
    if (pid < 0)
        return err_errno(err, "a process to bound the sandbox's file systems");
    *ret_pid = pid;
    return 0;
}

int local_remount_result(int exit_code, int signal, struct err *err)
{
    if (signal)
        return err_set(err, ERR_SANDBOX_FAILED,
                       "what bounds the sandbox's file systems was killed by signal %d", signal);
    if (exit_code == 0)
        return 0;
    err_set(err, ERR_SANDBOX_FAILED, "the sandbox's file systems cannot be bounded: %s",
            strerrordesc_np(exit_code) ? strerrordesc_np(exit_code) : "for an unknown reason");
    switch (exit_code) {
    case EPERM:
    case EACCES:
    case ENOSYS:
    case EINVAL:
        return LOCAL_REMOUNT_NONE;
    default:
        return -ERR_SANDBOX_FAILED;
    }
}
