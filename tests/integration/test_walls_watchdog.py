"""Where no cgroup can be made: the watchdog counts memory of every kind by itself, as far as it can be known."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from lib.controller import PYTHON
from test_lifecycle import ORDINARY_UID
from test_walls_memory import ATTACKS, MEMORY, PREFIX, STOP, THEN_WAIT, cgroup_trees

# A count of processes comes after what it counts, the later the busier the host: no figure holds for
# certain, as it does with a cgroup. What was taken before was all there is.
BOUND = 5 * MEMORY

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root"),
    pytest.mark.skipif("memory" not in cgroup_trees(), reason="nothing here measures the memory of all processes"),
    pytest.mark.timeout(240),
]


@pytest.fixture
def measured():
    folder = pathlib.Path(cgroup_trees()["memory"], "caesarion-test-%d" % os.getpid())
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(STOP))
        (folder / "memory.kmem.tcp.limit_in_bytes").write_text(str(STOP))
        yield folder
    finally:
        folder.rmdir()


def test_the_watchdog_alone_stops_memory_of_every_kind(measured):
    script = pathlib.Path(__file__).with_name("lib") / "ordinary_memory.py"
    attacks = {name: PREFIX % STOP + code + THEN_WAIT for name, code in ATTACKS.items()}
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, str(script), PYTHON],
        env=dict(
            os.environ,
            ORDINARY_UID=str(ORDINARY_UID),
            ORDINARY_FLAGS="--memory 256Mi --files-max 16Mi --pids 64",
        ),
        input=json.dumps({"cgroup": str(measured), "attacks": attacks}),
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # The start says who holds memory.
    held = [line for line in map(json.loads, done.stderr.splitlines()) if line.get("event") == "memory_held_by"]
    assert [line["memory"] for line in held if line["program"] == "caesarion"] == ["watchdog"], held
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(ATTACKS)
    wrong = {
        name: it for name, it in found.items() if it[:2] != ["kernel_died", True] or it[2] > BOUND or it[3] != "42"
    }
    assert not wrong, found
