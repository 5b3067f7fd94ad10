"""Hostile amounts of output and files: all of it is delivered in order or refused, memory stays bounded,
and the next request on the same sandbox is served.
"""

import hashlib
import threading
import time

import pytest
from lib import contract
from lib.code import Gate
from lib.hostile import FILES_MAX, alone, end, fresh, goes_on, of_host, rss_anon, small
from lib.process import SANITIZER_ENV, eventually

MIB = 1 << 20
PRINTED = 100 * MIB
# A sanitizer's own memory (freed chunks that it holds back) would hide the program's.
SMALL_QUARANTINE = {
    "ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"] + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
}
# What the runner and the controller may hold while 100 MB pass through them.
RUNNER_MAX = 96 * MIB
CONTROLLER_MAX = 64 * MIB


@pytest.fixture(scope="module")
def hostile(module_controller):
    with small(module_controller, env=SMALL_QUARANTINE) as controller:
        yield controller


@pytest.fixture
def victim(hostile):
    with fresh(hostile) as box:
        yield box


class Watch:
    """The largest memory of some processes while a block runs."""

    def __init__(self, **pids):
        self.pids = pids
        self.largest = dict.fromkeys(pids, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        while not self._over.wait(0.02):
            for name, pid in self.pids.items():
                self.largest[name] = max(self.largest[name], rss_anon(pid))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()


# ---- floods ----

FLOOD = """
import hashlib
said = hashlib.sha256()
def say(n):
    line = ('%%09d ' %% n) + 'x' * 10229 + chr(10)
    said.update(line.encode())
    print(line, end='')
for n in range(%d):
    say(n)
""" % (PRINTED // 10240)


def test_a_hundred_megabytes_of_prints_are_streamed_whole_and_in_order(hostile, victim):
    runner, _ = of_host(hostile, victim.id)
    got, size = hashlib.sha256(), 0
    with Watch(runner=runner, controller=hostile.pid) as watch:
        with victim.stream(FLOOD, timeout=100) as events:
            for event in events:
                if event["type"] == "output":
                    text = event["output"]["text"].encode()
                    got.update(text)
                    size += len(text)
                    events.seen.clear()
    assert event["type"] == "done" and event["status"] == "ok" and event["truncated_bytes"] == 0, event
    assert size == PRINTED
    assert victim.value("said.hexdigest()") == repr(got.hexdigest())
    assert watch.largest["runner"] < RUNNER_MAX and watch.largest["controller"] < CONTROLLER_MAX, (
        watch.largest
    )
    goes_on(victim)


def test_a_hundred_megabytes_of_prints_in_one_answer(hostile, victim):
    runner, _ = of_host(hostile, victim.id)
    with Watch(runner=runner, controller=hostile.pid) as watch:
        found = victim.execute(FLOOD, timeout=100)
    assert found["status"] == "ok" and found["truncated_bytes"] == 0
    assert len(found["stdout"]) == PRINTED and len(found["outputs"]) == 1
    assert found["outputs"][0]["text"] == found["stdout"]
    got = hashlib.sha256(found["stdout"].encode()).hexdigest()
    assert victim.value("said.hexdigest()") == repr(got)
    assert watch.largest["runner"] < RUNNER_MAX and watch.largest["controller"] < CONTROLLER_MAX, (
        watch.largest
    )
    goes_on(victim)


def test_one_print_of_twenty_megabytes_without_a_newline(victim):
    found = victim.execute("print('y' * (20 << 20), end='')", timeout=100)
    assert found["status"] == "ok" and found["stdout"] == "y" * (20 * MIB)
    goes_on(victim)


def test_a_megabyte_without_a_newline(victim):
    events = victim.log("import sys; sys.stdout.write('z' * 1048576 + '!')")
    assert events[-1]["status"] == "ok"
    assert contract.stream_text(events, "stdout") == "z" * MIB + "!"
    goes_on(victim)


def test_a_megabyte_without_a_newline_of_a_child(victim):
    found = victim.ok("import subprocess; subprocess.run(['head', '-c', '1048576', '/dev/zero']); None")
    assert found["stdout"] == "\0" * MIB
    goes_on(victim)


def test_bytes_that_are_no_utf8_become_replacement_characters(victim):
    found = victim.ok(
        "import os\nfor n in range(3): os.write(1, b'\\xff\\xfe ok \\xc3\\n')\nos.write(2, b'\\x80')"
    )
    assert found["stdout"] == "\ufffd\ufffd ok \ufffd\n" * 3 and found["stderr"] == "\ufffd", found
    # Characters that are cut in two are put together.
    found = victim.ok(
        "import os, time\nfor b in 'h\\u00e4\\U0001f600'.encode(): os.write(1, bytes([b])); time.sleep(0.02)"
    )
    assert found["stdout"] == "hä\U0001f600", found
    goes_on(victim)


def test_a_thread_that_prints_after_its_cell(victim):
    gate = Gate(victim)
    code = (
        "import threading\ndef late():\n "
        + gate.code.replace("\n", "\n ")
        + "\n print('late', flush=True)\nt = threading.Thread(target=late); t.start()"
    )
    found = victim.ok(code)
    assert found["stdout"] == "" and found["late_outputs"] == []
    gate.open()
    late = eventually(lambda: victim.execution(found["id"])["late_outputs"], 20)
    assert contract.stream_text([{"type": "output", "output": o} for o in late]) == "late\n", late
    assert victim.execution(found["id"])["stdout"] == ""
    goes_on(victim)


def test_a_thread_that_never_stops_printing(victim):
    found = victim.ok(
        "import threading\ngo = True\ndef late():\n while go: print('x' * 10000)\nt = threading.Thread(target=late, daemon=True); t.start()"
    )
    full = eventually(
        lambda: sum(len(str(o)) for o in victim.execution(found["id"])["late_outputs"]) > MIB * 0.9, 60
    )
    assert full
    for n in range(3):
        # Whose output it is, ipykernel decides; the verdict and the result are the cell's own.
        again = victim.ok("%d + 1" % n)
        assert again["result"] == str(n + 1)
    victim.ok("go = False; t.join()")
    assert sum(len(str(o)) for o in victim.execution(found["id"])["late_outputs"]) < 2 * MIB
    goes_on(victim)


DISPLAYS = 20000


def test_a_flood_of_displays_is_delivered_in_order(victim):
    code = (
        "from IPython.display import display\nfor n in range(%d): display({'text/plain': str(n)}, raw=True)"
        % DISPLAYS
    )
    events = victim.log(code)
    assert events[-1]["status"] == "ok", events[-1]
    shown = contract.outputs(events, "display_data")
    assert [int(o["data"]["text/plain"]) for o in shown] == list(range(DISPLAYS))
    found = victim.execution(events[0]["execution_id"])
    assert len(found["outputs"]) == DISPLAYS
    goes_on(victim)


def test_a_flood_of_updates_and_clears(victim):
    code = """
from IPython.display import display, clear_output
shown = display({'text/plain': '0'}, raw=True, display_id='one')
for n in range(1, 3000):
    shown.update({'text/plain': str(n)}, raw=True)
for n in range(3000):
    clear_output(wait=n % 2 == 0)
print('after')
"""
    found = victim.ok(code)
    assert found["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "after\n"}]
    goes_on(victim)


# ---- files ----

FILL = """
def fill(path):
    with open(path, 'wb', buffering=0) as f:
        for n in range(1 << 12):
            if f.write(bytes(1 << 16)) != 1 << 16:
                f.write(b'x')
"""


def test_full_files_are_an_error_to_the_code_and_to_uploads(victim):
    found = victim.execute(FILL + "fill('/uploaded_files/all')")
    assert (found["status"], found["error"]["ename"]) == ("error", "OSError"), found
    assert "No space left" in found["error"]["evalue"]
    goes_on(victim)
    victim.put("more", b"x" * MIB).problem("no_space")
    assert [f["path"] for f in victim.files()["files"]] == ["all"]
    goes_on(victim)
    victim.remove("all").expect(204)
    victim.put("more", b"x" * MIB).expect(201)
    assert victim.file("more").expect(200).body == b"x" * MIB
    goes_on(victim)


def test_an_upload_larger_than_the_files_is_refused_and_leaves_nothing(victim):
    victim.put("large", b"x" * (FILES_MAX + MIB)).problem("no_space")
    assert victim.files()["files"] == []
    goes_on(victim)


# /dev/shm is as large as the memory limit, which counts it.
@pytest.mark.parametrize("path", ["/tmp/all", "/run/all"])
def test_a_full_file_system_stops_no_cell_and_no_restart(victim, path):
    found = victim.execute(FILL + "fill(%r)" % path)
    assert (found["status"], found["error"]["ename"]) == ("error", "OSError"), found
    goes_on(victim)
    fresh_kernel = victim.restart()
    assert fresh_kernel["generation"] == 2
    goes_on(victim, generation=2)
    victim.ok("import os; os.unlink(%r)" % path)


@pytest.mark.parametrize("folder", ["/tmp", "/run"])
def test_a_file_system_full_of_files_stops_no_cell_and_no_restart(victim, folder):
    code = (
        "import errno, os\n"
        "os.mkdir('%s/many')\n"
        "for n in range(200000):\n"
        "    try: os.mknod('%s/many/%%d' %% n)\n"
        "    except OSError as e: full = e.errno == errno.ENOSPC; break\n"
        "full\n"
    )
    assert victim.ok(code % (folder, folder), timeout_s=100)["result"] == "True"
    goes_on(victim)
    assert victim.restart()["generation"] == 2
    goes_on(victim, generation=2)
    victim.ok("import shutil; shutil.rmtree('%s/many')" % folder, timeout_s=100)


def test_both_full_a_cell_runs_and_an_upload_is_refused(victim):
    for path in ("/uploaded_files/all", "/tmp/all"):
        assert victim.execute(FILL + "fill(%r)" % path)["status"] == "error"
    goes_on(victim)
    victim.put("more", b"x" * MIB).problem("no_space")
    found = victim.execute("import tempfile; tempfile.TemporaryFile().write(b'x' * 100000)")
    assert (found["status"], found["error"]["ename"]) == ("error", "OSError"), found
    goes_on(victim)


MANY = 100000


def test_a_hundred_thousand_files_are_listed_page_by_page(controller):
    victim = controller("--files-max", "2Gi").sandbox()  # small sandboxes have room for 16,384
    victim.ok(
        "import os\nos.mkdir('many')\nfor n in range(%d): os.mknod('many/%%06d' %% n)" % MANY, timeout_s=100
    )
    slowest, over = [0.0], threading.Event()

    def ask():
        while not over.is_set():
            before = time.monotonic()
            victim.get("/kernels").expect(200)
            slowest[0] = max(slowest[0], time.monotonic() - before)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        paths, query = [], "?dir=many&limit=1000"
        for _ in range(10):
            page = victim.files(query)
            paths += [f["path"] for f in page["files"]]
            query = "?dir=many&limit=1000&continue=" + page["continue"]
    finally:
        over.set()
        asking.join()
    assert paths == ["many/%06d" % n for n in range(10000)]
    assert slowest[0] < 5, "another request waited %.1f s while files were listed" % slowest[0]
    goes_on(victim)
    # What is deleted by the API or by code is gone.
    victim.ok("import shutil; shutil.rmtree('many')", timeout_s=100)
    assert victim.files()["files"] == []
    goes_on(victim)


WIPE = """
import os, shutil
for top in ('/tmp', '/run', '/dev/shm'):
    for name in os.listdir(top):
        path = os.path.join(top, name)
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
left = [(t, os.listdir(t)) for t in ('/tmp', '/run', '/dev/shm')]
"""


def test_deleting_all_in_tmp_and_run_hurts_only_what_is_deleted(victim):
    found = victim.execute(WIPE)
    assert found["status"] == "ok", found["error"]
    goes_on(victim)
    assert victim.restart()["generation"] == 2
    goes_on(victim, generation=2)
    # A death is as good as a restart; and another kernel can be started.
    victim.execute(WIPE)
    assert victim.execute("import os; os._exit(0)")["status"] == "kernel_died"
    goes_on(victim, generation=3)
    other = victim.add_kernel()["id"]
    assert victim.value("6 * 7", kernel_id=other) == "42"


@pytest.mark.parametrize(
    "how",
    ["os.symlink('/etc', '/run/caesarion')", "open('/run/caesarion', 'w')", "os.mkdir('/run/caesarion', 0)"],
    ids=["link", "file", "no_mode"],
)
def test_something_else_in_place_of_the_runtime_directory(victim, how):
    victim.ok(WIPE + how)
    assert victim.restart()["generation"] == 2
    goes_on(victim, generation=2)


# ---- what is left behind ----

DAEMON = """
import os, sys
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import signal, time
            for n in range(1, 65):
                try: signal.signal(n, signal.SIG_IGN)
                except (OSError, ValueError): pass
            time.sleep(3600)
        os._exit(0)
for n in range(5): daemon()
"""


def test_daemons_end_with_their_kernel(victim):
    victim.ok(DAEMON)
    goes_on(victim)
    victim.restart()
    goes_on(victim, generation=2)
    alone(victim)


def test_nothing_of_daemons_is_left_after_a_delete(hostile):
    box = hostile.sandbox()
    box.ok(DAEMON)
    # The cell does not wait for its grandchildren to be there.
    eventually(lambda: len(of_host(hostile, box.id)[1]) >= 6)
    first, rest = of_host(hostile, box.id)
    hostile.hold_logs()
    end(box)
    living = set(hostile.process.descendants())
    assert not living & {first, *rest}
    box.get("/kernels").problem("not_found")
