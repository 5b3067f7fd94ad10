"""The programs need no file of the checkout, and an interpreter needs ipykernel alone: packages rely on it."""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from lib.controller import BIN, PYTHON, ROOT
from lib.hostile import end, goes_on, of_host
from lib.process import Process

PROGRAMS = ("caesarion", "caesarion-runner", "caesarion-attach")
pytestmark = pytest.mark.timeout(240)  # the first run installs with pip
REQUIREMENTS = ROOT / "images/runner/requirements.txt"


def say(code):
    return subprocess.run([PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def environment():
    """A virtual environment with the pinned ipykernel and what pip takes with it; made once and kept."""
    (pin,) = re.findall(r"^ipykernel==\S+$", REQUIREMENTS.read_text(), re.M)
    base = say("import sys; print(sys.base_prefix)")
    name = hashlib.sha256((base + REQUIREMENTS.read_text()).encode()).hexdigest()[:16]
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    folder = cache / ("ipykernel-alone-" + name)
    with open(cache / "ipykernel-alone.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([os.path.join(base, "bin/python3"), "-m", "venv", folder], check=True)
            pip = [folder / "bin/python", "-m", "pip", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", "-c", REQUIREMENTS, pin], check=True, timeout=100)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def place(environment, tmp_path_factory):
    """A folder with the programs and that environment, and nothing else; every user may enter it."""
    folder = tmp_path_factory.mktemp("alone")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    (folder / "bin").mkdir()
    for program in PROGRAMS:
        shutil.copy(BIN / program, folder / "bin")
    shutil.copytree(environment, folder / "venv", symlinks=True)
    return folder


def hidden(argv):
    """Runs it where the checkout is an empty folder; that takes root, another user has it beside."""
    if os.geteuid() != 0:
        return argv
    script = 'mount -t tmpfs -o size=64k none "$0" && exec "$@"'
    return [shutil.which("unshare"), "--mount", "--propagation", "private", "sh", "-c", script, str(ROOT), *argv]


@pytest.mark.parametrize("isolation", ["bwrap", "none"])
def test_copied_programs_and_ipykernel_alone_are_enough(controller, place, isolation):
    it = controller(
        "--python",
        place / "venv/bin/python",
        "--isolation",
        isolation,
        "--memory",
        "256Mi",
        env={"CAESARION_RUNNER": None, "CAESARION_PYTHON": None},
        check_fds=False,
        start=False,
    )
    argv = it.argv
    it.argv = lambda *more: [str(place / "bin/caesarion"), *argv(*more)[1:]]

    def spawn(*more):
        it.processes.append(Process(hidden(it.argv(*more)), it.env(), cwd=place))
        return it.process

    it.spawn = spawn
    it.start()
    box = it.sandbox()
    found = box.ok(
        "import sys, os\nfrom IPython.display import HTML, display\n"
        "print(sys.prefix); print('err', file=sys.stderr)\ndisplay(HTML('<b>rich</b>'))\n%pwd\n6 * 7"
    )
    assert (found["stdout"], found["stderr"], found["result"]) == ("%s\n" % (place / "venv"), "err\n", "42"), found
    assert [o["data"]["text/html"] for o in found["outputs"] if o["output_type"] == "display_data"] == ["<b>rich</b>"]
    for name in ("numpy", "matplotlib"):
        assert box.execute("import " + name)["error"]["ename"] == "ModuleNotFoundError"
    assert box.execute("while True: pass", timeout_s=0.5)["status"] == "timeout"
    if os.geteuid() == 0 and isolation == "none":
        assert box.value("os.listdir(%r)" % str(ROOT)) == "[]"
    goes_on(box)
    box.restart()
    goes_on(box, generation=2)
    end(box)


def test_every_program_answers_from_anywhere(place):
    for program in PROGRAMS:
        done = subprocess.run(
            hidden([str(place / "bin" / program), "--help"]), cwd=place, env={"PATH": os.environ["PATH"]},
            capture_output=True, text=True, timeout=30,
        )
        assert done.returncode == 0 and "--" in done.stdout, done


@pytest.mark.parametrize("isolation", ["bwrap", "none"])
def test_a_runner_is_found_by_its_name_and_its_id(controller, isolation):
    """What operators and init scripts look for: both stand in its argument list as the host sees it."""
    it = controller("--isolation", isolation, "--memory", "256Mi")
    box = it.sandbox()
    found = []
    for pid in it.process.descendants():
        words = pathlib.Path("/proc/%d/cmdline" % pid).read_bytes().decode().split("\0")
        if "--id" in words and words[words.index("--id") + 1] == box.id:
            found.append((os.path.basename(words[0]), pathlib.Path("/proc/%d/comm" % pid).read_text().strip()))
    assert ("caesarion-runner", "caesarion-runne") in found, found
    # bubblewrap's monitor names its program too; nothing else has the id.
    assert {name for name, _ in found} <= {"caesarion-runner", "bwrap"}, found
    if isolation == "bwrap":
        runner, _ = of_host(it, box.id)
        assert os.readlink("/proc/%d/exe" % runner).endswith("/caesarion-runner")
    goes_on(box)
    end(box)
