"""150 processes that do nothing but spin, each in a session of its own (so that no autogroup holds them
together): the runner, the controller and the neighbours are served all the same.
"""

import os
import time

import pytest
from lib.hostile import died, fresh, goes_on
from lib.process import eventually
from test_walls_memory import cgroup_trees, of_cgroup

FLAGS = ("--memory", "256Mi", "--files-max", "16Mi", "--pids", "256")

pytestmark = pytest.mark.skipif("cpu" not in cgroup_trees(), reason="no cgroup (version 1) of the CPU can be made here")

# They begin together, so that making them is quick; each ends by itself after a minute of CPU.
SPIN = """
import os, subprocess, time
r, w = os.pipe()
for _ in range(150):
    subprocess.Popen(['setsid', 'sh', '-c', 'ulimit -t 60; read x; while :; do :; done'], stdin=r)
os.close(r); os.close(w)
print('spinning', flush=True)
"""


@pytest.fixture(scope="module")
def crowded(module_controller):
    yield module_controller(*FLAGS, check_fds=False)


@pytest.fixture
def victim(crowded):
    with fresh(crowded) as box:
        yield box


def test_a_timeout_ends_beside_spinners(victim):
    with victim.stream(SPIN + "while True: pass", timeout_s=3) as running:
        running.until_text("spinning", timeout=60)
        before = time.monotonic()
        done = running.until("done")
    took = time.monotonic() - before
    assert done["status"] == "timeout", done
    assert took < 6, took
    generation = victim.restart()["generation"]
    goes_on(victim, generation=generation)


def test_memory_is_watched_beside_spinners(victim):
    victim.ok("held = bytearray(b'x') * (100 << 20)")
    with victim.stream(SPIN + "more = bytearray(b'x') * (200 << 20)\ntime.sleep(60)", timeout_s=90) as running:
        running.until_text("spinning", timeout=60)
        # Filling it takes long; what is measured is from there to the end.
        eventually(lambda: of_cgroup(victim, "kernels", "memory.max_usage_in_bytes") > 256 << 20, 60)
        before = time.monotonic()
        done = running.until("done")
    assert time.monotonic() - before < 2
    died(done, signal=9, oom=True)
    goes_on(victim, generation=2)


def test_controller_and_neighbours_are_served_beside_spinners(crowded, victim):
    with fresh(crowded) as neighbour:
        neighbour.ok("1")
        victim.ok(SPIN)
        slowest = 0
        for _ in range(30):
            before = time.monotonic()
            crowded.alice.get("/healthz").expect(200)
            assert neighbour.value("6 * 7") == "42"
            assert victim.kernel()["state"] in ("idle", "busy")  # the runner beside them answers
            slowest = max(slowest, time.monotonic() - before)
        assert slowest < 3, slowest
        victim.restart()
        goes_on(victim, generation=2)


def test_the_spinners_weigh_as_one(crowded, victim):
    victim.ok("1")
    folder = os.path.join(cgroup_trees()["cpu"], victim.id)
    shares = {}
    for name in ("", "runner/", "kernels/"):
        with open("%s/%scpu.shares" % (folder, name)) as f:
            shares[name] = int(f.read())
    assert shares[""] == 1024 and shares["runner/"] >= 16 * shares["kernels/"], shares
