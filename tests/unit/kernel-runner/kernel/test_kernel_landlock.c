/* Landlock's rules, in a child that has entered them. */
#include "kernel-runner/kernel/kernel_landlock.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
/* after the four headers it needs */
#include <cmocka.h>

static int setup(void **state)
{
    struct kernel_landlock *l = MEM_NEW(struct kernel_landlock);
    struct err err;
    if (kernel_landlock_init(l, &err) < 0)
        fail_msg("%s", err.text);
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    kernel_landlock_done(*state);
    free(*state);
    return 0;
}

static int behind(const struct kernel_landlock *l, int (*run)(void *ctx), void *ctx)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || kernel_landlock_enter(l) < 0)
            _exit(99);
        _exit(run(ctx));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Files, folders, links, renames between folders, truncation, devices, execution: as without. */
static int ordinary(void *ctx)
{
    const char *root = ctx;
    if (chdir(root) < 0 || mkdir("a", 0700) < 0 || mkdir("b", 0700) < 0)
        return 1;
    int fd = open("a/f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || ftruncate(fd, 0) < 0 || truncate("a/f", 5) < 0)
        return 2;
    if (rename("a/f", "b/g") < 0 || link("b/g", "a/h") < 0 || symlink("b/g", "l") < 0)
        return 3;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || write(null, "x", 1) != 1)
        return 4;
    int p[2];
    char name[32];
    if (pipe2(p, O_CLOEXEC) < 0)
        return 5;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[1]);
    int again = open(name, O_WRONLY | O_CLOEXEC);
    if (again < 0)
        return 6;
    if (unlink("l") < 0 || unlink("a/h") < 0 || unlink("b/g") < 0 || rmdir("a") < 0 ||
        rmdir("b") < 0)
        return 7;
    char *argv[] = {(char[]){"true"}, NULL};
    execv("/bin/true", argv);
    return 8;
}

static void ordinary_files_are_as_before(void **state)
{
    char root[] = "/tmp/caesarion-test-XXXXXX";
    assert_non_null(mkdtemp(root));
    assert_int_equal(behind(*state, ordinary, root), 0);
    assert_int_equal(rmdir(root), 0);
}

/* A descriptor of a tree that has no name in this namespace. */
static int elsewhere(void *ctx)
{
    int fd = *(int *)ctx;
    if (openat(fd, "f", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
        return 1;
    if (openat(fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EACCES)
        return 2;
    return openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0 || errno != EACCES ? 3 : 0;
}

static void a_descriptor_that_leads_elsewhere_opens_nothing(void **state)
{
    const struct kernel_landlock *l = *state;
    if (l->abi == 0)
        skip();
    char root[] = "/tmp/caesarion-test-XXXXXX";
    assert_non_null(mkdtemp(root));
    _cleanup_(freep) char *file = mem_printf("%s/f", root);
    close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    int tree = (int)syscall(428 /* open_tree */, AT_FDCWD, root, 1 /* CLONE */ | O_CLOEXEC);
    int fd = tree < 0 ? -1 : openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    closep(&tree);
    unsigned readable = fd >= 0 && faccessat(fd, "f", R_OK, 0) == 0;
    int result = fd < 0 ? -1 : behind(l, elsewhere, &fd);
    closep(&fd);
    unlink(file);
    rmdir(root);
    if (result < 0)
        skip(); /* a detached mount takes root */
    assert_true(readable);
    assert_int_equal(result, 0);
}

struct signalling {
    pid_t outside;
    bool scoped;
};

static int signals(void *ctx)
{
    const struct signalling *s = ctx;
    pid_t inside = fork();
    if (inside == 0) {
        pause();
        _exit(0);
    }
    int status = 0;
    if (kill(inside, SIGKILL) < 0 || waitpid(inside, &status, 0) != inside)
        return 1;
    int r = kill(s->outside, 0);
    if (s->scoped)
        return r < 0 && errno == EPERM ? 0 : 2;
    return r == 0 ? 0 : 3;
}

static void signals_stay_in_the_domain_and_reach_it_from_outside(void **state)
{
    const struct kernel_landlock *l = *state;
    struct signalling s = {.outside = getpid(), .scoped = l->scopes_signals};
    assert_int_equal(behind(l, signals, &s), 0);
    pid_t pid = fork();
    if (pid == 0) {
        kernel_landlock_enter(l);
        pause();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void a_ruleset_that_is_closed_is_no_wall_and_says_so(void **state)
{
    (void)state;
    struct kernel_landlock broken = {.ruleset_fd = 1000000, .abi = 1};
    assert_int_equal(kernel_landlock_enter(&broken), -1);
    struct kernel_landlock absent = {.ruleset_fd = -1};
    assert_int_equal(kernel_landlock_enter(&absent), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(ordinary_files_are_as_before),
        T(a_descriptor_that_leads_elsewhere_opens_nothing),
        T(signals_stay_in_the_domain_and_reach_it_from_outside),
        T(a_ruleset_that_is_closed_is_no_wall_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
