/* Helpers of the start: asking the interpreter where it lives, and the trial of bubblewrap. */
#include "controller/backends/local_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clk.h"

/* Takes what is there; false at the end. What no longer fits is thrown away. */
static bool drain(int fd, struct buf *out)
{
    char chunk[4096];

    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        buf_append(out, chunk, MIN((size_t)n, out->max - out->len));
    }
}

static void wait_end(int pidfd, pid_t pid, int fd, int64_t deadline_ms, struct buf *out,
                     struct local_run *ret)
{
    int64_t end = clk_mono_ms() + deadline_ms;
    struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

    while (!(fds[0].revents & POLLIN)) {
        int64_t left = end - clk_mono_ms();
        if (left <= 0) {
            ret->timed_out = true;
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            return;
        }
        if (poll(fds, 2, (int)left) < 0)
            continue;
        if (fds[1].revents && !drain(fd, out))
            fds[1].fd = -1; /* poll() passes over it */
    }
}

int local_run(const struct local_spawn *spawn, int64_t deadline_ms, struct buf *out,
              struct local_run *ret, struct err *err)
{
    int ends[2], failure_fd = -1;
    siginfo_t info = {0};
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(err, "pipe");
    _cleanup_(closep) int out_read = ends[0];
    _cleanup_(closep) int out_write = ends[1];
    struct local_spawn s = *spawn;
    s.output_fd = out_write;
    int r = local_spawn(&s, &pid, &failure_fd, err);
    if (r < 0)
        return r;
    _cleanup_(closep) int failure = failure_fd;
    close(TAKE_FD(out_write));

    *ret = (struct local_run){0};
    _cleanup_(closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0)
        wait_end(pidfd, pid, out_read, deadline_ms, out, ret);
    else
        kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
        ;
    if (pidfd < 0)
        return err_set(err, ERR_INTERNAL, "a helper cannot be watched (no pidfd)");
    drain(out_read, out);
    ret->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
    ret->exit_code = info.si_code == CLD_EXITED ? info.si_status : 0;
    return local_spawn_failure(failure, &s, err);
}
