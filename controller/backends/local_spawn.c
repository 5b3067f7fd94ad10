/*
 * fork and exec. Everything is prepared before the fork; the child makes only async-signal-safe
 * calls and reports over a close-on-exec pipe which step failed, so that "bwrap cannot be run" is a
 * sentence and not a timeout. The child closes at once what it does not keep: neither the
 * controller's listening socket nor its lock may outlive a controller that is killed meanwhile.
 */
#include "controller/backends/local_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "controller/backends/local_stage.h"
#include "lib/base/cleanup.h"

enum { STEP_DESCRIPTORS = 100, STEP_KEYRING, STEP_CGROUP, STEP_CWD, STEP_EXEC };

struct failure {
    int step;
    int error;
    size_t source;
};

__attribute__((noreturn)) static void child_fail(int fd, int step, size_t source)
{
    struct failure f = {.step = step, .error = errno, .source = source};
    ssize_t n = write(fd, &f, sizeof(f));

    _exit(n == (ssize_t)sizeof(f) ? 127 : 126);
}

static void child_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Closes everything above 2 that is not in `keep`, which is sorted. */
static int child_close(const int *keep, size_t n)
{
    unsigned first = 3;

    for (size_t i = 0; i < n; i++) {
        unsigned fd = (unsigned)keep[i];
        if (fd > first && syscall(SYS_close_range, first, fd - 1, 0) < 0)
            return -1;
        first = MAX(first, fd + 1);
    }
    return (int)syscall(SYS_close_range, first, ~0U, 0);
}

/*
 * The session keyring passes fork, exec and a change of ids: a sandbox would hold whatever systemd,
 * PAM or a container's runtime put into the controller's, and share it with its neighbours. After
 * the change of ids, so that the new one is the sandbox's own and counts as its own. Where the
 * kernel has no keys (ENOSYS) or a container's filter refuses them (EPERM, which the call itself
 * never gives), nothing we start can reach a keyring either.
 */
static int child_keyring(void)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0)
        return 0;
    return errno == ENOSYS || errno == EPERM ? 0 : -1;
}

struct child {
    const struct local_spawn *spawn;
    char *const *argv;
    char *const *envp;
    int keep[LOCAL_KEEP_MAX + 1]; /* sorted, with the failure pipe */
    size_t n_keep;
    int null_fd;
    int failure_fd;
};

__attribute__((noreturn)) static void child_run(const struct child *c)
{
    const struct local_spawn *s = c->spawn;
    struct rlimit no_core = {0, 0};
    size_t source = 0;

    setsid();
    child_signals();
    umask(022);
    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < s->n_enter; i++)
        if (write(s->enter[i], "0", 1) < 0)
            child_fail(c->failure_fd, STEP_CGROUP, 0);
    if (dup2(c->null_fd, 0) < 0 || dup2(s->output_fd, 1) < 0 || dup2(s->output_fd, 2) < 0 ||
        child_close(c->keep, c->n_keep) < 0)
        child_fail(c->failure_fd, STEP_DESCRIPTORS, 0);
    if (s->stage) {
        int step = local_stage_enter(s->stage, &source);
        if (step != 0)
            child_fail(c->failure_fd, step, source);
    }
    if (child_keyring() < 0)
        child_fail(c->failure_fd, STEP_KEYRING, 0);
    if (s->cwd && chdir(s->cwd) < 0)
        child_fail(c->failure_fd, STEP_CWD, 0);
    for (size_t i = 0; i < s->n_keep; i++)
        if (fcntl(s->keep[i], F_SETFD, 0) < 0)
            child_fail(c->failure_fd, STEP_DESCRIPTORS, 0);
    execve(c->argv[0], c->argv, c->envp);
    child_fail(c->failure_fd, STEP_EXEC, 0);
}

static void keep_add(struct child *c, int fd)
{
    size_t i = c->n_keep++;

    for (; i > 0 && c->keep[i - 1] > fd; i--)
        c->keep[i] = c->keep[i - 1];
    c->keep[i] = fd;
}

