"""WebSocket clients of a kernel: both protocols, who gets what, deaths and restarts, coming back."""

import contextlib
import json
import re
import struct
import threading

import pytest
from lib.code import FOREVER, Gate
from lib.jupyter import (
    BINARY, CLOSE, TEXT, V1, Channels, frame, of_type, states, stream_text, types,
)  # fmt: skip
from lib.process import eventually

MIB = 1 << 20
KERNELS = "/jupyter/api/kernels"
WANTS_ALL = {"silent": False, "store_history": True, "user_expressions": {}, "stop_on_error": True}

both = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])


def main_id(box):
    return box.kernel()["id"]


@pytest.fixture
def attach(box):
    """Opens clients of the module's kernel; they are closed afterwards."""
    with contextlib.ExitStack() as stack:

        def make(kernel_id=None, to=box, **options):
            found = Channels(to, kernel_id or main_id(to), **options)
            return stack.enter_context(found)

        yield make


@pytest.fixture
def more(box):
    """Further kernels of the module's sandbox, made as Jupyter clients make them."""
    made = []

    def make(**fields):
        model = box.post(KERNELS, fields).expect(201).json()
        made.append(model["id"])
        return model

    yield make
    for kernel_id in made:
        box.delete(KERNELS + "/" + kernel_id).expect(204, 404)


class SlowStart:
    """Kernels that start only when the gate is opened."""

    def __init__(self, box):
        self.gate = Gate(box)
        folder = box.value("import os; os.getcwd()")[1:-1]
        code = "import os, time\nwhile not os.path.exists(%r): time.sleep(0.005)\n"
        box.put("slow/sitecustomize.py", code % (folder + "/" + self.gate.name)).expect(201, 204)
        self.env = {"PYTHONPATH": folder + "/slow"}

    def open(self):
        self.gate.open()


def model_of(box, kernel_id=None):
    return box.get(KERNELS + "/" + (kernel_id or main_id(box))).expect(200).json()


def own(messages, msg_id):
    return [m for m in messages if m["parent_header"].get("msg_id") == msg_id]


def check_order(messages):
    """busy first, idle last of what iopub said; one reply."""
    iopub = [m for m in messages if m["channel"] == "iopub"]
    assert states(iopub)[:1] == ["busy"], types(iopub)
    assert iopub[0]["content"] == {"execution_state": "busy"}, iopub[0]
    assert iopub[-1]["content"] == {"execution_state": "idle"}, types(iopub)
    assert states(iopub) == ["busy", "idle"], types(iopub)


# ---- the beginning ----


@both
def test_101_at_once_and_messages_kept_while_the_kernel_starts(box, more, attach, v1):
    slow = SlowStart(box)
    kernel = more(env=slow.env)
    assert kernel["execution_state"] == "starting"
    client = attach(kernel["id"], v1=v1)
    asked = [client.send("kernel_info_request"), client.run("print('first')"), client.run("print('second')")]
    client.ping()
    assert client.seen == []
    assert model_of(box, kernel["id"])["execution_state"] == "starting"
    slow.open()
    assert of_type(client.answers(asked[0]), "kernel_info_reply")
    assert stream_text(client.answers(asked[1])) == "first\n"
    assert stream_text(client.answers(asked[2])) == "second\n"


@both
def test_a_request_in_the_segment_of_the_upgrade(box, attach, v1):
    maker = attach(v1=v1)
    message = maker.make("execute_request", dict(WANTS_ALL, code="print('early')"))
    client = attach(v1=v1, first=maker.bytes_of(message))
    found = client.answers(message["header"]["msg_id"], "execute_reply")
    assert stream_text(found) == "early\n"


def test_the_protocol_is_the_one_that_the_client_offers(box, attach):
    assert attach().headers["sec-websocket-protocol"] == V1
    offered = {"Sec-WebSocket-Protocol": "other, %s" % V1}
    assert attach(headers=offered).headers["sec-websocket-protocol"] == V1
    for headers in ({}, {"Sec-WebSocket-Protocol": "other"}):
        client = attach(v1=False, headers=headers)
        assert "sec-websocket-protocol" not in client.headers
        assert client.text("print(1)") == "1\n"


