"""What no process of a kernel may ask Linux for, as root's sandboxes and as an ordinary user's: the attack is
refused, and the next request is served."""

import os

import pytest
from lib.hostile import fresh, goes_on, landlock_version, of_host
from lib.walls import CODE, KINDS, walled


@pytest.fixture(scope="module", params=KINDS)
def walls(request, module_controller):
    it = walled(module_controller, request.param)
    yield it
    it.hold_logs()
    it.delete_all()


@pytest.fixture(scope="module")
def shared_victim(walls):
    with fresh(walls) as box:
        yield box


@pytest.fixture
def victim(walls):
    with fresh(walls) as box:
        yield box


CALLS = {
    "keys": [("add_key", "EPERM"), ("request_key", "EPERM"), ("keyctl", "EPERM", 0, -3, 0)],
    "io_uring": [("io_uring_setup", "ENOSYS", 8), ("io_uring_enter", "ENOSYS"), ("io_uring_register", "ENOSYS")],
    "aio": [("io_setup", "ENOSYS", 1), ("io_submit", "ENOSYS")],
    "bpf": [("bpf", "EPERM", 5)],
    "perf": [("perf_event_open", "EPERM")],
    "userfaultfd": [("userfaultfd", "EPERM", 1), ("userfaultfd", "EPERM", 0)],
    "namespaces": [
        *[("unshare", "EPERM", flag) for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x80)],
        *[("clone", "EPERM", flag | 17) for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000)],
        ("clone", "EPERM", 0x10000000 | 1 << 32 | 17),
        ("clone3", "ENOSYS", 0, 88),
        ("setns", "EPERM", -1, 0),
    ],
    "mounts": [
        (name, "EPERM")
        for name in "mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick "
        "mount_setattr".split()
    ],
    "handles": [("name_to_handle_at", "EPERM"), ("open_by_handle_at", "EPERM")],
    "quotas": [("quotactl", "EPERM"), ("quotactl_fd", "EPERM")],
    "host": [
        (name, "EPERM")
        for name in "syslog acct kexec_load init_module finit_module delete_module reboot swapon swapoff vhangup".split()
    ],
    "watching mounts": [("fanotify_init", "EPERM"), ("fanotify_mark", "EPERM")],
    "others' insides": [
        ("kcmp", "EPERM", 1, 1),
        ("pidfd_getfd", "EPERM", -1),
        ("migrate_pages", "EPERM", 1),
        ("move_pages", "EPERM", 1),
        ("process_madvise", "ENOSYS"),
    ],
}


@pytest.mark.parametrize("kind", CALLS)
def test_calls_are_refused(shared_victim, kind):
    attempts = "".join(
        "print(%r, call(%r, %s))\n" % (name, name, ", ".join(map(str, args))) for name, _, *args in CALLS[kind]
    ).replace(", ))", "))")
    found = shared_victim.ok(CODE + attempts)
    assert found["stdout"].splitlines() == ["%s %s" % (name, error) for name, error, *_ in CALLS[kind]]
    goes_on(shared_victim)


def test_only_ordinary_families_of_sockets(shared_victim):
    """S5: AF_VSOCK is not in the network namespace, so sandboxes met each other and the host there."""
    code = """
import errno, socket
def family(number, kind=socket.SOCK_STREAM, protocol=0):
    try:
        socket.socket(number, kind, protocol).close()
    except OSError as e:
        return errno.errorcode[e.errno]
opened = [n for n in range(64) if any(family(n, kind) != 'EAFNOSUPPORT' for kind in (1, 2, 3, 5))]
print(opened, family(40), family(16, 3, 0), [p for p in range(1, 32) if family(16, 3, p) != 'EAFNOSUPPORT'])
print(family(1), family(2), family(10, 2), [type(s).__name__ for s in socket.socketpair()])
"""
    found = shared_victim.ok(code)
    assert found["stdout"].splitlines() == [
        "[1, 2, 10, 16] EAFNOSUPPORT None []",
        "None None None ['socket', 'socket']",
    ]
    goes_on(shared_victim)


def test_nothing_is_typed_into_a_terminal(shared_victim):
    code = """
import errno, fcntl, os, pty, struct, termios
leader, follower = pty.openpty()
def ioctl(number, argument):
    try:
        fcntl.ioctl(follower, number, argument)
    except OSError as e:
        return errno.errorcode[e.errno]
print(ioctl(0x5412, b'x'), ioctl(0x541C, bytes(8)), ioctl(0x5423, struct.pack('i', 15)))
print(ioctl(termios.TIOCGWINSZ, bytes(8)), os.ttyname(follower).startswith('/dev/pts/'))
"""
    assert shared_victim.ok(code)["stdout"] == "EPERM EPERM EPERM\nNone True\n"
    goes_on(shared_victim)


# ---- PID 1 ----


def of_threads(pid):
    """Of each thread: priority, nice, policy; affinity; what limits it has."""
    found = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        fields = open("/proc/%d/task/%s/stat" % (pid, tid)).read().rpartition(")")[2].split()
        limits = open("/proc/%d/task/%s/limits" % (pid, tid)).read()
        found[tid] = (fields[15], fields[16], fields[38], os.sched_getaffinity(int(tid)), limits)
    return found


