"""Starts of the controller that must fail: one clear sentence, a status, nothing left, nobody else hurt."""

import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from lib.controller import BIN
from lib.process import Process, sanitizer_reports

USAGE, FAILED = 2, 1
SOON_S = 30


def runtime_folder(controller):
    """The one that a controller makes for its state directory, whoever runs it."""
    name = hashlib.sha256(os.path.realpath(controller.state_dir).encode()).hexdigest()[:8]
    parent = "/run/caesarion" if os.geteuid() == 0 else str(controller.runtime_dir / "caesarion")
    return pathlib.Path(parent, name)


def reason_of(process, status):
    """What a start that failed said: one line, and nothing to stdout."""
    found = process.wait_exit(SOON_S)
    assert found == status, (found, process.stderr.all())
    assert process.wait_all_gone() == [], "a process was left"
    assert process.stdout.all() == []
    lines = [json.loads(line) for line in process.stderr.all()]
    assert [line["event"] for line in lines if line["level"] == "error"] == ["start_failed"], lines
    reason = lines[-1]["reason"]
    assert 10 < len(reason) < 3000 and "\n" not in reason.split(": ")[0], reason
    return reason


@pytest.fixture
def fails(controller):
    """Starts a controller that must not come up; returns what it says."""

    def start(*flags, status=FAILED, says=(), prepare=None, **options):
        it = controller(*flags, start=False, **options)
        it.expected_exits.add(status)
        if prepare:
            prepare(it)
        reason = reason_of(it.spawn(), status)
        assert not runtime_folder(it).exists(), "the runtime directory was left"
        for words in [says] if isinstance(says, str) else says:
            assert words in reason, reason
        return reason

    return start


@pytest.fixture
def elsewhere():
    """A folder that every user may enter, and not below /tmp, where root's sandboxes stage theirs."""
    with tempfile.TemporaryDirectory(prefix="caesarion-", dir="/var/tmp") as path:
        os.chmod(path, 0o755)
        yield pathlib.Path(path)


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def as_ordinary_user(it, limit=None):
    """Argv that starts the controller as user 1000 of a user namespace of its own, not as root.

    limit: how many user namespaces may be made inside (a sysctl of that namespace alone).
    """
    code = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "uid, gid = os.getuid(), os.getgid()\n"
        "assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())\n"
        "open('/proc/self/uid_map', 'w').write('1000 %d 1' % uid)\n"
        "open('/proc/self/setgroups', 'w').write('deny')\n"
        "open('/proc/self/gid_map', 'w').write('1000 %d 1' % gid)\n"
        "if sys.argv[1]: open('/proc/sys/user/max_user_namespaces', 'w').write(sys.argv[1])\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    return [sys.executable, "-I", "-c", code, "" if limit is None else str(limit), *it.argv()]


def spawn_as_ordinary_user(it, limit=None):
    process = Process(as_ordinary_user(it, limit), it.env(), cwd=it.dir)
    it.processes.append(process)
    return process


# ---- python ----


def test_python_missing(fails):
    fails(
        env={"CAESARION_PYTHON": "/nowhere/python"},
        status=USAGE,
        says=["/nowhere/python", "not found", "--python"],
    )


def test_python_missing_from_the_path(fails):
    env = {"CAESARION_PYTHON": "no-such-python"}
    fails(env=env, status=USAGE, says=["no-such-python", "not found", "--python"])


def test_python_that_cannot_be_executed(fails, tmp_path):
    path = tmp_path / "python"
    path.write_text("no program")
    fails("--python", path, says=[str(path), "cannot be executed"])
    fails("--python", tmp_path, says=[str(tmp_path), "Permission denied"])


def test_python_that_is_none(fails, tmp_path):
    fails("--python", "/bin/true", status=USAGE, says="it did not say where its files are")
    words = program(tmp_path / "a", "#!/bin/sh\necho out of order >&2\nexit 3\n")
    assert fails("--python", words, status=USAGE).endswith("out of order\n")


def test_python_that_never_answers(fails, tmp_path):
    path = program(tmp_path / "python", "#!/bin/sh\necho thinking >&2\nsleep 1000\n")
    fails("--python", path, says=["did not answer within 20 s", "thinking"])


# ---- the runner ----


def test_a_runner_that_is_missing(fails, tmp_path):
    fails("--runner", "/nowhere/runner", says=["/nowhere/runner", "--runner"])
    fails("--runner", tmp_path, status=USAGE, says=[str(tmp_path), "cannot be executed"])


# ---- bubblewrap ----


def test_bubblewrap_missing(fails, controller):
    env = {"PATH": "/nowhere"}
    fails(env=env, says=["bubblewrap", "was not found", "apt install bubblewrap", "--isolation none"])
    # What the sentence offers works, and warns.
    it = controller("--isolation", "none", env=env)
    assert it.wait_log(event="isolation_none", level="warn")
    assert it.sandbox().value("6 * 7") == "42"


