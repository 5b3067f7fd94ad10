"""Hostile code against the runner, the host and other sandboxes (design, section Trust). Nothing of it
succeeds, and the next request on the same sandbox is served.
"""

import hashlib
import hmac
import os
import platform
import signal
import socket
import time

import pytest
from lib.hostile import end, fresh, goes_on, of_host, small, status_of
from lib.process import SANITIZER_ENV

SECRET = "hush-a9b8c7d6e5f4"
# A sanitizer's own handlers would end the runner for signals that no ordinary build heeds.
ENV = {
    "ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"]
    + ":handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0",
    "SECRET_X": SECRET,
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

SIGNALS = NUMBERS + """
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

every = [n for n in range(1, 65)]
"""


@pytest.mark.parametrize("how", ["plain", "queued", "thread", "thread_queued", "by_pidfd"])
def test_no_signal_reaches_pid_1(hostile, victim, how):
    runner, _ = of_host(hostile, victim.id)
    found = victim.execute(SIGNALS + "for n in every: %s(n)\nfor n in every: %s(n)" % (how, how))
    assert found["status"] == "ok", found["error"]
    goes_on(victim)
    assert status_of(runner)["State"][0] in "SR"
    goes_on(victim)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_forged_senders_do_not_end_the_runner(victim, number):
    # 0 and positive codes are the kernel's (SI_USER, SI_KERNEL): they cannot be forged.
    code = """
refused = []
for code in (0, 1, 0x80, -1, -2, -3, -4, -5, -6, -60):
    try: queued(%d, code, 0)
    except OSError as e: refused.append(code)
print(refused)
"""
    found = victim.ok(SIGNALS + code % number)
    assert found["stdout"] == "[0, 1, 128, -6]\n", found["stdout"]
    goes_on(victim)


def test_a_delete_is_obeyed_while_pid_1_is_flooded_with_signals(hostile):
    box = hostile.sandbox()
    first, rest = of_host(hostile, box.id)
    box.ok(SIGNALS + """
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        while True:
            queued(15); queued(2); queued(17)
""")
    goes_on(box)
    hostile.hold_logs()
    before = time.monotonic()
    end(box)
    assert time.monotonic() - before < 20
    assert not {first, *rest} & set(hostile.process.descendants())


DENIED = NUMBERS + """
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


# ---- the host ----


def test_the_kernel_inherits_no_descriptor_of_the_runner(hostile, victim):
    runner, (kernel,) = of_host(hostile, victim.id)

    def links(pid):
        return {os.readlink("/proc/%d/fd/%s" % (pid, n)) for n in os.listdir("/proc/%d/fd" % pid)}

    inside = links(kernel)
    shared = inside & links(runner) - {"/dev/null"}
    # One pipe joins them, which carries the kernel's last words; anonymous inodes have no identity.
    pipes = {link for link in shared if not link.startswith("anon_inode:")}
    assert len(pipes) == 1 and pipes.pop().startswith("pipe:"), shared
    named = {link for link in inside if not link.startswith(("pipe:", "socket:", "anon_inode:"))}
    assert named == {"/dev/null"}, named
    goes_on(victim)


def test_the_environment_is_cleared(hostile, victim):
    names = victim.value("import os; ' '.join(sorted(os.environ))").strip("'").split()
    expected = {"PATH", "HOME", "USER", "LANG", "TZ", "TERM", "IPYTHONDIR", "MPLBACKEND", "MPLCONFIGDIR"}
    assert expected <= set(names), names
    assert not [n for n in names if n.startswith(("CAESARION", "SECRET", "XDG_RUNTIME", "SSH", "ASAN", "AWS"))], names
    # What the process was started with, and its children's environment.
    for found in (
        victim.ok("print(open('/proc/self/environ').read())")["stdout"],
        victim.ok("import subprocess; subprocess.run(['env']); None")["stdout"],
    ):
        assert SECRET not in found and "TOKEN" not in found and str(hostile.dir) not in found, found
    goes_on(victim)


def test_paths_of_the_host_are_invisible(hostile, victim):
    for path in (hostile.state_dir, hostile.runtime_dir, hostile.token_file, hostile.home):
        assert victim.value("import os; os.path.exists(%r)" % str(path)) == "False"
    for path in ("/home", "/var", "/root/.ssh", "/boot", "/sys", "/mnt", "/srv", "/etc/shadow", "/etc/ssh", "/work"):
        assert victim.value("os.path.exists(%r)" % path) == "False", path
    assert victim.value("open('/etc/passwd').read().count(chr(10))") == "3"
    assert victim.value("[n for n in os.listdir('/dev') if n.startswith(('sd', 'vd', 'mem', 'kmsg', 'kvm'))]") == "[]"
    found = victim.execute("open('/etc/shadow')")
    assert (found["status"], found["error"]["ename"]) == ("error", "FileNotFoundError")
    assert victim.value("os.uname().nodename") == "'sandbox'"
    goes_on(victim)


def test_there_is_no_network(hostile, victim):
    host, port = hostile.address
    abstract = "caesarion-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + abstract)
        listening.listen(1)
        code = """
