"""launcher.py with a real ipykernel, through jupyter_client. Nothing is mocked.

CAESARION_TEST_PYTHON names the interpreter that has ipykernel; the default is this one.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from jupyter_client import BlockingKernelClient

LAUNCHER = pathlib.Path(__file__).resolve().parents[3] / "kernel-runner/python/launcher.py"
PYTHON = os.environ.get("CAESARION_TEST_PYTHON", sys.executable)
LIMIT_S = 30


class Kernel:
    def __init__(self, folder, **env):
        self.folder = folder
        for name in ("private", "work", "tmp"):
            (folder / name).mkdir()
        ports = ("shell", "iopub", "stdin", "control", "hb")
        info = {name + "_port": i + 1 for i, name in enumerate(ports)}
        info.update(transport="ipc", ip=str(folder / "k"), key="0" * 32)
        info["signature_scheme"] = "hmac-sha256"
        file = folder / "connection.json"
        file.write_text(json.dumps(info))
        base = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "IPYTHONDIR": str(folder / "ipython"),
            "MPLCONFIGDIR": str(folder / "mpl"),
            "JUPYTER_RUNTIME_DIR": str(folder),
            "CAESARION_PRIVATE_DIR": str(folder / "private"),
            "CAESARION_PARENT_PID": str(os.getpid()),
        }
        with (folder / "stderr").open("wb") as out:
            self.process = subprocess.Popen(
                [PYTHON, "-X", "frozen_modules=off", str(LAUNCHER), "-f", str(file)],
                env=dict(base, **env),
                cwd=folder / "work",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        # A second without a heartbeat is a death to this client, and the rule on a loaded machine.
        self.client.hb_channel.time_to_dead = 10
        self.client.start_channels()
        self.client.wait_for_ready(LIMIT_S)

    def stderr(self):
        return (self.folder / "stderr").read_text()

    def start(self, code, **options):
        return self.client.execute(code, stop_on_error=False, **options)

    def finish(self, msg_id, answer=None):
        """Returns (reply's content, IOPub messages up to idle), as the runner waits for both."""
        messages, idle, reply = [], False, None
        end = time.monotonic() + LIMIT_S
        while not idle:
            if answer is not None and self.client.stdin_channel.msg_ready():
                assert self.client.get_stdin_msg(timeout=1)["msg_type"] == "input_request"
                self.client.input(answer)
            try:
                m = self.client.get_iopub_msg(timeout=0.05 if answer is not None else LIMIT_S)
            except Exception:
                assert time.monotonic() < end
                continue
            if m["parent_header"].get("msg_id") != msg_id:
                continue
            idle = m["content"].get("execution_state") == "idle"
            messages.append(m)
        while reply is None or reply["parent_header"].get("msg_id") != msg_id:
            reply = self.client.get_shell_msg(timeout=LIMIT_S)
        return reply["content"], messages

    def run(self, code, **options):
        return self.finish(self.start(code), **options)

    def text(self, code, name="stdout", **options):
        _, messages = self.run(code, **options)
        parts = [m["content"] for m in messages if m["msg_type"] == "stream"]
        return "".join(p["text"] for p in parts if p["name"] == name)

    def close(self):
        self.client.stop_channels()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@pytest.fixture
def make():
    """AF_UNIX paths end at 107 bytes: not pytest's own folder."""
    made = []

    def one(**env):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="cl-"))
        made.append([folder, None])
        made[-1][1] = Kernel(folder, **env)
        return made[-1][1]

    yield one
    for folder, kernel in made:
        if kernel is not None:
            kernel.close()
        shutil.rmtree(folder)


@pytest.fixture
def kernel(make):
    return make()


def test_starts_without_a_word_and_is_7_4(kernel):
    code = "import ipykernel, sys; print(ipykernel.__version__, 'debugpy' in sys.modules)"
    assert kernel.text(code) == "7.4.0 False\n"
    assert kernel.stderr() == ""


def test_iopub_waits_for_its_reader_and_drops_nothing(kernel):
    msg_id = kernel.start("for i in range(5000): print(i, flush=True)")
    # Nothing is read from IOPub until here: the cell has come to wait for that.
    assert not kernel.client.shell_channel.socket.poll(500)
    text = ""
    while True:
        m = kernel.client.get_iopub_msg(timeout=LIMIT_S)
        if m["parent_header"].get("msg_id") == msg_id:
            text += m["content"].get("text", "")
            if m["content"].get("execution_state") == "idle":
                break
    assert text == "".join("%d\n" % i for i in range(5000))


