/* The filter, call by call, in a child that has installed it. */
#include "kernel-runner/kernel/kernel_filter.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
/* after the four headers it needs */
#include <cmocka.h>

#define HIGH  0x100000000L /* a bit that Linux does not look at */
#define SELF  (-1000001L)  /* the caller's own number, set when the call is made */
#define LIMIT (-1000002L)  /* a struct rlimit */
#define PARAM (-1000003L)  /* a struct sched_param of SCHED_OTHER */
#define NONE  0            /* the call succeeds */

struct row {
    const char *name;
    long nr;
    long args[5];
    int error;
};
#define CALL(name) #name, SYS_##name

static const struct row rows[] = {
    {CALL(add_key), {0}, EPERM},
    {CALL(request_key), {0}, EPERM},
    {CALL(keyctl), {0}, EPERM},
    {CALL(io_uring_setup), {1, 0}, ENOSYS},
    {CALL(io_uring_enter), {0}, ENOSYS},
    {CALL(io_uring_register), {0}, ENOSYS},
    {CALL(io_setup), {1, 0}, ENOSYS},
    {CALL(io_submit), {0}, ENOSYS},
    {CALL(io_getevents), {0}, ENOSYS},
    {CALL(bpf), {0}, EPERM},
    {CALL(perf_event_open), {0}, EPERM},
    {CALL(userfaultfd), {0}, EPERM},
    {CALL(unshare), {CLONE_NEWUSER}, EPERM},
    {CALL(unshare), {0}, EPERM},
    {CALL(setns), {0}, EPERM},
    {CALL(clone3), {0}, ENOSYS},
    {CALL(clone), {CLONE_NEWUSER | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWUSER | HIGH | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWNS | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWPID | CLONE_NEWNET | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWNET | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWIPC | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWUTS | SIGCHLD}, EPERM},
    {CALL(clone), {CLONE_NEWCGROUP | SIGCHLD}, EPERM},
    {CALL(mount), {0}, EPERM},
    {CALL(umount2), {0}, EPERM},
    {CALL(pivot_root), {0}, EPERM},
    {CALL(chroot), {0}, EPERM},
    {"open_tree", 428, {0}, EPERM},
    {"open_tree_attr", 467, {0}, EPERM},
    {"move_mount", 429, {0}, EPERM},
    {"fsopen", 430, {0}, EPERM},
    {"fsconfig", 431, {0}, EPERM},
    {"fsmount", 432, {0}, EPERM},
    {"fspick", 433, {0}, EPERM},
    {"mount_setattr", 442, {0}, EPERM},
    {CALL(name_to_handle_at), {0}, EPERM},
    {CALL(open_by_handle_at), {0}, EPERM},
    {CALL(quotactl), {0}, EPERM},
    {"quotactl_fd", 443, {0}, EPERM},
    {CALL(syslog), {10}, EPERM},
    {CALL(acct), {1}, EPERM},
    {CALL(swapon), {0}, EPERM},
    {CALL(swapoff), {0}, EPERM},
    {CALL(reboot), {0}, EPERM},
    {CALL(kexec_load), {0}, EPERM},
    {CALL(init_module), {0}, EPERM},
    {CALL(finit_module), {-1}, EPERM},
    {CALL(delete_module), {0}, EPERM},
#ifdef SYS_iopl
    {CALL(iopl), {3}, EPERM},
    {CALL(ioperm), {0}, EPERM},
    {CALL(modify_ldt), {0}, ENOSYS},
#endif
    {CALL(vhangup), {0}, EPERM},
    {CALL(fanotify_init), {0}, EPERM},
    {CALL(fanotify_mark), {-1}, EPERM},
    {"pidfd_getfd", 438, {-1}, EPERM},
    {CALL(kcmp), {SELF, SELF}, EPERM},
    {"process_madvise", 440, {-1}, ENOSYS},
    {CALL(migrate_pages), {0}, EPERM},
    {CALL(move_pages), {0}, EPERM},
    {"memfd_secret", 447, {0}, ENOSYS},

    {CALL(fcntl), {-1, F_SETLEASE, F_WRLCK}, EPERM},
    {CALL(fcntl), {-1, F_SETLEASE | HIGH, F_RDLCK}, EPERM},
    {CALL(fcntl), {-1, F_GETFD}, EBADF},
    {CALL(ioctl), {-1, TIOCSTI}, EPERM},
    {CALL(ioctl), {-1, TIOCSTI | HIGH}, EPERM},
    {CALL(ioctl), {-1, TIOCLINUX}, EPERM},
    {CALL(ioctl), {-1, TIOCSETD}, EPERM},
    {CALL(ioctl), {-1, TIOCGWINSZ}, EBADF},

    {CALL(setpriority), {PRIO_PROCESS, 0, 19}, NONE},
    {CALL(setpriority), {PRIO_PGRP, 0, 19}, NONE},
    {CALL(setpriority), {PRIO_USER, 0, 19}, EPERM},
    {CALL(setpriority), {PRIO_USER | HIGH, 0, 19}, EPERM},
    {CALL(setpriority), {PRIO_PROCESS, 1, 19}, EPERM},
    {CALL(setpriority), {PRIO_PGRP, 1, 19}, EPERM},
    {CALL(setpriority), {PRIO_PROCESS, SELF, 19}, EPERM},
    {CALL(ioprio_set), {1, 0, 3 << 13}, NONE},
    {CALL(ioprio_set), {2, 0, 3 << 13}, NONE},
    {CALL(ioprio_set), {3, 0, 3 << 13}, EPERM},
    {CALL(ioprio_set), {1, 1, 3 << 13}, EPERM},
    {CALL(sched_setparam), {0, PARAM}, NONE},
    {CALL(sched_setparam), {1, PARAM}, EPERM},
    {CALL(sched_setattr), {1}, EPERM},
    {CALL(sched_setattr), {0}, EINVAL},
    {CALL(sched_setaffinity), {1}, EPERM},
    {CALL(sched_setaffinity), {SELF}, EPERM},
    {CALL(sched_setaffinity), {0, 0}, EINVAL},
    {CALL(sched_setscheduler), {0, SCHED_BATCH, PARAM}, NONE},
    {CALL(sched_setscheduler), {SELF, SCHED_OTHER, PARAM}, NONE},
    {CALL(sched_setscheduler), {SELF, SCHED_IDLE, PARAM}, EPERM},
    {CALL(sched_setscheduler), {1, SCHED_IDLE, PARAM}, EPERM},
    {CALL(sched_setscheduler), {1, 0x40000000, PARAM}, EPERM}, /* SCHED_RESET_ON_FORK */
    {CALL(prlimit64), {0, RLIMIT_CORE, LIMIT}, NONE},
    {CALL(prlimit64), {SELF, RLIMIT_CORE, 0, LIMIT}, NONE},
    {CALL(prlimit64), {SELF, RLIMIT_CORE, LIMIT}, EPERM},
    {CALL(prlimit64), {1, RLIMIT_CPU, LIMIT}, EPERM},
    {CALL(rt_sigqueueinfo), {1, SIGTERM, 0}, EPERM},
    {CALL(rt_sigqueueinfo), {1 | HIGH, SIGTERM, 0}, EPERM},
    {CALL(rt_sigqueueinfo), {SELF, SIGTERM, 0}, EFAULT},
    {CALL(rt_tgsigqueueinfo), {1, 1, SIGTERM, 0}, EPERM},
    {CALL(rt_tgsigqueueinfo), {SELF, SELF, SIGTERM, 0}, EFAULT},

    {CALL(socket), {AF_UNIX, SOCK_STREAM, 0}, NONE},
    {CALL(socket), {AF_INET, SOCK_DGRAM, 0}, NONE},
    {CALL(socket), {AF_NETLINK, SOCK_RAW, 0}, NONE},
    {CALL(socket), {AF_NETLINK, SOCK_RAW, 4 /* sock_diag */}, EAFNOSUPPORT},
    {CALL(socket), {AF_NETLINK, SOCK_RAW, 15 /* uevent */}, EAFNOSUPPORT},
    {CALL(socket), {AF_VSOCK, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {CALL(socket), {AF_VSOCK | HIGH, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {CALL(socket), {AF_PACKET, SOCK_RAW, 0}, EAFNOSUPPORT},
    {CALL(socket), {AF_ALG, SOCK_SEQPACKET, 0}, EAFNOSUPPORT},
    {CALL(socket), {AF_BLUETOOTH, SOCK_RAW, 0}, EAFNOSUPPORT},
    {CALL(socket), {AF_X25, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {CALL(socket), {AF_TIPC, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {CALL(socketpair), {AF_TIPC, SOCK_STREAM, 0}, EAFNOSUPPORT},

    /* what is not named goes on */
    {CALL(mbind), {0, 0, 0, 0, 0}, NONE},
    {CALL(personality), {0xffffffff}, NONE},
    {CALL(ptrace), {16 /* PTRACE_ATTACH */, 0x7fffffff}, ESRCH},
    {CALL(getpid), {0}, NONE},
};

static struct kernel_filter *make(void)
{
    struct kernel_filter *f = NULL;
    struct err err;
    if (kernel_filter_new(&f, &err) < 0)
        fail_msg("%s", err.text);
    return f;
}

static long value(long arg, struct rlimit *limit, struct sched_param *param)
{
    return arg == SELF    ? (long)getpid()
           : arg == LIMIT ? (long)(intptr_t)limit
           : arg == PARAM ? (long)(intptr_t)param
                          : arg;
}

/* errno of the call, or 0. */
static int try_call(const struct row *row)
{
    struct rlimit limit = {0, 0};
    struct sched_param param = {0};
    long a[5];
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        a[i] = value(row->args[i], &limit, &param);
    errno = 0;
    return syscall(row->nr, a[0], a[1], a[2], a[3], a[4]) < 0 ? errno : 0;
}

/* Runs `run` in a child behind the filter; its exit status. */
static int behind(int (*run)(void *ctx), void *ctx)
{
    struct kernel_filter *f = make();
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || kernel_filter_install(f) < 0)
            _exit(99);
        _exit(run(ctx));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    kernel_filter_free(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int try_all(void *ctx)
{
    int *found = ctx;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        found[i] = try_call(&rows[i]);
    return 0;
}

static void each_call_is_answered_as_the_table_says(void **state)
{
    (void)state;
    int *found = mmap(NULL, sizeof(int) * ARRAY_LEN(rows), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(found != MAP_FAILED);
    assert_int_equal(behind(try_all, found), 0);
    int wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (found[i] == rows[i].error)
            continue;
        print_error("row %zu, %s: %s, not %s\n", i, rows[i].name, strerrorname_np(found[i]),
                    strerrorname_np(rows[i].error));
        wrong++;
    }
    munmap(found, sizeof(int) * ARRAY_LEN(rows));
    assert_int_equal(wrong, 0);
}

#if defined(__x86_64__)
static int other_abis(void *ctx)
{
    (void)ctx;
    /* getpid of x32, and of i386, which is another call of ours */
    if (syscall(0x40000000 | SYS_getpid) >= 0 || errno != EPERM)
        return 1;
    long r = 0;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory", "cc", "r8", "r9", "r10", "r11");
    return (int)r == -EPERM || (int)r == -ENOSYS ? 0 : 2;
}

static void other_abis_are_refused_as_a_whole(void **state)
{
    (void)state;
    assert_int_equal(behind(other_abis, NULL), 0);
}
#endif

static void *nothing(void *arg)
{
    return arg;
}

static int threads_and_children(void *ctx)
{
    (void)ctx;
    pthread_t thread;
    int status = 0;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(7);
    return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7 ? 0 : 2;
}

static void threads_and_children_are_made(void **state)
{
    (void)state;
    assert_int_equal(behind(threads_and_children, NULL), 0);
}

static int below(void *ctx)
{
    (void)ctx;
    char *argv[] = {(char[]){"true"}, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execv("/bin/true", argv);
        _exit(1);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0 && syscall(SYS_keyctl, 0) < 0 && errno == EPERM ? 0 : 1;
}

static void programs_start_behind_it(void **state)
{
    (void)state;
    assert_int_equal(behind(below, NULL), 0);
}

/* Without no_new_privs only root may, and nothing is ignored. */
static void what_cannot_be_installed_says_so(void **state)
{
    (void)state;
    struct kernel_filter *f = make();
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && syscall(SYS_setresuid, 65534, 65534, 65534) < 0)
            _exit(1);
        _exit(kernel_filter_install(f) < 0 && errno == EACCES ? 0 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    kernel_filter_free(f);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_is_answered_as_the_table_says),
#if defined(__x86_64__)
        cmocka_unit_test(other_abis_are_refused_as_a_whole),
#endif
        cmocka_unit_test(threads_and_children_are_made),
        cmocka_unit_test(programs_start_behind_it),
        cmocka_unit_test(what_cannot_be_installed_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
