"""Too much of something, twice the same, or far too slowly: each has a bound, and the next request is served."""

import concurrent.futures
import http.client
import threading
import time

import pytest
from lib import contract
from lib.client import JSON, NDJSON, Response
from lib.code import FOREVER, Gate
from lib.process import eventually


def goes_on(box):
    assert box.value("'next'") == "'next'"


def at_once(count, work):
    """work(0) … work(count - 1), all begun before any is over; their results."""
    barrier = threading.Barrier(count)

    def one(n):
        barrier.wait(20)
        return work(n)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


# ---- a byte a second ----

HEADERS_S = 10
BODY_S = 60


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
                if not part:
                    break
        self.seconds = time.monotonic() - self.began

    def end(self, timeout):
        self.join(timeout)
        assert self.seconds is not None, "still open after %g s" % (time.monotonic() - self.began)
        return self.seconds

    def response(self):
        import io

        class Socket:
            def __init__(self, data):
                self.data = data

            def makefile(self, mode):
                return io.BytesIO(self.data)

        message = http.client.HTTPResponse(Socket(self.answer))
        message.begin()
        return Response(message, message.read())


@pytest.fixture(scope="module")
def drips(box):
    """All slow clients of this module, dripping at the same time."""
    api = box.with_token(box.token)
    api.prefix = ""
    body = b'{"code": "' + b" " * 500
    headers = {"Content-Type": JSON, "Content-Length": "100000"}
    chunks = {"Content-Type": JSON, "Transfer-Encoding": "chunked"}
    run = box.prefix + "/execute"
    return {
        "request line": Drip(api, b"", b"GET /healthz" + b"x" * 500),
        "headers": Drip(api, api.head("GET", "/healthz")[:-2], b"X-Slow: " + b"x" * 500),
        "execute": Drip(api, api.head("POST", run, headers), body),
        "execute, chunked": Drip(api, api.head("POST", run, chunks), b"1\r\n{\r\n" * 100),
        "create": Drip(api, api.head("POST", "/api/sandboxes", headers), body),
        "restart": Drip(api, api.head("POST", box.prefix + "/restart", headers), body),
        "upload": Drip(api, api.head("PUT", box.prefix + "/files/slow", {"Content-Length": "70"}), b"x" * 70),
    }


@pytest.mark.parametrize("which", ["request line", "headers"])
def test_headers_at_a_byte_a_second_are_cut_off_after_ten_seconds(drips, box, which):
    seconds = drips[which].end(HEADERS_S + 10)
    assert HEADERS_S - 1 <= seconds <= HEADERS_S + 5
    assert drips[which].answer == b""
    goes_on(box)


# ---- too many ----


def test_too_many_sandboxes_are_a_limit(controller):
    alice = controller("--max-sandboxes", "2").alice
    found = at_once(5, lambda n: alice.post("/api/sandboxes", {"name": str(n)}))
    made = [r.json() for r in found if r.status == 201]
    refused = [r for r in found if r.status != 201]
    assert len(made) == 2 and len(refused) == 3, found
    for response in refused:
        assert response.problem("limit")["retryable"] and int(response.headers["Retry-After"]) >= 1
    assert len(alice.get("/api/sandboxes").json()["sandboxes"]) == 2
    alice.post("/api/sandboxes").problem("limit")
    goes_on(alice.box(made[0]))
    alice.delete("/api/sandboxes/" + made[0]["id"]).expect(204)
    goes_on(alice.box(alice.create()))


QUEUE_MAX = 256


def test_the_257th_in_the_queue_is_a_limit(sandbox):
    gate = Gate(sandbox)
    first = sandbox.start(gate.code)["id"]
    sandbox.wait_started(first)
    ids = [sandbox.start("ran = globals().get('ran', 0) + 1")["id"] for _ in range(QUEUE_MAX)]
    for accept in (JSON, NDJSON):
        found = sandbox.post_execute("ran = -1000", headers={"Accept": accept})
        found.problem("limit")
        assert int(found.headers["Retry-After"]) >= 1
    # A repeated request is not one more.
    assert len(sandbox.executions("?state=queued")) == QUEUE_MAX
    sandbox.cancel(ids[-1]).expect(204)
    ids[-1] = sandbox.start("ran += 1")["id"]
    gate.open()
    assert sandbox.wait(ids[-1])["status"] == "ok"
    assert sandbox.value("ran") == str(QUEUE_MAX)


READERS_MAX = 256


def test_the_257th_reader_is_a_limit(sandbox):
    gate = Gate(sandbox)
    eid = sandbox.start(gate.code + "print('done')")["id"]
    streams = [sandbox.events(eid) for _ in range(READERS_MAX)]
    try:
        for stream in streams:
            assert stream.until("started")["execution_id"] == eid
        sandbox.get("/executions/%s/events" % eid).problem("limit")
        streams.pop().close()
        eventually(lambda: sandbox.get("/executions/%s" % eid).status == 200, 5)

        def one_more():
            sock, message = sandbox.open("GET", "/executions/%s/events" % eid)
            sock.close()
            return message.status == 200

        eventually(one_more, 10, "the place of a reader that left is free again")
        gate.open()
        for stream in streams:
            assert contract.stream_text(stream.all()) == "done\n"
    finally:
        for stream in streams:
            stream.close()
    goes_on(sandbox)


KERNELS_MAX = 16