RSS = "int(open('/proc/self/statm').read().split()[1]) * 4096 >> 20"


def test_what_was_printed_is_kept_nowhere(kernel):
    before = int(kernel.text("print(%s)" % RSS))
    printed = kernel.text("for i in range(30000): print('x' * 10000)")
    assert len(printed) == 30000 * 10001
    assert int(kernel.text("print(%s)" % RSS)) < before + 64
    kernel.run("from IPython.display import display\nfor i in range(300): display('x' * 1000000)")
    assert int(kernel.text("print(%s)" % RSS)) < before + 64


def test_print_arrives_while_the_cell_runs(kernel):
    msg_id = kernel.start("import time; print('now'); time.sleep(0.5); print(time.monotonic())")
    while True:
        m = kernel.client.get_iopub_msg(timeout=LIMIT_S)
        if m["msg_type"] == "stream":
            seen = time.monotonic()
            break
    _, messages = kernel.finish(msg_id)
    assert seen < float(messages[-2]["content"]["text"])  # before its end, same clock


def test_what_children_wrote_comes_before_idle(kernel):
    code = "import os; os.system('head -c 300000 /dev/zero | tr \"\\\\0\" x; echo é%d >&2')"
    for i in range(20):
        _, messages = kernel.run(code % i)
        text = {"stdout": "", "stderr": ""}
        for m in messages:
            if m["msg_type"] == "stream":
                text[m["content"]["name"]] += m["content"]["text"]
        assert text == {"stdout": "x" * 300000, "stderr": "é%d\n" % i}


def test_100_mb_to_fd_1(kernel):
    code = "import os\nfor i in range(1600): os.write(1, b'0123456789abcde\\n' * 4096)"
    assert len(kernel.text(code)) == 1600 * 65536


def test_a_child_that_floods_holds_no_reply_back(kernel):
    kernel.run("import subprocess; p = subprocess.Popen(['yes'])")
    for _ in range(3):
        reply, _ = kernel.run("1")
        assert reply["status"] == "ok"
    kernel.run("p.kill()")


@pytest.mark.parametrize(
    "code, text",
    [
        (r"import os; os.write(1, b'\xff|\xc3'); os.write(1, b'\xa9\n')", "\ufffd|é\n"),
        (r"print('a\ud800b\udcff'); print('c')", "a\ufffdb\ufffd\nc\n"),
        ("import sys; sys.__stdout__.write('raw')", "raw"),
        ("import ctypes; ctypes.CDLL(None).printf(b'from C')", "from C"),
        ("import subprocess, sys; subprocess.run(['echo', 's'], stdout=sys.stdout)", "s\n"),
        ("import asyncio\nawait asyncio.sleep(0.01)\nprint('awaited')", "awaited\n"),
        ("import os; print([k for k in os.environ if k.startswith('CAESARION')])", "[]\n"),
        ("import sys; print([p for p in sys.path if 'kernel-runner' in p])", "[]\n"),
        ("import jupyter_client as j; print(j.__version__ > '8', j.KernelManager.__name__)",
         "True KernelManager\n"),
    ],
)  # fmt: skip
def test_output(kernel, code, text):
    shown = [kernel.text(code)]
    if "printf" in code or "write" in code:
        shown[0] = shown[0].removesuffix("\n") if not text.endswith("\n") else shown[0]
    assert shown == [text]


@pytest.mark.parametrize(
    "code, text",
    [
        ("sys.stdout.buffer.write('é'.encode()); sys.stdout.buffer.flush()", "é"),
        ("b = 'é'.encode(); sys.stdout.buffer.write(b[:1]); sys.stdout.buffer.write(b[1:])", "é"),
        ("print('a'); sys.stdout.buffer.write(memoryview(b'b')); print('c')", "a\nbc\n"),
        ("io.TextIOWrapper(sys.stdout.buffer, write_through=True).write('wrapped')", "wrapped"),
        ("sys.stdout.reconfigure(encoding='utf-8', errors='replace', line_buffering=True); print('r')", "r\n"),
        ("os.write(sys.stdout.fileno(), b'by number')", "by number"),
        ("print(sys.stdout.fileno() != sys.__stdout__.fileno() == 1, sys.stdout.buffer.fileno() == sys.stdout.fileno())",
         "True True\n"),
        ("os.close(sys.stdout.fileno()); os.write(sys.stdout.fileno(), b'still')", "still"),
    ],
)  # fmt: skip
def test_streams_are_what_programs_expect(kernel, code, text):
    kernel.run("import io, os, sys")
    assert kernel.text(code + ";") == text


