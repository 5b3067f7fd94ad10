"""Attacks between the walls: what one generation, one kernel or one file leaves to whoever comes next."""

import pytest
from lib.hostile import fresh, goes_on
from lib.walls import KINDS, walled


@pytest.fixture(scope="module", params=KINDS)
def walls(request, module_controller):
    it = walled(module_controller, request.param)
    yield it
    it.hold_logs()
    it.delete_all()


@pytest.fixture
def victim(walls):
    with fresh(walls) as box:
        yield box


def test_no_leases_on_files_that_others_open(victim):
    """As an ordinary user the Python environment is the code's own: a lease made each open() elsewhere wait 45 s."""
    code = """
import fcntl, ipykernel, os
open('mine', 'w').close()
for path in (ipykernel.__file__, 'mine'):
    fd = os.open(path, os.O_RDONLY)
    for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
        try:
            print(fcntl.fcntl(fd, fcntl.F_SETLEASE, kind))
        except OSError as e:
            print(e.errno)
"""
    assert victim.ok(code)["stdout"].split() == ["1"] * 4
    goes_on(victim)


# Each leaves 200 MiB in /dev/shm, so that whoever is started behind them has little left.
LEFT = {
    "deep": "for i in range(200): os.mkdir('d'); os.chdir('d')\nfill()",
    "deeper": "for i in range(3000): os.mkdir('d'); os.chdir('d')\nfill()",
    "read_only": "os.mkdir('d'); os.chdir('d'); fill(); os.chmod('.', 0o500)",
    "closed": "os.mkdir('d'); os.chdir('d'); fill(); os.chmod('.', 0)",
    "all_closed": "fill(); os.chmod('/dev/shm', 0)",
}
FILL = """
import os
os.chdir('/dev/shm')
def fill():
    with open('big', 'wb') as f:
        for i in range(200): f.write(bytes(1 << 20))
"""


@pytest.mark.parametrize("way", LEFT)
def test_memory_that_is_left_goes_wherever_it_lies(victim, way):
    """It lay deeper than the clearing went, or where that had no permission: every next kernel was killed for it."""
    kid = victim.add_kernel()["id"]
    for other_lives, generation in ((True, 2), (False, 3)):
        if not other_lives:
            victim.delete("/kernels/" + kid).expect(204)
        victim.execute(FILL + LEFT[way] + "\nos.kill(os.getpid(), 9)", timeout_s=60)
        code = "import os; s = os.statvfs('/dev/shm'); (s.f_blocks - s.f_bfree) * s.f_bsize >> 20"
        assert victim.value(code, timeout_s=60) == "0"
        assert victim.ok("len(bytearray(b'x') * (100 << 20))")["result"] == str(100 << 20)
        goes_on(victim, generation)


def test_a_kernel_that_makes_files_for_ever_holds_up_no_other_ones_restart(victim):
    kid = victim.add_kernel()["id"]
    spins = """
import os
os.mkdir('/dev/shm/r'); fd = os.open('/dev/shm/r', os.O_RDONLY); i = 0
while True:
    os.mknod(str(i), 0o600, dir_fd=fd)
    if i == 2000: print('spins', flush=True)
    if i > 2000: os.unlink(str(i - 2000), dir_fd=fd)
    i += 1
"""
    with victim.stream(spins, kernel_id=kid, timeout_s=60) as events:
        events.until_text("spins")
        victim.restart()
        goes_on(victim, generation=2)
        victim.delete("/kernels/" + kid).expect(204)


def test_inodes_used_up_everywhere_stop_no_restart(victim):
    code = """
import os
for where in ('/run/caesarion', '/tmp', '/uploaded_files', '/dev/shm'):
    os.mkdir(where + '/m')
    fd = os.open(where + '/m', os.O_RDONLY)
    try:
        for i in range(400000): os.mknod(str(i), 0o600, dir_fd=fd)
    except OSError as e:
        print(e.errno)
"""
    assert victim.ok(code, timeout_s=60)["stdout"].split() == ["28"] * 4
    victim.restart()
    goes_on(victim, generation=2)
    victim.execute("import os; os.kill(os.getpid(), 9)")
    goes_on(victim, generation=3)
    victim.put("new", b"x").problem("no_space")
    kid = victim.add_kernel()["id"]
    assert victim.value("6 * 7", kernel_id=kid) == "42"


