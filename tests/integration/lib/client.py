"""A client of the API that hides nothing: paths go out as written, every wait has a deadline."""

import http.client
import json as json_module
import socket
import time
import urllib.parse

from . import contract

UNSET = object()
JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
PROBLEM = "application/problem+json"


class Deadline:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of this wait has passed")
        return left


class Response:
    def __init__(self, message, body):
        self.status = message.status
        self.reason = message.reason
        self.headers = message.headers
        self.body = body

    def __repr__(self):
        return "<%d %s %r>" % (self.status, self.headers.get("Content-Type"), self.body[:600])

    @property
    def text(self):
        return self.body.decode("utf-8")

    def json(self):
        kind = self.headers.get("Content-Type", "")
        assert kind.split(";")[0] in (JSON, PROBLEM), "not JSON: %r" % self
        return json_module.loads(self.body)

    def expect(self, *statuses):
        assert self.status in statuses, "expected %s, got %r" % (statuses, self)
        self.check_headers()
        return self

    def check_headers(self):
        """What every answer has."""
        assert self.headers.get("X-Request-Id"), "no X-Request-Id: %r" % self.headers.items()
        assert self.headers.get_all("X-Content-Type-Options") == ["nosniff"], self.headers.items()

    def problem(self, code, field=None):
        """Checks the whole shape of an error; returns its members."""
        status = contract.PROBLEMS[code]
        assert self.status == status, "expected %d %s, got %r" % (status, code, self)
        assert self.headers["Content-Type"].split(";")[0] == PROBLEM, self
        self.check_headers()
        members = json_module.loads(self.body)
        known = {"type", "title", "status", "detail", "code", "retryable"}
        # The last two are for Jupyter clients.
        assert set(members) - {"field", "message", "reason"} == known, members
        assert members.get("message", members["detail"]) == members["detail"], members
        assert members["code"] == code, members
        assert members["status"] == status, members
        assert isinstance(members["retryable"], bool), members
        for name in ("type", "title", "detail"):
            assert isinstance(members[name], str) and members[name], members
        if field is not None:
            assert members.get("field") == field, members
        if status in (429, 503):
            assert float(self.headers["Retry-After"]) >= 0, self.headers.items()
        return members


