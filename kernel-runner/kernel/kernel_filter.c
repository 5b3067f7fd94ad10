/*
 * What is refused is the host's, everybody's, or the runner's: what no namespace keeps apart, what
 * opens paths into Linux that ordinary code has no need of, and what would weaken PID 1, which has
 * the same user id. All else is allowed: this is a list of what is refused, as user code is any
 * program there is.
 *
 * Pointers cannot be looked behind: a call whose arguments lie in memory is refused whole or not at
 * all. Numbers are compared as Linux takes them, in 32 bits, where more bits would pass another
 * value by.
 */
#include "kernel-runner/kernel/kernel_filter.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define PROGRAM_MAX 4096 /* instructions; Linux takes no more */

struct kernel_filter {
    unsigned short len;
    struct sock_filter program[];
};

enum test {
    ALWAYS,
    HAS_BITS,    /* all bits of `value` */
    IS,          /* `value` in 32 bits */
    IS_NOT_ZERO, /* in 64 bits: more is refused, not less */
    OTHER_SETS,  /* not NULL, and for another process than the caller: prlimit64 */
    OTHER_POLICY /* another thread, and not to SCHED_OTHER: sched_setscheduler */
};

#define NR(name) SCMP_SYS(name), #name
/* Newer than the library; the number is the same on every architecture that we know. */
#define NR_OPEN_TREE_ATTR 467
#define NR_MEMFD_SECRET   447
#define NR_QUOTACTL_FD    443