import socket
def outcome(family, address):
    s = socket.socket(family)
    s.settimeout(5)
    try: s.connect(address)
    except OSError as e: return type(e).__name__ + str(e.errno)
    return 'connected'
print(outcome(socket.AF_INET, (%r, %d)))
print(outcome(socket.AF_INET, ('192.0.2.1', 80)))
print(outcome(socket.AF_INET6, ('2001:db8::1', 80)))
print(outcome(socket.AF_UNIX, chr(0) + %r))
print([name for _, name in socket.if_nameindex()])
"""
        lines = victim.ok(code % (host, port, abstract))["stdout"].splitlines()
    # ECONNREFUSED from its own loopback, ENETUNREACH.
    assert lines == ["ConnectionRefusedError111", "OSError101", "OSError101", "ConnectionRefusedError111", "['lo']"], lines
    found = victim.execute("socket.getaddrinfo('example.org', 80)")
    assert (found["status"], found["error"]["ename"]) == ("error", "gaierror"), found
    goes_on(victim)


def test_the_runners_socket_cannot_be_reached_from_inside(hostile, victim):
    code = """
import glob, os, socket
found = []
for top, folders, names in os.walk('/'):
    folders[:] = [f for f in folders if os.path.join(top, f) not in ('/proc', '/usr', '/sys')]
    for name in names:
        path = os.path.join(top, name)
        try:
            if os.path.exists(path) and not os.path.isfile(path) and os.stat(path).st_mode >> 12 == 12:
                found.append(path)
        except OSError: pass
print([p for p in found if not p.startswith('/run/caesarion/k-')])
print([line.split()[-1] for line in open('/proc/net/unix') if '.sock' in line])
# ipykernel has one of its own, for the output of forked children.
own = [os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)]
lines = [line.split() for f in ('tcp', 'tcp6', 'udp') for line in list(open('/proc/net/' + f))[1:]]
print([w for w in lines if 'socket:[%s]' % w[9] not in own])
"""
    assert victim.ok(code)["stdout"] == "[]\n[]\n[]\n"
    goes_on(victim)


def test_without_isolation_the_runners_socket_wants_its_token(controller):
    plain = controller("--isolation", "none", "--memory", "256Mi", check_fds=False)
    box = plain.sandbox()
    with open("/proc/net/unix") as f:
        paths = {line.split()[-1] for line in f if box.id[3:] in line and line.rstrip().endswith(".sock")}
    assert len(paths) == 1, paths
    code = """
import http.client, socket
def ask(path, headers):
    c = http.client.HTTPConnection('runner')
    c.sock = socket.socket(socket.AF_UNIX); c.sock.settimeout(20); c.sock.connect(path)
    c.request('POST', '/execute', '{"code":"1"}', dict(headers, **{'Content-Type': 'application/json'}))
    return c.getresponse().status
