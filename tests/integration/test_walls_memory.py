"""Memory means all of it: whatever kind code takes, its kernel dies, and the host loses no more than promised.

Each attack stops by itself at 3 GiB, so that a wall that does not hold fails the test and not the machine.
"""

import os
import signal

import pytest
from lib.hostile import FLAGS, alone, died, fresh, goes_on, of_host, small
from lib.process import eventually

MEMORY = 256 << 20
# What a sandbox of 256Mi may take of the host, its files apart: 1.6 times that and 150 MiB.
BOUND = MEMORY * 8 // 5 + (150 << 20)
STOP = 3 << 30


@pytest.fixture(scope="module")
def hostile(module_controller):
    with small(module_controller) as controller:
        yield controller


@pytest.fixture
def victim(hostile):
    with fresh(hostile) as box:
        yield box


def cgroup_trees():
    """Where the cgroups of this test's controllers are: {controller: folder}, as far as they can be made."""
    found = {}
    with open("/proc/self/cgroup") as f:
        for line in f:
            _, names, path = line.rstrip("\n").split(":", 2)
            for name in names.split(","):
                folder = "/sys/fs/cgroup/%s%s" % (name, path.rstrip("/"))
                if name in ("memory", "pids", "cpu") and os.access(folder, os.W_OK):
                    found[name] = folder
    return found


def of_cgroup(box, leaf, name):
    with open(os.path.join(cgroup_trees()["memory"], box.id, leaf, name)) as f:
        return int(f.read())


def held_by_cgroup():
    return "memory" in cgroup_trees()


needs_cgroup = pytest.mark.skipif(not held_by_cgroup(), reason="no cgroup (version 1) can be made here")


def peak(box):
    """The most its kernels ever held, with the buffers of TCP."""
    return of_cgroup(box, "kernels", "memory.max_usage_in_bytes") + of_cgroup(
        box, "kernels", "memory.kmem.tcp.max_usage_in_bytes"
    )


# Each takes until it is killed, or until STOP; `took(n)` ends it there.
ATTACKS = {
    "anonymous": """
held = []
while took(1 << 24): held.append(bytearray(b'x') * (1 << 24))
""",
    "unix_sockets": """
import socket
held = []
data = b'x' * 65536
while True:
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
    a.setblocking(False)
    held.append((a, b))
    try:
        while took(a.send(data)): pass
    except BlockingIOError: pass
    if len(held) == 1500: break
""",
    "tcp": """
import socket
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen(64)
held = []
data = b'x' * 65536
while len(held) < 1500:
    a = socket.socket(); a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
    a.connect(server.getsockname()); b, _ = server.accept()
    b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    a.setblocking(False); held.append((a, b))
    try:
        while took(a.send(data)): pass
    except BlockingIOError: pass
""",
    "udp": """
import socket
held = []
data = b'x' * 16384
while len(held) < 3000:
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0))
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    held.append(a)
    for _ in range(20): took(a.sendto(data, a.getsockname()))
""",
    "memfd": """
import os
fd = os.memfd_create('x')
while took(os.write(fd, b'x' * (1 << 22))): pass
""",
    "sysv_detached": """
import ctypes
c = ctypes.CDLL(None, use_errno=True)
c.shmat.restype = ctypes.c_void_p
while took(1 << 24):
    at = c.shmat(c.shmget(0, 1 << 24, 0o1600), None, 0)
    ctypes.memset(at, 1, 1 << 24)
    c.shmdt(ctypes.c_void_p(at))
""",
    "dev_shm": """
# Full before it is too much, the processes apart: what then comes is.
try:
    while True:
        with open('/dev/shm/%d' % n, 'wb') as f:
            took(f.write(b'x' * (1 << 22)))
except OSError: pass
more = bytearray(b'x') * (64 << 20)
""",
    "unlinked_shm": """
import os
fd = os.open('/dev/shm/x', os.O_CREAT | os.O_RDWR); os.unlink('/dev/shm/x')
try:
    while took(os.write(fd, b'x' * (1 << 22))): pass
except OSError: pass
more = bytearray(b'x') * (64 << 20)
""",
    "page_tables": """
import mmap
# A page in each 2 MiB: as much again in page tables.
held = []
while True:
    m = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.append(m)
    for at in range(0, 1 << 30, 1 << 21):
        m[at]; took(8192)
""",
    # Above the user's share each keeps two pages: more of them, then.
    "pipes": """
import os
held = []
for _ in range(24):
    if os.fork() == 0:
        for _ in range(1900):
            r, w = os.pipe(); os.set_blocking(w, False); held.append((r, w))
            try:
                while took(os.write(w, b'x' * 4096)): pass
            except BlockingIOError: pass
        time.sleep(60)
        os._exit(0)
""",
}
PREFIX = """
import time
n = 0
def took(bytes):
    global n
    n += bytes
    if n > %d: raise SystemExit('not stopped')
    return bytes
"""
THEN_WAIT = "\ntime.sleep(20)\n"