def test_reconfigure_refuses_what_a_wrapper_refuses(kernel):
    for arguments, name in (
        ("encoding='nonsense'", "LookupError"),
        ("errors='nonsense'", "LookupError"),
        ("newline='x'", "ValueError"),
        ("buffering=1", "TypeError"),
    ):
        reply, _ = kernel.run("import sys; sys.stdout.reconfigure(%s)" % arguments)
        assert reply["ename"] == name


def test_lines_of_print_children_and_raw_streams_keep_their_order(kernel):
    kernel.run("import contextlib, os, sys")
    code = (
        "for i in range(50):\n"
        "    print(4 * i)\n"
        "    print(4 * i + 1, file=sys.__stdout__)\n"
        "    os.system('echo %d' % (4 * i + 2))\n"
        "    with contextlib.redirect_stdout(sys.__stdout__): print(4 * i + 3)\n"
    )
    assert kernel.text(code) == "".join("%d\n" % i for i in range(200))


def test_a_signal_handler_may_print_at_any_moment(kernel):
    code = (
        "import signal\n"
        "signal.signal(signal.SIGALRM, lambda *args: print('handler'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\n"
        "for i in range(300):\n"
        "    for j in range(100): print(i)\n"
        "    os.write(1, b'raw')\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
    )
    kernel.run("import os")
    assert kernel.text(code).count("raw") == 300


def test_an_error_with_a_lone_surrogate_is_replied(kernel):
    reply, _ = kernel.run(r"raise ValueError('\ud800')")
    assert (reply["ename"], reply["evalue"]) == ("ValueError", "\ufffd")


def test_input(kernel):
    msg_id = kernel.client.execute("print('got', input('? '))", allow_stdin=True)
    _, messages = kernel.finish(msg_id, answer="bob")
    assert "got bob\n" in [m["content"].get("text") for m in messages]


def test_in_out_and_history(kernel):
    kernel.run("6 * 7")
    assert kernel.text("print(In[1], Out[1])") == "6 * 7 42\n"
    assert "6 * 7" in kernel.text("%history -n 1")
    assert not list(kernel.folder.rglob("history.sqlite"))


def test_plot(kernel):
    _, messages = kernel.run("import matplotlib.pyplot as p; p.plot([1, 2]); p.show()")
    assert any("image/png" in m["content"].get("data", {}) for m in messages)


def test_cells_need_no_temporary_directory(kernel):
    """What a full /tmp is to tempfile: a directory in which nothing can be written."""
    shutil.rmtree(kernel.folder / "tmp")
    for code, status in (("1", "ok"), ("1/0", "error"), ("def f(): 1/0\nf()", "error")):
        assert kernel.run(code)[0]["status"] == status
    reply, _ = kernel.run("import tempfile; tempfile.mkstemp()")
    assert reply["ename"] == "FileNotFoundError"
    kernel.run("import inspect; g = inspect.currentframe().f_code.co_filename")
    assert str(kernel.folder / "private") in kernel.text("print(g)")


def test_every_interrupted_cell_is_replied(kernel):
    seen = set()
    for i in range(150):
        code = ("pass", "for i in range(30000): pass", "import asyncio; await asyncio.sleep(0.002)")
        msg_id = kernel.start(code[i % 3])
        time.sleep(i % 50 * 1e-4)  # not a wait: it moves the signal along the cell's life
        os.killpg(kernel.process.pid, signal.SIGINT)
        seen.add(kernel.finish(msg_id)[0]["status"])
    assert seen == {"ok", "error"}
    assert kernel.text("print(1)") == "1\n"