@pytest.mark.timeout(180)
def test_the_17th_kernel_is_a_limit(sandbox):
    found = at_once(KERNELS_MAX, lambda n: sandbox.post("/kernels", timeout=150))
    assert sorted(r.status for r in found) == [201] * (KERNELS_MAX - 1) + [429], found
    [r.problem("limit") for r in found if r.status == 429]
    kernels = sandbox.kernels()
    assert len(kernels) == KERNELS_MAX and len({k["id"] for k in kernels}) == KERNELS_MAX
    sandbox.post("/kernels").problem("limit")
    last = kernels[-1]["id"]
    assert sandbox.value("'in the last'", kernel_id=last) == "'in the last'"
    sandbox.delete("/kernels/" + last).expect(204)
    assert sandbox.add_kernel()["id"] != kernels[0]["id"]
    goes_on(sandbox)


# ---- twice the same ----


def test_two_executions_with_one_key_at_once_run_once(box):
    code = "import time\nprint('ran')\nruns = globals().get('runs', 0) + 1\ntime.sleep(0.2)"
    for n in range(3):
        headers = {"Idempotency-Key": "twice-%d" % n}
        found = at_once(8, lambda _: box.post_execute(code, headers).expect(200).json())
        assert len({f["id"] for f in found}) == 1, found
        assert all(f == found[0] and f["stdout"] == "ran\n" for f in found), found
        assert box.value("runs") == str(n + 1)


def test_streams_with_one_key_at_once_see_the_same_run(box):
    headers = {"Idempotency-Key": "streams"}
    found = at_once(4, lambda _: box.stream("print('once')", headers=headers).all())
    assert all(events == found[0] for events in found)
    contract.check_log(found[0])
    goes_on(box)


def test_a_key_with_another_body_is_a_conflict(box):
    headers = {"Idempotency-Key": "other"}
    first = box.execute("seen = 1", headers=headers)
    box.post_execute("seen = 2", headers=headers).problem("conflict")
    assert box.execute("seen = 1", headers=headers)["id"] == first["id"]
    assert box.value("seen") == "1"


def test_one_key_of_two_sandboxes_is_two_executions(box, sandbox):
    headers = {"Idempotency-Key": "same"}
    assert box.execute("1", headers=headers)["id"] != sandbox.execute("1", headers=headers)["id"]


BAD_KEYS = ["", " ", "a b", "a\tb", "k" * 256, "schlüssel"]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda k: repr(k[:12]))
def test_a_malformed_key_is_invalid(alice, box, key):
    headers = {"Idempotency-Key": key}
    box.post_execute("ran = True", headers=headers).problem("invalid", field="Idempotency-Key")
    alice.post("/api/sandboxes", {}, headers=headers).problem("invalid", field="Idempotency-Key")
    assert box.value("'ran' in globals()") == "False"


def test_the_longest_key_is_taken(box):
    headers = {"Idempotency-Key": "k" * 255}
    assert box.execute("6 * 7", headers=headers)["result"] == "42"


def test_two_creations_with_one_key_at_once_make_one_sandbox(alice, bob):
    headers = {"Idempotency-Key": "one-sandbox"}
    found = at_once(4, lambda _: alice.post("/api/sandboxes", {"name": "one"}, headers=headers))
    try:
        assert sorted(r.status for r in found) == [200, 200, 200, 201], found
        ids = {r.json()["id"] for r in found}
        assert len(ids) == 1
        assert {r.headers["Location"] for r in found} == {"/api/sandboxes/" + next(iter(ids))}
        named = [s for s in alice.get("/api/sandboxes").json()["sandboxes"] if s["name"] == "one"]
        assert len(named) == 1
        alice.post("/api/sandboxes", {"name": "two"}, headers=headers).problem("conflict")
        again = alice.post("/api/sandboxes", {"name": "one"}, headers=headers).expect(200).json()
        assert again["id"] in ids
        goes_on(alice.box(again))
        # The key is this caller's.
        other = bob.post("/api/sandboxes", {"name": "one"}, headers=headers).expect(201).json()
        assert other["id"] not in ids
        bob.delete("/api/sandboxes/" + other["id"]).expect(204)
    finally:
        for r in found:
            if r.status in (200, 201):
                alice.delete("/api/sandboxes/" + r.json()["id"]).expect(204)
    # With the sandbox its key ends.
    fresh = alice.post("/api/sandboxes", {"name": "one"}, headers=headers).expect(201).json()
    alice.delete("/api/sandboxes/" + fresh["id"]).expect(204)


# ---- a wrong generation ----


def test_a_generation_that_is_over_is_a_mismatch(sandbox):
    assert sandbox.value("'first'", generation=1) == "'first'"
    assert sandbox.restart()["generation"] == 2
    sandbox.post_execute("ran = True", generation=1).problem("generation_mismatch")
    sandbox.post_execute("ran = True", generation=3).problem("generation_mismatch")
    assert sandbox.value("'ran' in globals()", generation=2) == "False"


def test_a_generation_that_ends_while_it_waits_is_cancelled(sandbox):
    running = sandbox.start(FOREVER)["id"]
    sandbox.wait_started(running)
    waiting = sandbox.start("ran = True", generation=1)["id"]
    sandbox.restart()
    assert sandbox.wait(running)["status"] == "interrupted"
    assert sandbox.wait(waiting)["status"] == "cancelled"
    assert sandbox.value("'ran' in globals()", generation=2) == "False"


# ---- what dripped all the while ----


@pytest.mark.parametrize("which", ["execute", "execute, chunked", "create", "restart"])
def test_json_at_a_byte_a_second_times_out(drips, box, which):
    before = box.kernel()["generation"]
    seconds = drips[which].end(BODY_S + 20)
    assert BODY_S - 1 <= seconds <= BODY_S + 10
    drips[which].response().problem("timeout")
    assert box.kernel()["generation"] == before
    goes_on(box)


@pytest.mark.timeout(180)
def test_an_upload_at_a_byte_a_second_is_slow_and_well(drips, box):
    drips["upload"].end(100)
    assert drips["upload"].response().status == 201
    assert box.file("slow").body == b"x" * 70
    goes_on(box)