def test_compression_is_not_accepted(attach):
    client = attach(headers={"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
    assert "sec-websocket-extensions" not in client.headers
    assert client.text("print(1)") == "1\n"


def test_query_arguments_that_mean_nothing_here(attach):
    assert attach(query={"1795421544360": ""}).text("print(1)") == "1\n"


@pytest.mark.parametrize(
    "change, status",
    [
        ({"Upgrade": None}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 400),
        ({"Sec-WebSocket-Version": None}, 400),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
    ],
    ids=lambda v: str(v),
)
def test_an_upgrade_that_is_none(box, change, status):
    wanted = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    wanted.update(change)
    headers = {k: v for k, v in wanted.items() if v is not None}
    found = box.get("%s/%s/channels" % (KERNELS, main_id(box)), headers=headers)
    assert found.status == status, found
    assert set(found.json()) >= {"message", "reason", "code", "detail"}, found


@both
@pytest.mark.parametrize("change", [{"date": ""}, {"date": 1767225600.5}, {"date": None}, {"username": None}])
def test_headers_as_real_clients_send_them(attach, v1, change):
    client = attach(v1=v1)
    message = client.make("execute_request", dict(WANTS_ALL, code="print('taken')"))
    for name, value in change.items():
        message["header"].pop(name)
        if value is not None:
            message["header"][name] = value
    client.raw(client.bytes_of(message))
    found = client.answers(message["header"]["msg_id"], "execute_reply")
    assert stream_text(found) == "taken\n"
    check_order(found)


@pytest.mark.parametrize("buffers", [{}, [], None], ids=["object", "array", "absent"])
def test_a_message_may_lack_its_channel_and_buffers(attach, buffers):
    client = attach(v1=False)
    message = {
        "header": {
            "msg_id": "lacks-%s" % type(buffers).__name__,
            "msg_type": "execute_request",
            "version": "5.0",
        },
        "parent_header": {},
        "metadata": {},
        "content": dict(WANTS_ALL, code="print('shell it is')"),
    }
    if buffers is not None:
        message["buffers"] = buffers
    client.raw(frame(TEXT, json.dumps(message).encode()))
    found = client.answers(message["header"]["msg_id"], "execute_reply")
    assert stream_text(found) == "shell it is\n"
    assert of_type(found, "execute_reply")[0]["channel"] == "shell"


def test_a_legacy_binary_message_without_buffers_is_taken(attach):
    client = attach(v1=False)
    message = client.make("execute_request", dict(WANTS_ALL, code="print('one part')"))
    text = json.dumps(message).encode()
    client.raw(frame(BINARY, struct.pack(">II", 1, 8) + text))
    assert stream_text(client.answers(message["header"]["msg_id"], "execute_reply")) == "one part\n"


# ---- who gets what ----


@both
def test_replies_go_to_the_asker_and_iopub_to_all(attach, v1):
    asker, other = attach(v1=v1), attach(v1=not v1)
    asked = asker.run("import sys; _ = sys.stdout.write('for all\\n')\n40 + 2")
    found = asker.answers(asked, "execute_reply")
    check_order(found)
    heard = other.answers(asked, reply=False)
    assert types(heard) == ["status", "execute_input", "stream", "execute_result", "status"]
    assert [m["header"]["msg_id"] for m in heard] == [
        m["header"]["msg_id"] for m in found if m["channel"] == "iopub"
    ]
    assert of_type(heard, "execute_input")[0]["content"]["code"] == "import sys; _ = sys.stdout.write('for all\\n')\n40 + 2"
    # The next reply that the other gets is its own.
    mine = other.execute("pass")
    assert {m["channel"] for m in own(other.seen, asked)} == {"iopub"}
    assert len(of_type(mine, "execute_reply")) == 1


@both
def test_the_order_of_many_outputs(attach, v1):
    client = attach(v1=v1)
    code = (
        "import sys\nfrom IPython.display import display\n"
        "for i in range(300):\n"
        "    print(i, flush=True)\n"
        "    display(i)\n"
        "    print(i, file=sys.stderr, flush=True)"
    )
    found = client.execute(code)
    check_order(found)
    numbers = []
    for m in found:
        if m["header"]["msg_type"] == "stream":
            numbers += [int(n) for n in m["content"]["text"].split()]
        if m["header"]["msg_type"] == "display_data":
            numbers.append(int(m["content"]["data"]["text/plain"]))
    assert numbers == [i for i in range(300) for _ in range(3)]


COMM = """
from comm import get_comm_manager, create_comm
def target(comm, open_msg):
    @comm.on_msg
    def echo(msg):
        comm.send(msg['content']['data'], buffers=[bytes(b)[::-1] for b in msg['buffers']])
    comm.send({'opened': len(open_msg['buffers'])}, buffers=[bytes(b) for b in open_msg['buffers']])
get_comm_manager().register_target('echo', target)
"""


@both
def test_buffers_are_intact_both_ways(attach, v1):
    client = attach(v1=v1)
    client.execute(COMM)
    buffers = [b"", bytes(range(256)), b"x" * 300_000, "\u2603".encode()]
    opened = client.send(
        "comm_open", {"comm_id": "c-%s" % v1, "target_name": "echo", "data": {}}, buffers=buffers
    )
    found = client.until_type("comm_msg", opened)
    assert found["content"] == {"comm_id": "c-%s" % v1, "data": {"opened": 4}}
    assert found["buffers"] == buffers
    sent = client.send("comm_msg", {"comm_id": "c-%s" % v1, "data": {"n": 1}}, buffers=buffers)
    back = client.until_type("comm_msg", sent)
    assert back["buffers"] == [b[::-1] for b in buffers]
    assert back["opcode"] == BINARY
    found = client.send("comm_info_request", {"target_name": "echo"})
    comms = of_type(client.answers(found), "comm_info_reply")[0]["content"]["comms"]
    assert comms["c-%s" % v1] == {"target_name": "echo"}
    client.send("comm_close", {"comm_id": "c-%s" % v1, "data": {}})


def test_a_target_that_is_not_known_is_closed(attach):
    client = attach()
    asked = client.send("comm_open", {"comm_id": "no", "target_name": "unknown", "data": {}})
    assert client.until_type("comm_close", asked)["content"]["comm_id"] == "no"


DISPLAY_WITH_BUFFERS = """
kernel = get_ipython().kernel
kernel.session.send(kernel.iopub_socket, 'display_data',
    {'data': {'text/plain': 'shown'}, 'metadata': {}, 'transient': {}},
    parent=kernel.get_parent(), ident=b'display_data', buffers=[b'\\x00\\xff'])
"""


def dropped(box):
    name = "caesarion_runner_jupyter_messages_dropped_total"
    found = re.search(r"^%s (\d+)" % name, box.get("/metrics").expect(200).text, re.M)
    return int(found.group(1))


def test_tornado_gets_no_binary_frame(runner):
    """Jupyter Server as a gateway's client decodes every frame as text, and dies of a binary one."""
    box = runner.box()
    kernel_id = main_id(box)
    agent = {"User-Agent": "Tornado/6.5"}
    with (
        Channels(box, kernel_id, v1=False, headers=agent) as tornado,
        Channels(box, kernel_id, v1=False) as other,
        Channels(box, kernel_id, v1=True, headers=agent) as modern,
    ):
        tornado.execute(COMM)
        before = dropped(box)
        asked = tornado.send(
            "comm_open", {"comm_id": "t", "target_name": "echo", "data": {}}, buffers=[b"\xff"]
        )
        for client in (other, modern):
            assert client.until_type("comm_msg", asked)["buffers"] == [b"\xff"]
        found = tornado.answers(asked, reply=False)
        assert types(found) == ["status", "status"]
        assert dropped(box) == before + 1
        found = tornado.execute(DISPLAY_WITH_BUFFERS)
        shown = of_type(found, "display_data")[0]
        assert (shown["content"]["data"], shown["opcode"]) == ({"text/plain": "shown"}, TEXT)
        assert not shown["buffers"]
        assert {m["opcode"] for m in tornado.seen} == {TEXT}
        assert other.until_type("display_data")["buffers"] == [b"\x00\xff"]


def test_input_is_asked_of_the_asker_only(attach):
    asker, other = attach(), attach(v1=False)
    asked = asker.run(
        "a = input('name? ')\nimport getpass\nb = getpass.getpass('key? ')\nprint(a + b)", allow_stdin=True
    )
    first = asker.until_type("input_request", asked)
    assert (first["channel"], first["content"]) == ("stdin", {"prompt": "name? ", "password": False})
    asker.send("input_reply", {"value": "K\u00e4the \U0001f600 "}, channel="stdin", parent=first["header"])
    second = asker.until_type("input_request", asked)
    assert second["content"] == {"prompt": "key? ", "password": True}
    asker.send("input_reply", {"value": "secret"}, channel="stdin", parent=second["header"])
    found = asker.answers(asked, "execute_reply")
    assert stream_text(found) == "K\u00e4the \U0001f600 secret\n"
    other.answers(asked, reply=False)
    other.execute("pass")
    assert of_type(other.seen, "input_request") == []


def test_no_input_without_allow_stdin(attach):
    client = attach()
    found = client.execute("input('?')", allow_stdin=False)
    assert of_type(found, "error")[0]["content"]["ename"] == "StdinNotImplementedError"
    assert of_type(client.seen, "input_request") == []


# ---- kinds of requests ----


@both
def test_introspection(attach, v1):
    client = attach(v1=v1)
    client.execute("long_name_of_mine = 17")

    def ask(kind, **content):
        found = client.answers(client.send(kind + "_request", content), kind + "_reply")
        check_order(found)
        return of_type(found, kind + "_reply")[0]["content"]

    found = ask("complete", code="long_name_of", cursor_pos=12)
    assert found["matches"] == ["long_name_of_mine"] and found["status"] == "ok"
    found = ask("inspect", code="long_name_of_mine", cursor_pos=3, detail_level=0)
    assert found["found"] and "17" in found["data"]["text/plain"]
    found = ask("history", output=False, raw=True, hist_access_type="tail", n=5)
    assert found["status"] == "ok" and isinstance(found["history"], list)
    assert ask("is_complete", code="for i in x:")["status"] == "incomplete"
    assert ask("is_complete", code="1 +")["status"] in ("invalid", "incomplete")
    assert ask("is_complete", code="1 + 1")["status"] == "complete"
    assert ask("comm_info")["status"] == "ok"
    assert ask("kernel_info")["implementation"] == "ipython"


@both
def test_control_answers_while_the_shell_is_busy(box, attach, v1):
    client = attach(v1=v1)
    gate = Gate(box)
    running = client.run(gate.code)
    client.until_type("execute_input", running)
    asked = client.send("kernel_info_request", channel="control")
    found = client.answers(asked, "kernel_info_reply")
    assert of_type(found, "kernel_info_reply")[0]["channel"] == "control"
    asked = client.send(
        "debug_request",
        {"type": "request", "seq": 1, "command": "debugInfo", "arguments": {}},
        channel="control",
    )
    found = of_type(client.answers(asked, "debug_reply"), "debug_reply")[0]["content"]
    assert (found["success"], found["command"]) == (True, "debugInfo"), found
    gate.open()
    client.answers(running, "execute_reply")


def test_the_debugger_initializes(more, attach):
    client = attach(more()["id"])
    arguments = {"clientID": "test", "adapterID": "", "pathFormat": "path", "linesStartAt1": True}
    asked = client.send(
        "debug_request",
        {"type": "request", "seq": 1, "command": "initialize", "arguments": arguments},
        channel="control",
    )
    found = of_type(client.answers(asked, "debug_reply"), "debug_reply")[0]["content"]
    assert (found["success"], found["command"]) == (True, "initialize"), found


def test_subshells_work_beside_the_main_shell(box, attach):
    client = attach()

    def ask(kind, **content):
        asked = client.send(kind + "_request", content, channel="control")
        return of_type(client.answers(asked, kind + "_reply"), kind + "_reply")[0]["content"]

    made = ask("create_subshell")
    assert made["status"] == "ok", made
    assert ask("list_subshell")["subshell_id"] == [made["subshell_id"]]
    gate = Gate(box)
    running = client.run(gate.code)
    client.until_type("execute_input", running)
    content = dict(WANTS_ALL, code="print('beside')", allow_stdin=False)
    beside = client.send("execute_request", content, subshell_id=made["subshell_id"])
    assert stream_text(client.answers(beside, "execute_reply")) == "beside\n"
    assert of_type(own(client.seen, running), "execute_reply") == []
    gate.open()
    client.answers(running, "execute_reply")
    assert ask("delete_subshell", subshell_id=made["subshell_id"])["status"] == "ok"
    assert ask("list_subshell")["subshell_id"] == []


def test_an_unknown_type_gets_busy_and_idle(attach):
    client = attach()
    found = client.answers(client.send("strange_request"), reply=False)
    assert types(found) == ["status", "status"]
    assert client.text("print('goes on')") == "goes on\n"


def test_a_failing_cell_aborts_what_was_sent_behind_it(box, attach):
    """ipykernel's own behaviour passes through."""
    client = attach()
    gate = Gate(box)
    failing = client.run(gate.code + "1/0")
    behind = client.run("print('never')")
    client.until_type("execute_input", failing)
    gate.open()
    found = client.answers(failing, "execute_reply")
    assert of_type(found, "error")[0]["content"]["ename"] == "ZeroDivisionError"
    found = client.answers(behind, "execute_reply")
    assert of_type(found, "execute_reply")[0]["content"]["status"] == "aborted"
    assert client.text("print('goes on')") == "goes on\n"


# ---- interrupt, restart, shutdown ----


@both
@pytest.mark.parametrize("by", ["control", "shell", "rest", "api"])
def test_interrupt(box, attach, v1, by):
    client, other = attach(v1=v1), attach(v1=not v1)
    running = client.run(FOREVER)
    client.until_type("stream", running)
    if by == "rest":
        box.post("%s/%s/interrupt" % (KERNELS, main_id(box))).expect(204)
    elif by == "api":
        box.interrupt().expect(204)
    else:
        asked = other.send("interrupt_request", channel=by)
        found = other.answers(asked, "interrupt_reply")
        assert of_type(found, "interrupt_reply")[0]["content"]["status"] == "ok"
        assert of_type(found, "interrupt_reply")[0]["channel"] == by
    found = client.answers(running, "execute_reply")
    assert of_type(found, "execute_reply")[0]["content"]["ename"] == "KeyboardInterrupt"
    assert client.text("print('goes on')") == "goes on\n"


def check_restarted(client, generation, box):
    client.until(lambda m: m["content"].get("execution_state") == "restarting")
    assert client.text("print('mine' in globals())") == "False\n"
    assert box.kernel()["generation"] == generation


@both
@pytest.mark.parametrize("by", ["message", "rest", "api"])
def test_restart_is_seen_on_the_socket_which_lives_on(sandbox, attach, v1, by):
    client, other = attach(to=sandbox, v1=v1), attach(to=sandbox, v1=not v1)
    kernel_id = main_id(sandbox)
    client.execute("mine = 1")
    session = client.seen[-1]["header"]["session"]
    running = client.run(FOREVER)
    client.until_type("stream", running)
    if by == "rest":
        model = sandbox.post("%s/%s/restart" % (KERNELS, kernel_id)).expect(200).json()
        assert (model["id"], model["execution_state"]) == (kernel_id, "idle")
    elif by == "api":
        sandbox.restart()
    else:
        asked = other.send("shutdown_request", {"restart": True}, channel="control")
        found = other.until_type("shutdown_reply", asked)
        assert found["content"]["restart"] is True
    found = client.answers(running, "execute_reply")
    reply = of_type(found, "execute_reply")[0]
    assert reply["content"]["status"] == "error", reply
    if reply["content"]["ename"] != "KeyboardInterrupt":
        assert reply["header"]["session"] == session
    for c in (client, other):
        check_restarted(c, 2, sandbox)
    assert client.seen[-1]["header"]["session"] != session
    assert [k["id"] for k in sandbox.get(KERNELS).expect(200).json()] == [kernel_id]


@both
def test_restart_and_shutdown_of_an_idle_kernel(sandbox, attach, v1):
    client = attach(to=sandbox, v1=v1)
    client.execute("mine = 1")
    asked = client.send("shutdown_request", {"restart": True}, channel="control")
    assert client.until_type("shutdown_reply", asked)["content"]["restart"] is True
    check_restarted(client, 2, sandbox)

    kernel_id = main_id(sandbox)
    asked = client.send("shutdown_request", {"restart": False}, channel="control")
    assert client.until_type("shutdown_reply", asked)["content"]["restart"] is False
    client.until(lambda m: m["content"].get("execution_state") == "dead")
    assert sandbox.get(KERNELS).expect(200).json() == []
    assert sandbox.get(KERNELS + "/" + kernel_id).status == 404
    Channels(sandbox, kernel_id, expect=404)
    assert sandbox.kernel()["state"] == "dead"
    sandbox.post_execute("1").problem("kernel_dead")
    # Its client still is there, and is answered.
    found = client.execute("print('anyone?')")
    assert of_type(found, "execute_reply")[0]["content"]["status"] == "error"

    sandbox.restart()
    assert [k["id"] for k in sandbox.get(KERNELS).expect(200).json()] == [kernel_id]
    assert client.text("print('back')") == "back\n"


@both
def test_shutdown_of_a_further_kernel_removes_it(box, more, attach, v1):
    kernel_id = more()["id"]
    client, other = attach(kernel_id, v1=v1), attach(kernel_id, v1=not v1)
    client.execute("pass")
    asked = client.send("shutdown_request", {"restart": False}, channel="control")
    assert client.until_type("shutdown_reply", asked)["content"]["restart"] is False
    assert client.closed()[0] == 1000
    assert other.closed()[0] == 1000
    assert kernel_id not in [k["id"] for k in box.get(KERNELS).expect(200).json()]
    assert kernel_id not in [k["id"] for k in box.kernels()]
    assert box.get(KERNELS + "/" + kernel_id).status == 404


def test_deleting_a_kernel_closes_its_clients(box, more, attach):
    kernel_id = more()["id"]
    client = attach(kernel_id)
    running = client.run(FOREVER)
    client.until_type("stream", running)
    box.delete(KERNELS + "/" + kernel_id).expect(204)
    assert client.closed()[0] == 1000
    box.delete(KERNELS + "/" + kernel_id).expect(404)


def test_deleting_the_main_kernel_leaves_it_dead_until_restart(sandbox, attach):
    kernel_id = main_id(sandbox)
    client = attach(to=sandbox)
    running = client.run(FOREVER)
    client.until_type("stream", running)
    sandbox.delete(KERNELS + "/" + kernel_id).expect(204)
    found = client.answers(running, "execute_reply")
    assert of_type(found, "execute_reply")[0]["content"]["status"] == "error"
    client.until(lambda m: m["content"].get("execution_state") == "dead")
    assert sandbox.get(KERNELS).expect(200).json() == []
    assert sandbox.get(KERNELS + "/" + kernel_id).status == 404
    sandbox.restart()
    assert client.text("print('back')") == "back\n"


def test_the_end_of_the_sandbox_closes_with_1001(make_runner):
    it = make_runner()
    with Channels(it.box(), main_id(it.box())) as client:
        client.execute("pass")
        it.stop()
        assert client.closed()[0] == 1001


# ---- the death of a kernel ----


def test_a_death_answers_every_request_under_way(sandbox, attach):
    first, second = attach(to=sandbox), attach(to=sandbox, v1=False)
    first.execute("pass")
    session = first.seen[-1]["header"]["session"]
    gate = Gate(sandbox)
    running = first.run("print('begun', flush=True)\n" + gate.code + "os._exit(3)")
    first.until_type("stream", running)
    behind = [first.send("complete_request", {"code": "a", "cursor_pos": 1}), first.run("print('lost')")]
    theirs = [second.run("print('lost too')"), second.send("comm_msg", {"comm_id": "x", "data": {}})]
    for client in (first, second):
        # Control answers behind what went before on the same connection: all was passed on.
        client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
    gate.open()
    found = first.answers(running, "execute_reply")
    check_order(found)
    assert of_type(found, "error")[0]["content"]["ename"] == "KernelDied"
    reply = of_type(found, "execute_reply")[0]
    assert reply["content"]["status"] == "error" and reply["content"]["ename"] == "KernelDied"
    assert "code 3" in reply["content"]["evalue"]
    assert reply["content"]["traceback"]
    assert {m["header"]["session"] for m in found} == {session}
    replies = [
        (first.answers(behind[0], "complete_reply"), "complete_reply"),
        (first.answers(behind[1], "execute_reply"), "execute_reply"),
        (second.answers(theirs[0], "execute_reply"), "execute_reply"),
    ]
    for answers, kind in replies:
        assert of_type(answers, kind)[0]["content"]["status"] == "error"
        assert {m["header"]["session"] for m in answers} == {session}
        check_order(answers)
    assert types(second.answers(theirs[1], reply=False)) == ["status", "status"]
    for client in (first, second):
        assert client.until(lambda m: m["content"].get("execution_state") == "restarting")
        assert client.text("print('again')") == "again\n"
        assert client.seen[-1]["header"]["session"] != session
    assert sandbox.kernel()["generation"] == 2


def test_what_comes_while_it_restarts_is_kept(sandbox, attach):
    client = attach(to=sandbox)
    asked = client.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    client.until(lambda m: m["content"].get("execution_state") == "restarting")
    reply = of_type(own(client.seen, asked), "execute_reply")[0]
    assert "SIGKILL" in reply["content"]["evalue"], reply
    early = [client.send("kernel_info_request"), client.run("print('kept')")]
    client.answers(early[0], "kernel_info_reply")
    assert stream_text(client.answers(early[1], "execute_reply")) == "kept\n"


def test_five_deaths_leave_it_dead_and_requests_answered(sandbox, attach):
    client, other = attach(to=sandbox), attach(to=sandbox, v1=False)
    for n in range(5):
        found = client.execute("import os; os._exit(%d)" % n)
        assert of_type(found, "execute_reply")[0]["content"]["ename"] == "KernelDied"
        state = client.until(lambda m: m["content"].get("execution_state") in ("restarting", "dead"))
        assert state["content"]["execution_state"] == ("dead" if n == 4 else "restarting")
        assert state["parent_header"] == {}
    assert model_of(sandbox)["execution_state"] == "dead"
    for c in (client, other):
        found = c.execute("print('never')")
        check_order(found)
        reply = of_type(found, "execute_reply")[0]
        assert reply["content"]["status"] == "error" and "restart" in reply["content"]["evalue"]
        found = c.answers(c.send("kernel_info_request"), "kernel_info_reply")
        assert of_type(found, "kernel_info_reply")[0]["content"]["status"] == "error"
    with Channels(sandbox, main_id(sandbox)) as late:
        found = late.execute("print('never')")
        assert of_type(found, "execute_reply")[0]["content"]["status"] == "error"
    sandbox.restart()
    assert client.text("print('again')") == "again\n"


# ---- size ----


@both
def test_20_mib_of_lines(attach, v1):
    client = attach(v1=v1)
    found = client.execute("line = 'x' * 99\nfor i in range(200_000): print('%08d%s' % (i, line[8:]))")
    check_order(found)
    assert max(m["size"] for m in found) < MIB
    text = stream_text(found)
    assert len(text) == 20_000_000
    assert text == "".join("%08d%s\n" % (i, "x" * 91) for i in range(200_000))


ODD_TEXT = "print(('a\\\\\"\\n\\t\\x00\\x1b\\u2028é☃\\U0001f600\\U0001f1e9\\x7f' * 300_000)[:2_500_000])"


@both
def test_one_print_of_5_mb_with_everything_that_is_escaped(attach, v1):
    client = attach(v1=v1)
    found = client.execute(ODD_TEXT)
    check_order(found)
    assert max(m["size"] for m in found) < MIB
    streams = of_type(found, "stream")
    assert len(streams) > 5
    ids = [m["header"]["msg_id"] for m in streams]
    assert len(set(ids)) == len(ids)
    assert (
        stream_text(found)
        == ('a\\"\n\t\x00\x1b\u2028é☃\U0001f600\U0001f1e9\x7f' * 300_000)[:2_500_000] + "\n"
    )


def test_a_display_of_several_mib_is_one_message(attach):
    client = attach()
    found = client.execute(
        "from IPython.display import display\ndisplay({'text/html': 'h' * 3_000_000}, raw=True)"
    )
    (shown,) = of_type(found, "display_data")
    assert shown["content"]["data"] == {"text/html": "h" * 3_000_000}


# ---- coming back ----


def numbers_of(messages):
    return [int(n) for n in stream_text(messages).split()]


def once(messages):
    """Without what was sent twice."""
    return list({m["header"]["msg_id"]: m for m in messages}.values())


@both
def test_a_session_that_comes_back_has_lost_nothing(box, attach, v1):
    client, other = attach(v1=v1, session="returning-%s" % v1), attach()
    asked = client.run("for i in range(5000): print(i, flush=True)")
    client.until(lambda m: m["header"]["msg_type"] == "stream" and "700" in m["content"]["text"].split())
    # Closed with bytes unread: a reset, in the middle of things.
    client.close()
    other.answers(asked, reply=False)
    seen = list(client.seen)
    back = attach(v1=v1, session="returning-%s" % v1)
    found = back.answers(asked, "execute_reply")
    whole = once(own(seen + found, asked))
    assert numbers_of(whole) == list(range(5000))
    check_order(whole)
    assert len(of_type(whole, "execute_reply")) == 1
    # What comes again is what was sent last and not acknowledged.
    again = {m["header"]["msg_id"] for m in seen} & {m["header"]["msg_id"] for m in found}
    assert {m["header"]["msg_id"] for m in seen[len(seen) - len(again) :]} == again
    assert back.text("print('goes on')") == "goes on\n"


def test_what_was_acknowledged_does_not_come_again(box, attach):
    client, other = attach(session="acknowledges"), attach()
    shown = client.execute("print('read')")
    client.settle()
    client.close()
    away = other.run("print('meanwhile')")
    other.answers(away, "execute_reply")
    back = attach(session="acknowledges")
    mine = back.execute("print('back')")
    got = {m["parent_header"]["msg_id"] for m in back.seen if m["parent_header"]}
    assert shown[0]["parent_header"]["msg_id"] not in got
    assert stream_text(own(back.seen, away)) == "meanwhile\n"
    assert "execute_reply" not in types(own(back.seen, away))
    assert stream_text(mine) == "back\n"


def test_another_session_gets_nothing_of_it(box, attach):
    client, other = attach(session="one"), attach()
    asked = client.run("print('for one', flush=True)")
    client.answers(asked, "execute_reply")
    client.close()
    away = other.run("print('meanwhile')")
    other.answers(away, "execute_reply")
    for stranger in (attach(session="two"), attach()):
        stranger.execute("pass")
        assert own(stranger.seen, asked) == [] and own(stranger.seen, away) == []


def test_a_returning_session_gets_its_reply(box, attach):
    client = attach(session="asker")
    gate = Gate(box)
    asked = client.run(gate.code + "print('done')")
    client.until_type("execute_input", asked)
    client.close()
    eventually(lambda: model_of(box)["connections"] == 0)
    gate.open()
    with Channels(box, main_id(box)) as other:
        other.execute("pass")
    back = attach(session="asker")
    found = back.answers(asked, "execute_reply")
    assert stream_text(found) == "done\n"


@both
def test_what_could_not_be_kept_is_said(box, attach, v1):
    """Beyond 16 MiB the oldest outputs go: one marker says how many, then come the newest."""
    client = attach(v1=v1, session="away-%s" % v1)
    gate = Gate(box)
    code = "import sys\nfor i in range(400): sys.stdout.write('%d ' % i + 'x' * 100_000 + '\\n'); sys.stdout.flush()"
    asked = client.run(gate.code + code)
    client.until_type("execute_input", asked)
    client.close()
    eventually(lambda: model_of(box)["connections"] == 0)
    gate.open()
    box.ok("pass")  # which waits for what a notebook asked
    back = attach(v1=v1, session="away-%s" % v1)
    found = once(client.seen + back.answers(asked, "execute_reply"))
    check_order(own(found, asked))
    # The reply comes by another socket: where it lies among what is missing, it parts the markers.
    markers = [m for m in of_type(found, "stream") if m["content"]["name"] == "stderr"]
    assert 1 <= len(markers) <= 2
    told = r"(\d+) messages \((.*) MiB\) are missing here"
    said = [re.search(told, m["content"]["text"]).groups() for m in markers]
    lost, mib = sum(int(n) for n, _ in said), sum(float(size) for _, size in said)
    kept = [m for m in of_type(found, "stream") if m["content"]["name"] == "stdout"]
    numbers = [int(m["content"]["text"].split()[0]) for m in kept]
    assert numbers == list(range(400 - len(kept), 400))
    assert lost == 400 - len(kept)
    assert lost * 100_000 <= mib * MIB * 1.02 <= lost * 104_000
    assert 15 * MIB < sum(m["size"] for m in kept) <= 17 * MIB
    order = types(own(found, asked))
    assert order.index("execute_input") < order.index("stream")
    assert found.index(markers[-1]) < found.index(kept[0])


def test_a_session_has_one_connection(box, attach):
    first = attach(session="twice")
    first.execute("pass")
    second = attach(session="twice")
    assert first.closed()[0] == 1000
    assert second.text("print('second')") == "second\n"
    assert model_of(box)["connections"] == 1


def test_what_a_replaced_connection_asked_is_answered_to_the_new_one(box, attach):
    first = attach(session="moves")
    gate = Gate(box)
    asked = first.run(gate.code + "print('moved')")
    first.until_type("execute_input", asked)
    second = attach(session="moves")
    assert first.closed()[0] == 1000
    gate.open()
    assert stream_text(second.answers(asked, "execute_reply")) == "moved\n"


@both
def test_a_session_survives_the_death_of_the_kernel(sandbox, attach, v1):
    client = attach(to=sandbox, v1=v1, session="mourner")
    gate = Gate(sandbox)
    asked = client.run("print('begun', flush=True)\n" + gate.code + "os._exit(1)")
    client.until_type("stream", asked)
    client.close()
    eventually(lambda: model_of(sandbox)["connections"] == 0)
    gate.open()
    eventually(lambda: sandbox.kernel()["generation"] == 2 and sandbox.kernel()["state"] == "idle", 30)
    back = attach(to=sandbox, v1=v1, session="mourner")
    found = back.answers(asked, "execute_reply")
    assert of_type(found, "execute_reply")[0]["content"]["ename"] == "KernelDied"
    back.until(lambda m: m["content"].get("execution_state") == "restarting")
    assert back.text("print('again')") == "again\n"


@pytest.mark.parametrize("session", [None, "silent"])
def test_a_client_that_never_pongs_is_served(attach, session):
    client = attach(session=session, pong=False)
    for i in range(50):
        assert client.text("print(%d)" % i) == "%d\n" % i
    assert client.pings <= 1


def test_pings_are_answered_while_the_kernel_is_busy(box, attach):
    client = attach()
    gate = Gate(box)
    running = client.run(gate.code)
    client.until_type("execute_input", running)
    for payload in (b"", b"p" * 125):
        client.ping(payload)
    gate.open()
    client.answers(running, "execute_reply")


def test_connections_are_counted(box, attach):
    assert model_of(box)["connections"] == 0
    clients = [attach(), attach(v1=False), attach(session="counted")]
    for client in clients:
        client.ping()
    assert model_of(box)["connections"] == 3
    assert box.get("/jupyter/api/status").expect(200).json()["connections"] == 3
    for client in clients:
        client.close()
    eventually(lambda: model_of(box)["connections"] == 0)


# ---- ends ----


@both
def test_a_close_is_answered(attach, v1):
    client = attach(v1=v1)
    client.execute("pass")
    client.raw(frame(CLOSE, struct.pack(">H", 1000) + b"bye"))
    assert client.closed()[0] == 1000


def test_a_text_message_in_v1_is_refused(attach):
    client = attach()
    client.raw(frame(TEXT, b"{}"))
    assert client.closed()[0] == 1007


def test_the_many_clients_of_one_cell(attach):
    """Each gets every message, whatever the others do."""
    clients = [attach(v1=i % 2 == 0) for i in range(20)]
    asked = clients[0].run("for i in range(1000): print(i, flush=True)")
    found = []

    def read(client):
        found.append(client.answers(asked, reply=None if client is clients[0] else False))

    threads = [threading.Thread(target=read, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(found) == 20
    for messages in found:
        assert numbers_of(messages) == list(range(1000))
