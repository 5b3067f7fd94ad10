"""Where a wall cannot stand: the runner or its kernel does not start and says why, except on a host without Landlock."""

import errno
import json
import os
import platform
import sys

import pytest

OPENAT2, SECCOMP = 437, {"x86_64": 317, "aarch64": 277}[platform.machine()]
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446

# Answers one system call with an errno, as an old Linux or a container's profile does, and becomes a program.
WITHOUT = """
import ctypes, os, struct, sys
number, error = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
code = b''.join(struct.pack('HBBI', *row) for row in [
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)])
buffer = ctypes.create_string_buffer(code)
program = struct.pack('HxxxxxxP', 4, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[3], sys.argv[3:])
"""


def without(number, error):
    return [sys.executable, "-I", "-c", WITHOUT, str(number), str(error)]


def logged(thing, event):
    lines = [json.loads(line) for line in thing.process.stderr.all() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    "number,error,says",
    [
        (OPENAT2, errno.ENOSYS, "openat2 (Linux 5.6)"),
        (OPENAT2, errno.EPERM, "openat2"),
        (CREATE_RULESET, errno.EPERM, "Landlock"),
        (ADD_RULE, errno.EINVAL, "Landlock"),
    ],
    ids=["no openat2", "openat2 refused", "Landlock refused", "no rule"],
)
def test_a_wall_that_does_not_stand_is_fatal_and_named(make_runner, number, error, says):
    with pytest.raises(AssertionError) as failed:
        make_runner(behind=without(number, error))
    log = str(failed.value)
    assert "runner_failed" in log or "kernel" in log, log
    assert says in log, log


@pytest.mark.parametrize(
    "number,error,says",
    [(RESTRICT_SELF, errno.E2BIG, "Landlock rules"), (SECCOMP, errno.EINVAL, "filter of system calls")],
    ids=["Landlock", "filter"],
)
def test_a_kernel_does_not_start_without_its_walls(make_runner, number, error, says):
    box = make_runner(behind=without(number, error)).box()
    if box.post_execute("1").status == 200:  # accepted before the kernel was known to be dead, and cancelled
        assert box.executions()[0]["status"] == "cancelled"
    problem = box.post_execute("1").problem("kernel_dead")
    assert says in problem["detail"] and os.strerror(error) in problem["detail"], problem


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP], ids=["ENOSYS", "EOPNOTSUPP"])
def test_a_host_without_landlock_is_one_warning(make_runner, error):
    runner = make_runner(behind=without(CREATE_RULESET, error))
    box = runner.box()
    assert box.value("6 * 7") == "42"
    box.restart()
    assert box.value("6 * 7") == "42"
    assert [line["level"] for line in logged(runner, "landlock_absent")] == ["warn"]
    # The filter stands all the same.
    code = "import ctypes; l = ctypes.CDLL(None, use_errno=True); (l.syscall(425, 1, 0), ctypes.get_errno())"
    assert box.value(code) == "(-1, %d)" % errno.ENOSYS


def test_without_isolation_the_walls_stand_too(make_runner):
    box = make_runner().box()
    code = "import ctypes, os; l = ctypes.CDLL(None, use_errno=True); (l.unshare(0x10000000), ctypes.get_errno())"
    assert box.value(code) == "(-1, %d)" % errno.EPERM
    assert box.value("len(os.listdir('/proc/self/fd')) < 100") == "True"
