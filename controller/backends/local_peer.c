/*
 * The credentials of a listening AF_UNIX socket are those of the process that called listen(): the
 * runner, whoever bound the socket. Since Linux 6.5 the kernel also hands out its pidfd. Before,
 * the pidfd is opened by number, and a second connection that is accepted shows that the listener
 * was still alive then, so that its number could not have been given to another.
 */
#include "controller/backends/local_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A descriptor, or -1 with errno. AF_UNIX connects at once or not at all. */
static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    if (len >= sizeof(addr.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(addr.sun_path, path, len + 1);
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -1;
    return TAKE_FD(fd);
}

static bool is_nobody(int error)
{
    return error == ECONNREFUSED || error == ENOENT || error == ESRCH;
}

static int peer_pidfd(int fd)
{
    int pidfd = -1;
    socklen_t len = sizeof(pidfd);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0)
        return -1;
    return pidfd;
}

int local_peer_find(struct local_peer *ret, const char *path, bool portable, struct err *err)
{
    _cleanup_(closep) int fd = connect_to(path);
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (fd < 0 && is_nobody(errno))
        return LOCAL_PEER_NONE;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return err_errno(err, "%s", path);
    if (cred.pid <= 0)
        return err_set(
            err, ERR_UNAVAILABLE,
            "%s: the runner's process cannot be seen from the controller's PID namespace", path);
    _cleanup_(closep) int pidfd = portable ? -1 : peer_pidfd(fd);
    if (pidfd < 0) {
        pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
        if (pidfd < 0)
            return is_nobody(errno) ? LOCAL_PEER_NONE : err_errno(err, "pidfd_open");
        _cleanup_(closep) int again = connect_to(path);
        if (again < 0)
            return is_nobody(errno) ? LOCAL_PEER_NONE : err_errno(err, "%s", path);
    }
    *ret = (struct local_peer){.pidfd = TAKE_FD(pidfd), .pid = cred.pid, .uid = cred.uid};
    return 0;
}

pid_t local_peer_monitor(pid_t pid)
{
    char path[64], text[512];
    int parent, group, session;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    /* "pid (name) state ppid pgrp session …"; the name may hold anything */
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1, " %*c %d %d %d", &parent, &group, &session) != 3)
        return 0;
    return parent > 1 && parent == session ? (pid_t)parent : 0;
}