/* execve wants pointers to what it does not write. */
static char *const *unconst(const char *const *list)
{
    union {
        const char *const *in;
        char *const *out;
    } u = {.in = list};
    return u.out;
}

int local_spawn(const struct local_spawn *s, pid_t *ret_pid, int *ret_failure_fd, struct err *err)
{
    int ends[2];

    if (s->n_keep > LOCAL_KEEP_MAX)
        return err_set(err, ERR_INTERNAL, "too many descriptors for a child");
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(err, "pipe");
    _cleanup_(closep) int failure_read = ends[0];
    _cleanup_(closep) int failure_write = ends[1];
    _cleanup_(closep) int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_fd < 0)
        return err_errno(err, "open /dev/null");

    struct child c = {.spawn = s,
                      .argv = unconst(s->argv),
                      .envp = unconst(s->envp),
                      .null_fd = null_fd,
                      .failure_fd = failure_write};
    for (size_t i = 0; i < s->n_keep; i++)
        keep_add(&c, s->keep[i]);
    keep_add(&c, failure_write);
    pid_t pid = fork();
    if (pid == 0)
        child_run(&c);
    if (pid < 0)
        return err_errno(err, "a process for the sandbox cannot be started");
    *ret_pid = pid;
    *ret_failure_fd = TAKE_FD(failure_read);
    return 0;
}

static int explain(const struct failure *f, const struct local_spawn *s, struct err *err)
{
    const char *words = strerrordesc_np(f->error);

    switch (f->step) {
    case LOCAL_STAGE_NAMESPACE:
        return err_set(err, ERR_SANDBOX_FAILED,
                       "a mount namespace cannot be made (%s): as root the controller needs "
                       "CAP_SYS_ADMIN (docker run --cap-add SYS_ADMIN --security-opt "
                       "seccomp=unconfined --security-opt apparmor=unconfined --security-opt "
                       "systempaths=unconfined); or start it as an ordinary user, or with "
                       "--isolation none, which does not isolate",
                       words);
    case LOCAL_STAGE_SOURCE:
        return err_set(err, ERR_SANDBOX_FAILED, "%s cannot be opened: %s",
                       s->stage->sources[f->source], words);
    case LOCAL_STAGE_MOUNT:
        return err_set(err, ERR_SANDBOX_FAILED, "%s cannot be bound for the sandbox: %s",
                       s->stage->sources[f->source], words);
    case LOCAL_STAGE_IDS:
        return err_set(err, ERR_SANDBOX_FAILED,
                       "the sandbox's own user id %u cannot be entered: %s",
                       (unsigned)s->stage->uid, words);
    case STEP_KEYRING:
        return err_set(err, ERR_SANDBOX_FAILED,
                       "a session keyring of the sandbox's own cannot be made: %s%s", words,
                       f->error == EDQUOT ? " (each sandbox of one user needs a key: raise the "
                                            "sysctl kernel.keys.maxkeys)"
                                          : "");
    case STEP_CGROUP:
        return err_set(err, ERR_SANDBOX_FAILED, "its cgroup cannot be entered: %s", words);
    case STEP_CWD:
        return err_set(err, ERR_SANDBOX_FAILED, "%s cannot be entered: %s", s->cwd, words);
    case STEP_EXEC:
        return err_set(err, ERR_SANDBOX_FAILED, "%s cannot be run: %s", s->argv[0], words);
    default:
        return err_set(err, ERR_SANDBOX_FAILED, "the sandbox's descriptors: %s", words);
    }
}

int local_spawn_failure(int failure_fd, const struct local_spawn *s, struct err *err)
{
    struct failure f;

    if (failure_fd < 0 || read(failure_fd, &f, sizeof(f)) != (ssize_t)sizeof(f))
        return 0;
    return explain(&f, s, err);
}
