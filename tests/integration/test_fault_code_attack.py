"""Hostile code against the runner and for privileges (design, section Trust). Nothing of it succeeds, and the
next request on the same sandbox is served.
"""

import platform
import signal
import time

import pytest
from lib.hostile import end, fresh, goes_on, of_host, small, status_of
from lib.process import SANITIZER_ENV

# A sanitizer's own handlers would end the runner for signals that no ordinary build heeds.
ENV = {
    "ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"]
    + ":handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0",
}


@pytest.fixture(scope="module")
def hostile(module_controller):
    with small(module_controller, env=ENV) as controller:
        yield controller


@pytest.fixture
def victim(hostile):
    with fresh(hostile) as box:
        yield box


# System calls that neither Python nor the C library has a function for.
CALLS = {
    "x86_64": {"SIGQUEUE": 129, "TGKILL": 234, "TGSIGQUEUE": 297, "GETFD": 438, "BPF": 321, "KEXEC": 246},
    "aarch64": {"SIGQUEUE": 138, "TGKILL": 131, "TGSIGQUEUE": 240, "GETFD": 438, "BPF": 280, "KEXEC": 104},
}[platform.machine()]
NUMBERS = "".join("%s = %d\n" % pair for pair in CALLS.items())


# ---- PID 1 ----

SIGNALS = (
    NUMBERS
    + """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)

class Info(ctypes.Structure):
    _fields_ = [('signo', ctypes.c_int), ('errno', ctypes.c_int), ('code', ctypes.c_int), ('pad', ctypes.c_int),
                ('pid', ctypes.c_int), ('uid', ctypes.c_uint), ('rest', ctypes.c_char * 104)]

def plain(number):
    os.kill(1, number)

def queued(number, code=-1, pid=0):
    info = Info(number, 0, code, 0, pid, 0)
    if libc.syscall(SIGQUEUE, 1, number, ctypes.byref(info)):
        raise OSError(ctypes.get_errno(), 'rt_sigqueueinfo')

def thread(number):
    for tid in os.listdir('/proc/1/task'):
        libc.syscall(TGKILL, 1, int(tid), number)

def thread_queued(number, code=-1):
    info = Info(number, 0, code, 0, 0, 0)
    for tid in os.listdir('/proc/1/task'):
        libc.syscall(TGSIGQUEUE, 1, int(tid), number, ctypes.byref(info))

def by_pidfd(number):
    signal.pidfd_send_signal(os.pidfd_open(1), number)

def try_every(how):
    for n in range(1, 65):
        try: how(n)
        except PermissionError: pass  # the filter, and Landlock where Linux has it for signals
"""
)


@pytest.mark.parametrize("how", ["plain", "queued", "thread", "thread_queued", "by_pidfd"])
def test_no_signal_reaches_pid_1(hostile, victim, how):
    runner, _ = of_host(hostile, victim.id)
    found = victim.execute(SIGNALS + "try_every(%s); try_every(%s)" % (how, how))
    assert found["status"] == "ok", found["error"]
    goes_on(victim)
    assert status_of(runner)["State"][0] in "SR"
    goes_on(victim)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_forged_senders_do_not_end_the_runner(victim, number):
    # Those that Linux lets pass (-1 …) are refused by the filter.
    code = """
refused = []
for code in (0, 1, 0x80, -1, -2, -3, -4, -5, -6, -60):
    try: queued(%d, code, 0)
    except OSError as e: refused.append(code)
print(refused)
"""
    found = victim.ok(SIGNALS + code % number)
    assert found["stdout"] == "[0, 1, 128, -1, -2, -3, -4, -5, -6, -60]\n", found["stdout"]
    goes_on(victim)


def test_a_delete_is_obeyed_while_pid_1_is_flooded_with_signals(hostile):
    box = hostile.sandbox()
    first, rest = of_host(hostile, box.id)
    box.ok(
        SIGNALS
        + """
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        while True:
            try_every(thread); try_every(plain)
"""
    )
    goes_on(box)
    hostile.hold_logs()
    before = time.monotonic()
    end(box)
    assert time.monotonic() - before < 20
    assert not {first, *rest} & set(hostile.process.descendants())


