"""Hostile code against its own kernel: hangs, exhausts, kills. What it is told, and that the next request
on the same sandbox is served.
"""

import pytest
from lib import contract
from lib.code import FOREVER, FOREVER_IGNORING, Gate
from lib.hostile import PIDS, alone, died, fresh, goes_on, landlock_version, of_host, small, status_of
from lib.process import eventually


@pytest.fixture(scope="module")
def hostile(module_controller):
    with small(module_controller) as controller:
        yield controller


@pytest.fixture
def victim(hostile):
    with fresh(hostile) as box:
        yield box


def state_inside(controller, box):
    """The state of the one process beside the runner, as a letter."""
    _, rest = of_host(controller, box.id)
    return "".join(status_of(pid)["State"][0] for pid in rest)


# ---- code that does not end ----


def test_a_loop_for_ever_times_out_and_its_state_is_kept(victim):
    victim.ok("kept = 'kept'")
    found = victim.execute("while True: pass", timeout_s=0.5)
    assert found["status"] == "timeout" and found["error"]["ename"] == "KeyboardInterrupt", found
    assert found["duration_ms"] >= 500 and found["generation"] == 1, found
    assert victim.value("kept") == "'kept'"
    goes_on(victim)


STUBBORN = {
    "ignores_sigint": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "catches_every_interrupt": "while True:\n try:\n  while True:\n   len([])\n except KeyboardInterrupt:\n  pass",
    "blocks_sigint": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    # PyDLL keeps the GIL: nothing of Python runs, not even ipykernel's own threads.
    "holds_the_gil_in_c": "import ctypes; c = ctypes.PyDLL(None); m = ctypes.create_string_buffer(64)\n"
    "c.pthread_mutex_lock(m); c.pthread_mutex_lock(m)",
}


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_a_loop_that_no_interrupt_ends_is_killed_after_its_timeout(victim, code):
    victim.ok("lost = 1")
    with victim.stream(code, timeout_s=0.5) as running:
        waiting = victim.start("1 + 1")
        events = running.all()
    contract.check_log(events)
    assert events[-1]["status"] == "timeout" and events[-1]["error"] is None, events[-1]
    assert events[-1]["generation"] == 1
    assert victim.wait(waiting["id"])["status"] == "cancelled"
    found = victim.execute("lost")
    assert (found["status"], found["error"]["ename"]) == ("error", "NameError")
    goes_on(victim, generation=2)


def test_an_interrupt_never_kills_and_a_cancel_does(victim):
    with victim.stream(FOREVER_IGNORING) as running:
        running.until_text("started")
        victim.interrupt().expect(204)
        # What is told to a stubborn one changes nothing: it runs until its timeout or /cancel.
        assert victim.execution(running.id)["state"] == "running"
        assert victim.kernel()["state"] == "busy" and victim.kernel()["generation"] == 1
        victim.cancel(running.id).expect(204)
        done = running.until("done")
    assert done["status"] == "interrupted" and done["error"] is None, done
    goes_on(victim, generation=2)


COUNTING = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import signal, sys
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
sys.stdin.read(1)
print(len(got))
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
got = []
child.stdout.readline()
before = signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
"""


def test_an_interrupt_comes_once_to_the_kernel_and_to_its_children(victim):
    gate = Gate(victim)
    with victim.stream(COUNTING + gate.code + "print(len(got), child.communicate('x')[0])") as running:
        running.until_text("ready")
        victim.interrupt().expect(204)
        gate.open()
        events = running.all()
    assert events[-1]["status"] == "interrupted" and events[-1]["error"] is None, events[-1]
    assert contract.stream_text(events).split() == ["ready", "1", "1"]
    victim.ok("signal.signal(signal.SIGINT, before)")
    goes_on(victim)


# ---- memory, processes, descriptors ----

# Until no more is given.
EAT = """
def eat():
    held = []
    while True:
        held.append(bytearray(b'x') * (1 << 20))
"""
# Shared memory, which RLIMIT_DATA does not count.
EAT_SHARED = """
import mmap, os, time
def eat_shared():
    shared = mmap.mmap(-1, 1 << 30)
    for at in range(0, 1 << 30, 4096):
        shared[at] = 1
    time.sleep(60)
