"""What the tests of hostile code share: a small sandbox, and proof that it serves as before."""

import contextlib
import os

from .client import Api
from .process import eventually

# Small, so that attacks on a limit are over soon: a loaded machine runs these tests too.
MEMORY = 256 << 20
FILES_MAX = 16 << 20
PIDS = 64
FLAGS = ("--memory", "256Mi", "--files-max", "16Mi", "--pids", str(PIDS))

# Inside: the processes of the sandbox but its first, as {pid: command}.
OTHERS = """
def others():
    import os
    found = {}
    for name in os.listdir('/proc'):
        if not name.isdigit() or name == '1':
            continue
        try:
            with open('/proc/%s/stat' % name) as f:
                text = f.read()
        except OSError:
            continue
        if text.rpartition(')')[2].split()[0] not in 'ZX':
            found[int(name)] = text[text.index('(') + 1 : text.rindex(')')]
    return found
"""


@contextlib.contextmanager
def small(make, **options):
    """A controller of small sandboxes. At its end it holds no more descriptors than at its start."""
    controller = make(*FLAGS, check_fds=False, **options)

    def held():
        # One sandbox's life: connections to those that are gone are closed when a new one is made.
        box = controller.sandbox()
        box.ok("1")
        end(box)
        return len(controller.process.fds())

    before = held()
    yield controller
    controller.hold_logs()
    controller.delete_all()
    eventually(lambda: held() <= before, 20, controller.process.fds())


@contextlib.contextmanager
def fresh(controller):
    box = controller.sandbox()
    try:
        yield box
    finally:
        controller.hold_logs()
        end(box)


def end(box):
    Api(box.address, box.token).delete("/api/sandboxes/" + box.id).expect(204)


def goes_on(box, generation=1):
    """The next request on the sandbox is answered rightly, by this generation of its kernel."""
    found = box.ok("print('next'); 6 * 7", timeout_s=60)
    assert (found["stdout"], found["result"]) == ("next\n", "42"), found
    assert found["generation"] == generation, found
    assert found["late_outputs"] == [] and len(found["outputs"]) == 2, found


def alone(box):
    """No process is in the sandbox but the runner and its one kernel."""
    box.ok(OTHERS)
    found = box.value("len(others())")
    assert found == "1", box.value("others()")


def landlock_version(box):
    """0 where the host has none."""
    code = "import ctypes; ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))"
    return max(int(box.value(code)), 0)


def died(found, signal=None, exit_code=None, oom=False):
    assert found["status"] == "kernel_died", found
    error = found["error"]
    assert error["ename"] == "KernelDied" and error["evalue"], error
    assert (error["signal"], error["exit_code"], error["oom"]) == (signal, exit_code, oom), error


def of_host(controller, sid):
    """The processes of a sandbox as the host sees them: its first (the runner) and the rest."""
    first, inside = None, None
    everybody = controller.process.descendants()
    for pid in everybody:
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                words = f.read().split(b"\0")
            with open("/proc/%d/status" % pid) as f:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        except OSError:
            continue
        if sid.encode() in words and status.get("NSpid", "").split()[-1:] == ["1"]:
            first, inside = pid, os.stat("/proc/%d/ns/pid" % pid).st_ino
    assert first, "no runner of %s among %r" % (sid, everybody)
    rest = []
    for pid in everybody:
        try:
            if pid != first and os.stat("/proc/%d/ns/pid" % pid).st_ino == inside:
                rest.append(pid)
        except OSError:
            pass
    return first, rest


def status_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def rss_anon(pid):
    """Bytes of its own memory, without files and shared memory."""
    return int(status_of(pid)["RssAnon"].split()[0]) << 10