AWAITED = {
    "sleep": "await asyncio.sleep(60)",
    "thread": "await asyncio.to_thread(stop.wait)",
    "queue": "await asyncio.Queue().get()",
    "gather": "await asyncio.gather(asyncio.sleep(60), asyncio.Event().wait())",
    "generator": "async for i in ticks(): pass",
    "server": "await (await asyncio.start_unix_server(print, 's')).serve_forever()",
    "client": "reader, writer = await asyncio.open_unix_connection('t'); await reader.read()",
}


@pytest.mark.parametrize("what", AWAITED)
def test_a_cell_that_only_awaits_is_interrupted(kernel, what):
    kernel.run(
        "import asyncio, socket, threading\n"
        "stop = threading.Event()\n"
        "silent = socket.socket(socket.AF_UNIX)\n"
        "silent.bind('t')\n"
        "silent.listen()\n"
        "async def ticks():\n"
        "    while True:\n"
        "        await asyncio.sleep(60)\n"
        "        yield 1\n"
    )
    msg_id = kernel.start("kept = 1; print('waits')\n" + AWAITED[what])
    while kernel.client.get_iopub_msg(timeout=LIMIT_S)["content"].get("text") != "waits\n":
        pass
    sent = time.monotonic()
    os.killpg(kernel.process.pid, signal.SIGINT)
    reply, _ = kernel.finish(msg_id)
    assert (reply["status"], reply["ename"]) == ("error", "CancelledError")
    assert time.monotonic() - sent < LIMIT_S / 2  # by itself it would end after a minute, or never
    assert kernel.text("stop.set(); print(kept)") == "1\n"


IN_PLACE = {
    "StringIO": "sys.stdout = sys.stderr = io.StringIO()",
    "redirect": "redirect = contextlib.redirect_stdout(io.StringIO()); redirect.__enter__()",
    "file": "sys.stdout = sys.stderr = open('log', 'w')",
    "raw": "sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__",
    "tee": "class Tee:\n"
    "    def __init__(self, *to): self.to = to\n"
    "    def write(self, s): [t.write(s) for t in self.to]\n"
    "    def flush(self): [t.flush() for t in self.to]\n"
    "sys.stdout, sys.stderr = Tee(sys.stdout, io.StringIO()), Tee(sys.stderr)",
}


@pytest.mark.parametrize("what", IN_PLACE)
def test_output_follows_its_cell_whatever_stands_in_place_of_stdout(kernel, what):
    kernel.run("import contextlib, io, os, sys; ours = sys.stdout, sys.stderr")
    kernel.run(IN_PLACE[what])
    for i in range(2):
        code = "os.system('echo child %d; echo error %d >&2'); print('print %d', file=ours[0])"
        _, messages = kernel.run(code % (i, i, i))
        text = {"stdout": "", "stderr": ""}
        for m in messages:
            if m["msg_type"] == "stream":
                text[m["content"]["name"]] += m["content"]["text"]
        assert sorted(text["stdout"].splitlines()) == ["child %d" % i, "print %d" % i]
        assert text["stderr"] == "error %d\n" % i
    kernel.run("sys.stdout, sys.stderr = ours")
    assert kernel.text("print('back')") == "back\n"


@pytest.mark.parametrize(
    "broken",
    [
        "with open('log', 'w') as sys.stdout: print('to the file')",
        "sys.stdout = io.StringIO(); sys.stdout.close(); sys.stderr = sys.stdout",
        "sys.stdout = sys.stderr = types.SimpleNamespace(write=lambda s: None)",
        "sys.stdout = sys.stderr = None",
        "sys.stdout = sys.stderr = 5",
        "del sys.stdout, sys.stderr",
    ],
)
def test_every_cell_is_replied_whatever_stands_in_place_of_stdout(kernel, broken):
    kernel.run("import io, sys, types; ours = sys.stdout, sys.stderr")
    kernel.run(broken)
    for code in ("1", "1/0", "from IPython.display import display; display(1)"):
        kernel.run(code)
    kernel.run("sys.stdout, sys.stderr = ours")
    assert kernel.text("print('back')") == "back\n"