"""
CHILDREN = """
import os, time
for n in range(8):
    if os.fork() == 0:
        try:
            eat()
        except MemoryError:
            time.sleep(60)  # the exception holds the frame, and that what was eaten
        os._exit(0)
time.sleep(60)
"""
DETACHED = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        eat_shared()
    os._exit(0)
time.sleep(60)
"""


def test_memory_that_one_process_takes_kills_the_kernel(victim):
    died(victim.execute(EAT + "eat()"), signal=9, oom=True)
    goes_on(victim, generation=2)
    assert victim.value("len(bytearray(50 << 20))") == str(50 << 20)


def test_address_space_that_is_not_used_is_no_memory(victim):
    """No limit of a process stands where memory is counted: what is only reserved costs nothing."""
    victim.ok("import mmap; m = mmap.mmap(-1, 1 << 32, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)")
    goes_on(victim)


def test_memory_that_is_shared_kills_the_kernel(victim):
    died(victim.execute(EAT_SHARED + "eat_shared()"), signal=9, oom=True)
    goes_on(victim, generation=2)
    alone(victim)


def test_memory_that_eight_children_take_kills_the_kernel(victim):
    died(victim.execute(EAT + CHILDREN), signal=9, oom=True)
    goes_on(victim, generation=2)
    alone(victim)


def test_memory_of_detached_children_does_not_outlive_the_kernel(victim):
    died(victim.execute(EAT_SHARED + DETACHED), signal=9, oom=True)
    goes_on(victim, generation=2)
    alone(victim)


def test_three_thousand_forks_meet_the_limit_of_processes(victim):
    code = (
        """
import os, time
born = []
try:
    for n in range(3000):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        born.append(pid)
except BlockingIOError as e:
    print('refused', len(born) < %d)
"""
        % PIDS
    )
    found = victim.ok(code)
    assert found["stdout"] == "refused True\n", found["stdout"]
    goes_on(victim)
    # The children are still there; a restart ends them.
    found = victim.execute("import subprocess; subprocess.run('true')")
    assert (found["status"], found["error"]["ename"]) == ("error", "BlockingIOError"), found
    assert victim.restart()["generation"] == 2
    alone(victim)
    goes_on(victim, generation=2)


def test_a_fork_bomb_is_ended_by_its_timeout(controller):
    # With memory for as many interpreters as there may be: their number is what it meets.
    victim = controller("--pids", str(PIDS), "--memory", "2Gi").sandbox()
    code = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    found = victim.execute(code, timeout_s=2)
    assert found["status"] == "timeout", found
    goes_on(victim, generation=2)
    alone(victim)


def test_three_thousand_threads_meet_the_limit_of_processes(victim):
    code = (
        """
import threading
go = threading.Event()
n = 0
try:
    for n in range(3000):
        threading.Thread(target=go.wait, daemon=True).start()
except RuntimeError as e:
    print('refused', n < %d)
go.set()
"""
        % PIDS
    )
    assert victim.ok(code)["stdout"] == "refused True\n"
    goes_on(victim)


@pytest.mark.parametrize(
    "how", ["os.closerange(0, 65536)", "os.closerange(3, 65536)"], ids=["all", "above_2"]
)
def test_closing_every_descriptor_kills_the_kernel(victim, how):
    with victim.stream("import os\n" + how, timeout_s=60) as running:
        waiting = victim.start("1 + 1")
        done = running.until("done")
    assert done["status"] == "kernel_died" and done["error"]["oom"] is False, done
    assert victim.wait(waiting["id"])["status"] == "cancelled"
    goes_on(victim, generation=2)


# ---- deaths ----

DEATHS = {
    "exits": ("import os; os._exit(3)", {"exit_code": 3}),
    "segfaults": ("import ctypes; ctypes.string_at(0)", {"signal": 11}),
    "aborts": ("import os; os.abort()", {"signal": 6}),
    "kills_itself": ("import os; os.kill(os.getpid(), 9)", {"signal": 9}),
    "kills_its_group": ("import os; os.killpg(0, 9)", {"signal": 9}),
    "terminates_itself": (
        "import os, signal; signal.signal(15, signal.SIG_DFL); os.kill(os.getpid(), 15)",
        {"signal": 15},
    ),
}


