"""ZeroMQ clients reach a sandbox's kernel through caesarion-attach."""

import contextlib
import json
import os
import queue
import signal
import stat

import pytest
import zmq
from lib.attach import Run, attaching, base_url, control, run, wait_iopub
from lib.process import eventually


@pytest.fixture
def attach(shared_controller):
    with attaching(shared_controller) as made:
        yield made


@pytest.fixture
def kc(attach, sandbox):
    return attach.client(attach.start(sandbox.id))


def other_client(attach):
    """A second client of the same connection file, as another program would be."""
    return attach.client(next(attach.runtime.glob("*.json")))


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_executes_over_a_connection_file(attach, sandbox, transport):
    path = attach.start(sandbox.id, "--transport", transport)
    assert path == attach.runtime / ("kernel-%s.json" % sandbox.id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    conn = json.loads(path.read_text())
    assert conn["transport"] == transport
    if transport == "tcp":
        assert conn["ip"] == "127.0.0.1"
    else:
        assert stat.S_IMODE(os.stat(os.path.dirname(conn["ip"])).st_mode) == 0o700
    kc = attach.client(path)
    first = run(kc, "print(6*7)\n'value'")
    assert first.text == "42\n" and first.status == "ok"
    assert first.of("execute_result")[0]["data"]["text/plain"] == "'value'"
    assert run(kc, "1/0").of("error")[0]["ename"] == "ZeroDivisionError"
    assert kc.is_alive()  # its heart beats
    kc.stop_channels()
    assert attach.stop() == 0
    assert not path.exists()
    if transport == "ipc":
        assert not os.path.exists(os.path.dirname(conn["ip"]))


def test_a_file_of_ones_own(attach, sandbox):
    path = attach.start(sandbox.id, "-f", "mine.json")
    assert path == attach.dir / "mine.json" and path.exists()
    kc = attach.client(path)
    assert run(kc, "print(1)").text == "1\n"
    assert attach.stop(signal.SIGINT) == 0
    assert not path.exists()


def test_one_kernel_with_the_api(kc, sandbox):
    sandbox.ok("x = 'from the API'")
    assert run(kc, "print(x)").text == "from the API\n"
    run(kc, "y = 'from a notebook'")
    assert sandbox.value("y") == "'from a notebook'"


def test_input(kc):
    msg_id = kc.execute("print('hello', input('who? '))")
    request = kc.get_stdin_msg(timeout=30)
    assert request["content"] == {"prompt": "who? ", "password": False}
    kc.input("bob")
    assert Run(kc, msg_id).text == "hello bob\n"


def test_interrupt(kc):
    msg_id = kc.execute("print('on', flush=True)\nimport time; time.sleep(600)")
    wait_iopub(kc, lambda m: m["msg_type"] == "stream")
    assert control(kc, "interrupt_request")["status"] == "ok"
    ended = Run(kc, msg_id)
    assert ended.of("error")[0]["ename"] == "KeyboardInterrupt" and ended.status == "error"


def test_comms_with_buffers(kc):
    run(
        kc,
        "def opened(comm, message):\n"
        "    @comm.on_msg\n"
        "    def got(m):\n"
        "        comm.send({'n': len(m['buffers'])}, buffers=[bytes(b)[::-1] for b in m['buffers']])\n"
        "get_ipython().kernel.comm_manager.register_target('echo', opened)",
    )
    opened = kc.session.msg("comm_open", {"comm_id": "c1", "target_name": "echo", "data": {}})
    kc.shell_channel.send(opened)
    message = kc.session.msg("comm_msg", {"comm_id": "c1", "data": {}})
    buffers = [b"\x00\x01\xff" * 1000, b"", b"<IDS|MSG>"]
    kc.session.send(kc.shell_channel.socket, message, buffers=buffers)
    answer = wait_iopub(kc, lambda m: m["msg_type"] == "comm_msg")
    assert answer["content"]["data"] == {"n": 3}
    assert [bytes(b) for b in answer["buffers"]] == [b[::-1] for b in buffers]


def test_subshell(kc):
    shell_id = control(kc, "create_subshell_request")["subshell_id"]
    main = kc.execute("import time\nwhile not globals().get('go'): time.sleep(0.01)\nprint('went')")
    wait_iopub(kc, lambda m: m["msg_type"] == "execute_input")
    message = kc.session.msg("execute_request", {"code": "go = True\nprint('sub')", "silent": False})
    message["header"]["subshell_id"] = shell_id
    kc.shell_channel.send(message)
    # both end; whose reply comes first is open
    texts, replies = {}, set()
    while len(replies) < 2:
        replies.add(kc.get_shell_msg(timeout=30)["parent_header"]["msg_id"])
    assert replies == {main, message["header"]["msg_id"]}
    while set(texts.values()) != {"went\n", "sub\n"}:
        m = wait_iopub(kc, lambda m: m["msg_type"] == "stream")
        texts[m["parent_header"]["msg_id"]] = texts.get(m["parent_header"]["msg_id"], "") + m["content"]["text"]
    assert texts[main] == "went\n"


def test_completion_inspection_history(kc):
    run(kc, "a_long_name = 1")
    assert "a_long_name" in kc.complete("a_long_n", reply=True, timeout=30)["content"]["matches"]
    assert kc.inspect("print", reply=True, timeout=30)["content"]["found"]
    history = kc.history(hist_access_type="tail", n=5, reply=True, timeout=30)
    assert history["content"]["status"] == "ok"
    asked = kc.is_complete("for i in range(3):")
    answer = kc.get_shell_msg(timeout=30)
    assert answer["parent_header"]["msg_id"] == asked and answer["content"]["status"] == "incomplete"


def test_replies_to_the_asker_output_to_all(attach, kc):
    other = other_client(attach)
    msg_id = kc.execute("print('seen by both')")
    assert Run(kc, msg_id).text == "seen by both\n"
    seen = wait_iopub(other, lambda m: m["msg_type"] == "stream")
    assert seen["parent_header"]["msg_id"] == msg_id
    wait_iopub(other, lambda m: m["content"].get("execution_state") == "idle")
    with pytest.raises(queue.Empty):
        other.get_shell_msg(timeout=0.2)
    assert run(other, "print(2)").text == "2\n"


# ---- bad input ----


def raw_shell(attach, identity=b"raw"):
    conn = json.loads(next(attach.runtime.glob("*.json")).read_text())
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.setsockopt(zmq.IDENTITY, identity)
    socket.connect("tcp://%s:%d" % (conn["ip"], conn["shell_port"]))
    return socket


def test_forged_signature(attach, kc):
    with contextlib.closing(raw_shell(attach)) as socket:
        header = b'{"msg_id":"forged","msg_type":"execute_request","session":"s"}'
        for signature in (b"0" * 64, b"", b"x", b"0" * 63, b"0" * 6400):
            parts = [b"<IDS|MSG>", signature, header, b"{}", b"{}", b'{"code":"print(\'forged\')"}']
            socket.send_multipart(parts)
        socket.send_multipart([b"no message"])
        socket.send_multipart([b"<IDS|MSG>"] * 700)
        assert attach.wait_log("message_dropped")["why"] == "not signed with the connection's key"
        # nothing of it reaches the kernel, and nobody is answered
        assert run(kc, "print('mine')").text == "mine\n"
        assert socket.poll(200) == 0
    assert run(kc, "print(len(get_ipython().user_ns['In']))").text.strip() == "3"


def test_replayed_message(attach, kc):
    message = kc.session.msg("execute_request", {"code": "print('once')", "silent": False})
    frames = kc.session.serialize(message)
    with contextlib.closing(raw_shell(attach)) as socket:
        for _ in range(3):
            socket.send_multipart(frames)
        assert attach.wait_log("message_dropped")["why"] == "it was there before"
        first = wait_iopub(kc, lambda m: m["msg_type"] == "stream")
        assert first["content"]["text"] == "once\n"
        assert socket.poll(20000)
        socket.recv_multipart()
        assert run(kc, "pass").text == ""
        assert socket.poll(100) == 0


def test_a_request_above_the_ceiling_gets_an_error(kc):
    too_much = run(kc, "x = '%s'" % ("y" * (16 << 20)))
    assert too_much.status == "error" and too_much.reply["content"]["ename"] == "MessageTooLarge"
    assert run(kc, "print(len('%s'))" % ("y" * (15 << 20))).text == "%d\n" % (15 << 20)


@pytest.mark.parametrize(
    "args, status, words",
    [
        (["sb-00000000-0000-4000-8000-000000000000"], 1, "is not there"),
        (["sb-nonsense"], 2, "is not a sandbox's id"),
        ([], 2, "which sandbox?"),
        (["--new"], 2, "needs the connection file"),
        (["--new", "-f", "/nowhere/c.json"], 1, "cannot open /nowhere/c.json"),
        (["--new", "sb-x", "-f", "x"], 2, "makes a sandbox of its own"),
        (["--token", "x"], 2, "everybody can read a command line"),
        (["--url", "http://127.0.0.1:1/?token=x", "sb-00000000-0000-4000-8000-000000000000"], 2, "CAESARION_TOKEN"),
        (["--url", "ftp://x", "sb-00000000-0000-4000-8000-000000000000"], 2, "is not a URL like"),
        (["--install-kernelspec", "--name", "../x"], 2, "kernelspec's name"),
        (["--install-kernelspec", "--sys-prefix"], 2, "no virtual environment"),
    ],
)
def test_mistakes_end_with_a_sentence(attach, args, status, words):
    flags = [] if "--url" in args else ["--url", base_url(attach.controller)]
    process = attach.spawn(*args, *flags, CAESARION_TOKEN=attach.controller.tokens["alice"])
    assert process.wait_exit(30) == status
    assert process.stderr.wait(lambda line: words in line, 10), process.stderr.all()
    process.stdout.wait_end(10)
    assert process.stdout.all() == []


def test_a_token_that_is_not_accepted(attach, sandbox):
    attach.token_file.write_text("wrong\n")
    flags = ["--url", base_url(attach.controller)]
    process = attach.spawn(sandbox.id, *flags, "--token-file", attach.token_file)
    assert process.wait_exit(30) == 1
    assert process.stderr.wait(lambda line: "the token is not accepted" in line, 10)


def test_a_sandbox_of_somebody_else(attach, shared_controller):
    with attaching(shared_controller, owner="bob") as bobs:
        box = shared_controller.sandbox("alice")
        process = bobs.spawn(
            box.id, "--url", base_url(shared_controller), "--token-file", bobs.token_file
        )
        assert process.wait_exit(30) == 1
        assert process.stderr.wait(lambda line: "is not there" in line, 10)
        shared_controller.alice.delete("/api/sandboxes/" + box.id).expect(204)


# ---- faults ----


def test_a_sandbox_that_ends(attach, shared_controller):
    box = shared_controller.sandbox()
    path = attach.start(box.id)
    attach.client(path)
    shared_controller.alice.delete("/api/sandboxes/" + box.id).expect(204)
    assert attach.process.wait_exit(30) == 1
    assert attach.process.stderr.wait(lambda line: "is not there" in line, 10)
    assert not path.exists()


def test_a_kernel_that_dies(kc):
    died = run(kc, "import os; os._exit(3)")
    assert died.status == "error" and died.reply["content"]["ename"] == "KernelDied"
    assert died.of("error")[0]["ename"] == "KernelDied"
    assert run(kc, "print('lives again')").text == "lives again\n"


def test_another_controller_in_the_middle_of_a_run(controller):
    """Killed and started again at the same address: no output is missing, doubled or out of order."""
    one = controller()
    with attaching(one) as attach:
        box = one.sandbox()
        kc = attach.client(attach.start(box.id))
        msg_id = kc.execute(
            "import time\nfor i in range(60):\n    print(i, flush=True); time.sleep(0.05)\nprint('end')"
        )
        wait_iopub(kc, lambda m: m["msg_type"] == "stream" and "5" in m["content"]["text"])
        one.kill()
        attach.wait_log("link_lost")
        # asked while nobody is there: it waits
        later = kc.execute("print('asked meanwhile')")
        one.start()
        attach.wait_log("link_restored", timeout=30)
        rest = Run(kc, msg_id)
        seen = [int(word) for word in rest.text.split() if word != "end"]
        assert seen == list(range(seen[0], 60)) and seen[0] <= 6
        assert rest.status == "ok"
        assert Run(kc, later).text == "asked meanwhile\n"


def test_requests_are_kept_while_nobody_is_there(controller):
    """More than the sockets' own queues take; ipykernel itself stalls behind several thousand."""
    n = 2500
    one = controller()
    with attaching(one) as attach:
        box = one.sandbox()
        kc = attach.client(attach.start(box.id))
        kc.iopub_channel.stop()  # nobody reads it
        one.kill()
        attach.wait_log("link_lost")
        asked = [kc.is_complete("1") for _ in range(n)]
        one.start()
        attach.wait_log("link_restored", timeout=30)
        assert [kc.get_shell_msg(timeout=60)["parent_header"]["msg_id"] for _ in range(n)] == asked


def test_a_client_that_stops_reading(attach, kc):
    """It loses output after a while; the others get all of it."""
    conn = json.loads(next(attach.runtime.glob("*.json")).read_text())
    with contextlib.closing(zmq.Context.instance().socket(zmq.SUB)) as stalled:
        stalled.linger = 0
        stalled.rcvhwm = 10
        stalled.subscribe(b"")
        stalled.connect("tcp://%s:%d" % (conn["ip"], conn["iopub_port"]))
        assert stalled.poll(20000)  # it is subscribed
        n = 3000
        msg_id = kc.execute("for i in range(%d): print('%%06d' %% i + 'z' * 4000, flush=True)" % n)
        text = Run(kc, msg_id, timeout=90).text
        assert [int(line[:6]) for line in text.splitlines()] == list(range(n))
        assert attach.wait_log("client_stalled")
    assert run(kc, "print('on')").text == "on\n"


def test_a_100_megabyte_print(kc):
    """Above what the runner keeps of a kernel's output: what is missing is said in its place."""
    result = run(kc, "print('z' * 100_000_000)", timeout=100)
    assert result.status == "ok"
    texts = {}
    for content in result.of("stream"):
        texts[content["name"]] = texts.get(content["name"], "") + content["text"]
    if len(texts["stdout"]) != 100_000_001:
        assert "are missing here" in texts["stderr"]
    assert texts["stdout"].endswith("z\n")
    assert run(kc, "print('on')").text == "on\n"


def test_a_flood_of_requests(kc):
    asked = [kc.execute("pass") for _ in range(1000)]
    answered = [kc.get_shell_msg(timeout=60)["parent_header"]["msg_id"] for _ in asked]
    assert answered == asked


def test_stale_files_are_replaced(attach, sandbox):
    attach.runtime.mkdir()
    stale = attach.runtime / ("kernel-%s.json" % sandbox.id)
    stale.write_text("{}")
    kc = attach.client(attach.start(sandbox.id))
    assert run(kc, "print(1)").text == "1\n"
    # a second one takes the file; the first leaves it alone when it ends
    first = attach.process
    attach.start(sandbox.id)
    kc.stop_channels()
    first.signal(signal.SIGTERM)
    assert first.wait_exit(20) == 0
    assert stale.exists()
    assert run(attach.client(stale), "print(2)").text == "2\n"


def test_one_of_several_kernels(attach, sandbox):
    kid = sandbox.add_kernel()["id"]
    kc = attach.client(attach.start(sandbox.id, "--kernel", kid))
    run(kc, "only_here = 1")
    assert "only_here" not in sandbox.value("dir()")
    eventually(lambda: kc.is_alive(), 10, "its heart beats")
