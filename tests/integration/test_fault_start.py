"""Starts of the controller that must fail: one clear sentence, a status, nothing left, nobody else hurt."""

import functools
import os
import pathlib
import signal
import socket
import tempfile

import pytest
from lib.starts import FAILED, SOON_S, USAGE, reason_of, refused, runtime_folder, spawn_as_ordinary_user


@pytest.fixture
def fails(controller):
    return functools.partial(refused, controller)


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
    first.start()  # on the state directory of the one that was killed
    first.alice.get("/api/sandboxes").expect(200)


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
