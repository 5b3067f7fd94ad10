"""A Jupyter client over a WebSocket that hides nothing: frames go out as written, waits have deadlines.

Channels speaks both wire protocols (v1=True: "v1.kernel.websocket.jupyter.org"); messages are dicts as
jupyter_client has them, with `channel` and `buffers`.
"""

import base64
import json
import os
import struct
import urllib.parse
import uuid

from .client import Deadline

V1 = "v1.kernel.websocket.jupyter.org"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CHANNELS = "/jupyter/api/kernels/%s/channels"


class Closed(Exception):
    def __init__(self, code, reason):
        super().__init__("closed with %s %r" % (code, reason))
        self.code, self.reason = code, reason


def frame(opcode, payload, fin=True, mask=True, rsv=0, length=None):
    """The bytes of one frame; length: what it claims to have."""
    n = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 1 << 16:
        head += struct.pack(">BH", bit | 126, n)
    else:
        head += struct.pack(">BQ", bit | 127, n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    repeated = key * (len(payload) // 4 + 1)
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + key + mixed.to_bytes(len(payload), "big")


def encode_v1(message):
    parts = [message.get("channel", "shell").encode()]
    parts += [
        json.dumps(message.get(name) or {}).encode()
        for name in ("header", "parent_header", "metadata", "content")
    ]
    parts += [bytes(b) for b in message.get("buffers") or []]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack("<%dQ" % (len(offsets) + 1), len(offsets), *offsets) + b"".join(parts)


def decode_v1(data):
    (n,) = struct.unpack_from("<Q", data)
    offsets = struct.unpack_from("<%dQ" % n, data, 8)
    parts = [data[a:b] for a, b in zip(offsets, offsets[1:])]
    assert offsets[-1] == len(data), (offsets, len(data))
    names = ("header", "parent_header", "metadata", "content")
    message = {name: json.loads(part) for name, part in zip(names, parts[1:5])}
    message["channel"] = parts[0].decode()
    message["buffers"] = parts[5:]
    return message


def encode_legacy(message):
    buffers = message.get("buffers") or []
    text = json.dumps({k: v for k, v in message.items() if k != "buffers"}).encode()
    if not buffers:
        return TEXT, text
    parts = [text, *[bytes(b) for b in buffers]]
    offsets = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        offsets.append(offsets[-1] + len(part))
    return BINARY, struct.pack(">%dI" % (len(parts) + 1), len(parts), *offsets) + b"".join(parts)


def decode_legacy(opcode, data):
    if opcode == TEXT:
        message = json.loads(data)
        assert message["msg_id"] == message["header"]["msg_id"], message
        assert message["msg_type"] == message["header"]["msg_type"], message
        return message
    (n,) = struct.unpack_from(">I", data)
    assert n >= 2, "JupyterLab refuses a binary message without buffers"
    offsets = [*struct.unpack_from(">%dI" % n, data, 4), len(data)]
    parts = [data[a:b] for a, b in zip(offsets, offsets[1:])]
    message = json.loads(parts[0])
    message["buffers"] = parts[1:]
    return message


class Channels:
    """One WebSocket to a kernel. `api` is a Sandbox or an Api; `path` where that has its channels."""

    def __init__(
        self, api, kernel_id, v1=True, session=None, headers=None, query=None, path=CHANNELS, first=b"",
        timeout=20, token=None, pong=True, expect=101,
    ):
        self.v1, self.session, self.timeout, self.pong = v1, session or uuid.uuid4().hex, timeout, pong
        self.username = "test"
        query = dict(query or {})
        if session:
            query["session_id"] = session
        target = path % kernel_id + ("?" + urllib.parse.urlencode(query) if query else "")
        wanted = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        if v1:
            wanted["Sec-WebSocket-Protocol"] = V1
        wanted.update(headers or {})
        options = {} if token is None else {"token": token}
        self.sock = api.connect(timeout)
        self.sock.sendall(api.head("GET", target, wanted, **options) + first)
        self.buffer, self.body = bytearray(), b""
        self.seen = []
        # Of `seen`, by the id of the request they belong to; the types of replies; what is at rest.
        self.of_parent, self.replies, self.idle = {}, {}, set()
        self.pings = 0
        self.status, self.headers = self._read_head()
        if self.status != 101:
            self._fill(Deadline(1), int(self.headers.get("content-length", 0)))
            self.body = bytes(self.buffer)
            self.sock.close()
        assert self.status == expect, "expected %s, got %s %r" % (expect, self.status, self.body)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def close(self):
        self.sock.close()

    def _read_head(self):
        deadline = Deadline(self.timeout)
        while b"\r\n\r\n" not in self.buffer:
            self._more(deadline)
        head, rest = bytes(self.buffer).split(b"\r\n\r\n", 1)
        self.buffer = bytearray(rest)
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(lines[0].split(" ")[1]), headers

    def _more(self, deadline):
        self.sock.settimeout(deadline.left())
        try:
            part = self.sock.recv(1 << 18)
        except ConnectionResetError:
            part = b""
        if not part:
            raise Closed(1006, "the connection ended")
        self.buffer += part

    def _fill(self, deadline, n):
        while len(self.buffer) < n:
            self._more(deadline)

    def frame(self, timeout=None):
        """(opcode, payload) of the next frame that is not a ping; pings are answered."""
        deadline = Deadline(timeout or self.timeout)
        while True:
            opcode, payload = self._frame(deadline)
            if opcode != PING:
                return opcode, payload

    def _frame(self, deadline):
        self._fill(deadline, 2)
        assert not self.buffer[1] & 0x80, "a server must not mask"
        assert self.buffer[0] & 0x70 == 0, "reserved bits: %x" % self.buffer[0]
        n, at = self.buffer[1] & 0x7F, 2
        if n == 126:
            self._fill(deadline, 4)
            n, at = struct.unpack_from(">H", self.buffer, 2)[0], 4
        elif n == 127:
            self._fill(deadline, 10)
            n, at = struct.unpack_from(">Q", self.buffer, 2)[0], 10
        self._fill(deadline, at + n)
        opcode, payload = self.buffer[0] & 15, bytes(self.buffer[at : at + n])
        assert self.buffer[0] & 0x80, "the server sends whole messages"
        del self.buffer[: at + n]
        if opcode == PING:
            self.pings += 1
            if self.pong:
                self.raw(frame(PONG, payload))
        if opcode == CLOSE:
            code = struct.unpack(">H", payload[:2])[0] if payload else 1005
            raise Closed(code, payload[2:].decode())
        return opcode, payload

    def ping(self, payload=b"ping", timeout=None):
        """Reads to the answer to a ping of ours; messages before it go to `seen`."""
        self.raw(frame(PING, payload))
        deadline = Deadline(timeout or self.timeout)
        while True:
            opcode, found = self._frame(deadline)
            if opcode == PONG:
                assert found == payload, found
                return
            if opcode != PING:
                self._message(opcode, found)

    def settle(self, timeout=None):
        """Right after an answer was read: until the server knows that everything has arrived."""
        deadline = Deadline(timeout or self.timeout)
        while True:
            opcode, payload = self._frame(deadline)
            if opcode == PING:
                break
            self._message(opcode, payload)
        self.ping(b"settled", deadline.left())

    def closed(self, timeout=None):
        """Reads to the end of the connection; returns (code, reason)."""
        deadline = Deadline(timeout or self.timeout)
        while True:
            try:
                self.next(deadline.left())
            except Closed as e:
                return e.code, e.reason

    def raw(self, data):
        self.sock.sendall(data)

    def next(self, timeout=None):
        """The next message."""
        while True:
            opcode, payload = self.frame(timeout)
            if opcode != PONG:
                return self._message(opcode, payload)

    def _message(self, opcode, payload):
        if self.v1:
            assert opcode == BINARY, opcode
            message = decode_v1(payload)
        else:
            message = decode_legacy(opcode, payload)
        message["size"], message["opcode"] = len(payload), opcode
        self.seen.append(message)
        parent = message["parent_header"].get("msg_id")
        self.of_parent.setdefault(parent, []).append(message)
        if message["channel"] in ("shell", "control"):
            self.replies[parent] = message["header"]["msg_type"]
        elif message["content"].get("execution_state") == "idle":
            self.idle.add(parent)
        return message

    def make(self, msg_type, content=None, channel="shell", buffers=(), parent=None, **header):
        head = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": msg_type,
            "session": self.session,
            "username": self.username,
            "date": "2026-01-01T00:00:00.000000Z",
            "version": "5.3",
        }
        head.update(header)
        return {
            "header": head,
            "parent_header": parent or {},
            "metadata": {},
            "content": content or {},
            "channel": channel,
            "buffers": list(buffers),
        }

    def bytes_of(self, message):
        if self.v1:
            return frame(BINARY, encode_v1(message))
        return frame(*encode_legacy(message))

    def send(self, msg_type, content=None, channel="shell", buffers=(), parent=None, **header):
        """Sends a message; returns its id."""
        message = self.make(msg_type, content, channel, buffers, parent, **header)
        self.raw(self.bytes_of(message))
        return message["header"]["msg_id"]

    def run(self, code, **content):
        """Sends an execute_request; returns its id."""
        wanted = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        return self.send("execute_request", dict(wanted, **content))

    def until(self, accept, timeout=None):
        """Reads to the first message for which accept() holds; what came before stays in `seen`."""
        deadline = Deadline(timeout or self.timeout)
        while True:
            message = self.next(deadline.left())
            if accept(message):
                return message

    def until_type(self, msg_type, parent=None, timeout=None):
        return self.until(
            lambda m: m["header"]["msg_type"] == msg_type
            and (parent is None or m["parent_header"].get("msg_id") == parent),
            timeout,
        )

    def answers(self, msg_id, reply=None, timeout=None):
        """All messages with this parent up to its idle and its reply (of type `reply`, any, or False: none).

        Those that were read already are among them.
        """
        deadline = Deadline(timeout or self.timeout)
        while msg_id not in self.idle or (reply is not False and msg_id not in self.replies):
            self.next(deadline.left())
        assert not reply or self.replies[msg_id] == reply, (self.replies[msg_id], reply)
        return list(self.of_parent[msg_id])

    def execute(self, code, timeout=None, **content):
        return self.answers(self.run(code, **content), "execute_reply", timeout)

    def text(self, code, **content):
        """What the code printed on stdout."""
        return stream_text(self.execute(code, **content))


def types(messages):
    return [m["header"]["msg_type"] for m in messages]


def of_type(messages, msg_type):
    return [m for m in messages if m["header"]["msg_type"] == msg_type]


def stream_text(messages, name="stdout"):
    return "".join(
        m["content"]["text"] for m in of_type(messages, "stream") if m["content"]["name"] == name
    )


def states(messages):
    return [m["content"]["execution_state"] for m in of_type(messages, "status")]
