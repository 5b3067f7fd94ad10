"""Kernels that cannot start: 502 with their own last words, nothing left, and the controller goes on."""

import os
import pathlib
import subprocess
import tempfile
import time

import pytest
from lib.controller import PYTHON
from lib.process import eventually

WORDS_MAX = 2048

# What stands in place of ipykernel's package, and how the detail of the refusal ends.
BROKEN = {
    "dies at import": ("raise RuntimeError('out of order')", "RuntimeError: out of order\n"),
    "dies with very long words": (
        "raise RuntimeError('x' * 100_000 + ' and so it ended')",
        "xxx and so it ended\n",
    ),
    "dies with words beyond ASCII": ("raise RuntimeError('löst sich auf ☠')", "löst sich auf ☠\n"),
    "dies with bytes that are no text": (
        "import os; os.write(2, b'\\xff\\x00\\xfe' * 1000 + b'the end'); os._exit(1)",
        "the end",
    ),
    "exits silently": ("import os; os._exit(3)", "(it said nothing and ended with status 3)"),
    "is killed": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "(it said nothing and was killed by signal 11)",
    ),
    "misses a module": ("import no_such_module", "No module named 'no_such_module'\n"),
    "is no Python": ("this is no Python", "SyntaxError: invalid syntax\n"),
}
SILENT = "import time; time.sleep(1000)"
TALKING = "import sys, time; print('still loading', file=sys.stderr, flush=True); time.sleep(1000)"
# Where the modules are that the stubs do not replace. Sandboxes see such a folder when they are told to.
REAL = subprocess.run(
    [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'), end='')"],
    capture_output=True,
    text=True,
    check=True,
).stdout
MISSING = "ipykernel is not installed for %s (python -m pip install ipykernel)\n"


@pytest.fixture(scope="module")
def folder():
    """Below a folder that only its owner may enter: sandboxes of root see it all the same."""
    with tempfile.TemporaryDirectory(prefix="ck-", dir="/tmp") as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="module")
def python(folder):
    """Makes interpreters: a virtual environment whose ipykernel is the given text, or none."""
    made = {}

    def make(stub=None):
        if stub not in made:
            path = folder / str(len(made))
            subprocess.run([PYTHON, "-m", "venv", "--without-pip", path], check=True)
            if stub is not None:
                site = next((path / "lib").glob("python3*/site-packages"))
                (site / "real.pth").write_text(REAL)
                (site / "ipykernel").mkdir()
                (site / "ipykernel/__init__.py").write_text(stub)
            made[stub] = str(path / "bin/python")
        return made[stub]

    return make


def check_refusal(response, words, head="the kernel did not start. Its last words: "):
    members = response.problem("sandbox_failed")
    assert members["retryable"] is True
    assert head in members["detail"] and members["detail"].endswith(words), members
    assert len(members["detail"].split(head, 1)[1]) <= WORDS_MAX, len(members["detail"])
    return members["detail"]


def check_nothing_left(it):
    """Of sandboxes that failed: no process, no folder."""
    eventually(lambda: not list(it.state_dir.glob("sandboxes/*")), 20, "a sandbox's folder is left")
    eventually(lambda: it.process.descendants() == [], 20, "a process of a sandbox is left")
    assert it.alice.get("/api/sandboxes").expect(200).json()["sandboxes"] == []


# ---- through the controller ----


def test_ipykernel_missing(controller, python):
    it = controller("--python", python())
    for _ in range(2):  # the next request says the same
        check_refusal(it.alice.post("/api/sandboxes"), MISSING % python())
        check_nothing_left(it)
    it.alice.get("/healthz").expect(200)


@pytest.mark.parametrize("stub,words", BROKEN.values(), ids=BROKEN)
def test_ipykernel_that_dies_at_its_start(controller, python, stub, words):
    it = controller("--python", python(stub), "--python-path", REAL)
    check_refusal(it.alice.post("/api/sandboxes"), words)
    check_nothing_left(it)
    check_refusal(it.alice.post("/api/sandboxes"), words)


def test_a_kernel_that_can_start_again_is_made_at_the_next_request(controller, python, folder):
    mark = folder / "fail"
    mark.write_text("")
    stub = "import os\nif os.path.exists(%r): raise RuntimeError('not today')\n" % str(mark)
    # The real package, once the mark is gone.
    stub += (
        "import importlib.util, sys\n"
        "here = sys.modules.pop('ipykernel')\n"
        "__path__[:] = [p + '/ipykernel' for p in sys.path if p.endswith('site-packages') and "
        "os.path.exists(p + '/ipykernel/kernelapp.py')]\n"
        "sys.modules['ipykernel'] = here\n"
        "exec(open(__path__[0] + '/__init__.py').read())\n"
    )
    it = controller("--python", python(stub), "--isolation", "none")
    check_refusal(it.alice.post("/api/sandboxes"), "not today\n")
    mark.unlink()
    box = it.sandbox()
    assert box.value("6 * 7") == "42"
    # A kernel that cannot come back is not given up silently either.
    mark.write_text("")
    found = box.execute("import os; os._exit(1)")
    assert found["status"] == "kernel_died"
    eventually(lambda: box.kernel()["state"] == "dead", 60)
    detail = box.post_execute("1").problem("kernel_dead")["detail"]
    assert detail.endswith("not today\n"), detail
    check_refusal(box.post("/restart"), "not today\n")
    mark.unlink()
    assert box.restart()["state"] == "idle"
    assert box.value("6 * 7") == "42"


