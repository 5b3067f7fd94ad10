"""Bad flags, settings and token files: usage, in one sentence that names them and no secret."""

import functools
import json
import os
import subprocess

import pytest
from lib.controller import BIN
from lib.process import Process, sanitizer_reports
from lib.starts import FAILED, SOON_S, USAGE, reason_of, refused, spawn_as_ordinary_user


@pytest.fixture
def fails(controller):
    return functools.partial(refused, controller)


# ---- the token file ----


def token_file(text):
    def prepare(it):
        it.token_file.write_bytes(text)

    return prepare


BAD_LINES = {
    "no token": (b"alice", "line 1"),
    "an empty token": (b"alice:", "line 1"),
    "a token of 15 bytes": (b"bob:secret-0123456789\nalice:secret-01234567", "line 2"),
    "an empty name": (b":secret-0123456789", "line 1"),
    "a bad name": (b"al ice:secret-0123456789", "line 1"),
    "an unknown role": (b"alice:secret-0123456789:root", "line 1"),
    "too many parts": (b"alice:secret-0123456789:admin:x", "line 1"),
    "a token with a blank": (b"alice:secret 0123456789", "line 1"),
    "a token beyond ASCII": ("alice:sécret-0123456789".encode(), "line 1"),
    "a token of 513 bytes": (b"alice:" + b"secret-0" * 64 + b"1", "line 1"),
    "a name twice": (b"alice:secret-0123456789\n\nalice:secret-4567890123", "line 3"),
    "a token twice": (b"alice:secret-0123456789\nbob:secret-0123456789", "line 2"),
    "nobody": (b"# alice:secret-0123456789\n\n", "names no caller"),
    "nothing": (b"", "names no caller"),
    "a NUL": (b"alice:secret-0123456789\0", "not a text file"),
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
    (["--allow-host", "https://example.org"], "--allow-host"),
    (["--allow-host", "example.org:8080"], "--allow-host"),
    (["--allow-host", "*.example.org"], "--allow-host"),
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
        ("CAESARION_TOKEN", "0123456789abcde"),
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