@pytest.mark.parametrize("code, how", DEATHS.values(), ids=DEATHS)
def test_a_death_is_told_and_the_next_kernel_serves(victim, code, how):
    gate = Gate(victim)
    with victim.stream("print('last words', flush=True)\n" + gate.code + code) as running:
        waiting = victim.start("1 + 1")
        running.until_text("last words")  # what was on its way to the runner may die with the kernel
        gate.open()
        events = running.all()
    contract.check_log(events)
    died(events[-1], **how)
    assert events[-1]["generation"] == 1 and events[-1]["user_expressions"] == {}
    assert contract.stream_text(events, "stdout") == "last words\n"
    assert victim.wait(waiting["id"])["status"] == "cancelled"
    goes_on(victim, generation=2)


@pytest.mark.parametrize("by", ["timeout", "interrupt"])
def test_a_kernel_that_stops_itself_is_woken(hostile, victim, by):
    victim.ok("kept = 1")
    gate = Gate(victim)
    code = "print('now', flush=True)\n" + gate.code + "os.kill(os.getpid(), 19)\nwhile True: pass"
    with victim.stream(code, timeout_s=2 if by == "timeout" else 60) as running:
        running.until_text("now")
        gate.open()
        eventually(lambda: state_inside(hostile, victim) == "T", 20)
        if by == "interrupt":
            victim.interrupt().expect(204)
        done = running.until("done")
    assert done["status"] == {"timeout": "timeout", "interrupt": "interrupted"}[by], done
    assert done["error"]["ename"] == "KeyboardInterrupt", done
    assert victim.value("kept") == "1"
    goes_on(victim)


def test_the_fifth_death_within_a_minute_is_final_until_a_restart(victim):
    for generation in range(1, 6):
        found = victim.execute("import os; os._exit(3)")
        died(found, exit_code=3)
        assert found["generation"] == generation, found
    assert victim.kernel()["state"] == "dead"
    victim.post_execute("1").problem("kernel_dead")
    # Dead is its kernel, not the sandbox: files are served.
    victim.put("a", b"x").expect(201)
    assert victim.file("a").expect(200).body == b"x"
    fresh = victim.restart()
    assert fresh["generation"] > 5 and fresh["state"] in ("starting", "restarting", "idle"), fresh
    goes_on(victim, generation=fresh["generation"])
    # The count began anew.
    for _ in range(4):
        died(victim.execute("import os; os._exit(3)"), exit_code=3)
    goes_on(victim, generation=fresh["generation"] + 4)


def test_a_death_spoils_no_other_kernel_of_the_sandbox(victim):
    other = victim.add_kernel()["id"]
    victim.ok("kept = 'kept'", kernel_id=other)
    with victim.stream(FOREVER, kernel_id=other) as running:
        running.until_text("started")
        died(victim.execute("import os; os._exit(3)"), exit_code=3)
        goes_on(victim, generation=2)
        assert victim.execution(running.id)["state"] == "running"
        victim.cancel(running.id).expect(204)
        assert running.until("done")["status"] == "interrupted"
    assert victim.value("kept", kernel_id=other) == "'kept'"


def test_killing_every_process_it_may_leaves_the_kernel_alone(victim):
    victim.ok("import subprocess; children = [subprocess.Popen(['sleep', '600']) for _ in range(3)]")
    victim.ok("import os; os.kill(-1, 9)")
    victim.ok("for c in children: c.wait()")
    goes_on(victim)
    alone(victim)


def test_killing_every_process_leaves_the_sandboxes_other_kernels_alone(victim):
    """Each kernel is a Landlock domain of its own; before Linux 6.12 signals pass between them."""
    other = victim.add_kernel()["id"]
    apart = landlock_version(victim) >= 6
    with victim.stream(FOREVER, kernel_id=other) as running:
        running.until_text("started")
        victim.ok("import os\ntry: os.kill(-1, 9)\nexcept PermissionError: pass")
        if apart:
            victim.interrupt(kernel_id=other)
            assert running.until("done")["status"] == "interrupted"
        else:
            died(running.until("done"), signal=9)
    goes_on(victim)
    assert victim.value("6 * 7", kernel_id=other) == "42"
