"""Programs that a test starts: clients, servers, drivers. What they leave behind is a fault."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile

from lib.process import Process

HERE = pathlib.Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
PYTHON = os.environ.get("CAESARION_TEST_CLIENTS_PYTHON", str(ROOT / ".venv-clients/bin/python"))
NODE = os.environ.get("CAESARION_TEST_NODE") or shutil.which("node") or "/usr/bin/node"
CHROMIUM = os.environ.get("CAESARION_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARTEFACTS = ROOT / ".cache" / "clients"
PATIENCE_S = 100


@contextlib.contextmanager
def folder():
    """A directory that is gone afterwards; its path is short (Unix sockets may lie in it)."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def environment(home, **extra):
    """What a client sees of our environment: nothing that Jupyter could find on this machine."""
    env = {
        "PATH": os.pathsep.join([os.path.dirname(PYTHON), "/usr/local/bin", "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Nothing of the network but loopback, however a client was taught to look for updates.
        "NO_PROXY": "*",
    }
    return {**env, **{k: str(v) for k, v in extra.items()}}


def script(name):
    """A program of the clients' environment."""
    return os.path.join(os.path.dirname(PYTHON), name)


class Failed(AssertionError):
    pass


@contextlib.contextmanager
def started(argv, env, cwd="/"):
    """A program that runs during the block and is ended, with all it started, after it."""
    process = Process(argv, env, cwd)
    try:
        yield process
    finally:
        process.close()


def finished(argv, env, cwd="/", timeout=PATIENCE_S):
    """Runs a program to its end, which must be a good one; returns what it printed, by lines."""
    with started(argv, env, cwd) as process:
        status = process.wait_exit(timeout)
        if status is None:
            raise Failed("no end within %g s: %s\n%s" % (timeout, argv, words(process)))
        left = process.wait_all_gone(10)
        process.stdout.wait_end(5)
        process.stderr.wait_end(5)
        if status != 0:
            raise Failed("%s ended with %d:\n%s" % (argv, status, words(process)))
        assert not left, "%s left: %s" % (argv, left)
        return process.stdout.all()


def words(process, lines=60):
    return "\n".join(process.stdout.all()[-lines:] + ["--"] + process.stderr.all()[-lines:])


def result(argv, env, cwd="/", timeout=PATIENCE_S):
    """The last line that a driver prints: what it saw, as JSON."""
    lines = finished(argv, env, cwd, timeout)
    assert lines, "%s printed nothing" % (argv,)
    return json.loads(lines[-1])


def node(script, *args, **env):
    with folder() as home:
        argv = [NODE, str(HERE / "drivers" / script), *[str(a) for a in args]]
        return result(argv, environment(home, **env), HERE)


def python(script, *args, **env):
    with folder() as home:
        argv = [PYTHON, str(HERE / "drivers" / script), *[str(a) for a in args]]
        return result(argv, environment(home, **env), home)
