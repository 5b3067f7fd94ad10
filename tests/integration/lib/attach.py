"""caesarion-attach as a process, and jupyter_client over what it offers."""

import contextlib
import json
import pathlib
import shutil
import signal
import tempfile
import time

from jupyter_client import BlockingKernelClient, KernelManager
from jupyter_client.kernelspec import KernelSpecManager

from .controller import BIN, clean_env
from .process import Process, eventually, sanitizer_reports

READY = "caesarion-attach ready: jupyter console --existing "
PATIENCE_S = 60


def base_url(controller):
    return "http://%s:%d" % controller.address


class Attach:
    """One directory as the user's home, and the programs that run with it."""

    def __init__(self, controller, owner="alice"):
        self.controller = controller
        # Short: Unix sockets may lie below it.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ca-", dir="/tmp"))
        self.runtime = self.dir / "run"
        self.data = self.dir / "data"
        self.token_file = self.dir / "token"
        self.token_file.write_text(controller.tokens[owner] + "\n")
        self.token_file.chmod(0o600)
        self.processes = []
        self.clients = []
        self.managers = []

    def env(self, **more):
        env = {"JUPYTER_RUNTIME_DIR": str(self.runtime), "JUPYTER_DATA_DIR": str(self.data)}
        return clean_env(self.dir, {**env, **more})

    def spawn(self, *args, **env):
        process = Process([BIN / "caesarion-attach", *args], self.env(**env), cwd=self.dir)
        self.processes.append(process)
        return process

    def start(self, sandbox, *args, timeout=30):
        """Attaches; returns the connection file."""
        flags = ("--url", base_url(self.controller), "--token-file", self.token_file)
        process = self.spawn(sandbox, *flags, *args)
        line = process.stdout.wait(lambda text: text.startswith(READY), timeout)
        assert line, "not ready; its log:\n" + "\n".join(process.stderr.all()[-20:])
        return pathlib.Path(line[len(READY) :])

    @property
    def process(self):
        return self.processes[-1]

    def stop(self, number=signal.SIGTERM):
        self.process.signal(number)
        return self.process.wait_exit(20)

    def wait_log(self, event, timeout=20):
        line = self.process.stderr.wait(lambda text: '"event":"%s"' % event in text, timeout)
        assert line, "no event %s; its log:\n%s" % (event, "\n".join(self.tail()))
        return json.loads(line)

    def client(self, connection_file, ready=True):
        kc = BlockingKernelClient(connection_file=str(connection_file))
        kc.load_connection_file()
        return self.adopt(kc, ready)

    def adopt(self, kc, ready=True):
        self.clients.append(kc)
        kc.start_channels()
        if ready:
            kc.wait_for_ready(timeout=PATIENCE_S)
        return kc

    # ---- Jupyter's way ----

    def install(self, *args, **env):
        process = self.spawn("--install-kernelspec", *args, **env)
        assert process.wait_exit(20) == 0, self.tail()
        return process.stdout.all()

    def manager(self, name="caesarion", **env):
        """A KernelManager that starts the installed kernelspec."""
        specs = KernelSpecManager(kernel_dirs=[str(self.data / "kernels")])
        file = str(self.dir / ("kernel-%d.json" % len(self.managers)))
        km = KernelManager(kernel_name=name, kernel_spec_manager=specs, connection_file=file)
        km.log_path = self.dir / ("kernel-%d.log" % len(self.managers))
        self.managers.append(km)
        km.log_file = km.log_path.open("wb")  # a restart wants it again
        km.start_kernel(env=self.env(**env), stderr=km.log_file)
        return km

    # ---- the end ----

    def tail(self):
        lines = [line for process in self.processes for line in process.stderr.all()]
        for km in self.managers:
            lines += km.log_path.read_text().splitlines()
        return lines[-40:]

    def close(self):
        wrong = []
        for kc in self.clients:
            kc.stop_channels()
        for km in self.managers:
            if km.is_alive():
                km.shutdown_kernel()
            km.log_file.close()
            wrong += sanitizer_reports(km.log_path.read_text().splitlines())
        for process in self.processes:
            if process.alive:
                process.signal(signal.SIGTERM)
            if process.wait_exit(20) is None:
                wrong.append("caesarion-attach did not end within 20 s of SIGTERM")
            process.close()
            wrong += sanitizer_reports(process.stderr.all())
        left = list(self.runtime.glob("*"))
        wrong += ["left behind: %s" % path for path in left]
        shutil.rmtree(self.dir, ignore_errors=True)
        return wrong


@contextlib.contextmanager
def attaching(controller, owner="alice"):
    """An Attach; what is wrong at its end fails the test."""
    made = Attach(controller, owner)
    try:
        yield made
    finally:
        wrong = made.close()
    assert not wrong, "\n".join(wrong)


class Run:
    """What came of one request, gathered from iopub until idle, and its reply."""

    def __init__(self, kc, msg_id, timeout=PATIENCE_S):
        self.messages = []
        deadline = time.monotonic() + timeout
        while True:
            message = kc.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            self.messages.append(message)
            if message["content"].get("execution_state") == "idle":
                break
        while True:
            self.reply = kc.get_shell_msg(timeout=max(0.01, deadline - time.monotonic()))
            if self.reply["parent_header"].get("msg_id") == msg_id:
                break

    def of(self, kind):
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    @property
    def text(self):
        return "".join(c["text"] for c in self.of("stream"))

    @property
    def status(self):
        return self.reply["content"]["status"]


def run(kc, code, timeout=PATIENCE_S, **fields):
    return Run(kc, kc.execute(code, **fields), timeout)


def wait_iopub(kc, matches, timeout=PATIENCE_S):
    deadline = time.monotonic() + timeout
    while True:
        message = kc.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
        if matches(message):
            return message


def control(kc, msg_type, timeout=PATIENCE_S, **content):
    """A request on control and its reply's content."""
    message = kc.session.msg(msg_type, content)
    kc.control_channel.send(message)
    deadline = time.monotonic() + timeout
    while True:
        reply = kc.get_control_msg(timeout=max(0.01, deadline - time.monotonic()))
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return reply["content"]


def sandboxes(controller, owner="alice"):
    return controller.api(owner).get("/api/sandboxes").expect(200).json()["sandboxes"]


def wait_no_sandbox(controller, timeout=30):
    eventually(lambda: not sandboxes(controller), timeout, "no sandbox is left")
