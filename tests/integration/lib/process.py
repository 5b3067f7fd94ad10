"""A program under the reaper: its output by lines as they come, its end, what it left behind."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from .reaper import descendants

REAPER = pathlib.Path(__file__).with_name("reaper.py")
SANITIZER = re.compile(
    r"ERROR: \w*Sanitizer|WARNING: \w*Sanitizer|SUMMARY: \w*Sanitizer|: runtime error: |LeakSanitizer has"
)
SANITIZER_ENV = {
    "ASAN_OPTIONS": "strict_string_checks=1:detect_stack_use_after_return=1:"
    "check_initialization_order=1:strict_init_order=1:detect_leaks=1:abort_on_error=1:log_path=stderr",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:abort_on_error=1:log_path=stderr",
    "LSAN_OPTIONS": "report_objects=1",
}


class Lines:
    """Lines of a pipe, gathered by a thread so that the writer never blocks; waits have deadlines."""

    def __init__(self, pipe):
        self._pipe = pipe
        self._lines = []
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._gather, daemon=True).start()

    def _gather(self):
        with self._pipe:
            for raw in self._pipe:
                with self._changed:
                    self._lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def all(self):
        with self._changed:
            return list(self._lines)

    def wait_end(self, timeout):
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, timeout)

    def wait(self, matches, timeout, start=0):
        """The first line from number `start` on for which matches(line); None at the end or deadline."""
        deadline = time.monotonic() + timeout
        at = start
        with self._changed:
            while True:
                while at < len(self._lines):
                    if matches(self._lines[at]):
                        return self._lines[at]
                    at += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)


class Process:
    def __init__(self, argv, env, cwd="/", pass_fds=()):
        read_fd, write_fd = os.pipe()
        self.argv = [str(a) for a in argv]
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(REAPER), str(write_fd), *self.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            pass_fds=(write_fd, *pass_fds),
            # A new session: signals of the terminal are pytest's.
            start_new_session=True,
        )
        os.close(write_fd)
        self._status = Lines(os.fdopen(read_fd, "rb"))
        self.stdout = Lines(self._reaper.stdout)
        self.stderr = Lines(self._reaper.stderr)
        line = self._status.wait(lambda text: text.startswith("pid "), 20)
        assert line, "the reaper did not start"
        self.pid = int(line[4:])

    def wait_exit(self, timeout=30):
        """The exit status (negative: the signal), or None when it still runs."""
        line = self._status.wait(lambda text: text.startswith("exit "), timeout)
        return None if line is None else int(line[5:])

    @property
    def alive(self):
        return self.wait_exit(0) is None

    def signal(self, number):
        if self.alive:
            os.kill(self.pid, number)

    def descendants(self):
        """Living processes that came from it, itself apart, also those whose parents died."""
        return [p for p in descendants(self._reaper.pid) if p != self.pid]

    def kill(self):
        self.signal(signal.SIGKILL)
        assert self.wait_exit(10) is not None, "SIGKILL did not end it"

    def wait_all_gone(self, timeout=15):
        """What is left of it and its descendants after the deadline, as text; nothing is a good sign."""
        try:
            self._reaper.wait(timeout)
        except subprocess.TimeoutExpired:
            return [describe(p) for p in descendants(self._reaper.pid)]
        # Nobody holds the pipes any more: what was said is then there to be read.
        self.stdout.wait_end(timeout)
        self.stderr.wait_end(timeout)
        return []

    def close(self):
        """Ends whatever is left."""
        if self._reaper.stdin:
            self._reaper.stdin.close()
        self._reaper.wait(20)
        self.stdout.wait_end(5)
        self.stderr.wait_end(5)

    def fds(self):
        """What its descriptors are: the links of /proc/PID/fd; none where those are closed to us."""
        found = []
        folder = "/proc/%d/fd" % self.pid
        try:
            names = os.listdir(folder)
        except PermissionError:
            names = []
        for name in names:
            try:
                found.append(os.readlink(folder + "/" + name))
            except OSError:
                pass
        return found

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.pid))


def describe(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            words = f.read().replace(b"\0", b" ").decode("utf-8", "replace")
        with open("/proc/%d/stat" % pid, "rb") as f:
            state = f.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return "%d (gone meanwhile)" % pid
    return "%d %s %s" % (pid, state, words[:300])


def sanitizer_reports(lines):
    """The lines from the first sign of a sanitizer's report on."""
    for i, line in enumerate(lines):
        if SANITIZER.search(line):
            return lines[i : i + 60]
    return []


def eventually(check, timeout=10, what=None):
    """Asks until check() is true: only for the state of other processes, which announces itself nowhere."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %g s: %s" % (timeout, what or check))
        threading.Event().wait(0.02)