WEAKEN = """
import struct
tids = [1] + [int(t) for t in os.listdir('/proc/1/task')]
param = (ctypes.c_int * 1)(0)
attr = ctypes.create_string_buffer(struct.pack('IIQiIQQQ', 48, 5, 0, 19, 0, 0, 0, 0), 48)
mask = (ctypes.c_ulong * 16)(1)
rlimit = (ctypes.c_ulong * 2)(1, 1)
allowed = set()
def attempt(name, *args):
    if call(name, *args) != 'EPERM':
        allowed.add((name, args[:2]))
for tid in tids:
    for high in (0, 1 << 32):
        for which in (0, 1):
            attempt('setpriority', which, tid | high, 19)
        attempt('setpriority', 2 | high, 1000, 19)
        attempt('setpriority', 2 | high, 0, 19)
        for which in (1, 2):
            attempt('ioprio_set', which, tid | high, 3 << 13)
        attempt('ioprio_set', 3 | high, 0, 3 << 13)
        attempt('ioprio_set', 3 | high, 1000, 3 << 13)
        for policy in (3, 5, 0x40000000, 0x40000005):
            attempt('sched_setscheduler', tid | high, policy, param)
        attempt('sched_setparam', tid | high, param)
        attempt('sched_setattr', tid | high, attr, 0)
        attempt('sched_setaffinity', tid | high, 128, mask)
        attempt('prlimit64', tid | high, 0, rlimit, 0)
        attempt('migrate_pages', tid | high, 8, mask, mask)
call('sched_setscheduler', 1, 0, param)
print(sorted(allowed))
"""


def test_pid_1_is_neither_slowed_nor_limited(walls, victim):
    """S8: by priority, policy, affinity, I/O priority or limits, of any thread of the runner."""
    victim.ok("pass")
    runner, _ = of_host(walls, victim.id)
    before = of_threads(runner)
    assert len(before) > 1
    found = victim.ok(CODE + WEAKEN)
    assert found["stdout"] == "[]\n", found["stdout"]
    after = of_threads(runner)
    assert {tid: after[tid] for tid in before} == before
    goes_on(victim)


def test_kernels_stand_behind_the_runner(walls, victim):
    runner, _ = of_host(walls, victim.id)
    mine = int(open("/proc/%d/stat" % runner).read().rpartition(")")[2].split()[16])
    code = """
import os, subprocess
print(os.nice(0))
for less in (-1, -20):
    try: print(os.nice(less))
    except OSError as e: print(type(e).__name__)
print(subprocess.run(['nice'], capture_output=True, text=True).stdout.strip(), os.nice(5))
"""
    found = victim.ok(code)
    assert found["stdout"].split() == [str(min(mine + 10, 19)), *["PermissionError"] * 2, str(mine + 10), str(mine + 15)]
    goes_on(victim)


FORGE = """
import signal, struct
class Info(ctypes.Structure):
    _fields_ = [('signo', ctypes.c_int), ('errno', ctypes.c_int), ('code', ctypes.c_int), ('pad', ctypes.c_int),
                ('pid', ctypes.c_int), ('uid', ctypes.c_uint), ('rest', ctypes.c_char * 104)]
me = os.getpid()
def fill():
    # Blocked real-time signals stay queued, each with its own record.
    signal.pthread_sigmask(signal.SIG_BLOCK, range(34, 65))
    info, n = Info(40, 0, -1, 0, me, os.getuid()), 0
    while call('rt_tgsigqueueinfo', me, me, 40, ctypes.byref(info)) == 0 and n < 200000:
        n += 1
    return n
filled = fill()
tids = [1] + [int(t) for t in os.listdir('/proc/1/task')]
for number in (15, 2):
    for code in (-1, -6, -2, -60):
        info = Info(number, 0, code, 0, 0, 0)
        for tid in tids:
            call('rt_sigqueueinfo', tid, number, ctypes.byref(info))
            call('rt_tgsigqueueinfo', 1, tid, number, ctypes.byref(info))
            call('tgkill', 1, tid, number)
    os.path.exists('/proc/1')
print(filled)
"""


def test_a_full_queue_of_signals_forges_no_sender(walls, victim):
    """S7: with RLIMIT_SIGPENDING used up, a forged SIGTERM looked like the controller's."""
    found = victim.ok(CODE + FORGE, timeout_s=60)
    runner, _ = of_host(walls, victim.id)
    with open("/proc/%d/limits" % runner) as f:
        limit = next(line.split()[3] for line in f if line.startswith("Max pending signals"))
    assert 0 < int(found["stdout"]) <= 512 < int(limit), (found["stdout"], limit)
    goes_on(victim)


# ---- kernels of one sandbox ----


def test_kernels_of_a_sandbox_neither_signal_nor_trace_each_other(victim):
    """Landlock makes each a domain of its own; where Linux is older than 6.12 only traces are refused."""
    pid = victim.value("import os; os.getpid()")
    scoped = landlock_version(victim)
    if scoped < 1:
        pytest.skip("this host has no Landlock")
    kid = victim.add_kernel()["id"]
    found = victim.ok(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "try: os.kill(%s, 0); print('signalled')\nexcept OSError as e: print(type(e).__name__)\n"
        "print(libc.ptrace(0x4206, %s, 0, 0))\n"
        "child = os.fork()\n"
        "if child == 0:\n    import time; time.sleep(60); os._exit(0)\n"
        "os.kill(child, 9); print(os.waitpid(child, 0)[1])" % (pid, pid),
        kernel_id=kid,
    )
    assert found["stdout"].split() == ["PermissionError" if scoped >= 6 else "signalled", "-1", "9"]
    assert victim.ok("1", kernel_id=kid)["generation"] == 1
    # The runner stands outside: it interrupts, kills and replaces them as before.
    victim.restart(kernel_id=kid)
    assert victim.ok("1", kernel_id=kid, timeout_s=60)["generation"] == 2
    goes_on(victim)
