"""Jupyter clients that send nonsense, too much, or do not read: only they have the damage."""

import concurrent.futures
import contextlib
import json
import re
import socket
import struct
import time

import pytest
from lib.code import FOREVER, Gate
from lib.hostile import rss_anon
from lib.jupyter import (
    BINARY, PING, TEXT, Channels, encode_v1, frame, of_type, stream_text, types,
)  # fmt: skip
from lib.process import SANITIZER_ENV, eventually

MIB = 1 << 20
KERNELS = "/jupyter/api/kernels"
MESSAGE_MAX = 16 * MIB
ID_MAX, HEADER_MAX, FRAGMENTS_MAX = 127, 1 << 16, 4096
WANTS = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}

both = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])


@pytest.fixture
def attach(box):
    with contextlib.ExitStack() as stack:

        def make(to=box, kernel_id=None, **options):
            return stack.enter_context(Channels(to, kernel_id or to.kernel()["id"], **options))

        yield make


@pytest.fixture
def witness(box, attach):
    """Another client of the same kernel, which must not notice anything."""
    client = attach(v1=False)
    yield client
    assert client.text("print('as ever')") == "as ever\n"
    assert box.value("6 * 7") == "42"


@pytest.fixture
def lean(make_runner):
    """A runner whose sanitizer keeps little of what was freed: its memory can be measured."""
    asan = SANITIZER_ENV["ASAN_OPTIONS"] + ":quarantine_size_mb=4"
    it = make_runner(env={"ASAN_OPTIONS": asan})
    it.box().ok("pass")
    return it


def serves(client):
    assert client.text("print('goes on')") == "goes on\n"


