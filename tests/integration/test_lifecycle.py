"""How sandboxes begin and end: the pool, idleness, lifetime, drain, ordinary users."""

import datetime
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from lib import contract
from lib.code import FOREVER_IGNORING
from lib.controller import PYTHON
from lib.process import eventually
from test_adoption import runner_pid

# ---- the warm pool ----


def warm_ids(c):
    """Of sandboxes that became warm, in order."""
    return [line["sandbox"] for line in c.logs if line.get("to") == "warm"]


def test_a_claim_starts_no_kernel_and_the_pool_refills(controller):
    c = controller("--warm", "1")
    c.wait_log(event="sandbox_state", to="warm", timeout=60)
    first = warm_ids(c)[0]
    box = c.sandbox()
    assert box.id == first
    assert box.value("1") == "1"
    eventually(lambda: len(warm_ids(c)) >= 2, 60)
    assert c.sandbox().id == warm_ids(c)[1]


def test_warm_sandboxes_are_not_listed_nor_reached(controller):
    c = controller("--warm", "1")
    c.wait_log(event="sandbox_state", to="warm", timeout=60)
    assert c.admin.get("/api/sandboxes").json()["sandboxes"] == []
    c.admin.get("/api/sandboxes/" + warm_ids(c)[0]).problem("not_found")


def test_a_warm_sandbox_that_does_not_answer_is_not_handed_out(controller):
    c = controller("--warm", "1")
    c.wait_log(event="sandbox_state", to="warm", timeout=60)
    pid = runner_pid(warm_ids(c)[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        box = c.sandbox()
        assert box.id != warm_ids(c)[0]
        assert box.value("2") == "2"
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def test_a_warm_sandbox_that_died_is_replaced(controller):
    c = controller("--warm", "1")
    c.wait_log(event="sandbox_state", to="warm", timeout=60)
    os.kill(runner_pid(warm_ids(c)[0]), signal.SIGKILL)
    eventually(lambda: len(warm_ids(c)) >= 2, 60)
    assert c.sandbox().id == warm_ids(c)[1]


# ---- idleness and lifetime ----


def gone(c, box, timeout=30):
    eventually(lambda: c.alice.get("/api/sandboxes/" + box.id).status == 404, timeout)


def test_an_idle_sandbox_ends_itself_though_it_is_looked_at(controller):
    c = controller()
    box = c.sandbox(idle_timeout_s=1)
    box.ok("x = 1")
    gone(c, box)  # GETs do not keep it


def test_no_controller_is_needed_for_an_idle_sandbox_to_end(controller):
    c = controller()
    box = c.sandbox(idle_timeout_s=2)
    pid = runner_pid(box.id)
    c.kill()
    eventually(lambda: not alive(pid), 30)
    c.start()
    c.alice.get("/api/sandboxes/" + box.id).problem("not_found")


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_running_execution_keeps_a_sandbox(controller):
    c = controller()
    box = c.sandbox(idle_timeout_s=1)
    done = box.execute("import time; time.sleep(2.5); print('done')")
    assert done["stdout"] == "done\n"
    gone(c, box)


def test_a_lifetime_ends_even_a_busy_sandbox(controller):
    c = controller()
    box = c.sandbox(max_lifetime_s=2)
    started = time.monotonic()
    log = box.stream("import time; time.sleep(60)").all()
    assert log[-1]["status"] in ("cancelled", "sandbox_lost"), log[-1]
    assert time.monotonic() - started < 30
    gone(c, box)


def test_expires_at_is_the_earlier_of_idle_and_lifetime(controller):
    c = controller()
    long_life = c.sandbox(idle_timeout_s=100, max_lifetime_s=1000).info
    short_life = c.sandbox(idle_timeout_s=1000, max_lifetime_s=100).info
    for info in (long_life, short_life):
        contract.check_sandbox(info)
        created, expires = (
            datetime.datetime.fromisoformat(info[key].replace("Z", "+00:00"))
            for key in ("created_at", "expires_at")
        )
        assert 95 <= (expires - created).total_seconds() <= 101


# ---- drain ----


def test_delete_while_running_ends_the_stream_and_all_processes(controller):
    c = controller()
    box = c.sandbox()
    box.ok("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)")
    stream = box.stream(FOREVER_IGNORING)
    stream.until_text("started\n")
    queued = box.start("print(1)")["id"]
    assert queued
    c.alice.delete("/api/sandboxes/" + box.id).expect(204)
    log = stream.seen + stream.all()
    assert log[-1]["type"] == "done" and log[-1]["status"] in ("cancelled", "sandbox_lost")
    c.alice.get("/api/sandboxes/" + box.id).problem("not_found")
    # A second one finds nothing to do.
    c.alice.delete("/api/sandboxes/" + box.id).expect(204)


def test_sigterm_ends_a_runner_within_five_seconds(make_runner):
    runner = make_runner()
    box = runner.box()
    stream = box.stream(FOREVER_IGNORING)
    stream.until_text("started\n")
    started = time.monotonic()
    runner.process.signal(signal.SIGTERM)
    log = stream.seen + stream.all()
    assert log[-1]["status"] == "cancelled"
    assert runner.process.wait_exit(10) == 0
    assert time.monotonic() - started < 5


def test_sigterm_of_the_controller_waits_for_open_requests(controller):
    c = controller("--on-exit", "remove")
    box = c.sandbox()
    stream = box.stream("import time\nprint('started', flush=True)\ntime.sleep(1.5)\nprint('end')")
    stream.until_text("started\n")
    c.process.signal(signal.SIGTERM)
    c.wait_log(event="stopping", timeout=20)
    log = stream.seen + stream.all()
    assert log[-1]["status"] == "ok"
    assert contract.stream_text(log).endswith("end\n")
    assert c.process.wait_exit(30) == 0
    c.check_fds = False  # there is no process left to look at


# ---- an ordinary user ----

ORDINARY_UID = 61184


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_an_ordinary_user_gets_isolated_sandboxes(tmp_path_factory):
    """The controller as a user without any privilege; the Python tree is shown to it by a mount
    namespace of its own where it lies in a folder that only root may enter."""
    script = pathlib.Path(__file__).with_name("lib") / "ordinary_user.py"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, str(script), PYTHON],
        env=dict(os.environ, ORDINARY_UID=str(ORDINARY_UID)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ordinary user: ok" in done.stdout


