"""The programs under measurement. Each is a context manager that ends what it started."""

import contextlib
import hmac
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import psutil

from .report import Failure

BUILD = pathlib.Path(os.environ.get("CAESARION_BUILD", ""))
BIN = pathlib.Path(os.environ.get("CAESARION_BIN", BUILD / "bin"))
PYTHON = os.environ.get("CAESARION_PYTHON", "")
PATIENCE_S = 60


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def end(process, number=signal.SIGTERM, patience=20):
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Lines:
    """The lines of a program's log, which goes to a file: nobody is woken by them while we measure."""

    def __init__(self, path):
        self._path = path
        self.file = open(path, "wb")  # the program's; closed by opened()

    def opened(self):
        """To be called when the program has been started."""
        self.file.close()

    def all(self):
        return self._path.read_text("utf-8", "replace").splitlines()

    def wait(self, wanted, alive, patience=PATIENCE_S):
        """wanted(lines) as soon as it is true. A file tells nobody that it has grown: so it looks."""
        deadline = time.monotonic() + patience
        while True:
            ended = not alive()
            found = wanted(self.all())
            if found:
                return found
            if ended or time.monotonic() > deadline:
                last = "\n".join(self.all()[-8:])
                raise Failure("a program did not say what was waited for; its last words:\n" + last)
            time.sleep(0.005)


class Http:
    """One kept-alive connection, for what is measured in milliseconds or not at all; what is measured
    in microseconds uses http_client.c."""

    def __init__(self, address, token, scheme="Bearer"):
        self._sock = socket.create_connection(address, PATIENCE_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._authorization = scheme + " " + token
        self._buffer = b""

    def close(self):
        self._sock.close()

    def send(self, method, path, body=None, accept="application/json"):
        data = b"" if body is None else json.dumps(body).encode()
        head = "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\nAccept: %s\r\n" % (
            method,
            path,
            self._authorization,
            accept,
        )
        if body is not None:
            head += "Content-Type: application/json\r\n"
        if body is not None or method == "POST":
            head += "Content-Length: %d\r\n" % len(data)
        self._sock.sendall(head.encode() + b"\r\n" + data)

    def _read(self, until):
        while until not in self._buffer:
            self._more()
        found, self._buffer = self._buffer.split(until, 1)
        return found

    def _more(self):
        part = self._sock.recv(1 << 16)
        if not part:
            raise Failure("the server closed the connection")
        self._buffer += part

    def _take(self, size):
        while len(self._buffer) < size:
            self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def head(self):
        """Status and headers (lower case) of the answer."""
        lines = self._read(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split(" ")[1]), headers

    def chunks(self):
        """The chunks of a streamed body, each as soon as it is whole."""
        while size := int(self._read(b"\r\n"), 16):
            yield self._take(size)
            self._take(2)
        self._take(2)

    def ask(self, method, path, body=None, expect=(200,)):
        self.send(method, path, body)
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            data = b"".join(self.chunks())
        else:
            data = self._take(int(headers.get("content-length", 0)))
        if status not in expect:
            raise Failure("%s %s: %d %s" % (method, path, status, data[:500]))
        return json.loads(data) if data else None


class Controller:
    """`caesarion` with the local backend and real kernels."""

    def __init__(self, *flags):
        self._stack = contextlib.ExitStack()
        self.dir = self._stack.enter_context(folder())
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.dir),
            "CAESARION_PYTHON": PYTHON,
            "CAESARION_RUNNER": str(BIN / "caesarion-runner"),
        }
        argv = [str(BIN / "caesarion"), "--listen", "127.0.0.1:0", "--state-dir", str(self.dir / "state"), *flags]
        self.log = Lines(self.dir / "log")
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self.log.file, env=env, cwd=self.dir, start_new_session=True
        )
        self.log.opened()
        self._stack.callback(end, self.process, patience=60)
        ready = self.process.stdout.readline().decode()
        if not ready.startswith("caesarion ready at "):
            words = "\n".join(self.log.all()[-5:])
            self._stack.close()
            raise Failure("the controller did not start:\n" + words)
        url = urllib.parse.urlsplit(ready.split()[-1])
        self.address = "%s:%d" % (url.hostname, url.port)
        self.token = urllib.parse.parse_qs(url.query)["token"][0]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._stack.close()

    @property
    def pid(self):
        return self.process.pid

    def http(self):
        host, port = self.address.rsplit(":", 1)
        return contextlib.closing(Http((host, int(port)), self.token))

    def await_warm(self, count=1):
        """Until the pool has a sandbox ready, as the log says."""

        def warm(lines):
            found = set()
            for line in lines:
                if '"sandbox_state"' in line:
                    event = json.loads(line)
                    (found.add if event["to"] == "warm" else found.discard)(event["sandbox"])
            return len(found) >= count

        self.log.wait(warm, lambda: self.process.poll() is None)

    def create(self):
        with self.http() as http:
            return Sandbox(self, http.ask("POST", "/api/sandboxes", expect=(201,))["id"])

    def runner_pids(self):
        """The runners of all its sandboxes: pids by sandbox id."""
        found = {}
        for p in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                argv = p.cmdline()
                if p.name().startswith("caesarion-runne"):
                    found[argv[argv.index("--id") + 1]] = p.pid
        return found

    def kernel_pids(self):
        return [
            p.pid
            for p in psutil.Process(self.pid).children(recursive=True)
            if any(a.endswith("launcher.py") for a in p.cmdline())
        ]