static const struct line {
    int nr;
    const char *name;
    int answer; /* errno */
    enum test test;
    unsigned arg;
    uint32_t value;
} lines[] = {
    /* Keys belong to the host's user and its sessions, not to a namespace. */
    {NR(add_key), EPERM, ALWAYS, 0, 0},
    {NR(request_key), EPERM, ALWAYS, 0, 0},
    {NR(keyctl), EPERM, ALWAYS, 0, 0},

    /* Rings make system calls that no filter sees, and are where Linux broke most often. Libraries
     * fall back on ENOSYS. */
    {NR(io_uring_setup), ENOSYS, ALWAYS, 0, 0},
    {NR(io_uring_enter), ENOSYS, ALWAYS, 0, 0},
    {NR(io_uring_register), ENOSYS, ALWAYS, 0, 0},

    /* Their quota (fs.aio-nr) is the whole host's. */
    {NR(io_setup), ENOSYS, ALWAYS, 0, 0},
    {NR(io_destroy), ENOSYS, ALWAYS, 0, 0},
    {NR(io_submit), ENOSYS, ALWAYS, 0, 0},
    {NR(io_cancel), ENOSYS, ALWAYS, 0, 0},
    {NR(io_getevents), ENOSYS, ALWAYS, 0, 0},
    {NR(io_pgetevents), ENOSYS, ALWAYS, 0, 0},

    /* Programs, counters and page faults inside Linux: what exploits are made of. */
    {NR(bpf), EPERM, ALWAYS, 0, 0},
    {NR(perf_event_open), EPERM, ALWAYS, 0, 0},
    {NR(userfaultfd), EPERM, ALWAYS, 0, 0},

    /* A user namespace of one's own gives capabilities over everything below; no namespace is
     * made, none entered. The flags of clone3 lie in memory: libraries fall back to clone. */
    {NR(unshare), EPERM, ALWAYS, 0, 0},
    {NR(setns), EPERM, ALWAYS, 0, 0},
    {NR(clone3), ENOSYS, ALWAYS, 0, 0},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWUSER},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWNS},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWPID},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWNET},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWIPC},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWUTS},
    {NR(clone), EPERM, HAS_BITS, 0, CLONE_NEWCGROUP},

    /* What is mounted where was decided outside. */
    {NR(mount), EPERM, ALWAYS, 0, 0},
    {NR(umount2), EPERM, ALWAYS, 0, 0},
    {NR(pivot_root), EPERM, ALWAYS, 0, 0},
    {NR(chroot), EPERM, ALWAYS, 0, 0},
    {NR(open_tree), EPERM, ALWAYS, 0, 0},
    {NR_OPEN_TREE_ATTR, "open_tree_attr", EPERM, ALWAYS, 0, 0},
    {NR(move_mount), EPERM, ALWAYS, 0, 0},
    {NR(mount_setattr), EPERM, ALWAYS, 0, 0},
    {NR(fsopen), EPERM, ALWAYS, 0, 0},
    {NR(fspick), EPERM, ALWAYS, 0, 0},
    {NR(fsconfig), EPERM, ALWAYS, 0, 0},
    {NR(fsmount), EPERM, ALWAYS, 0, 0},

    /* Handles open files by number, past every folder and its permissions. */
    {NR(name_to_handle_at), EPERM, ALWAYS, 0, 0},
    {NR(open_by_handle_at), EPERM, ALWAYS, 0, 0},

    /* The whole host's: quotas, log, accounting, swap, its running at all. */
    {NR(quotactl), EPERM, ALWAYS, 0, 0},
    {NR_QUOTACTL_FD, "quotactl_fd", EPERM, ALWAYS, 0, 0},
    {NR(syslog), EPERM, ALWAYS, 0, 0},
    {NR(acct), EPERM, ALWAYS, 0, 0},
    {NR(swapon), EPERM, ALWAYS, 0, 0},
    {NR(swapoff), EPERM, ALWAYS, 0, 0},
    {NR(reboot), EPERM, ALWAYS, 0, 0},
    {NR(kexec_load), EPERM, ALWAYS, 0, 0},
    {NR(kexec_file_load), EPERM, ALWAYS, 0, 0},
    {NR(init_module), EPERM, ALWAYS, 0, 0},
    {NR(finit_module), EPERM, ALWAYS, 0, 0},
    {NR(delete_module), EPERM, ALWAYS, 0, 0},
    {NR(iopl), EPERM, ALWAYS, 0, 0},
    {NR(ioperm), EPERM, ALWAYS, 0, 0},
    {NR(vhangup), EPERM, ALWAYS, 0, 0},

    /* Watching whole mounts, the shared Python tree among them. */
    {NR(fanotify_init), EPERM, ALWAYS, 0, 0},
    {NR(fanotify_mark), EPERM, ALWAYS, 0, 0},

    /* Of other processes: their descriptors, how Linux keeps them, where their memory lies. What a
     * debugger needs (ptrace, process_vm_readv) asks for the rights to trace, and stays. */
    {NR(pidfd_getfd), EPERM, ALWAYS, 0, 0},
    {NR(kcmp), EPERM, ALWAYS, 0, 0},
    {NR(process_madvise), ENOSYS, ALWAYS, 0, 0},
    {NR(migrate_pages), EPERM, ALWAYS, 0, 0},
    {NR(move_pages), EPERM, ALWAYS, 0, 0},

    /* Segments for 16-bit code, often a way into Linux; as where it was built without them. */
    {NR(modify_ldt), ENOSYS, ALWAYS, 0, 0},
    /* Memory that even Linux does not see, and that no sum over processes shows. */
    {NR_MEMFD_SECRET, "memfd_secret", ENOSYS, ALWAYS, 0, 0},

    /* Who holds a lease on a file makes all others wait 45 s to open it: of an ordinary user's
     * Python environment, which all sandboxes and the host share, that would be every start of a
     * kernel. */
    {NR(fcntl), EPERM, IS, 1, F_SETLEASE},

    /* Typing into a terminal that somebody else reads, and drivers for terminals that are none. */
    {NR(ioctl), EPERM, IS, 1, TIOCSTI},
    {NR(ioctl), EPERM, IS, 1, TIOCLINUX},
    {NR(ioctl), EPERM, IS, 1, TIOCSETD},

    /* PID 1 is made no slower and given no limits. A filter sees numbers, not who they are, so
     * these act on the caller alone (0), never on a user (who is the runner, too). */
    {NR(setpriority), EPERM, IS, 0, PRIO_USER},
    {NR(setpriority), EPERM, IS_NOT_ZERO, 1, 0},
    {NR(ioprio_set), EPERM, IS, 0, 3 /* IOPRIO_WHO_USER */},
    {NR(ioprio_set), EPERM, IS_NOT_ZERO, 1, 0},
    {NR(sched_setparam), EPERM, IS_NOT_ZERO, 0, 0},
    {NR(sched_setattr), EPERM, IS_NOT_ZERO, 0, 0},
    {NR(sched_setaffinity), EPERM, IS_NOT_ZERO, 0, 0},
    /* libzmq gives its own threads, by number, the policy that all have. */
    {NR(sched_setscheduler), EPERM, OTHER_POLICY, 0, 0},
    {NR(prlimit64), EPERM, OTHER_SETS, 0, 0},

    /* Signals with a made-up sender. Not to PID 1, which tells by the sender who may end it. */
    {NR(rt_sigqueueinfo), EPERM, IS, 0, 1},
    {NR(rt_tgsigqueueinfo), EPERM, IS, 0, 1},
};

/* AF_VSOCK is not of a network namespace; the rest is drivers that ordinary code never loads. */
static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
#define FAMILY_LAST AF_NETLINK

