/*
 * Processes on the loop. A pidfd tells the end of a process within microseconds, whether it is our
 * child or not; a child is then reaped with waitid(P_PIDFD). As PID 1 a program also inherits
 * orphans: loop_reap_orphans() reaps those, and leaves watched children to their watchers by
 * marking them reaped with the status it got.
 */
#include "lib/base/mem.h"
#include "lib/loop/loop_internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <utlist.h>

struct loop_child {
    struct loop *loop;
    struct loop_poll *poll;
    struct loop_defer *late; /* tells an end that the orphan reaper found first */
    int pidfd;
    pid_t pid;
    bool exited;
    struct loop_exit exit;
    loop_child_fn fn;
    void *ctx;
    struct loop_child *prev, *next;
};

static struct loop_exit exit_of(const siginfo_t *info)
{
    if (info->si_code == CLD_EXITED)
        return (struct loop_exit){.known = true, .exit_code = info->si_status};
    return (struct loop_exit){.known = true, .signal = info->si_status};
}

static void tell(void *ctx)
{
    struct loop_child *c = ctx;
    struct loop_exit exit = c->exit;
    c->fn(c->ctx, &exit);
}

static void on_pidfd(void *ctx, int events)
{
    struct loop_child *c = ctx;
    if (c->exited)
        return;
    siginfo_t info = {0};
    int r;
    do
        r = waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r == 0 && info.si_pid == 0)
        return; /* not dead yet */
    c->exited = true;
    c->exit = r == 0 ? exit_of(&info) : (struct loop_exit){.known = false};
    loop_poll_set(c->poll, 0);
    tell(c);
}

int loop_child_new_pidfd(struct loop_child **ret, struct loop *loop, int pidfd_take, pid_t pid,
                         loop_child_fn fn, void *ctx, struct err *err)
{
    _cleanup_(closep) int pidfd = pidfd_take;
    struct loop_child *c = MEM_NEW(struct loop_child);
    int r = loop_poll_new(&c->poll, loop, pidfd, on_pidfd, c, err);
    if (r < 0) {
        free(c);
        return r;
    }
    c->loop = loop;
    c->pidfd = TAKE_FD(pidfd);
    c->pid = pid;
    c->fn = fn;
    c->ctx = ctx;
    c->late = loop_defer_new(loop, tell, c);
    DL_APPEND(loop->children, c);
    loop_poll_set(c->poll, LOOP_READ);
    *ret = c;
    return 0;
}

int loop_child_new(struct loop_child **ret, struct loop *loop, pid_t pid, loop_child_fn fn,
                   void *ctx, struct err *err)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return err_errno(err, "pidfd_open %d", (int)pid);
    return loop_child_new_pidfd(ret, loop, fd, pid, fn, ctx, err);
}

pid_t loop_child_pid(const struct loop_child *c)
{
    return c->pid;
}

bool loop_child_exited(const struct loop_child *c)
{
    return c->exited;
}

int loop_child_kill(struct loop_child *c, int sig)
{
    if (c->exited)
        return 0;
    return (int)syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
}

struct loop_child *loop_child_free(struct loop_child *c)
{
    if (!c)
        return NULL;
    DL_DELETE(c->loop->children, c);
    loop_poll_free(c->poll);
    loop_defer_free(c->late);
    close(c->pidfd);
    free(c);
    return NULL;
}

static struct loop_child *find(struct loop *loop, pid_t pid)
{
    struct loop_child *c;
    DL_FOREACH (loop->children, c) {
        if (c->pid == pid && !c->exited)
            return c;
    }
    return NULL;
}

void loop_reap_orphans(struct loop *loop)
{
    for (;;) {
        siginfo_t info = {0};
        int r = waitid(P_ALL, 0, &info, WEXITED | WNOHANG);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 || info.si_pid == 0)
            return;
        struct loop_child *c = find(loop, info.si_pid);
        if (!c)
            continue;
        c->exited = true;
        c->exit = exit_of(&info);
        loop_poll_set(c->poll, 0);
        loop_defer_post(c->late);
    }
}
