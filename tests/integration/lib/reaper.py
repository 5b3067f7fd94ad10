"""Runs one program as a child subreaper: whatever it leaves behind becomes a child of this process.

It ends when the program *and everything that descends from it* is gone, so waiting for it is waiting
for a clean host; and nothing that a test starts can hide from it by forking, setsid() or the death of
its parent. Lines on the descriptor named first: `pid N`, then `exit STATUS` (as subprocess counts).
When the test process dies (end of file on stdin), it ends all of them.

    python -I -S reaper.py STATUS_FD PROGRAM ARGS...
"""

import ctypes
import os
import signal
import sys
import threading

PR_SET_CHILD_SUBREAPER = 36


def parents():
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as f:
                fields = f.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            found[int(name)] = int(fields[1])
    return found


def descendants(root):
    """Pids of the living processes below `root`, parents first."""
    found, order = parents(), [root]
    for pid in order:
        order += [p for p, parent in found.items() if parent == pid]
    return order[1:]


def end_all():
    while True:
        left = descendants(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        threading.Event().wait(0.01)


def when_orphaned():
    os.read(0, 1)
    end_all()
    os._exit(1)


def main():
    status_fd, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.close(status_fd)
        os.setpgid(0, 0)
        try:
            os.execv(argv[0], argv)
        except OSError as e:
            os.write(2, ("cannot run %s: %s\n" % (argv[0], e)).encode())
            os._exit(127)
    # Only the program may hold these: their end of file is the test's sign that it closed them.
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.write(status_fd, b"pid %d\n" % child)
    threading.Thread(target=when_orphaned, daemon=True).start()
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            break
        if pid == child:
            os.write(status_fd, b"exit %d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


if __name__ == "__main__":
    main()
