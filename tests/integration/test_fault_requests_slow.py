"""Clients that send a byte a second: bounded, whatever the pace, and in nobody's way."""

import http.client
import io
import threading
import time

import pytest
from lib.client import JSON, Api, Response

HEADERS_S = 10
BODY_S = 60
UPLOAD_S = 70


class Drip(threading.Thread):
    """Sends `head` at once and then a byte a second, until the server answers or closes."""

    def __init__(self, api, head, rest):
        super().__init__(daemon=True)
        self.sock = api.connect(1)
        self.rest = rest
        self.seconds = None
        self.answer = b""
        self.began = time.monotonic()
        self.sock.sendall(head)
        self.start()

    def run(self):
        with self.sock:
            for byte in self.rest:
                try:
                    self.sock.sendall(bytes([byte]))
                    part = self.sock.recv(65536)  # waits for a second
                except TimeoutError:
                    continue
                except OSError:
                    break
                self.answer += part
                break
        self.seconds = time.monotonic() - self.began

    def makefile(self, mode):
        return io.BytesIO(self.answer)

    def ends_within(self, first, last):
        self.join(last + 10)
        assert self.seconds is not None, "still open after %g s" % (time.monotonic() - self.began)
        assert first <= self.seconds <= last, self.seconds

    def response(self):
        message = http.client.HTTPResponse(self)
        message.begin()
        return Response(message, message.read())


def goes_on(box):
    assert box.value("'ran' in globals()") == "False"


def test_headers_at_a_byte_a_second_are_cut_off_after_ten_seconds(box):
    api = Api(box.address, box.token)
    drips = [
        Drip(api, b"", b"GET /healthz" + b"x" * 100),
        Drip(api, b"GET /healthz HTTP/1.1\r\n", b"Host: x\r\nX-Slow: " + b"x" * 100),
        Drip(api, api.head("GET", "/healthz")[:-2], b"X-Slow: 1\r\n" * 10),
        Drip(api, api.head("GET", "/healthz")[:-2], b"x" * 100),
    ]
    goes_on(box)
    for drip in drips:
        drip.ends_within(HEADERS_S - 1, HEADERS_S + 5)
        assert drip.answer == b""
    goes_on(box)


@pytest.mark.timeout(180)
def test_json_at_a_byte_a_second_times_out_and_a_file_does_not(box):
    api = Api(box.address, box.token)
    slow = b'{"code": "ran = True" ' + b" " * 100
    length = {"Content-Type": JSON, "Content-Length": "100000"}
    chunks = {"Content-Type": JSON, "Transfer-Encoding": "chunked"}
    generation = box.kernel()["generation"]
    eid = box.ok("1")["id"]
    drips = [
        Drip(api, api.head("POST", "/api/sandboxes", length), slow),
        Drip(api, api.head("POST", "/api/sandboxes", chunks), b"1\r\n{\r\n" * 100),
        Drip(api, api.head("POST", "/no/such/path", length), slow),
    ]
    for path in ("/execute", "/interrupt", "/restart", "/kernels", "/executions/%s/input" % eid):
        drips.append(Drip(api, api.head("POST", box.prefix + path, length), slow))
        drips.append(Drip(api, api.head("POST", box.prefix + path, chunks), b"1\r\n \r\n" * 100))
    upload = {"Content-Length": str(UPLOAD_S)}
    upload = Drip(api, api.head("PUT", box.prefix + "/files/slow", upload), b"x" * UPLOAD_S)
    goes_on(box)
    for drip in drips:
        drip.ends_within(BODY_S - 1, BODY_S + 10)
        found = drip.response()
        found.problem("timeout" if found.status == 504 else "not_found")
    assert box.kernel()["generation"] == generation and len(box.kernels()) == 1
    upload.ends_within(UPLOAD_S - 2, UPLOAD_S + 20)
    assert upload.response().status == 201
    assert box.file("slow").body == b"x" * UPLOAD_S
    goes_on(box)