def send_all(client, data):
    """Sends what the server may refuse before its end."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.raw(data)


def dropped(box):
    found = box.get("/metrics").expect(200).text
    return int(re.search(r"^caesarion_runner_jupyter_messages_dropped_total (\d+)", found, re.M).group(1))


# ---- frames ----


@both
def test_an_unmasked_frame_is_refused(attach, witness, v1):
    client = attach(v1=v1)
    client.raw(frame(BINARY if v1 else TEXT, b"{}", mask=False))
    assert client.closed()[0] == 1002


@pytest.mark.parametrize(
    "bad",
    [
        frame(BINARY, b"", rsv=4),
        frame(3, b""),
        frame(PING, b"p" * 126),
        frame(PING, b"", fin=False),
        frame(0, b"x"),
    ],
    # Not the bytes: their masks are random, and each worker of a run must know the same names.
    ids=["reserved bits", "reserved opcode", "long ping", "ping in parts", "continuation of nothing"],
)
def test_frames_against_the_protocol_are_refused(attach, witness, bad):
    client = attach()
    client.raw(bad)
    assert client.closed()[0] == 1002


def sized(client, size):
    """A message of exactly that many bytes."""
    message = client.make("comm_msg", {"comm_id": "none", "data": {}}, buffers=[b""])
    message["buffers"] = [b"b" * (size - len(encode_v1(message)))]
    assert len(encode_v1(message)) == size
    return message


def test_a_message_at_the_limit_is_taken(attach, witness):
    client = attach()
    message = sized(client, MESSAGE_MAX)
    client.raw(client.bytes_of(message))
    found = client.answers(message["header"]["msg_id"], reply=False)
    assert types(found)[0] == "status" and types(found)[-1] == "status"
    serves(client)


def test_an_oversized_frame_is_refused(attach, witness):
    client = attach()
    send_all(client, client.bytes_of(sized(client, MESSAGE_MAX + 1)))
    assert client.closed()[0] in (1009, 1006)  # our own bytes may be under way still: a reset


@pytest.mark.parametrize("claims", [MESSAGE_MAX + 1, 1 << 40])
def test_a_frame_that_claims_to_be_oversized_is_refused_at_once(attach, witness, claims):
    client = attach()
    client.raw(frame(BINARY, b"x", length=claims))
    assert client.closed()[0] == 1009


@pytest.mark.parametrize("cut", [1, 2, 5, 9, 100])
def test_a_truncated_frame(box, attach, witness, cut):
    client = attach()
    data = client.bytes_of(client.make("execute_request", dict(WANTS, code="print('never')")))
    client.raw(data[:cut])
    client.sock.shutdown(socket.SHUT_WR)
    assert client.closed()[0] in (1002, 1006)
    eventually(lambda: box.get(KERNELS).expect(200).json()[0]["connections"] == 1)


def in_pieces(data, count):
    """The data in that many fragments, a byte in each while there are some."""
    cuts = [data[i : i + 1] for i in range(len(data) - 1)] + [data[-1:]]
    cuts = cuts[:-1] + [b""] * (count - len(cuts)) + cuts[-1:]
    return b"".join(frame(0 if i else BINARY, part, fin=i == count - 1) for i, part in enumerate(cuts))


def test_a_message_fragmented_for_ever(attach, witness):
    """By number, and by size: at the limit it is taken, above it is refused before its end."""
    client = attach()
    message = client.make("execute_request", dict(WANTS, code="print('in pieces')"))
    client.raw(in_pieces(encode_v1(message), FRAGMENTS_MAX))
    assert stream_text(client.answers(message["header"]["msg_id"], "execute_reply")) == "in pieces\n"
    client.raw(frame(BINARY, b"", fin=False) + frame(0, b"", fin=False) * (FRAGMENTS_MAX - 1))
    client.ping()
    send_all(client, frame(0, b"", fin=False))
    assert client.closed()[0] == 1008

    client = attach()
    client.raw(frame(BINARY, b"", fin=False))
    part = frame(0, b"x" * 65536, fin=False)
    for _ in range(MESSAGE_MAX // 65536):
        client.raw(part)
    client.ping()
    send_all(client, frame(0, b"x", fin=False))
    assert client.closed()[0] == 1009


@both
def test_control_frames_within_a_fragmented_message(attach, witness, v1):
    client = attach(v1=v1)
    message = client.make("execute_request", dict(WANTS, code="print('interleaved')"))
    data = encode_v1(message) if v1 else json.dumps(message).encode()
    client.raw(frame(BINARY if v1 else TEXT, data[:10], fin=False))
    client.ping(b"one")
    client.raw(frame(0, data[10:20], fin=False) + frame(10, b"nobody asked"))
    client.ping(b"two")
    client.raw(frame(0, data[20:]))
    assert stream_text(client.answers(message["header"]["msg_id"], "execute_reply")) == "interleaved\n"


# ---- messages ----


def v1_of(offsets, rest=b"", n=None):
    return struct.pack("<%dQ" % (len(offsets) + 1), len(offsets) if n is None else n, *offsets) + rest


BAD_V1 = {
    "empty": b"",
    "shorter than its count": b"\x06\0\0",
    "no offsets": v1_of([]),
    "too few parts": v1_of([24, 29], b"shell"),
    "count of 2^64": v1_of([56] * 6, n=(1 << 64) - 1),
    "count of 2^61": v1_of([56] * 6, n=1 << 61),
    "offsets beyond the end": v1_of([56, 61, 63, 65, 67, 1000], b"shell{}{}{}{}"),
    "offsets of 2^64": v1_of([56, 61, 63, 65, 67, (1 << 64) - 1], b"shell{}{}{}{}"),
    "offsets that decrease": v1_of([56, 61, 60, 65, 67, 69], b"shell{}{}{}{}"),
    "offsets into the table": v1_of([8, 61, 63, 65, 67, 69], b"shell{}{}{}{}"),
}


@pytest.mark.parametrize("name", BAD_V1)
def test_bad_offsets_in_v1(attach, witness, name):
    client = attach()
    client.raw(frame(BINARY, BAD_V1[name]))
    assert client.closed()[0] == 1007


BAD_LEGACY = {
    "no JSON": (TEXT, b"not json"),
    "nothing": (TEXT, b""),
    "half of it": (TEXT, b'{"header":{"msg_id":"a"'),
    "an array": (TEXT, b"[1, 2]"),
    "a string": (TEXT, b'"shell"'),
    "a header that is none": (TEXT, b'{"header":[],"content":{}}'),
    "no header": (TEXT, b'{"content":{}}'),
    "no UTF-8": (TEXT, b'{"header":{"msg_id":"\xff","msg_type":"x"}}'),
    "much nesting": (
        TEXT,
        b'{"header":{"msg_id":"n","msg_type":"x"},"content":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    ),
    "binary: nothing": (BINARY, b""),
    "binary: no parts": (BINARY, struct.pack(">I", 0)),
    "binary: offsets beyond the end": (BINARY, struct.pack(">III", 2, 12, 5000) + b"{}"),
    "binary: offsets that decrease": (BINARY, struct.pack(">III", 2, 14, 12) + b"{}{}"),
    "binary: count of 2^32": (BINARY, struct.pack(">II", (1 << 32) - 1, 8) + b"{}"),
}


@pytest.mark.parametrize("name", BAD_LEGACY)
def test_bad_legacy_messages(attach, witness, name):
    client = attach(v1=False)
    client.raw(frame(*BAD_LEGACY[name]))
    assert client.closed()[0] == 1007


def test_too_many_buffers(attach, witness):
    client = attach()
    message = client.make("comm_msg", {"comm_id": "x", "data": {}}, buffers=[b"b"] * 256)
    client.raw(client.bytes_of(message))
    client.answers(message["header"]["msg_id"], reply=False)
    client.raw(client.bytes_of(client.make("comm_msg", {}, buffers=[b"b"] * 257)))
    assert client.closed()[0] == 1009


@both
def test_what_no_kernel_takes_is_counted_and_nothing_else(runner, v1):
    box = runner.box()
    box.ok("pass")
    with Channels(box, box.kernel()["id"], v1=v1) as client:
        before = dropped(box)
        client.send("execute_request", dict(WANTS, code="print('never')"), channel="nowhere")
        client.send("status", {"execution_state": "dead"}, channel="iopub")
        for name in ("msg_id", "msg_type"):
            message = client.make("execute_request", dict(WANTS, code="print('never')"))
            del message["header"][name]
            client.raw(client.bytes_of(message))
        client.send("execute_request", dict(WANTS, code="print('never')"), msg_id=7)
        client.send("execute_request", dict(WANTS, code="print('never')"), msg_id="")
        serves(client)
        assert dropped(box) == before + 6
        assert "never" not in stream_text(client.seen)


@both
def test_unknown_message_types(attach, witness, v1):
    client = attach(v1=v1)
    for kind in ("strange_request", "strange", "execute_reply", "x" * 63):
        for channel in ("shell", "control"):
            client.send(kind, {"a": 1}, channel=channel)
    serves(client)


@both
def test_a_msg_id_at_the_limit(attach, witness, v1):
    client = attach(v1=v1)
    content = dict(WANTS, code="print('long id')")
    found = client.answers(client.send("execute_request", content, msg_id="i" * ID_MAX), "execute_reply")
    assert stream_text(found) == "long id\n"
    content = dict(WANTS, code="print('too long an id')")
    client.send("execute_request", content, msg_id="j" * (ID_MAX + 1))
    serves(client)
    assert "too long" not in stream_text(client.seen)


def test_a_session_id_at_the_limit(box, attach, witness):
    serves(attach(session="s" * ID_MAX))
    found = attach(session="s" * (ID_MAX + 1), expect=400)
    assert b"session_id" in found.body


@both
def test_a_header_at_the_limit(attach, witness, v1):
    client = attach(v1=v1)
    for size, taken in ((HEADER_MAX, True), (HEADER_MAX + 1, False)):
        message = client.make("execute_request", dict(WANTS, code="print('header of %d')" % size))
        header = dict(message["header"], padding="")
        header["padding"] = "p" * (size - len(json.dumps(header)))
        assert len(json.dumps(header)) == size
        client.raw(client.bytes_of(dict(message, header=header)))
        if taken:
            found = client.answers(header["msg_id"], "execute_reply")
            assert stream_text(found) == "header of %d\n" % size
    serves(client)
    assert "header of %d" % (HEADER_MAX + 1) not in stream_text(client.seen)


def test_content_that_is_no_json(attach, witness):
    """v1 passes it on unread; what the kernel makes of it stays with this request."""
    client = attach()
    message = client.make("execute_request", dict(WANTS, code="1"))
    parts = [b"shell", json.dumps(message["header"]).encode(), b"{}", b"{}", b"\xff not json"]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    client.raw(frame(BINARY, v1_of(offsets, b"".join(parts))))
    serves(client)


# ---- repeated and stolen ids ----


@both
def test_a_repeated_message_holds_nothing_up(box, attach, witness, v1):
    """ipykernel drops the second without a word."""
    client = attach(v1=v1)
    gate = Gate(box)
    message = client.make("execute_request", dict(WANTS, code=gate.code + "print('once')"))
    data = client.bytes_of(message)
    client.raw(data + data)
    client.until_type("execute_input", message["header"]["msg_id"])
    gate.open()
    assert stream_text(client.answers(message["header"]["msg_id"], "execute_reply")) == "once\n"
    client.raw(data)
    begun = time.monotonic()
    assert box.value("6 * 7") == "42"
    assert time.monotonic() - begun < 10
    serves(client)
    assert stream_text(client.of_parent[message["header"]["msg_id"]]) == "once\n"


def test_the_id_of_an_execution_of_the_api(box, attach, witness):
    client = attach()
    client.ping()
    gate = Gate(box)
    running = box.start(gate.code + "print('mine')")
    box.wait_started(running["id"])
    client.send("execute_request", dict(WANTS, code="print('thief')"), msg_id=running["id"])
    gate.open()
    found = box.wait(running["id"])
    assert (found["status"], found["stdout"]) == ("ok", "mine\n")
    client.send("execute_request", dict(WANTS, code="print('thief')"), msg_id=running["id"])
    serves(client)
    found = box.execution(running["id"])
    assert (found["stdout"], found["late_outputs"]) == ("mine\n", [])
    assert stream_text(client.of_parent[running["id"]]) == "mine\n"


def test_the_id_of_another_clients_request(box, attach, witness):
    client, thief = attach(), attach()
    gate = Gate(box)
    asked = client.run(gate.code + "print('mine')")
    client.until_type("execute_input", asked)
    thief.send("execute_request", dict(WANTS, code="print('thief')"), msg_id=asked)
    gate.open()
    assert stream_text(client.answers(asked, "execute_reply")) == "mine\n"
    serves(thief)
    assert {m["channel"] for m in thief.of_parent[asked]} == {"iopub"}


# ---- too much ----


def test_a_flood_of_requests(lean):
    """More than is taken, behind a busy cell: the flooder is not read for a while, others are."""
    box, total = lean.box(), 20_000
    kernel_id = box.kernel()["id"]
    with Channels(box, kernel_id) as flooder, Channels(box, kernel_id) as other:
        blocked = flooder.run(FOREVER)
        flooder.until_type("stream", blocked)
        messages = [flooder.make("execute_request", dict(WANTS, code="n = 1")) for _ in range(total)]
        ids = [m["header"]["msg_id"] for m in messages]
        data = b"".join(flooder.bytes_of(m) for m in messages)
        before = rss_anon(lean.pid)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            sent = pool.submit(flooder.raw, data)
            waiting = []
            for _ in range(20):
                waiting.append(other.run("print('mine')"))
                asked = other.send("kernel_info_request", channel="control")
                other.answers(asked, "kernel_info_reply")
                box.get("/healthz").expect(200)
            assert not sent.done()
            assert rss_anon(lean.pid) - before < 64 * MIB
            # The next processes answer to what was taken; the rest is then taken.
            asked = other.send("interrupt_request", channel="control")
            other.answers(asked, "interrupt_reply")
            reply = of_type(flooder.answers(blocked, "execute_reply"), "execute_reply")[0]
            assert reply["content"]["ename"] == "KeyboardInterrupt"
            reader = pool.submit(lambda: [flooder.answers(i, "execute_reply", timeout=80) for i in ids])
            theirs = pool.submit(lambda: [other.answers(i, "execute_reply", timeout=80) for i in waiting])
            while not reader.done():
                box.post("%s/%s/restart" % (KERNELS, kernel_id), timeout=60).expect(200)
            assert len(reader.result()) == total
            sent.result(10)
            assert len(theirs.result(60)) == len(waiting)
        serves(other)
        serves(flooder)
        assert box.value("6 * 7") == "42"


def test_500_idle_clients(lean):
    box, count = lean.box(), 500
    kernel_id = box.kernel()["id"]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Channels(box, kernel_id, v1=i % 2 == 0)) for i in range(count)]
        assert box.get(KERNELS).expect(200).json()[0]["connections"] == count
        asked = clients[0].run("print('to all of you')")
        clients[0].answers(asked, "execute_reply")
        for client in clients[1:]:
            assert stream_text(client.answers(asked, reply=False)) == "to all of you\n"
    eventually(lambda: box.get(KERNELS).expect(200).json()[0]["connections"] == 0)


def test_the_most_clients_of_a_kernel(lean):
    """The 1001st is refused, with a reason to try again."""
    box, count = lean.box(), 1000
    kernel_id = box.kernel()["id"]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(Channels(box, kernel_id))
        refused = Channels(box, kernel_id, expect=429)
        assert b"clients are attached" in refused.body
        assert box.value("6 * 7") == "42"


def test_a_client_that_stops_reading_during_100_mb(lean):
    box = lean.box()
    kernel_id = box.kernel()["id"]
    with Channels(box, kernel_id) as stalled, Channels(box, kernel_id) as other:
        other.ping()
        gate = Gate(box)
        code = (
            gate.code
            + "import sys\nfor i in range(1000):\n sys.stdout.write('%09d ' % i + 'x' * 99_989 + '\\n'); sys.stdout.flush()"
        )
        asked = stalled.run(code)
        stalled.until_type("execute_input", asked)
        before = rss_anon(lean.pid)
        gate.open()
        found = other.answers(asked, reply=False, timeout=60)
        text = stream_text(found)
        assert len(text) == 100_000_000
        assert [int(n) for n in re.findall(r"^\d+", text, re.M)] == list(range(1000))
        # The ring, what the kernel was read ahead, and what ASan adds.
        assert rss_anon(lean.pid) - before < 96 * MIB
        found = stalled.answers(asked, "execute_reply", timeout=60)
        assert stream_text(found) == text and stream_text(found, "stderr") == ""
        serves(stalled)


def test_a_client_that_is_too_far_behind_gets_a_marker(lean):
    """Above what the spill holds, too: the marker, the newest, reply and idle."""
    box = lean.box()
    with Channels(box, box.kernel()["id"]) as stalled:
        gate = Gate(box)
        code = (
            gate.code
            + "import sys\nfor i in range(400):\n sys.stdout.write('%d ' % i + 'x' * 799_000 + '\\n'); sys.stdout.flush()"
        )
        asked = stalled.run(code)
        stalled.until_type("execute_input", asked)
        before = rss_anon(lean.pid)
        gate.open()
        box.ok("pass", timeout=60)
        assert rss_anon(lean.pid) - before < 96 * MIB
        numbers, markers, at = [], [], []

        def drop_text(message):
            text = message["content"].get("text", "")
            if message["content"].get("name") == "stdout":
                numbers.extend(int(n) for n in re.findall(r"^\d+", text, re.M))
                message["content"]["text"] = ""
            elif text:
                markers.append(text)
                at.append(len(numbers))
            return (
                message["content"].get("execution_state") == "idle"
                and message["parent_header"]["msg_id"] == asked
            )

        stalled.until(drop_text, timeout=60)
        stalled.answers(asked, "execute_reply")
        assert markers and all("missing here" in m for m in markers)
        lost = sum(int(re.search(r"(\d+) messages", m).group(1)) for m in markers)
        assert lost + len(numbers) == 400
        assert numbers == sorted(numbers) and numbers[-1] == 399
        serves(stalled)


# ---- kernels ----


@pytest.mark.parametrize(
    "kernel_id",
    [
        "x",
        "main",
        "0",
        "a" * 36,
        "00000000-0000-0000-0000-000000000000",
        "%2e%2e",
        "%00",
        "a" * 3000,
        "é".encode().hex(),
    ],
    ids=lambda v: v[:12],
)
def test_kernel_ids_that_are_none(box, kernel_id):
    path = "%s/%s" % (KERNELS, kernel_id)
    for found in (
        box.get(path),
        box.delete(path),
        box.post(path + "/interrupt"),
        box.post(path + "/restart"),
        box.get(path + "/channels", headers={"Upgrade": "websocket", "Connection": "Upgrade"}),
    ):
        assert found.status in (400, 404), found
        assert found.json()["message"], found
    assert box.value("6 * 7") == "42"


def test_delete_during_an_execution(box, attach):
    kernel_id = box.post(KERNELS).expect(201).json()["id"]
    client, other = attach(kernel_id=kernel_id), attach(kernel_id=kernel_id)
    client.execute("pass")
    running = client.run(FOREVER)
    client.until_type("stream", running)
    waiting = box.start("print('never')", kernel_id=kernel_id)
    box.delete("%s/%s" % (KERNELS, kernel_id)).expect(204)
    assert client.closed()[0] == 1000 and other.closed()[0] == 1000
    assert box.wait(waiting["id"])["status"] == "cancelled"
    assert box.wait(running)["status"] in ("cancelled", "interrupted")
    assert box.get("%s/%s" % (KERNELS, kernel_id)).status == 404


def test_a_storm_of_restarts(sandbox, attach):
    """50 by four clients at once, by REST and by message; whatever was asked is answered."""
    kernel_id = sandbox.kernel()["id"]

    def by_rest(n):
        for _ in range(n):
            assert sandbox.post("%s/%s/restart" % (KERNELS, kernel_id), timeout=60).status in (200, 502)

    def by_message(n):
        with Channels(sandbox, kernel_id) as client:
            for _ in range(n):
                asked = client.send("shutdown_request", {"restart": True}, channel="control")
                client.answers(asked, "shutdown_reply", timeout=30)
                client.answers(client.run("pass"), "execute_reply", timeout=30)

    watcher = attach(to=sandbox)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        storm = [
            pool.submit(by_rest, 13),
            pool.submit(by_message, 12),
            pool.submit(by_rest, 13),
            pool.submit(by_message, 12),
        ]
        for done in storm:
            done.result(90)
    # One that had not begun when the storm was over.
    assert watcher.text("print('calm')") == "calm\n"
    assert sandbox.value("6 * 7") == "42"
    assert [k["id"] for k in sandbox.get(KERNELS).expect(200).json()] == [kernel_id]
    assert sandbox.kernel()["state"] == "idle"


# ---- user code that forges messages ----

FORGE = """
import json, uuid
kernel = get_ipython().kernel
def own():
    return json.dumps(kernel.get_parent('shell')['header'], default=str).encode()