def test_a_withdrawn_request_is_passed_over(kernel):
    opened = kernel.folder / "opened"
    kernel.run("effects = []")
    first = kernel.start("import os, time\nwhile not os.path.exists(%r): time.sleep(0.005)" % str(opened))
    withdrawn, kept = kernel.start("effects.append('withdrawn')"), kernel.start("effects.append('kept')")
    for msg_id in (withdrawn, "nobody's"):
        kernel.client.control_channel.send(
            kernel.client.session.msg("withdraw_request", {"msg_id": msg_id})
        )
    # The control channel works in order: when this is answered, those were read.
    kernel.client.control_channel.send(kernel.client.session.msg("kernel_info_request"))
    assert kernel.client.get_control_msg(timeout=LIMIT_S)["msg_type"] == "kernel_info_reply"
    opened.touch()
    assert kernel.finish(first)[0]["status"] == "ok"
    reply, messages = kernel.finish(withdrawn)
    assert reply == {"status": "aborted"}
    assert [m["msg_type"] for m in messages] == ["status", "status"]
    assert kernel.finish(kept)[0]["status"] == "ok"
    assert kernel.text("print(effects)") == "['kept']\n"


def test_closing_every_descriptor_ends_the_kernel(kernel):
    kernel.start("import os; os.closerange(3, 65536)")
    assert kernel.process.wait(LIMIT_S) != 0


def test_closing_every_descriptor_behind_its_back_ends_the_kernel(kernel):
    kernel.start("import os, threading; threading.Timer(.1, os.closerange, (3, 65536)).start()")
    assert kernel.process.wait(LIMIT_S) != 0


def test_a_debugger_stops_at_a_breakpoint(kernel):
    def ask(command, **arguments):
        content = {"type": "request", "seq": 1, "command": command, "arguments": arguments}
        channel = kernel.client.control_channel
        channel.send(kernel.client.session.msg("debug_request", content))
        reply = channel.get_msg(timeout=LIMIT_S)["content"]
        assert reply["success"], reply
        return reply["body"] if "body" in reply else None

    code = "def f(a):\n    b = a + 1\n    return b\nf(41)\n"
    assert ask("debugInfo")["isStarted"] is False
    ask("initialize", clientID="t", adapterID="", linesStartAt1=True, columnsStartAt1=True)
    ask("attach")
    path = ask("dumpCell", code=code)["sourcePath"]
    ask("setBreakpoints", breakpoints=[{"line": 3}], source={"path": path})
    ask("configurationDone")
    msg_id = kernel.start(code)
    while True:
        m = kernel.client.get_iopub_msg(timeout=LIMIT_S)
        if m["msg_type"] == "debug_event" and m["content"]["event"] == "stopped":
            break
    ask("continue", threadId=m["content"]["body"]["threadId"] or 1)
    assert kernel.finish(msg_id)[0]["status"] == "ok"


def test_dies_with_its_parent(tmp_path):
    """A parent that starts the launcher in a session of its own, says its pid and is killed."""
    code = (
        "import os, subprocess, sys, time\n"
        "env = dict(os.environ, CAESARION_PARENT_PID=str(os.getpid()), HOME=sys.argv[3])\n"
        "p = subprocess.Popen([sys.argv[1], sys.argv[2], '-f', sys.argv[3] + '/c.json'],"
        " start_new_session=True, env=env, cwd=sys.argv[3], stdout=2)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [PYTHON, "-c", code, PYTHON, str(LAUNCHER), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    fd = os.pidfd_open(int(parent.stdout.readline()))
    while not (tmp_path / "c.json").exists():  # written after the sockets are bound
        time.sleep(0.01)
    parent.kill()
    parent.communicate()
    assert select.select([fd], [], [], LIMIT_S)[0] == [fd]
    os.close(fd)


def run_launcher(*options, **env):
    return subprocess.run(
        [PYTHON, *options, str(LAUNCHER), "-f", "/nonexistent/c.json"],
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def test_a_parent_that_is_gone_already():
    done = run_launcher(CAESARION_PARENT_PID=str(2**22 + 1))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_missing_ipykernel_is_a_sentence_on_stderr():
    done = run_launcher("-I", "-S")
    assert done.returncode == 1
    assert done.stderr.startswith("ipykernel is not installed for /"), done.stderr


def test_ipykernel_that_dies_at_import(tmp_path):
    (tmp_path / "ipykernel").mkdir()
    (tmp_path / "ipykernel/__init__.py").write_text("raise RuntimeError('broken install')")
    done = run_launcher(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: broken install\n")