DENIED = (
    NUMBERS
    + """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
allowed = []

def refused(name, attempt):
    try:
        result = attempt()
    except OSError:
        return
    if result != -1:
        allowed.append((name, repr(result)[:100]))

for name in ('environ', 'mem', 'maps', 'io', 'stack', 'auxv', 'syscall', 'timerslack_ns', 'pagemap'):
    refused(name, lambda: open('/proc/1/' + name, 'rb').read(1))
for name in ('cwd', 'root', 'exe'):
    refused(name, lambda: os.readlink('/proc/1/' + name))
for name in ('fd', 'fdinfo', 'map_files'):
    refused(name, lambda: os.listdir('/proc/1/' + name))
for name in ('mem', 'oom_score_adj', 'comm', 'clear_refs', 'attr/current', 'uid_map', 'coredump_filter', 'sched'):
    refused('write ' + name, lambda: open('/proc/1/' + name, 'r+b', buffering=0).write(b'0'))
for n in range(64):
    refused('fd %d' % n, lambda: os.open('/proc/1/fd/%d' % n, os.O_RDONLY))
refused('ptrace attach', lambda: libc.ptrace(16, 1, 0, 0))
refused('ptrace seize', lambda: libc.ptrace(0x4206, 1, 0, 0))
buffer = ctypes.create_string_buffer(8)
class Vec(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
here, there = Vec(ctypes.addressof(buffer), 8), Vec(0x400000, 8)
refused('process_vm_readv', lambda: libc.process_vm_readv(1, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
refused('process_vm_writev', lambda: libc.process_vm_writev(1, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
pidfd = os.pidfd_open(1)
for n in range(32):
    refused('pidfd_getfd', lambda: libc.syscall(GETFD, pidfd, n, 0))
refused('setns', lambda: libc.setns(pidfd, 0x20000000))
for task in os.listdir('/proc/1/task'):
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_DATA):
        refused('prlimit', lambda: resource.prlimit(int(task), kind, (1, 1)) and 1)
refused('more processes', lambda: resource.setrlimit(resource.RLIMIT_NPROC, (10 ** 6, 10 ** 6)) and 1)
"""
)


def test_pid_1_shows_and_takes_nothing(victim):
    # A raised limit is a ValueError of Python's.
    code = DENIED.replace("except OSError:", "except (OSError, ValueError):")
    found = victim.ok(code + "print(allowed)")
    assert found["stdout"] == "[]\n", found["stdout"]
    goes_on(victim)


PRIVILEGES = """
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000, 0x80):
    refused('unshare %x' % flag, lambda: libc.unshare(flag))
refused('mount', lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))
refused('umount', lambda: libc.umount2(b'/proc', 2))
refused('remount', lambda: libc.mount(None, b'/', None, 0x20 | 0x1000, None))
refused('chroot', lambda: os.chroot('/tmp') or 1)
refused('setuid', lambda: os.setuid(0) or 1)
refused('setgroups', lambda: os.setgroups([0]) or 1)
refused('sethostname', lambda: libc.sethostname(b'x', 1))
refused('mknod', lambda: os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)) or 1)
refused('bpf', lambda: libc.syscall(BPF, 5, 0, 0))
refused('reboot', lambda: libc.reboot(0))
refused('kexec', lambda: libc.syscall(KEXEC, 0, 0, 0, 0))
for path in ('/etc/x', '/usr/x', '/x', '/dev/x', '/lib/x', '/caesarion-runner', '/etc/passwd', '/proc/sysrq-trigger',
             '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/hostname'):
    refused('write ' + path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT))
with open('/proc/self/status') as f:
    status = dict(line.rstrip(chr(10)).split(':\\t', 1) for line in f if ':\\t' in line)
print(status['NoNewPrivs'], status['CapEff'], status['CapBnd'], status['Uid'].split(), status['Groups'].split())
"""


def test_no_privilege_can_be_had(victim):
    found = victim.ok(DENIED.split("for name in ('environ'")[0] + PRIVILEGES + "print(allowed)")
    none = "0" * 16
    assert found["stdout"] == "1 %s %s %r []\n[]\n" % (none, none, ["1000"] * 4), found["stdout"]
    goes_on(victim)


def test_a_program_with_the_setuid_bit_gains_nothing(victim):
    found = victim.ok(
        "import os, subprocess\n"
        "suid = [p for d in ('/usr/bin', '/usr/sbin') for p in (d + '/' + n for n in os.listdir(d))\n"
        "        if os.path.isfile(p) and os.stat(p).st_mode & 0o4000]\n"
        "subprocess.run(['/bin/sh', '-c', 'cp /bin/id /tmp/id; chmod u+s /tmp/id; /tmp/id -u']); None"
    )
    assert found["stdout"] == "1000\n", found
    goes_on(victim)


def test_user_code_cannot_write_the_log(hostile, victim):
    before = len(hostile.runner_log(victim.id))
    victim.ok("""
kernel = get_ipython().kernel
def parts(n):
    import json
    raw = [json.dumps({'msg_id': str(n), 'msg_type': 'stream', 'session': 's'}).encode(),
           json.dumps(kernel.get_parent('shell')['header'], default=str).encode(), b'{}', b'{malformed']
    return [b'<IDS|MSG>', kernel.session.sign(raw), *raw]
for n in range(5000): kernel.iopub_thread.send_multipart([b't', *parts(n)])
import os; os.write(2, b'fake log line')
""")
    goes_on(victim)
    assert len(hostile.runner_log(victim.id)) - before <= 2
