"""The controller as a process, with what it must not leave behind."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import stat
import tempfile
import urllib.parse

from .client import Api
from .process import SANITIZER_ENV, Process, eventually, sanitizer_reports

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("CAESARION_BIN", ROOT / "build/bin"))
PYTHON = os.environ.get("CAESARION_PYTHON", str(ROOT / ".venv/bin/python"))
TOKENS = {"alice": "alice-token-0123456789", "bob": "bob-token-0123456789", "admin": "admin-token-0123"}
TOKEN_FILE = "alice:%(alice)s\nbob:%(bob)s\nadmin:%(admin)s:admin\n" % TOKENS
READY = "caesarion ready at "
POOL_THREADS = 4  # libuv starts them at the first use and keeps them


def clean_env(home, extra=None):
    """What the programs under test see of our environment: nothing but this."""
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
    }
    env.update(SANITIZER_ENV)
    for name in ("LLVM_PROFILE_FILE", "GCOV_PREFIX", "GCOV_PREFIX_STRIP"):
        if name in os.environ:
            env[name] = os.environ[name]
    env.update(extra or {})
    return {k: v for k, v in env.items() if v is not None}


class Controller:
    """One state directory and the controllers that serve it one after the other.

    tokens=False: no token file, so the controller makes a token of its own. listen: the --listen value.
    """

    def __init__(self, *flags, tokens=True, env=None, listen="127.0.0.1:0", start=True, check_fds=True):
        # Short: Unix sockets lie below it.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cz-", dir="/tmp"))
        # Sandboxes run as other users and must reach what is bound into them.
        self.dir.chmod(0o755)
        self.state_dir = self.dir / "s"
        self.runtime_dir = self.dir / "r"
        self.home = self.dir / "h"
        self.token_file = self.dir / "tokens"
        for folder in (self.state_dir, self.runtime_dir, self.home):
            folder.mkdir(mode=0o700)
        self.flags = [str(f) for f in flags]
        self.extra_env = dict(env or {})
        self.listen = listen
        self.check_fds = check_fds
        self.expected_exits = {0}
        self.tokens = dict(TOKENS) if tokens else {}
        if tokens:
            self.token_file.write_text(TOKEN_FILE)
            self.token_file.chmod(0o600)
        self.processes = []
        self.ready_lines = []
        self.url = None
        self.address = None
        self.baseline = None
        self._runner_logs = {}
        self._exit_seen = set()
        if start:
            try:
                self.start()
            except BaseException:
                self._discard()
                raise

    # ---- the process ----

    def argv(self, *more):
        flags = ["--state-dir", str(self.state_dir)]
        if self.listen:
            flags += ["--listen", self.listen]
        if self.tokens:
            flags += ["--token-file", str(self.token_file)]
        if "--warm" not in self.flags and "CAESARION_WARM" not in self.extra_env:
            flags += ["--warm", "0"]
        return [str(BIN / "caesarion"), *flags, *self.flags, *[str(m) for m in more]]

    def env(self):
        env = {
            "XDG_RUNTIME_DIR": str(self.runtime_dir),
            "XDG_STATE_HOME": str(self.dir / "xdg-state"),
            "CAESARION_PYTHON": PYTHON,
            "CAESARION_RUNNER": str(BIN / "caesarion-runner"),
        }
        env.update(self.extra_env)
        return clean_env(self.home, env)

    def spawn(self, *more):
        """Starts it without waiting for anything (for tests of starts that fail)."""
        process = Process(self.argv(*more), self.env(), cwd=self.dir)
        self.processes.append(process)
        return process

    def start(self, *more, timeout=60):
        process = self.spawn(*more)
        line = process.stdout.wait(lambda text: True, timeout)
        assert line and line.startswith(READY), "no ready line but %r; its log:\n%s" % (
            line,
            "\n".join(process.stderr.all()[-40:]),
        )
        self.ready_lines.append(line)
        self.url = line[len(READY) :]
        parts = urllib.parse.urlsplit(self.url)
        token = urllib.parse.parse_qs(parts.query).get("token")
        if token:
            self.tokens = {}
            self.own_token = token[0]
        if parts.scheme == "http+unix":
            self.address = urllib.parse.unquote(parts.path)
        else:
            self.address = (parts.hostname, parts.port)
            self.listen = "%s:%d" % self.address  # the next one serves at the same place
        self.baseline = None
        if self.check_fds:
            self.baseline = (len(process.fds()), process.threads())
        return self

    @property
    def process(self):
        return self.processes[-1]

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return bool(self.processes) and self.process.alive

    @property
    def logs(self):
        """The log lines of all its processes so far, as objects; every line must be one."""
        return [json.loads(line) for p in self.processes for line in p.stderr.all() if line]

    def wait_log(self, timeout=20, process=None, **fields):
        """Waits for a log line with these members; returns it."""

        def matches(line):
            try:
                found = json.loads(line)
            except ValueError:
                return False
            return all(found.get(k) == v for k, v in fields.items())

        line = (process or self.process).stderr.wait(matches, timeout)
        assert line, "no log line with %r" % fields
        return json.loads(line)

    def kill(self):
        """kill -9."""
        self.hold_logs()
        self.process.kill()
        self._exit_seen.add(self.process)

    def stop(self, timeout=40):
        """SIGTERM; returns the exit status."""
        self.hold_logs()
        self.process.signal(signal.SIGTERM)
        status = self.process.wait_exit(timeout)
        assert status is not None, "SIGTERM did not end it within %g s" % timeout
        self._exit_seen.add(self.process)
        return status

    def restart(self, *more, kill=False):
        """Ends it (kill: by SIGKILL) and starts another on the same state and address."""
        if self.alive:
            self.kill() if kill else self.stop()
        return self.start(*more)

    # ---- callers ----

    def api(self, name="alice"):
        token = self.tokens[name] if self.tokens else getattr(self, "own_token", None)
        return Api(self.address, token)

    @property
    def alice(self):
        return self.api("alice")

    @property
    def bob(self):
        return self.api("bob")

    @property
    def admin(self):
        return self.api("admin")

    def sandbox(self, owner="alice", **fields):
        """A new sandbox's API; `.info` is what the answer said."""
        api = self.api(owner)
        info = api.create(**fields)
        self.hold_logs()
        box = api.box(info)
        box.info = info
        return box

    # ---- what is inside ----

    def hold_logs(self):
        """Opens the logs of the runners there are, to read them after their folders are gone."""
        for path in self.state_dir.glob("sandboxes/*/runner.log"):
            if path not in self._runner_logs:
                try:
                    self._runner_logs[path] = path.open("rb")
                except OSError:
                    pass

    def runner_log(self, sid):
        self.hold_logs()
        for path, file in self._runner_logs.items():
            if path.parent.name == sid:
                file.seek(0)
                return file.read().decode("utf-8", "replace").splitlines()
        return []

    def delete_all(self):
        api = self.admin if self.tokens else self.api()
        for info in api.get("/api/sandboxes").expect(200).json()["sandboxes"]:
            api.delete("/api/sandboxes/" + info["id"]).expect(204)

    @property
    def socket_dir(self):
        """Where its sandboxes' sockets are: named after the state directory, root's not below XDG's."""
        name = hashlib.sha256(os.path.realpath(self.state_dir).encode()).hexdigest()[:8]
        parent = "/run/caesarion" if os.geteuid() == 0 else self.runtime_dir / "caesarion"
        return pathlib.Path(parent, name)

    # ---- the end, and what must be true then ----

    def close(self):
        """Ends everything; returns what is wrong, as sentences."""
        wrong = []
        try:
            self._close(wrong)
        finally:
            self._discard()
        return wrong

    def _close(self, wrong):
        self._check_death(wrong)
        if self.alive and self.check_fds:
            self._check_descriptors(wrong)
        left = any(self.state_dir.glob("sandboxes/*"))
        if self.processes and self.ready_lines and not self.alive and left:
            self.start("--on-exit", "remove")  # adopts what was left, to end it as an operator would
        elif self.alive and "keep" in self.flags:
            self.restart("--on-exit", "remove")
        if self.alive:
            status = self.stop()
            if status not in self.expected_exits:
                wrong.append("it ended with %d after SIGTERM" % status)
        for process in self.processes:
            for text in process.wait_all_gone():
                wrong.append("a process was left: " + text)
        self._check_folders(wrong)
        self._check_reports(wrong)

    def _check_death(self, wrong):
        for process in self.processes:
            if process not in self._exit_seen and not process.alive:
                status = process.wait_exit(0)
                if status not in self.expected_exits:
                    wrong.append("it died with %d" % status)

    def _check_descriptors(self, wrong):
        self.hold_logs()
        try:
            self.delete_all()
        except OSError as e:
            wrong.append("it does not answer: %r" % e)
            return
        fds, threads = self.baseline
        if self.flags and "--warm" in self.flags and self.flags[self.flags.index("--warm") + 1] != "0":
            return  # the pool holds some for its sandboxes
        try:
            eventually(
                lambda: len(self.process.fds()) <= fds
                and self.process.threads() <= threads + POOL_THREADS,
                10,
            )
        except AssertionError:
            wrong.append(
                "descriptors: %d, at the start %d (%s); threads: %d, at the start %d"
                % (
                    len(self.process.fds()),
                    fds,
                    sorted(self.process.fds()),
                    self.process.threads(),
                    threads,
                )
            )

    def _check_folders(self, wrong):
        if self.socket_dir.exists():
            wrong.append("a directory was left: %s %s" % (self.socket_dir, os.listdir(self.socket_dir)))
        for folder, _, names in os.walk(self.runtime_dir):
            depth = len(pathlib.Path(folder).relative_to(self.runtime_dir).parts)
            if depth > 1:
                wrong.append("a directory was left: " + folder)
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    wrong.append("a socket was left: " + path)
        for path in self.state_dir.glob("sandboxes/*"):
            wrong.append("a sandbox's folder was left: %s" % path)
        with open("/proc/self/mountinfo") as f:
            ours = (str(self.dir), str(self.socket_dir))
            wrong += ["a mount was left: " + line for line in f if any(path in line for path in ours)]

    def _check_reports(self, wrong):
        for process in self.processes:
            process.stderr.wait_end(5)
            report = sanitizer_reports(process.stderr.all())
            if report:
                wrong.append("the controller's sanitizer says:\n" + "\n".join(report))
        for path, file in self._runner_logs.items():
            file.seek(0)
            report = sanitizer_reports(file.read().decode("utf-8", "replace").splitlines())
            if report:
                wrong.append("the sanitizer of %s says:\n%s" % (path.parent.name, "\n".join(report)))

    def _discard(self):
        for process in self.processes:
            process.close()
        for file in self._runner_logs.values():
            file.close()
        shutil.rmtree(self.socket_dir, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def tail(self, lines=20):
        """The end of its log and of its runners', for the report of a failed test."""
        found = []
        for n, process in enumerate(self.processes):
            found += ["-- controller %d (pid %d)" % (n + 1, process.pid)]
            found += process.stdout.all()[-5:] + process.stderr.all()[-lines:]
        for path, file in list(self._runner_logs.items())[-3:]:
            file.seek(0)
            found += ["-- runner %s" % path.parent.name]
            found += file.read().decode("utf-8", "replace").splitlines()[-lines // 2 :]
        return "\n".join(found)
