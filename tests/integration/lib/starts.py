"""Controllers that must not come up: what they say, and that they leave nothing."""

import hashlib
import json
import os
import pathlib
import sys

from .process import Process

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


def refused(controller, *flags, status=FAILED, says=(), prepare=None, **options):
    """Starts a controller that must not come up; returns what it says."""
    it = controller(*flags, start=False, **options)
    it.expected_exits.add(status)
    if prepare:
        prepare(it)
    reason = reason_of(it.spawn(), status)
    assert not runtime_folder(it).exists(), "the runtime directory was left"
    for words in [says] if isinstance(says, str) else says:
        assert words in reason, reason
    return reason


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