@pytest.mark.parametrize("folder", ["/run", "/run/caesarion", "/tmp", "/uploaded_files", "/dev/shm"])
def test_a_folder_that_is_closed_stops_no_restart(victim, folder):
    victim.ok("import os; os.chmod(%r, 0)" % folder)
    victim.restart()
    goes_on(victim, generation=2)


def test_signals_by_a_descriptor_do_not_reach_the_runner(victim):
    code = """
import fcntl, os, socket
for sig in (0, 9, 15, 2, 19, 17):
    a, b = socket.socketpair()
    try:
        fcntl.fcntl(a, fcntl.F_SETOWN, 1)
        fcntl.fcntl(a, 10, sig)  # F_SETSIG
        fcntl.fcntl(a, fcntl.F_SETFL, fcntl.fcntl(a, fcntl.F_GETFL) | os.O_ASYNC)
        for i in range(100): b.send(b'x')
    except OSError:
        pass
"""
    victim.ok(code)
    goes_on(victim)


def test_what_is_no_file_holds_no_thread(victim):
    """Four threads do the file work: a FIFO that was opened to be read would hold one for ever."""
    victim.ok("import os, socket\nfor i in range(6): os.mkfifo('f%d.ipynb' % i)")
    victim.ok("socket.socket(socket.AF_UNIX).bind('s')")
    victim.ok("f = open('holes', 'w'); os.truncate('holes', (1 << 63) - 4096)")
    for name in ["f%d.ipynb" % i for i in range(6)] + ["s", "holes"]:
        assert victim.get("/jupyter/api/contents/" + name, timeout=5).status in (400, 404, 413)
        if name != "holes":
            assert victim.file(name).status in (400, 404, 409)
    assert len(victim.files()["files"]) >= 8
    for name in ["f%d.ipynb" % i for i in range(6)] + ["s", "holes"]:
        victim.remove(name).expect(204)
    goes_on(victim)


# What it leaves behind bends the launcher or ipykernel.
BENT = {
    "flush_blocks": "import sys, time\nclass X:\n  def write(self, s): pass\n  def flush(self):\n"
    "    while True: time.sleep(1)\nsys.stdout = X()",
    "flush_exits": "import sys\nclass X:\n  def write(self, s): pass\n  def flush(self): raise SystemExit\nsys.stdout = X()",
    "flush_recurs": "import sys\nclass X:\n  def write(self, s): self.flush()\n  def flush(self): self.flush()\n"
    "sys.stdout = sys.stderr = X()",
    "handles_nothing": "get_ipython().kernel.should_handle = lambda *a: False",
    "withdraws_all": "class S(set):\n  def __contains__(self, x): return True\n"
    "type(get_ipython().kernel)._withdrawn = S()",
    "dispatches_nothing": "async def f(*a, **k): pass\nget_ipython().kernel.dispatch_shell = f",
    "control_sleeps": "get_ipython().kernel.control_thread.io_loop.add_callback(lambda: __import__('time').sleep(999))",
    "iopub_sleeps": "get_ipython().kernel.iopub_thread.io_thread.io_loop.add_callback(lambda: __import__('time').sleep(999))",
    "blocks_signals": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: pass",
    "stops_itself": "import os\nos.kill(os.getpid(), 19)",
}


@pytest.mark.parametrize("way", BENT)
def test_a_bent_launcher_ends_in_bounded_time(victim, way):
    # 1 s of time limit, 2 s to the kill, 2 s where `busy` never comes; the rest is the machine's.
    assert victim.execute(BENT[way], timeout_s=1, timeout=25)["state"] == "done"
    assert victim.execute("print(1)", timeout_s=1, timeout=25)["state"] == "done"
    victim.restart()
    assert victim.value("6 * 7", timeout_s=60) == "42"
