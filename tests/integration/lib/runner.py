"""A runner without a controller and without a sandbox: the same per-sandbox API, served by hand."""

import os
import pathlib
import shutil
import signal
import tempfile

from .client import Sandbox
from .controller import BIN, PYTHON, clean_env
from .process import Process, sanitizer_reports


class Runner:
    """behind: words before the command line, such as a program that takes a system call away."""

    def __init__(self, *flags, env=None, timeout=60, behind=()):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cr-", dir="/tmp"))
        self.files = self.dir / "files"
        self.run_dir = self.dir / "run"
        self.socket = str(self.dir / "s")
        for folder in (self.files, self.run_dir, self.dir / "h", self.dir / "spill"):
            folder.mkdir(mode=0o700)
        self.process = None
        ready, write_fd = os.pipe()
        argv = [
            *behind,
            BIN / "caesarion-runner",
            *("--listen", "unix:" + self.socket),
            *("--files", self.files),
            *("--run-dir", self.run_dir),
            *("--spill-dir", self.dir / "spill"),
            *("--python", PYTHON),
            *("--ready-fd", write_fd),
            *flags,
        ]
        try:
            self.process = Process(
                argv, clean_env(self.dir / "h", env), cwd=self.dir, pass_fds=(write_fd,)
            )
            os.close(write_fd)
            with os.fdopen(ready, "rb") as f:
                served = f.read(1)  # ends also when the runner does
            assert served == b"1", "the runner did not start:\n" + self.tail()
        except BaseException:
            if self.process:
                self.process.close()
            shutil.rmtree(self.dir, ignore_errors=True)
            raise

    @property
    def pid(self):
        return self.process.pid

    def box(self):
        return Sandbox(self.socket)

    def stop(self, timeout=10):
        self.process.signal(signal.SIGTERM)
        status = self.process.wait_exit(timeout)
        assert status is not None, "SIGTERM did not end the runner within %g s" % timeout
        return status

    def tail(self, lines=60):
        return "\n".join(["-- runner"] + self.process.stderr.all()[-lines:])

    def close(self):
        wrong = []
        try:
            status = self.stop()
            if status != 0:
                wrong.append("the runner ended with %d" % status)
            wrong += ["a process was left: " + t for t in self.process.wait_all_gone()]
            wrong += ["in the run directory was left: " + n for n in os.listdir(self.run_dir)]
        finally:
            self.process.close()
            report = sanitizer_reports(self.process.stderr.all())
            if report:
                wrong.append("the runner's sanitizer says:\n" + "\n".join(report))
            shutil.rmtree(self.dir, ignore_errors=True)
        return wrong