static int add_test(scmp_filter_ctx c, const struct line *l)
{
    uint32_t action = SCMP_ACT_ERRNO((uint32_t)l->answer);
    const uint64_t low = UINT32_MAX;
    switch (l->test) {
    case ALWAYS:
        return seccomp_rule_add(c, action, l->nr, 0);
    case HAS_BITS:
        return seccomp_rule_add(c, action, l->nr, 1,
                                SCMP_CMP(l->arg, SCMP_CMP_MASKED_EQ, l->value, l->value));
    case IS:
        return seccomp_rule_add(c, action, l->nr, 1,
                                SCMP_CMP(l->arg, SCMP_CMP_MASKED_EQ, low, l->value));
    case IS_NOT_ZERO:
        return seccomp_rule_add(c, action, l->nr, 1, SCMP_CMP(l->arg, SCMP_CMP_NE, 0));
    case OTHER_SETS:
        return seccomp_rule_add(c, action, l->nr, 2, SCMP_A0(SCMP_CMP_NE, 0),
                                SCMP_A2(SCMP_CMP_NE, 0));
    case OTHER_POLICY:
        return seccomp_rule_add(c, action, l->nr, 2, SCMP_A0(SCMP_CMP_NE, 0),
                                SCMP_A1(SCMP_CMP_NE, SCHED_OTHER));
    }
    return -EINVAL;
}

/* A call takes each argument in one comparison, so what is not in `families` goes one by one. */
static int add_families(scmp_filter_ctx c, int nr)
{
    const uint32_t action = SCMP_ACT_ERRNO(EAFNOSUPPORT);
    int r = seccomp_rule_add(c, action, nr, 1, SCMP_A0(SCMP_CMP_GT, FAMILY_LAST));
    for (int family = 0; r == 0 && family <= FAMILY_LAST; family++) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(families); i++)
            known = known || families[i] == family;
        if (!known)
            r = seccomp_rule_add(c, action, nr, 1, SCMP_A0(SCMP_CMP_EQ, (unsigned)family));
    }
    if (r == 0) /* of netlink, the addresses and routes of one's own namespace */
        r = seccomp_rule_add(c, action, nr, 2, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
                             SCMP_A2(SCMP_CMP_NE, 0 /* NETLINK_ROUTE */));
    return r;
}

static int fail(int error, const char *what, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE,
                   "the filter of kernels' system calls cannot be made: %s: %s", what,
                   strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error");
}

static int add_all(scmp_filter_ctx c, struct err *err)
{
    /* Other architectures and x32 have other numbers: they are refused as a whole. */
    int r = seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
    if (r < 0)
        return fail(r, "other architectures", err);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if ((r = add_test(c, &lines[i])) < 0)
            return fail(r, lines[i].name, err);
    if ((r = add_families(c, SCMP_SYS(socket))) < 0 ||
        (r = add_families(c, SCMP_SYS(socketpair))) < 0)
        return fail(r, "families of sockets", err);
    return 0;
}

/* libseccomp writes its program only to a descriptor. */
static int export(scmp_filter_ctx c, struct kernel_filter **ret, struct err *err)
{
    _cleanup_(closep) int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "memfd_create");
    int r = seccomp_export_bpf(c, fd);
    off_t bytes = lseek(fd, 0, SEEK_END);
    if (r < 0 || bytes <= 0 || bytes % (off_t)sizeof(struct sock_filter) != 0 ||
        bytes / (off_t)sizeof(struct sock_filter) > PROGRAM_MAX)
        return fail(r < 0 ? r : -E2BIG, "export", err);
    _cleanup_(freep) struct kernel_filter *f =
        mem_alloc(sizeof(struct kernel_filter) + (size_t)bytes);
    f->len = (unsigned short)((size_t)bytes / sizeof(struct sock_filter));
    if (pread(fd, f->program, (size_t)bytes, 0) != (ssize_t)bytes)
        return err_errno(err, "reading the filter");
    *ret = TAKE_PTR(f);
    return 0;
}

int kernel_filter_new(struct kernel_filter **ret, struct err *err)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    if (!c)
        return fail(-ENOMEM, "libseccomp", err);
    int r = add_all(c, err);
    if (r == 0)
        r = export(c, ret, err);
    seccomp_release(c);
    return r;
}

struct kernel_filter *kernel_filter_free(struct kernel_filter *f)
{
    free(f);
    return NULL;
}

int kernel_filter_install(const struct kernel_filter *f)
{
    struct sock_fprog program = {f->len, (struct sock_filter *)(uintptr_t)f->program};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                        &program);
}