hashes = [w for w in open('/proc/%d/cmdline' % __import__('os').getppid()).read().split(chr(0)) if len(w) == 64]
print(ask(PATH, {}), ask(PATH, {'Authorization': 'Bearer x'}), ask(PATH, {'Authorization': 'Bearer ' + hashes[0]}))
"""
    found = box.ok("PATH = %r\n" % paths.pop() + code)
    assert found["stdout"] == "401 401 401\n", found["stdout"]
    goes_on(box)
    end(box)


# ---- others ----


def test_sandboxes_have_a_user_of_their_own_on_the_host(hostile, victim):
    if os.geteuid() != 0:
        pytest.skip("only root can give each sandbox a user")
    with fresh(hostile) as other:
        uids = []
        for box in (victim, other):
            runner, rest = of_host(hostile, box.id)
            mine = {u for pid in (runner, *rest) for u in status_of(pid)["Uid"].split() + status_of(pid)["Gid"].split()}
            assert len(mine) == 1, mine
            uids += mine
        assert uids[0] != uids[1] and not {"0", "1000", str(os.geteuid())} & set(uids), uids


def test_two_sandboxes_neither_see_nor_signal_each_other(hostile, victim):
    with fresh(hostile) as other:
        other.ok("import subprocess; p = subprocess.Popen(['sleep', '654321'])\nopen('/tmp/mark', 'w').write('x')")
        runner, rest = of_host(hostile, other.id)
        found = victim.ok(
            "import glob, os\n"
            "print([p for p in glob.glob('/proc/*/cmdline') if b'654321' in open(p, 'rb').read()])\n"
            "print(os.path.exists('/tmp/mark'), os.listdir('/uploaded_files'))\n"
            "for pid in %r:\n"
            "    try: os.kill(pid, 9); print('killed')\n"
            "    except ProcessLookupError: pass\n"
            "try: os.kill(-1, 9)\n"
            "except ProcessLookupError: pass" % [runner, *rest]
        )
        assert found["stdout"] == "[]\nFalse []\n", found["stdout"]
        goes_on(victim)
        assert other.value("p.poll() is None") == "True"
        goes_on(other)


# ---- secrets ----


def test_tokens_and_the_key_are_nowhere_to_be_read(hostile, victim):
    key = (hostile.state_dir / "key").read_bytes()
    token = hmac.new(key, b"caesarion sandbox token\n" + victim.id.encode(), hashlib.sha256).hexdigest()
    runner, rest = of_host(hostile, victim.id)
    # The derivation is the product's: the hash in the runner's arguments is that of this token.
    with open("/proc/%d/cmdline" % runner) as f:
        words = f.read().split("\0")
    assert words[words.index("--token-hash") + 1] == hashlib.sha256(token.encode()).hexdigest()
    secrets = [token.encode(), key, key.hex().encode(), *(t.encode() for t in hostile.tokens.values())]
    goes_on(victim)
    seen = {}
    for pid in (hostile.pid, *hostile.process.descendants()):
        for name in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (pid, name), "rb") as f:
                seen["%s of %d" % (name, pid)] = f.read()
    seen["log"] = "\n".join(hostile.process.stderr.all() + hostile.process.stdout.all()).encode()
    seen["runner's log"] = "\n".join(hostile.runner_log(victim.id)).encode()
    inside = victim.ok(
        "import glob\nfor p in glob.glob('/proc/*/cmdline') + glob.glob('/proc/*/environ') + glob.glob('/run/**', recursive=True):\n"
        "    try: print(p, open(p, 'rb').read())\n    except OSError: pass"
    )
    seen["what code reads"] = inside["stdout"].encode()
    for where, text in seen.items():
        for secret in secrets:
            assert secret not in text, where
        if "of %d" % hostile.pid not in where:
            assert SECRET.encode() not in text, where
    assert b'--token-hash' in seen["what code reads"]  # which opens nothing:
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
import os
os.write(2, b'fake log line')
""")
    goes_on(victim)
    assert len(hostile.runner_log(victim.id)) - before <= 2