class Sandbox:
    def __init__(self, controller, id):
        self.controller = controller
        self.id = id
        self.path = "/api/sandboxes/" + id

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.delete()

    def delete(self):
        with self.controller.http() as http:
            http.ask("DELETE", self.path, expect=(204,))

    def execute(self, code):
        with self.controller.http() as http:
            found = http.ask("POST", self.path + "/execute", {"code": code})
        if found["status"] != "ok":
            raise Failure("an execution ended with %s: %s" % (found["status"], found["error"]))
        return found

    def runner_pid(self):
        return self.controller.runner_pids()[self.id]

    def runner_address(self):
        """Where the sandbox's runner listens."""
        for line in pathlib.Path("/proc/net/unix").read_text().splitlines():
            path = line.split(" ")[-1]
            if path.endswith(self.id.removeprefix("sb-") + ".sock"):
                return "unix:" + path
        raise Failure("the runner's socket was not found")

    def runner_token(self):
        """As the controller derives it: crypto_token_derive() of lib/crypto."""
        key = (self.controller.dir / "state" / "key").read_bytes()
        return hmac.new(key, b"caesarion sandbox token\n" + self.id.encode(), "sha256").hexdigest()

    def kernel_recipe(self):
        """How this sandbox's kernel was started, as it sees itself: KernelTwin does the same."""
        code = (
            "import json, resource\n"
            "_v = open('/proc/self/cmdline').read().split(chr(0))[:-1]\n"
            "print(json.dumps({'argv': _v,\n"
            "    'env': open('/proc/self/environ').read().split(chr(0)),\n"
            "    'launcher': open(next(a for a in _v if a.endswith('launcher.py'))).read(),\n"
            "    'data': resource.getrlimit(resource.RLIMIT_DATA)}))\n"
        )
        return json.loads(self.execute(code)["stdout"])