def header(kind, **more):
    return json.dumps({'msg_id': uuid.uuid4().hex, 'session': 'forged', 'username': 'f', 'version': '5.3',
                       'date': '2020-01-01T00:00:00Z', 'msg_type': kind, **more}).encode()
def publish(header, parent, content, metadata=b'{}', buffers=()):
    raw = [header, parent, metadata, content]
    kernel.iopub_thread.send_multipart([b'forged', b'<IDS|MSG>', kernel.session.sign(raw), *raw, *buffers])
"""

FORGED = {
    "content that is no JSON": "publish(header('stream'), own(), b'\\xff{')",
    "content with a raw newline": 'publish(header(\'stream\'), own(), b\'{"name":"stdout","text":"a\\nb"}\')',
    "content that is an array": "publish(header('stream'), own(), b'[]')",
    "empty parts": "publish(b'', b'', b'', b'')",
    "a header that is no JSON": "publish(b'{', own(), b'{}')",
    "a header without anything": "publish(b'{}', own(), b'{}')",
    "a header that is an array": "publish(b'[]', own(), b'{}')",
    "a parent that is no JSON": 'publish(header(\'stream\'), b\'nonsense\', b\'{"name":"stdout","text":"x"}\')',
    "a parent that is an array": 'publish(header(\'stream\'), b\'[]\', b\'{"name":"stdout","text":"x"}\')',
    "a parent that does not exist": "publish(header('status'), header('execute_request'), b'{\"execution_state\":\"idle\"}')",
    "metadata that is no JSON": 'publish(header(\'stream\'), own(), b\'{"name":"stdout","text":"x"}\', b\'}\')',
    "a giant header": 'publish(header(\'stream\', pad=\'p\' * 3_000_000), own(), b\'{"name":"stdout","text":"x"}\')',
    "a giant parent": "publish(header('stream'), header('x', pad='p' * 3_000_000), b'{\"name\":\"stdout\",\"text\":\"x\"}')",
    "a giant id": 'publish(header(\'stream\', msg_id=\'i\' * 100_000), own(), b\'{"name":"stdout","text":"x"}\')',
    "a giant type": "publish(header('t' * 10_000), own(), b'{}')",
    "deep nesting": "publish(header('display_data'), own(), b'[' * 200_000 + b']' * 200_000)",
    "many buffers": "publish(header('comm_msg'), own(), b'{}', buffers=[b'b'] * 300)",
    "a stream of 3 MB that is no stream": "publish(header('stream'), own(), b'{\"name\":{},\"text\":[\"' + b'x' * 3_000_000 + b'\"]}')",
    "a stream of 3 MB without its end": 'publish(header(\'stream\'), own(), b\'{"name":"stdout","text":"\' + b\'x\' * 3_000_000)',
    "a stream of 3 MB with broken escapes": "publish(header('stream'), own(), b'{\"name\":\"stdout\",\"text\":\"' + b'\\\\u' * 1_000_000 + b'\"}')",
    "idle for another": "publish(header('status'), header('execute_request', msg_id='someone'), b'{\"execution_state\":\"idle\"}')",
    "a state that is none": "publish(header('status'), own(), b'{\"execution_state\":{}}')",
    "a topic and nothing": "kernel.iopub_thread.send_multipart([b'forged'])",
    "a wrong signature": "kernel.iopub_thread.send_multipart([b'f', b'<IDS|MSG>', b'0' * 64, header('stream'), own(), b'{}', b'{\"name\":\"stdout\",\"text\":\"x\"}'])",
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_messages_hurt_no_connection(box, attach, name):
    legacy, modern = attach(v1=False), attach(v1=True)
    legacy.ping()
    legacy._message = lenient(legacy._message)
    # What is forged need not be decodable: look at the frames alone.
    modern._message = lenient(modern._message)
    legacy.execute(FORGE)
    asked = legacy.run("print('before\\n', flush=True)\n%s\nprint('\\nafter')" % FORGED[name])
    found = legacy.answers(asked, "execute_reply")
    shown = [m["content"].get("text", "") for m in found if isinstance(m["content"], dict)]
    assert {"before", "after"} <= set("".join(map(str, shown)).split()), found
    serves(legacy)
    serves(modern)
    assert box.value("6 * 7") == "42"


def lenient(decode):
    def message(opcode, payload):
        try:
            return decode(opcode, payload)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return {"header": {}, "parent_header": {}, "content": {}, "channel": "forged"}

    return message


def test_a_forged_idle_ends_no_wait_for_the_reply(box, attach):
    """Clients wait for both; the API's record does, too."""
    client = attach()
    client.execute(FORGE)
    gate = Gate(box)
    code = (
        "publish(header('status'), own(), b'{\"execution_state\":\"idle\"}')\n"
        + gate.code
        + "print('really over')"
    )
    asked = client.run(code)
    client.until_type("execute_input", asked)
    client.until(lambda m: m["content"].get("execution_state") == "idle")
    assert box.execution(asked)["state"] == "running"
    gate.open()
    assert stream_text(client.answers(asked, "execute_reply")) in ("", "really over\n")
    serves(client)


def test_a_repeated_request_does_not_run_on_the_next_process(box, attach):
    """What a client sends again after a broken connection; the kernel may have been replaced since."""
    client = attach()
    message = client.make("execute_request", {"code": "ran = globals().get('ran', 0) + 1"})
    client.raw(client.bytes_of(message))
    client.answers(message["header"]["msg_id"], "execute_reply")
    box.restart()
    client.raw(client.bytes_of(message))
    assert client.text("print(globals().get('ran', 0))") == "0\n"