class Api:
    """One address, one caller, one prefix."""

    def __init__(self, address, token=None, prefix=""):
        self.address = address  # (host, port), or the path of a Unix socket
        self.token = token
        self.prefix = prefix

    def with_token(self, token):
        return type(self)(self.address, token, self.prefix)

    def connect(self, timeout=10):
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(self.address)
        return sock

    def head(self, method, path, headers=None, token=UNSET):
        """The bytes of a request's head, for tests that send the rest themselves."""
        lines = ["%s %s HTTP/1.1" % (method, self.prefix + path)]
        lines += ["%s: %s" % pair for pair in self._headers(headers, token).items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _headers(self, headers, token):
        token = self.token if token is UNSET else token
        found = {"Host": "127.0.0.1"}
        if token is not None:
            found["Authorization"] = "Bearer " + token
        for name, value in (headers or {}).items():
            found.pop(name, None) if value is None else found.update({name: value})
        return found

    def open(self, method, path, json=UNSET, body=None, headers=None, token=UNSET, timeout=60):
        """Sends a request; returns (socket, http.client.HTTPResponse with its body unread)."""
        headers = dict(headers or {})
        if json is not UNSET:
            body = json_module.dumps(json).encode()
            headers.setdefault("Content-Type", JSON)
        if isinstance(body, str):
            body = body.encode()
        if body is not None and "Transfer-Encoding" not in headers:
            headers.setdefault("Content-Length", str(len(body)))
        elif body is None and method in ("POST", "PUT"):
            headers.setdefault("Content-Length", "0")
        sock = self.connect(timeout)
        try:
            try:
                sock.sendall(self.head(method, path, headers, token) + (body or b""))
            except (BrokenPipeError, ConnectionResetError):
                pass  # answered before all was sent
            message = http.client.HTTPResponse(sock, method=method)
            message.begin()
        except BaseException:
            sock.close()
            raise
        return sock, message

    def api(self, method, path, json=UNSET, body=None, headers=None, token=UNSET, timeout=60):
        sock, message = self.open(method, path, json, body, headers, token, timeout)
        with sock:
            return Response(message, read_all(sock, message, Deadline(timeout)))

    def raw(self, data, method="GET", timeout=20):
        """Sends these bytes; returns the one answer."""
        with self.connect(timeout) as sock:
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return read_response(sock, method, timeout)

    def events_of(self, method, path, json=UNSET, sse=False, headers=None, timeout=60):
        headers = dict({"Accept": SSE if sse else NDJSON}, **(headers or {}))
        sock, message = self.open(method, path, json, headers=headers, timeout=timeout)
        if message.status != 200:
            with sock:
                response = Response(message, read_all(sock, message, Deadline(timeout)))
            raise AssertionError("expected a stream, got %r" % response)
        return EventStream(sock, message, timeout)

    def get(self, path, **kw):
        return self.api("GET", path, **kw)

    def post(self, path, json=UNSET, **kw):
        return self.api("POST", path, json, **kw)

    def delete(self, path, **kw):
        return self.api("DELETE", path, **kw)

    # Sandboxes, where the address is a controller's.

    def create(self, timeout=60, headers=None, **fields):
        """POST /api/sandboxes; returns the sandbox object of the answer."""
        return self.post("/api/sandboxes", fields, headers=headers, timeout=timeout).expect(201).json()

    def box(self, sandbox):
        """The API of one sandbox, by its object or id."""
        sid = sandbox if isinstance(sandbox, str) else sandbox["id"]
        return Sandbox(self.address, self.token, "/api/sandboxes/" + sid)


def read_all(sock, message, deadline):
    parts = []
    while True:
        sock.settimeout(deadline.left())
        part = message.read(1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_response(sock, method="GET", timeout=20):
    """Reads one answer off a socket (which stays open for more when the answer says so)."""
    deadline = Deadline(timeout)
    sock.settimeout(deadline.left())
    message = http.client.HTTPResponse(sock, method=method)
    message.begin()
    return Response(message, read_all(sock, message, deadline))


class EventStream:
    """Events as they come. `comments` counts SSE comments and empty NDJSON lines; `ids` are SSE ids."""

    def __init__(self, sock, message, timeout=60):
        self.status = message.status
        self.headers = message.headers
        self.sse = message.headers.get("Content-Type", "").split(";")[0] == SSE
        self.timeout = timeout
        self.comments = 0
        self.ids = []
        self.seen = []
        self._sock = sock
        self._message = message
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._message.close()
        self._sock.close()

    @property
    def location(self):
        return self.headers.get("Location")

    @property
    def id(self):
        """The execution's id, from Location or from the events so far."""
        if self.location:
            return self.location.rsplit("/", 1)[1]
        return self.seen[0]["execution_id"]

    def _line(self, deadline):
        while b"\n" not in self._buffer:
            self._sock.settimeout(deadline.left())
            part = self._message.read1(1 << 16)
            if not part:
                assert not self._buffer, "the stream ends inside a line: %r" % self._buffer[:300]
                return None
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def next(self, timeout=None):
        """The next event, or None at the end of the stream."""
        deadline = Deadline(timeout or self.timeout)
        data, seq = None, None
        while True:
            line = self._line(deadline)
            if line is None:
                assert data is None, "the stream ends inside an event"
                return None
            if not self.sse:
                if line:
                    data = line
                    break
                self.comments += 1
            elif line.startswith(b":"):
                self.comments += 1
            elif line.startswith(b"data:"):
                assert data is None, "one data line an event"
                data = line[5:]
            elif line.startswith(b"id:"):
                seq = int(line[3:])
            elif not line and data is not None:
                break
        event = json_module.loads(data)
        if self.sse:
            assert seq == event["seq"], (seq, event)
            self.ids.append(seq)
        self.seen.append(event)
        return event

    def __iter__(self):
        while True:
            event = self.next()
            if event is None:
                return
            yield event

    def until(self, *types, timeout=None):
        """Reads to the first event of one of these types; returns it."""
        while True:
            event = self.next(timeout)
            assert event is not None, "no %s in %r" % (types, self.seen[-5:])
            if event["type"] in types:
                return event

    def until_text(self, text, timeout=None):
        """Reads until `text` has appeared on stdout or stderr."""
        while text not in contract.stream_text(self.seen):
            event = self.next(timeout)
            assert event is not None, "no %r in %r" % (text, self.seen[-5:])
        return self.seen[-1]

    def all(self):
        """Everything to the end, closed."""
        with self:
            for _ in self:
                pass
        return self.seen


class Sandbox(Api):
    """The per-sandbox API: beneath /api/sandboxes/{id} of a controller, or a runner's own."""

    @property
    def id(self):
        return self.prefix.rsplit("/", 1)[1]

    def post_execute(self, code, headers=None, timeout=90, **fields):
        return self.post("/execute", dict(fields, code=code), headers=headers, timeout=timeout)

    def execute(self, code, headers=None, timeout=90, **fields):
        """Runs it and waits; returns the execution, checked for its shape."""
        found = self.post_execute(code, headers, timeout, **fields).expect(200).json()
        contract.check_execution(found)
        assert found["state"] == "done", found
        return found

    def ok(self, code, **fields):
        found = self.execute(code, **fields)
        assert found["status"] == "ok", found
        return found

    def value(self, code, **fields):
        """What the last expression of the code printed as."""
        return self.ok(code, **fields)["result"]

    def stream(self, code, sse=False, headers=None, timeout=90, **fields):
        return self.events_of("POST", "/execute", dict(fields, code=code), sse, headers, timeout)

    def log(self, code, sse=False, **fields):
        """Runs it as a stream to the end; returns the events, checked for their shape."""
        seen = self.stream(code, sse, **fields).all()
        contract.check_log(seen)
        return seen

    def start(self, code, headers=None, **fields):
        """Prefer: respond-async; returns the execution of the 202."""
        headers = dict({"Prefer": "respond-async"}, **(headers or {}))
        found = self.post_execute(code, headers, **fields).expect(202)
        execution = found.json()
        contract.check_execution(execution)
        assert found.headers["Location"] == "%s/executions/%s" % (self.prefix, execution["id"])
        return execution

    def events(self, eid, after=None, last_event_id=None, sse=False, timeout=90):
        path = "/executions/%s/events" % eid
        if after is not None:
            path += "?after=%s" % after
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        return self.events_of("GET", path, sse=sse, headers=headers, timeout=timeout)

    def wait_started(self, eid):
        with self.events(eid) as stream:
            return stream.until("started")

    def execution(self, eid):
        found = self.get("/executions/" + eid).expect(200).json()
        contract.check_execution(found)
        return found

    def wait(self, eid, timeout=90):
        """Follows the events to the end; returns the execution."""
        contract.check_log(self.events(eid, timeout=timeout).all())
        return self.execution(eid)

    def executions(self, query=""):
        return self.get("/executions" + query).expect(200).json()["executions"]

    def cancel(self, eid):
        return self.post("/executions/%s/cancel" % eid)

    def input(self, eid, value):
        return self.post("/executions/%s/input" % eid, {"value": value})

    def interrupt(self, **fields):
        return self.post("/interrupt", fields) if fields else self.post("/interrupt")

    def restart(self, **fields):
        response = self.post("/restart", fields) if fields else self.post("/restart")
        return response.expect(200).json()

    def kernels(self):
        return self.get("/kernels").expect(200).json()["kernels"]

    def kernel(self, kid=None):
        """One kernel, the main one by default."""
        return self.get("/kernels/" + kid).expect(200).json() if kid else self.kernels()[0]

    def add_kernel(self, **fields):
        return self.post("/kernels", fields).expect(201).json()

    def path(self, name):
        return "/files/" + urllib.parse.quote(name)

    def put(self, name, body, headers=None):
        return self.api("PUT", self.path(name), body=body, headers=headers)

    def file(self, name, headers=None):
        return self.get(self.path(name), headers=headers)

    def remove(self, name):
        return self.delete(self.path(name))

    def files(self, query=""):
        return self.get("/files" + query).expect(200).json()