def test_a_pool_whose_kernels_die_goes_on_trying_more_and_more_slowly(controller, python):
    flags = ("--python", python(BROKEN["dies at import"][0]), "--python-path", REAL)
    it = controller(*flags, "--warm", "2")
    waits = []
    for n in range(3):
        line = it.process.stderr.wait(
            lambda text: '"sandbox_start_failed"' in text and text not in waits, 30
        )
        assert line and "out of order" in line
        waits.append(line)
    it.alice.get("/healthz").expect(200)
    it.alice.get("/readyz")
    check_refusal(it.alice.post("/api/sandboxes"), "RuntimeError: out of order\n")


@pytest.mark.timeout(150)
def test_ipykernel_that_never_answers(controller, python):
    """Within the minute that a creation may take, and with its words."""
    it = controller("--python", python(TALKING), "--python-path", REAL)
    began = time.monotonic()
    found = it.alice.post("/api/sandboxes", timeout=90)
    assert 40 <= time.monotonic() - began <= 60
    check_refusal(found, "still loading\nthe kernel did not answer in time")
    check_nothing_left(it)
    it.alice.get("/healthz").expect(200)


def test_a_caller_that_does_not_wait_for_a_kernel_that_never_answers(controller, python):
    it = controller("--python", python(SILENT), "--python-path", REAL)
    sock = it.alice.connect()
    sock.sendall(it.alice.head("POST", "/api/sandboxes", {"Content-Length": "0"}))
    eventually(lambda: list(it.state_dir.glob("sandboxes/*")), 20)
    sock.close()
    it.alice.get("/healthz").expect(200)
    it.alice.get("/api/sandboxes").expect(200)
    assert it.stop() == 0  # at once: it waits for nobody


def a_bwrap_that_breaks(where):
    """The real one until a mark is there."""
    path = where / "bwrap"
    path.write_text(
        "#!/bin/sh\n"
        "[ ! -e %s/broken ] || { echo 'bwrap: Creating new namespace failed: No space left on device' >&2; exit 1; }\n"
        'exec /usr/bin/bwrap "$@"\n' % where
    )
    path.chmod(0o755)


def test_bubblewrap_that_fails_after_the_start(controller):
    with tempfile.TemporaryDirectory(prefix="caesarion-", dir="/var/tmp") as where:
        where = pathlib.Path(where)
        where.chmod(0o755)
        a_bwrap_that_breaks(where)
        it = controller(env={"PATH": "%s:/usr/bin:/bin" % where})
        assert it.sandbox().value("6 * 7") == "42"
        (where / "broken").write_text("")
        members = it.alice.post("/api/sandboxes").problem("sandbox_failed")
        assert "namespaces" in members["detail"], members
        assert members["detail"].endswith("No space left on device"), members
        (where / "broken").unlink()
        assert it.sandbox().value("6 * 7") == "42"


def test_a_runner_that_is_another_program(controller):
    it = controller("--runner", "/bin/false")
    members = it.alice.post("/api/sandboxes").problem("sandbox_failed")
    assert members["detail"].endswith("the runner ended before it was ready (exit status 1)"), members
    check_nothing_left(it)


# ---- the runner alone ----


@pytest.mark.parametrize(
    "stub,said", [(SILENT, ""), (TALKING, "still loading\n")], ids=["silent", "talking"]
)
def test_a_runner_gives_up_a_kernel_that_never_answers(make_runner, python, stub, said):
    box = make_runner("--start-timeout", "2s", "--python", python(stub)).box()
    words = said + "the kernel did not answer in time"
    began = time.monotonic()
    check_refusal(box.get("/readyz?wait_ms=60000"), words)
    assert 1 <= time.monotonic() - began <= 10
    detail = box.post_execute("1").problem("kernel_dead")["detail"]
    assert "/restart" in detail and detail.endswith(words), detail
    check_refusal(box.post("/restart"), words)
    check_refusal(box.post("/kernels"), words)
    assert [k["state"] for k in box.kernels()] in (["dead"], ["dead", "dead"])
    box.put("file", b"still served").expect(201)
    assert box.file("file").body == b"still served"


def test_executions_that_wait_for_a_kernel_that_never_answers_are_cancelled(make_runner, python):
    box = make_runner("--start-timeout", "2s", "--python", python(SILENT)).box()
    events = box.stream("print('never')", timeout=20).all()
    assert [e["type"] for e in events] == ["queued", "done"], events
    assert events[-1]["status"] == "cancelled", events
    box.post_execute("1").problem("kernel_dead")


def test_a_runner_whose_python_is_missing(make_runner, tmp_path):
    for path in ("/nowhere/python", tmp_path):
        box = make_runner("--python", path).box()
        detail = box.get("/readyz?wait_ms=20000").problem("sandbox_failed")["detail"]
        assert str(path) in detail and ("No such file" in detail or "Permission denied" in detail), (
            detail
        )
        box.post_execute("1").problem("kernel_dead")


@pytest.mark.parametrize(
    "run,why", [("/proc/nowhere", "cannot be made"), ("/tmp/" + "x" * 100, "too long")]
)
def test_a_runner_whose_run_directory_cannot_be_used(make_runner, run, why):
    box = make_runner("--run-dir", run).box()
    detail = box.get("/readyz?wait_ms=20000").problem("sandbox_failed")["detail"]
    assert run in detail and why in detail, detail
    check_refusal(box.post("/restart"), detail.split("last words: ")[1])
    if os.path.isdir(run):
        os.rmdir(run)