@pytest.mark.parametrize("code", ATTACKS.values(), ids=ATTACKS)
@needs_cgroup
def test_whatever_memory_it_takes_its_kernel_dies(victim, code):
    found = victim.execute(PREFIX % STOP + code + THEN_WAIT, timeout_s=60)
    died(found, signal=9, oom=True)
    most = peak(victim)
    assert most < BOUND, most >> 20
    goes_on(victim, generation=2)
    alone(victim)


@needs_cgroup
def test_memory_that_a_thread_takes_after_its_cell(victim):
    """Nothing runs any more, as far as the runner knows: it looks less often, and the cgroup is the backstop."""
    victim.ok(
        PREFIX % STOP + "import threading, time\n"
        "def eat():\n"
        "    held = []\n"
        "    time.sleep(0.3)\n"
        "    while took(1 << 24): held.append(bytearray(b'x') * (1 << 24))\n"
        "threading.Thread(target=eat, daemon=True).start()"
    )
    eventually(lambda: victim.kernel()["generation"] == 2, 30)
    most = peak(victim)
    assert most < BOUND, most >> 20
    goes_on(victim, generation=2)


@needs_cgroup
def test_the_cgroup_holds_where_the_watchdog_does_not(hostile, victim):
    """The runner stands still meanwhile; it is not what the system kills, and tells what happened."""
    runner, _ = of_host(hostile, victim.id)
    code = (
        "print('up', flush=True)\n"
        "while open('/proc/1/stat').read().rpartition(')')[2].split()[0] != 'T': pass\n"
        "held = []\n"
        "while took(1 << 24): held.append(bytearray(b'x') * (1 << 24))"
    )
    control = os.path.join(cgroup_trees()["memory"], victim.id, "kernels", "memory.oom_control")

    def kills():
        with open(control) as f:
            return int(dict(line.split() for line in f)["oom_kill"])

    with victim.stream(PREFIX % STOP + code, timeout_s=60) as running:
        running.until_text("up")
        os.kill(runner, signal.SIGSTOP)
        try:
            eventually(lambda: kills() > 0, 30)
        finally:
            os.kill(runner, signal.SIGCONT)
        died(running.until("done"), signal=9, oom=True)
    assert peak(victim) < BOUND
    goes_on(victim, generation=2)


# ---- what must go on working ----


def test_full_files_kill_no_kernel(victim):
    """They have a size of their own (--files-max), beside the memory of processes."""
    fill = """
import errno
for folder in ('/uploaded_files', '/tmp'):
    with open(folder + '/full', 'wb') as f:
        try:
            while True: f.write(b'x' * 65536); f.flush()
        except OSError as e: print(e.errno == errno.ENOSPC)
"""
    assert victim.ok(fill)["stdout"] == "True\nTrue\n"
    victim.ok("held = bytearray(b'x') * (160 << 20)")
    goes_on(victim)