def test_bubblewrap_forbidden(controller):
    """User namespaces are switched off, in a namespace of this test's own."""
    it = controller(start=False)
    it.expected_exits.add(FAILED)
    reason = reason_of(spawn_as_ordinary_user(it, limit=0), FAILED)
    assert "user.max_user_namespaces is 0" in reason and "--isolation none" in reason, reason
    assert not any((it.runtime_dir / "caesarion").iterdir())


def test_bubblewrap_allowed_to_an_ordinary_user(controller):
    """What the test before forbids is why it fails there: the same start without the limit serves."""
    it = controller(start=False)
    spawned = []
    it.spawn = lambda *more: spawned.append(spawn_as_ordinary_user(it)) or spawned[-1]
    it.start()
    assert it.sandbox().value("6 * 7") == "42"


BWRAP_SAYS = {
    "Creating new namespace failed: No space left on device": "namespaces",
    "No permissions to create new namespace, likely because the kernel does not allow": "user namespaces",
    "Can't mount proc on /newroot/proc: Operation not permitted": "systempaths=unconfined",
    "Unknown option --as-pid-1": "too old",
    "Something nobody thought of": "ended with status 1",
}


@pytest.mark.parametrize("said,hint", BWRAP_SAYS.items())
def test_bubblewrap_that_fails_is_explained(fails, elsewhere, said, hint):
    program(elsewhere / "bwrap", '#!/bin/sh\necho "bwrap: %s" >&2\nexit 1\n' % said)
    reason = fails(
        env={"PATH": "%s:/usr/bin:/bin" % elsewhere}, says=["no sandbox can be made on this host", hint]
    )
    assert reason.endswith("bwrap: " + said), reason


# ---- directories ----


def test_a_runtime_directory_that_is_not_writable(controller):
    it = controller(start=False)
    it.expected_exits.add(FAILED)
    it.runtime_dir.chmod(0o500)
    try:
        reason = reason_of(spawn_as_ordinary_user(it), FAILED)
    finally:
        it.runtime_dir.chmod(0o700)
    assert "runtime directory" in reason and "Permission denied" in reason, reason
    assert str(it.runtime_dir) in reason, reason


def test_a_runtime_directory_that_is_a_file(controller):
    it = controller(start=False)
    it.expected_exits.add(FAILED)
    (it.runtime_dir / "caesarion").write_text("in the way")
    reason = reason_of(spawn_as_ordinary_user(it), FAILED)
    assert "runtime directory" in reason and str(it.runtime_dir) in reason, reason
    assert (it.runtime_dir / "caesarion").read_text() == "in the way"


def test_a_state_directory_locked_by_another_controller(controller, fails):
    first = controller()
    box = first.sandbox()
    second = controller(start=False)
    second.expected_exits.add(FAILED)
    second.state_dir.rmdir()
    second.state_dir.symlink_to(first.state_dir)  # by whatever name
    reason = reason_of(second.spawn(), FAILED)
    assert "in use by another controller (pid %d)" % first.pid in reason, reason
    second.state_dir.unlink()
    assert box.value("'next'") == "'next'" and runtime_folder(first).exists()
    # It lasts as long as the process, not as the file.
    first.kill()
    first.start()
    assert box.value("'adopted'") == "'adopted'"


def test_a_state_directory_that_is_a_file(fails):
    def prepare(it):
        it.state_dir.rmdir()
        it.state_dir.write_text("in the way")

    fails(prepare=prepare, says="state directory")


def test_a_state_directory_that_is_something_else(fails):
    def prepare(it):
        (it.state_dir / "letters").write_text("private")
        it.state_dir.chmod(0o755)

    fails(prepare=prepare, says=["state directory", "open to others", "holds other things"])


@pytest.mark.parametrize("size", [0, 5, 33])
def test_a_key_that_is_damaged(fails, size):
    def prepare(it):
        (it.state_dir / "key").write_bytes(b"k" * size)
        (it.state_dir / "key").chmod(0o600)

    reason = fails(prepare=prepare, status=FAILED if size > 32 else USAGE, says="/key")
    assert "damaged" in reason or "longer" in reason, reason


@pytest.mark.parametrize("name", ["key", "token"])
def test_a_secret_that_others_may_read(fails, name):
    def prepare(it):
        (it.state_dir / name).write_bytes(b"k" * 32)
        (it.state_dir / name).chmod(0o644)

    fails(prepare=prepare, tokens=False, says=["may be read by others", "chmod 600"])


# ---- where it serves ----