class KernelTwin:
    """A kernel launched as the product launches its own (argv, environment, launcher, ipc, limits), but
    with no runner and outside a sandbox."""

    def __init__(self, recipe):
        self._stack = contextlib.ExitStack()
        self.dir = self._stack.enter_context(folder())
        files, private = self.dir / "f", self.dir / "k"
        for d in (files, private):
            d.mkdir(mode=0o700)
        launcher = private / "launcher.py"
        launcher.write_text(recipe["launcher"])
        self.connection_file = str(private / "kernel.json")
        connection = {"transport": "ipc", "ip": str(private / "k"), "key": os.urandom(32).hex()}
        for number, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1):
            connection[name + "_port"] = number
        connection |= {"signature_scheme": "hmac-sha256", "kernel_name": "python3"}
        pathlib.Path(self.connection_file).write_text(json.dumps(connection))

        theirs = next(a for a in recipe["argv"] if a.endswith("/launcher.py")).removesuffix("/launcher.py")
        home = next(e[5:] for e in recipe["env"] if e.startswith("HOME="))
        place = lambda text: text.replace(theirs, str(private)).replace(home, str(files))
        env = dict(place(e).split("=", 1) for e in recipe["env"] if "=" in e)
        env["CAESARION_PARENT_PID"] = str(os.getpid())

        def limits():
            resource.setrlimit(resource.RLIMIT_DATA, recipe["data"])
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))

        self.process = subprocess.Popen(
            [place(a) for a in recipe["argv"]],
            env=env,
            cwd=files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=limits,
            start_new_session=True,
        )
        self._stack.callback(end, self.process, signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._stack.close()


def jupyter_env(directory):
    """An environment in which Jupyter finds one kernel, `python3`: ipykernel as it comes."""
    spec = directory / "data" / "kernels" / "python3"
    spec.mkdir(parents=True, exist_ok=True)
    argv = [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "p", "language": "python"}))
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(directory),
        "JUPYTER_DATA_DIR": str(directory / "data"),
        "JUPYTER_PATH": str(directory / "data"),
        "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
        "JUPYTER_CONFIG_DIR": str(directory / "config"),
        "IPYTHONDIR": str(directory / "ipython"),
    }


class StockKernel:
    """ipykernel as jupyter_client's KernelManager starts it: its own launcher, its own settings, TCP.

    The manager picks free ports before the kernel binds them; where somebody else was faster the
    kernel never answers. Then it is started again, and `restarts` counts that."""

    ATTEMPTS, ANSWER_S = 3, 20

    def __init__(self, keep_client=False):
        self._stack = contextlib.ExitStack()
        self.dir = self._stack.enter_context(folder())
        self._keep_client = keep_client
        self.restarts = 0
        while not self._start():
            self._manager.shutdown_kernel(now=True)
            self.restarts += 1
            if self.restarts == self.ATTEMPTS:
                words = (self.dir / "log").read_text("utf-8", "replace")[-600:]
                self._stack.close()
                raise Failure("the stock kernel does not answer: " + words)

    def _start(self):
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        env = jupyter_env(self.dir)
        specs = KernelSpecManager(kernel_dirs=[str(self.dir / "data" / "kernels")], ensure_native_kernel=False)
        self.connection_file = str(self.dir / ("kernel-%d.json" % self.restarts))
        self._manager = KernelManager(
            kernel_name="python3", kernel_spec_manager=specs, connection_file=self.connection_file
        )
        with open(self.dir / "log", "wb") as log:
            self._manager.start_kernel(env=env, cwd=str(self.dir), stdout=log, stderr=log)
        self.client = self._manager.blocking_client()
        self.client.start_channels(hb=False)
        try:
            self.client.wait_for_ready(timeout=self.ANSWER_S)
        except RuntimeError:
            self.client.stop_channels()
            return False
        if not self._keep_client:
            self.client.stop_channels()
        return True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self._keep_client:
            self.client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._stack.close()


