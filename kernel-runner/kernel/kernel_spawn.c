/*
 * fork and exec of a kernel. Everything is prepared before the fork; the child makes only
 * async-signal-safe calls, and says over a close-on-exec pipe why exec failed, so that "python not
 * found" is a sentence and not a timeout.
 */
#include "kernel-runner/kernel/kernel_spawn.h"

#include "lib/base/beneath.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define ENV_MAX 512

struct env_list {
    char *items[ENV_MAX + 1];
    size_t len;
};

static void env_done(struct env_list *e)
{
    for (size_t i = 0; i < e->len; i++)
        free(e->items[i]);
}

/* A later entry of the same name replaces an earlier one. */
static void env_put(struct env_list *e, char *item_take)
{
    size_t name = strcspn(item_take, "=") + 1;
    for (size_t i = 0; i < e->len; i++) {
        if (strncmp(e->items[i], item_take, name) == 0) {
            free(e->items[i]);
            e->items[i] = item_take;
            return;
        }
    }
    if (e->len == ENV_MAX) {
        free(item_take);
        return;
    }
    e->items[e->len++] = item_take;
}

static void env_put_path(struct env_list *e, const char *python)
{
    const char *slash = strrchr(python, '/');
    if (slash && slash != python)
        env_put(
            e, mem_printf("PATH=%.*s:/usr/local/bin:/usr/bin:/bin", (int)(slash - python), python));
    else
        env_put(e, mem_dup_str("PATH=/usr/local/bin:/usr/bin:/bin"));
}

static void env_fill(struct env_list *e, const struct kernel_spawn *s)
{
    env_put_path(e, s->cfg->python);
    env_put(e, mem_printf("HOME=%s", s->cfg->cwd));
    env_put(e, mem_dup_str("USER=sandbox"));
    env_put(e, mem_dup_str("LANG=C.UTF-8"));
    env_put(e, mem_dup_str("TZ=UTC"));
    env_put(e, mem_dup_str("TERM=xterm-color"));
    env_put(e, mem_dup_str("PYTHONUNBUFFERED=1"));
    env_put(e, mem_dup_str("PYTHONDONTWRITEBYTECODE=1"));
    env_put(e, mem_dup_str("PYDEVD_DISABLE_FILE_VALIDATION=1"));
    /* Threads of numeric libraries: their pools would otherwise take the pids limit on big hosts.
     */
    env_put(e, mem_dup_str("OPENBLAS_NUM_THREADS=4"));
    env_put(e, mem_dup_str("OMP_NUM_THREADS=4"));
    env_put(e, mem_printf("IPYTHONDIR=%s/ipython", s->private_dir));
    env_put(e, mem_printf("JUPYTER_RUNTIME_DIR=%s", s->private_dir));
    env_put(e, mem_printf("JUPYTER_CONFIG_DIR=%s/jupyter", s->private_dir));
    env_put(e, mem_printf("JUPYTER_DATA_DIR=%s/jupyter", s->private_dir));
    /* HOME is the user's folder: caches of libraries shall not stand among the user's files. */
    env_put(e, mem_printf("XDG_CACHE_HOME=%s/cache", s->private_dir));
    env_put(e, mem_printf("MPLCONFIGDIR=%s/matplotlib", s->private_dir));
    for (size_t i = 0; s->env && s->env[i]; i++)
        env_put(e, mem_dup_str(s->env[i]));
    env_put(e, mem_printf("CAESARION_PRIVATE_DIR=%s", s->private_dir));
    env_put(e, mem_printf("CAESARION_PARENT_PID=%d", (int)getpid()));
    e->items[e->len] = NULL;
}

/* After fork, async-signal-safe calls only. Signals that the runner ignores or blocks come back. */
static void child_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &dfl, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_enter(const char *path)
{
    int fd = beneath_open_named(path, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return -1;
    int r = fchdir(fd);
    close(fd);
    return r;
}

__attribute__((noreturn)) static void child_fail(int fd, enum kernel_wall wall)
{
    struct kernel_spawn_failure f = {.error = errno, .wall = wall};
    ssize_t n = write(fd, &f, sizeof(f));
    _exit(n == (ssize_t)sizeof(f) ? 127 : 126);
}

/*
 * Into the cgroups of kernels, before anything is allocated here. And where the whole host or pod
 * runs out of memory, kernels go before the runner.
 */
static int child_place(const struct kernel_cfg *cfg)
{
    for (size_t i = 0; i < cfg->n_join; i++)
        if (write(cfg->join[i], "0", 1) < 0)
            return -1;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = write(fd, "1000", 4);
        close(fd);
        return n < 0 ? -1 : 0;
    }
    return 0;
}

__attribute__((noreturn)) static void child(const struct kernel_spawn *s, char *const *argv,
                                            char *const *envp, int null_fd, int out_fd, int err_fd)
{
    if (child_place(s->cfg) < 0)
        child_fail(err_fd, KERNEL_WALL_NONE);
    setsid();
    child_signals();
    if (!s->cfg->is_init)
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (dup2(null_fd, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(out_fd, 2) < 0)
        child_fail(err_fd, KERNEL_WALL_NONE);
    enum kernel_wall wall = kernel_walls_enter(s->cfg->walls, s->cfg);
    if (wall != KERNEL_WALL_NONE)
        child_fail(err_fd, wall);
    /* All that the runner holds is closed before a path is followed: one that user code has bent to
     * /proc/self/fd would lead to the host. */
    if ((err_fd > 3 && syscall(SYS_close_range, 3, (unsigned)err_fd - 1, 0) < 0) ||
        syscall(SYS_close_range, (unsigned)err_fd + 1, ~0U, 0) < 0)
        child_fail(err_fd, KERNEL_WALL_NONE);
    if (child_enter(s->cwd) < 0 && child_enter(s->cfg->cwd) < 0 && child_enter("/") < 0)
        child_fail(err_fd, KERNEL_WALL_NONE);
    execve(argv[0], argv, envp);
    child_fail(err_fd, KERNEL_WALL_NONE);
}

int kernel_spawn(const struct kernel_spawn *s, struct kernel_process *ret, struct err *err)
{
    int exec_pipe[2], out_pipe[2];
    if (pipe2(exec_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(err, "pipe");
    _cleanup_(closep) int exec_read = exec_pipe[0];
    _cleanup_(closep) int exec_write = exec_pipe[1];
    /* The child's ends must block; only the runner's are non-blocking. */
    if (pipe2(out_pipe, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    _cleanup_(closep) int out_read = out_pipe[0];
    _cleanup_(closep) int out_write = out_pipe[1];
    fcntl(out_read, F_SETFL, O_NONBLOCK);
    _cleanup_(closep) int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_fd < 0)
        return err_errno(err, "open /dev/null");

    struct env_list env = {0};
    env_fill(&env, s);
    _cleanup_(freep) char *python = mem_dup_str(s->cfg->python);
    _cleanup_(freep) char *launcher = mem_dup_str(s->launcher);
    _cleanup_(freep) char *conn_file = mem_dup_str(s->conn_file);
    char x[] = "-X", frozen[] = "frozen_modules=off", f[] = "-f";
    char *argv[] = {python, x, frozen, launcher, f, conn_file, NULL};
    pid_t pid = fork();
    if (pid == 0)
        child(s, argv, env.items, null_fd, out_write, exec_write);
    int saved = errno;
    env_done(&env);
    errno = saved;
    if (pid < 0)
        return err_errno(err, "fork of a kernel");
    *ret = (struct kernel_process){pid, TAKE_FD(exec_read), TAKE_FD(out_read)};
    return 0;
}
