"""What callers make a runner hold has one budget: above it they are told so, and nothing is lost of
what stood before. And where the disk has no room, every execution still ends."""

import os
import subprocess

import pytest
from lib import contract
from lib.client import JSON, NDJSON
from lib.code import Gate
from lib.hostile import goes_on
from lib.process import eventually

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0755", "small", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def on_disk(controller, folder, *flags):
    found = controller(*flags, start=False)
    found.state_dir = folder / "s"
    found.state_dir.mkdir(mode=0o700)
    return found.start()


# ---- readers ----

READERS_MAX = 256


def test_repeated_posts_are_readers_too(sandbox):
    gate = Gate(sandbox)
    key = {"Idempotency-Key": "again"}
    fields = {"code": gate.code + "runs = globals().get('runs', 0) + 1\nprint('once')"}
    ask = lambda: sandbox.events_of("POST", "/execute", fields, headers=key)  # noqa: E731
    streams = []
    try:
        for _ in range(READERS_MAX):
            streams.append(ask())
        for accept in (NDJSON, JSON):
            refused = sandbox.post("/execute", fields, headers=dict(key, Accept=accept))
            refused.problem("limit")
        eid = sandbox.executions("?state=running")[0]["id"]
        sandbox.get("/executions/%s/events" % eid).problem("limit")
        # It goes on for those who have it, and a place that is left is free again.
        sandbox.post("/execute", fields, headers=dict(key, Prefer="respond-async")).expect(202)
        streams.pop().close()

        def one_more():
            found = sandbox.open("POST", "/execute", fields, headers=dict(key, Accept=NDJSON))
            [part.close() for part in found]
            return found[1].status == 200

        eventually(one_more, 10, "the place of a reader that left is free again")
        gate.open()
        assert contract.stream_text(streams[0].all()) == "once\n"
    finally:
        for stream in streams:
            stream.close()
    assert sandbox.value("runs") == "1"
    goes_on(sandbox)


# ---- no room on the disk ----


def test_a_full_disk_truncates_and_every_execution_ends(small_disk, controller):
    box = on_disk(controller, small_disk).sandbox()
    seen = box.log("for i in range(40): print('x' * 999_999)\nprint('end', flush=True)")
    assert [e["type"] for e in seen].count("truncated") == 1
    done = seen[-1]
    assert (done["type"], done["status"]) == ("done", "ok")
    kept = len(contract.stream_text(seen))
    assert 4 * MIB < kept < 16 * MIB
    assert done["truncated_bytes"] >= 40_000_000 - kept
    # As JSON, too.
    found = box.execution(seen[0]["execution_id"])
    assert found["status"] == "ok" and found["truncated_bytes"] == done["truncated_bytes"]
    assert found["stdout"] == contract.stream_text(seen)
    # While there is no room: what fits in memory is whole, a question is asked, an error is told.
    stream = box.stream("print('y' * 2_500_000)\nprint(input('name? '))\n1 / 0", allow_stdin=True)
    asked = stream.until("input_request")
    assert asked["prompt"] == "name? "
    box.input(stream.id, "me").expect(204)
    seen = stream.all()
    contract.check_log(seen)
    assert seen[-1]["status"] == "error" and seen[-1]["error"]["ename"] == "ZeroDivisionError"
    found = box.execution(stream.id)
    assert found["stdout"] == "y" * 2_500_000 + "\nme\n" and found["truncated_bytes"] == 0
    goes_on(box)