def test_shared_memory_of_a_common_size_over_four_restarts(victim):
    """64 MiB of /dev/shm kill data loaders; and what a generation leaves must not count for the next."""
    code = (
        "from multiprocessing import shared_memory\n"
        "m = shared_memory.SharedMemory(create=True, size=150 << 20)\n"
        "m.buf[:] = bytes(150 << 20)\n"
        "print(len(m.buf))"
    )
    for generation in range(1, 6):
        found = victim.ok(code)
        assert (found["stdout"], found["generation"]) == ("%d\n" % (150 << 20), generation), found
        assert victim.restart()["generation"] == generation + 1
    goes_on(victim, generation=6)
    assert victim.value("__import__('os').listdir('/dev/shm')") == "[]"


def test_what_a_generation_leaves_is_cleared(victim):
    leave = """
import ctypes, multiprocessing, os
c = ctypes.CDLL(None)
assert c.shmget(0, 1 << 20, 0o1600) >= 0 and c.msgget(0, 0o1600) >= 0 and c.semget(0, 9, 0o1600) >= 0
left = multiprocessing.Semaphore()
os.mkdir('/dev/shm/joblib_x'); open('/dev/shm/joblib_x/a.pkl', 'w').write('x')
open('/dev/shm/sem.mine', 'w').write('x')
"""
    look = """
import os
def lines(name): return len(open('/proc/sysvipc/' + name).readlines()) - 1
print(lines('shm'), lines('msg'), lines('sem'), sorted(os.listdir('/dev/shm')))
"""
    victim.ok(leave)
    assert "1 1 1 ['joblib_x', " in victim.ok(look)["stdout"]
    victim.restart()
    assert victim.ok(look)["stdout"] == "0 0 0 []\n"


def test_what_another_kernel_uses_is_not_cleared(victim):
    """Of /dev/shm stays what is open or mapped, of System V what a living process made."""
    other = victim.add_kernel()["id"]
    victim.ok(
        "import ctypes, mmap, os\n"
        "c = ctypes.CDLL(None); mine = c.shmget(0, 1 << 20, 0o1600)\n"
        "held = open('/dev/shm/held', 'wb+'); held.write(b'x' * 4096); held.flush()\n"
        "with open('/dev/shm/mapped', 'wb+') as f:\n"
        "    f.write(b'x' * 4096); f.flush(); m = mmap.mmap(f.fileno(), 4096)",
        kernel_id=other,
    )
    victim.ok("import ctypes; ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600); open('/dev/shm/left', 'w').write('x')")
    victim.restart()
    look = "import os; print(sorted(os.listdir('/dev/shm')), len(open('/proc/sysvipc/shm').readlines()) - 1)"
    assert victim.ok(look)["stdout"] == "['held', 'mapped'] 1\n"
    assert victim.value("m[0]", kernel_id=other) == "120"


def test_what_a_deleted_kernel_leaves_is_cleared(victim):
    """At the deletion, though its processes hold files until they are gone; what the main kernel uses stays."""
    look = "__import__('os').listdir('/dev/shm'), len(open('/proc/sysvipc/shm').readlines()) - 1"
    victim.ok(
        "import ctypes; mine = ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600)\n"
        "held = open('/dev/shm/held', 'wb+'); held.write(b'x' * 4096); held.flush()"
    )
    leave = """
import ctypes, multiprocessing, os, time
from multiprocessing import shared_memory
c = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p
assert c.shmat(c.shmget(0, 1 << 20, 0o1600), None, 0) and c.shmget(0, 1 << 20, 0o1600) >= 0
left = open('/dev/shm/left', 'wb+'); left.write(b'x' * 4096); left.flush()
m = shared_memory.SharedMemory(create=True, size=64 << 20); m.buf[:] = bytes(64 << 20)
for _ in range(4):
    if os.fork() == 0:
        os.setsid(); time.sleep(1000)
"""
    for _ in range(3):
        other = victim.add_kernel()["id"]
        victim.ok(leave, kernel_id=other)
        assert victim.value(look).endswith(", 3)") and "'left'" in victim.value(look)
        victim.delete("/kernels/" + other).expect(204)
        eventually(lambda: victim.value(look) == "(['held'], 1)", what="only the main kernel's is left")
    goes_on(victim)


