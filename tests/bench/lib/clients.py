"""One shape for all competitors: latency(n, code), output(code), live(code)."""

import contextlib
import datetime
import hashlib
import json
import os
import subprocess
import time
import uuid

from . import things
from .report import Failure

JSON, NDJSON, SSE = "application/json", "application/x-ndjson", "text/event-stream"
PATIENCE_S = 180


def c_client(name):
    path = things.BUILD / "tests" / "bench" / name
    if not path.exists():
        raise Failure("%s is missing: it is built by ./dev bench" % name)
    return str(path)


def run_c(argv, token=""):
    return finish_c(start_c(argv, token))


def start_c(argv, token="", stdin=None):
    env = {"BENCH_TOKEN": token}
    return subprocess.Popen(argv, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish_c(process):
    try:
        out, words = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, words = process.communicate()
        words = b"no end in time: " + words
    if process.returncode != 0:
        raise Failure(words.decode("utf-8", "replace").strip()[-600:] or "a client was killed")
    return json.loads(out)


def ms(found):
    return [us / 1000 for us in found["us"]]


class Bare:
    """bare_client.c: the yardstick."""

    def __init__(self, twin):
        self._argv = [c_client("bare_client"), twin.connection_file]

    def latency(self, n, code):
        return ms(run_c([*self._argv, "latency", str(n), code]))

    def first(self, code):
        """The first execution after the kernel's first answer; waits for that."""
        return ms(run_c([*self._argv, "first", "1", code]))[0]

    def output(self, code):
        return run_c([*self._argv, "throughput", code])

    def live(self, code):
        return ms(run_c([*self._argv, "live", code]))


class OverHttp:
    """http_client.c, to the controller or, with the sandbox's own token, to its runner."""

    def __init__(self, address, path, token, accept=JSON):
        self._argv = [c_client("http_client"), address]
        self._rest = [path + "/execute", accept]
        self._token = token

    @classmethod
    def controller(cls, sandbox, accept=JSON):
        return cls(sandbox.controller.address, sandbox.path, sandbox.controller.token, accept)

    @classmethod
    def runner(cls, sandbox, accept=JSON):
        return cls(sandbox.runner_address(), "", sandbox.runner_token(), accept)

    def latency(self, n, code):
        return ms(run_c([*self._argv, "latency", str(n), *self._rest, code], self._token))

    def output(self, code):
        return run_c([*self._argv, "throughput", *self._rest, code], self._token)

    def live(self, code):
        return ms(run_c([*self._argv, "live", *self._rest, code], self._token))


class OverSocket:
    """ws_client.c, to a kernel's WebSocket: of a sandbox, of its runner, or of a Jupyter Server."""

    def __init__(self, address, base, kernel, token, protocol):
        self._argv = [c_client("ws_client"), address]
        self._rest = ["%s/api/kernels/%s/channels" % (base, kernel), protocol]
        self._token = token

    @classmethod
    def controller(cls, sandbox, protocol):
        path, kernel = sandbox.path + "/jupyter", sandbox.id.removeprefix("sb-")
        return cls(sandbox.controller.address, path, kernel, sandbox.controller.token, protocol)

    @classmethod
    def server(cls, server, kernel, protocol):
        return cls(server.address, "", kernel, server.token, protocol)

    def latency(self, n, code):
        return ms(run_c([*self._argv, "latency", str(n), *self._rest, code], self._token))

    def output(self, code):
        return run_c([*self._argv, "throughput", *self._rest, code], self._token)

    def idle(self, n):
        """n of them, open until finish_idle()."""
        process = start_c([*self._argv, "idle", str(n), *self._rest], self._token, stdin=subprocess.PIPE)
        if not process.stdout.readline():
            finish_c(process)  # says why
        return process


def finish_idle(process):
    _, words = process.communicate(timeout=PATIENCE_S)  # closes its input
    if process.returncode != 0:
        raise Failure("the idle WebSockets: " + words.decode("utf-8", "replace"))


def start_kernel(address, base, token, protocol, code):
    """POST /api/kernels, the code over its WebSocket, DELETE; (created, first result, deleted) in ms."""
    found = run_c([c_client("ws_client"), address, "start", base, protocol, code], token)
    return found["created_us"] / 1000, found["us"][0] / 1000, found["deleted_us"] / 1000


class InPython:
    """What the two Python clients share: subclasses have execute(code, on_text)."""

    WARM_UP = 2

    def latency(self, n, code):
        with self.connected():
            found = []
            for _ in range(n + self.WARM_UP):
                start = time.perf_counter()
                self.execute(code)
                found.append((time.perf_counter() - start) * 1000)
            return found[self.WARM_UP :]

    def output(self, code):
        parts = []
        with self.connected():
            start = time.perf_counter()
            self.execute(code, parts.append)
            seconds = time.perf_counter() - start
        data = "".join(parts).encode()
        return {
            "bytes": len(data),
            "seconds": seconds,
            "mb_per_s": len(data) / 1e6 / seconds,
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def live(self, code):
        lags = []

        def on_text(text):
            now = time.monotonic_ns()
            lags.extend((now - int(line)) / 1e6 for line in text.splitlines())

        with self.connected():
            self.execute(code, on_text)
        return lags


class JupyterClient(InPython):
    """Python's jupyter_client, its blocking client: IOPub until idle, then the reply."""

    def __init__(self, kernel, connected=None):
        """connected: a client that is, which stays its owner's."""
        self._file = kernel.connection_file
        self._client = connected

    @contextlib.contextmanager
    def connected(self):
        from jupyter_client.blocking import BlockingKernelClient

        self._client = BlockingKernelClient(connection_file=self._file)
        self._client.load_connection_file()
        self._client.start_channels(hb=False)
        try:
            self._client.wait_for_ready(timeout=60)
            yield
        finally:
            self._client.stop_channels()

    def execute(self, code, on_text=None):
        client = self._client
        msg_id = client.execute(code, allow_stdin=False)
        while True:
            msg = client.get_iopub_msg(timeout=PATIENCE_S)
            if msg["parent_header"].get("msg_id") != msg_id:
                continue
            if msg["msg_type"] == "stream" and on_text:
                on_text(msg["content"]["text"])
            if msg["msg_type"] == "status" and msg["content"]["execution_state"] == "idle":
                break
        while True:
            reply = client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == msg_id:
                break
        if reply["content"]["status"] != "ok":
            raise Failure("jupyter_client: the cell ended with %s" % reply["content"])


class JupyterSocket(InPython):
    """A kernel of a Jupyter Server over its WebSocket, in the protocol with JSON messages."""

    def __init__(self, server):
        self.server = server
        self.kernel = server.kernel()

    def delete(self):
        self.server.end_kernel(self.kernel)

    @contextlib.contextmanager
    def connected(self):
        import websocket

        self._session = uuid.uuid4().hex
        url = "ws://127.0.0.1:%d/api/kernels/%s/channels?session_id=%s"
        self._ws = websocket.create_connection(
            url % (self.server.port, self.kernel, self._session),
            header=["Authorization: token " + self.server.token],
            timeout=PATIENCE_S,
        )
        try:
            yield
        finally:
            self._ws.close()

    def send(self, code):
        header = {
            "msg_id": uuid.uuid4().hex,
            "session": self._session,
            "username": "bench",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "msg_type": "execute_request",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._ws.send(json.dumps(dict(message, buffers=[])))
        return header["msg_id"]

    def receive(self):
        return json.loads(self._ws.recv())

    def execute(self, code, on_text=None):
        msg_id = self.send(code)
        replied = idle = False
        while not (replied and idle):
            msg = self.receive()
            if msg["parent_header"].get("msg_id") != msg_id:
                continue
            kind, content = msg["header"]["msg_type"], msg["content"]
            if kind == "stream" and content["name"] == "stdout" and on_text:
                on_text(content["text"])
            elif kind == "status":
                idle = content["execution_state"] == "idle"
            elif kind == "execute_reply":
                replied = True
                if content["status"] != "ok":
                    raise Failure("the Jupyter Server's cell ended with %s" % content)


def get(controller, n, pause_ms, path):
    """GETs by http_client.c, in ms."""
    argv = [c_client("http_client"), controller.address, "get", str(n), str(pause_ms), path]
    return ms(run_c(argv, controller.token))


def cores():
    return len(os.sched_getaffinity(0))