class JupyterServer:
    """A Jupyter Server from its package, default settings, stock kernels."""

    NAME, SAYS = "Jupyter Server", "http://127.0.0.1:"

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self.dir = self._stack.enter_context(folder())
        self.token = os.urandom(16).hex()
        (self.dir / "work").mkdir()
        self.log = Lines(self.dir / "log")
        self.process = subprocess.Popen(
            [sys.executable, *self.argv()],
            env=dict(jupyter_env(self.dir), JUPYTER_TOKEN=self.token, KG_AUTH_TOKEN=self.token),
            cwd=self.dir / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log.file,
            start_new_session=True,
        )
        self.log.opened()
        self._stack.callback(self._end)
        try:
            self.log.wait(
                lambda lines: any(self.SAYS in line for line in lines), lambda: self.process.poll() is None
            )
        except Failure as e:
            self._stack.close()
            raise Failure("the %s did not start: %s" % (self.NAME, e)) from None
        self._await_listening()

    def argv(self):
        found = ["-m", "jupyter_server", "--ServerApp.port=0", "--ServerApp.open_browser=False"]
        return [*found, "--allow-root"] if os.geteuid() == 0 else found

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def _await_listening(self):
        """It names its address before it listens there, and nothing tells when it does."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for c in psutil.Process(self.process.pid).net_connections("inet4"):
                if c.status == psutil.CONN_LISTEN:
                    self.port = c.laddr.port
                    return
            if time.monotonic() > deadline or self.process.poll() is not None:
                self._stack.close()
                raise Failure("the %s does not listen" % self.NAME)
            time.sleep(0.02)

    def _end(self):
        with contextlib.suppress(psutil.Error):
            kernels = psutil.Process(self.process.pid).children(recursive=True)
            end(self.process)  # ends its kernels, as a rule
            for p in kernels:
                with contextlib.suppress(psutil.Error):
                    p.kill()
        end(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._stack.close()

    def http(self):
        return contextlib.closing(Http(("127.0.0.1", self.port), self.token, "token"))

    def kernel(self):
        """Starts one; returns its id."""
        with self.http() as http:
            return http.ask("POST", "/api/kernels", {"name": "python3"}, expect=(201,))["id"]

    def end_kernel(self, kernel):
        with self.http() as http:
            http.ask("DELETE", "/api/kernels/" + kernel, expect=(204,))


class KernelGateway(JupyterServer):
    """A Kernel Gateway from its package, default settings, stock kernels."""

    NAME, SAYS = "Kernel Gateway", "is available at"

    def argv(self):
        return ["-m", "kernel_gateway", "--KernelGatewayApp.ip=127.0.0.1", "--KernelGatewayApp.port=0"]


class Runner:
    """`caesarion-runner` alone, outside a sandbox; `serving_s` and `answered_s` count from its exec."""

    def __init__(self, *flags):
        self._stack = contextlib.ExitStack()
        self.dir = self._stack.enter_context(folder())
        for name in ("f", "r", "s"):
            (self.dir / name).mkdir(mode=0o700)
        self.socket = str(self.dir / "sock")
        ready, write_fd = os.pipe()
        os.set_inheritable(write_fd, True)
        argv = [str(BIN / "caesarion-runner"), "--listen", "unix:" + self.socket, "--files", str(self.dir / "f")]
        argv += ["--run-dir", str(self.dir / "r"), "--spill-dir", str(self.dir / "s"), "--python", PYTHON]
        argv += ["--ready-fd", str(write_fd), "--log-level", "error", *flags]
        start = time.perf_counter()
        self.pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/bin:/bin"})
        self._stack.callback(self._end)
        os.close(write_fd)
        with os.fdopen(ready, "rb", buffering=0) as f:
            if f.read(1) != b"1":
                self._stack.close()
                raise Failure("the runner did not start")
        self.serving_s = time.perf_counter() - start
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not s.recv(4096).startswith(b"HTTP/1.1 200"):
                self._stack.close()
                raise Failure("the runner is not healthy")
        self.answered_s = time.perf_counter() - start

    def _end(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._stack.close()


def memory(pid):
    """RssAnon and PSS in MB (1 MB = 1,000,000 bytes); PSS is None where the system does not tell."""
    found = {"rss_anon": None, "pss": None}
    for line in pathlib.Path("/proc/%d/status" % pid).read_text().splitlines():
        if line.startswith("RssAnon:"):
            found["rss_anon"] = int(line.split()[1]) * 1024 / 1e6
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text().splitlines():
            if line.startswith("Pss:"):
                found["pss"] = int(line.split()[1]) * 1024 / 1e6
    return found


def cpu_ms(pid):
    """What all its threads have used, in ms, and how often they went to sleep."""
    used, naps = 0, 0
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        with contextlib.suppress(FileNotFoundError):
            used += int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
            naps += int(status.split("voluntary_ctxt_switches:", 1)[1].split()[0])
    return used / 1e6, naps