def test_a_port_that_is_taken(fails):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        fails(listen=address, says=["port %s " % address.split(":")[1], "taken", "--listen"])
        with socket.create_connection(taken.getsockname()):  # its owner serves on
            taken.accept()[0].close()


def test_two_controllers_at_one_port(controller, fails):
    first = controller()
    fails(listen="%s:%d" % first.address, says="taken")
    first.alice.get("/api/sandboxes").expect(200)


def test_two_controllers_at_one_socket(controller, fails, tmp_path):
    path = "/tmp/caesarion-test-%d" % os.getpid()
    first = controller(listen="unix:" + path)
    fails(listen="unix:" + path, says=[path, "in use"])
    first.alice.get("/api/sandboxes").expect(200)
    first.kill()
    assert os.path.exists(path)
    second = controller(listen="unix:" + path)  # a socket that nobody serves is no obstacle
    second.alice.get("/api/sandboxes").expect(200)
    second.stop()
    assert not os.path.exists(path)


def test_a_socket_where_a_file_is(fails, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    fails(listen="unix:%s" % path, says=[str(path), "in use"])
    assert path.read_text() == "precious"
    fails(listen="unix:/nowhere/socket", says=["/nowhere/socket", "No such file"])
    fails(listen="unix:/tmp/" + "x" * 103, status=USAGE, says="107 bytes")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_a_port_of_root(fails):
    fails(listen="127.0.0.1:1", says=["127.0.0.1:1", "Permission denied"])


# ---- the token file ----


def token_file(text):
    def prepare(it):
        it.token_file.write_bytes(text)

    return prepare


BAD_LINES = {
    "no token": (b"alice", "line 1"),
    "an empty token": (b"alice:", "line 1"),
    "an empty name": (b":secret-0123", "line 1"),
    "a bad name": (b"al ice:secret-0123", "line 1"),
    "an unknown role": (b"alice:secret-0123:root", "line 1"),
    "too many parts": (b"alice:secret-0123:admin:x", "line 1"),
    "a token with a blank": (b"alice:secret 0123", "line 1"),
    "a token beyond ASCII": ("alice:sécret-0123".encode(), "line 1"),
    "a token of 513 bytes": (b"alice:" + b"secret-0" * 64 + b"1", "line 1"),
    "a name twice": (b"alice:secret-0123\n\nalice:secret-4567", "line 3"),
    "a token twice": (b"alice:secret-0123\nbob:secret-0123", "line 2"),
    "nobody": (b"# alice:secret-0123\n\n", "names no caller"),
    "nothing": (b"", "names no caller"),
    "a NUL": (b"alice:secret-0123\0", "not a text file"),
}


@pytest.mark.parametrize("text,says", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_of_the_token_file(fails, text, says):
    reason = fails(prepare=token_file(text), status=USAGE, says=[says, "/tokens"])
    assert "secret" not in reason, reason


def test_a_token_file_of_other_kinds(fails):
    def missing(it):
        it.token_file.unlink()

    def folder(it):
        missing(it)
        it.token_file.mkdir()

    def pipe(it):
        missing(it)
        os.mkfifo(it.token_file)

    def large(it):
        with it.token_file.open("r+b") as f:
            f.truncate(1 << 30)

    fails(prepare=missing, says=["cannot read the token file", "No such file"])
    fails(prepare=folder, status=USAGE, says="is not a plain file")
    fails(prepare=pipe, status=USAGE, says="is not a plain file")
    fails(prepare=large, says="larger than")


def test_a_token_file_that_may_not_be_read(controller):
    it = controller(start=False)
    it.expected_exits.add(FAILED)
    it.token_file.chmod(0o000)
    reason = reason_of(spawn_as_ordinary_user(it), FAILED)
    assert "cannot read the token file" in reason and "Permission denied" in reason, reason


# ---- flags ----

BAD_FLAGS = [
    (["--bogus"], "--bogus"),
    (["extra"], "extra"),
    (["-w", "1"], "-w"),
    (["--warm"], "--warm"),
    (["--warm", ""], "--warm"),
    (["--warm", "-1"], "--warm"),
    (["--warm", "1.5"], "--warm"),
    (["--warm", "1001"], "--warm"),
    (["--warm", "99999999999999999999"], "--warm"),
    (["--max-sandboxes", "0"], "--max-sandboxes"),
    (["--exec-timeout", "0s"], "--exec-timeout"),
    (["--exec-timeout", "5"], "--exec-timeout"),
    (["--exec-timeout", "25h"], "--exec-timeout"),
    (["--idle-timeout", "1y"], "--idle-timeout"),
    (["--memory", "1Zi"], "--memory"),
    (["--memory", "1G"], "--memory"),
    (["--memory", "99999999999Gi"], "--memory"),
    (["--files-max", "1"], "--files-max"),
    (["--isolation", "some"], "--isolation"),
    (["--network", "NONE"], "--network"),
    (["--backend", "kubernetes"], "--backend"),
    (["--on-exit", "burn"], "--on-exit"),
    (["--log-level", "loud"], "--log-level"),
    (["--metrics-open=perhaps"], "--metrics-open"),
    (["--allow-origin", "example.org"], "--allow-origin"),
    (["--allow-origin", "https://example.org/path"], "--allow-origin"),
    (["--listen", "8080"], "--listen"),
    (["--listen", "127.0.0.1:65536"], "--listen"),
    (["--listen", "127.0.0.1:http"], "--listen"),
    (["--listen", "::1:8080"], "--listen"),
    (["--listen", "no.such.host.invalid:8080"], "--listen"),
    (["--token", "abc-0123"], "--token"),
]


@pytest.mark.parametrize(
    "flags,says", BAD_FLAGS, ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else ""
)
def test_a_bad_flag_is_one_of_usage_and_named(fails, flags, says):
    reason = fails(
        *flags, listen=None if flags[0] == "--listen" else "127.0.0.1:0", status=USAGE, says=says
    )
    assert "abc-0123" not in reason


@pytest.mark.parametrize(
    "name,value",
    [
        ("CAESARION_WARM", "x"),
        ("CAESARION_MEMORY", "much"),
        ("CAESARION_LISTEN", "nowhere"),
        ("CAESARION_TOKEN", "a b"),
    ],
)
def test_a_bad_setting_of_the_environment_is_one_of_usage(fails, name, value):
    listen = None if name == "CAESARION_LISTEN" else "127.0.0.1:0"
    reason = fails(env={name: value}, listen=listen, status=USAGE)
    assert name in reason or name == "CAESARION_LISTEN" and "--listen" in reason, reason


RUNNER_BAD = [
    ([], 2, "--listen"),
    (["--bogus"], 2, "--bogus"),
    (["--listen", "nowhere"], 2, "--listen"),
    (["--listen", "unix:" + "/x" * 60], 2, "107 bytes"),
    (["--listen", "unix:/nowhere/socket"], 1, "/nowhere/socket"),
    (["--listen", "127.0.0.1:0", "--id", "x"], 2, "--id"),
    (["--listen", "127.0.0.1:0", "--log-level", "loud"], 2, "--log-level"),
    (["--listen", "127.0.0.1:0", "--spill-dir", "/nowhere"], 1, "--spill-dir /nowhere"),
    (["--listen", "127.0.0.1:0", "--files", "/proc/nowhere"], 1, "/proc/nowhere"),
    (["--listen-fd", "77"], 1, ""),
    (["--listen", "127.0.0.1:0", "--start-timeout", "soon"], 2, "--start-timeout"),
]


@pytest.mark.parametrize(
    "flags,status,says", RUNNER_BAD, ids=lambda v: " ".join(v)[-40:] if isinstance(v, list) else ""
)
def test_a_runner_that_cannot_start_says_why(tmp_path, flags, status, says):
    paths = ["--files", tmp_path / "files", "--run-dir", tmp_path / "run"]
    (tmp_path / "run").mkdir()
    process = Process(
        [BIN / "caesarion-runner", *paths, *flags], {"PATH": "/usr/bin:/bin"}, cwd=tmp_path
    )
    try:
        assert process.wait_exit(SOON_S) == status, process.stderr.all()
        assert process.wait_all_gone() == []
        lines = process.stderr.all()
        assert not sanitizer_reports(lines)
        errors = [
            m for m in map(json.loads, lines) if m["level"] == "error" and m["event"] == "runner_failed"
        ]
        assert len(errors) == 1 and says in errors[0]["error"], lines
        assert list((tmp_path / "run").iterdir()) == []
    finally:
        process.close()


def test_help_and_version_are_no_faults(tmp_path):
    for name in ("caesarion", "caesarion-runner"):
        for flag in ("--help", "--version"):
            found = subprocess.run([BIN / name, flag], capture_output=True, timeout=SOON_S, cwd=tmp_path)
            assert found.returncode == 0 and name.encode() in found.stdout and found.stderr == b"", found
    assert list(tmp_path.iterdir()) == []


def test_a_stop_while_it_starts_leaves_nothing(controller):
    """SIGTERM at any moment of the start: it ends, soon and clean."""
    for delay in range(8):
        it = controller("--warm", "1", start=False)
        it.expected_exits.add(-signal.SIGTERM)
        process = it.spawn()
        process.wait_exit(delay * 0.1)
        process.signal(signal.SIGTERM)
        assert process.wait_exit(SOON_S) is not None
        assert process.wait_all_gone() == []
        assert not runtime_folder(it).exists() and not list(it.state_dir.glob("sandboxes/*"))