# ---- files and terminals ----


def test_the_number_of_files_has_a_limit(victim):
    """Each empty file costs the host a kilobyte, and no size of a file system counts it."""
    code = """
import os
def fill(folder, most):
    os.makedirs(folder, exist_ok=True)
    for n in range(most):
        try: os.close(os.open('%s/%d' % (folder, n), os.O_CREAT | os.O_WRONLY))
        except OSError as e: return n, e.errno
    return most, 0
found = [fill(folder + '/many', 600000) for folder in ('/uploaded_files', '/tmp', '/run/x', '/dev/shm')]
print(all(1000 < n < 20000 and e == 28 for n, e in found), found)
"""
    found = victim.ok(code, timeout_s=100)["stdout"]
    assert found.startswith("True"), found
    # Folders without room for a file: cells run on, and the files can go.
    goes_on(victim)
    victim.ok("import shutil; [shutil.rmtree(f + '/many') for f in ('/uploaded_files', '/tmp', '/dev/shm')]")
    goes_on(victim)


def test_one_sandbox_does_not_take_all_terminals(hostile, victim):
    code = """
import os
held = []
try:
    while len(held) < 4000: held.append(os.openpty())
except OSError as e: print(len(held), e.errno)
"""
    with fresh(hostile) as neighbour:
        assert victim.ok(code)["stdout"] == "64 28\n"
        assert neighbour.ok("import os; print(len(os.openpty()))")["stdout"] == "2\n"
    victim.ok("for a, b in held: os.close(a); os.close(b)")
    assert victim.ok("print(len(os.openpty()))")["stdout"] == "2\n"
    goes_on(victim)


# ---- cgroups ----


def folders_of(sid):
    return [os.path.join(tree, sid) for tree in cgroup_trees().values() if os.path.exists(os.path.join(tree, sid))]


@needs_cgroup
def test_the_runner_and_its_kernels_are_in_cgroups_of_their_own(hostile):
    with fresh(hostile) as box:
        box.ok("1")
        runner, kernels = of_host(hostile, box.id)
        for folder in folders_of(box.id):
            with open(folder + "/runner/cgroup.procs") as f:
                assert str(runner) in f.read().split()
            with open(folder + "/kernels/cgroup.procs") as f:
                assert sorted(map(int, f.read().split())) == sorted(kernels)
        # Nothing of it is inside: no descriptor, no path.
        found = box.ok(
            "import os\n"
            "links = [os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd') if int(n) > 2 and os.path.lexists('/proc/self/fd/' + n)]\n"
            "print([l for l in links if 'cgroup' in l or 'memory' in l], os.path.exists('/sys/fs/cgroup'))"
        )
        assert found["stdout"] == "[] False\n", found["stdout"]
        sid = box.id
    assert folders_of(sid) == []


@needs_cgroup
def test_cgroups_go_with_their_sandboxes_also_after_a_killed_controller(controller):
    c = controller(*FLAGS)
    living, dying = c.sandbox(), c.sandbox()
    assert len(folders_of(living.id)) == len(folders_of(dying.id)) == len(cgroup_trees())
    runner, _ = of_host(c, dying.id)
    c.kill()
    os.kill(runner, signal.SIGKILL)
    c.start()
    eventually(lambda: not folders_of(dying.id), 20)
    assert living.value("6 * 7") == "42"
    died(living.execute("x = bytearray(b'x') * (400 << 20)"), signal=9, oom=True)
    c.alice.delete("/api/sandboxes/" + living.id).expect(204)
    assert folders_of(living.id) == []
