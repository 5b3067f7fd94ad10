"""Many at once, much at once, and for long."""

import concurrent.futures
import hashlib
import time

import pytest
from lib import contract
from lib.client import NDJSON
from lib.code import Gate
from lib.process import eventually

SANDBOXES, PER_SANDBOX = 20, 10
HUNDRED_MB = 100_000_000


@pytest.mark.timeout(400)
def test_200_concurrent_streams_over_20_sandboxes(controller):
    # Small sandboxes: twenty kernels run at once, also under AddressSanitizer.
    c = controller("--max-sandboxes", "20", "--files-max", "16Mi")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        boxes = list(pool.map(lambda _: c.sandbox(), range(SANDBOXES)))
    gates = [Gate(box) for box in boxes]

    def run(n):
        box, gate = boxes[n % SANDBOXES], gates[n % SANDBOXES]
        stream = box.stream(
            gate.code + "for i in range(20): print(%d, i, flush=True)" % n, sse=n % 2 == 0, timeout=300
        )
        seen = stream.all()
        contract.check_log(seen)
        return n, seen

    with concurrent.futures.ThreadPoolExecutor(SANDBOXES * PER_SANDBOX) as pool:
        futures = [pool.submit(run, n) for n in range(SANDBOXES * PER_SANDBOX)]
        # All 200 are open at once before any may end: those who wait have said so.
        for box in boxes:
            eventually(lambda box=box: len(box.executions()) == PER_SANDBOX, 120)
        assert c.alice.get("/healthz").status == 200
        for gate in gates:
            gate.open()
        for future in concurrent.futures.as_completed(futures):
            n, seen = future.result()
            assert seen[-1]["status"] == "ok", seen[-1]
            assert contract.stream_text(seen) == "".join("%d %d\n" % (n, i) for i in range(20))
    for box in boxes:
        counts = sorted(e["execution_count"] for e in box.executions())
        assert counts == list(range(1, PER_SANDBOX + 1))


@pytest.mark.timeout(300)
def test_1000_executions_on_one_kernel_count_without_a_break(sandbox):
    for n in range(1, 1001):
        done = sandbox.execute("n = %d" % n)
        assert (done["status"], done["execution_count"]) == ("ok", n)
    # The first 488 have made room for others.
    assert len(sandbox.executions()) == 512
    assert sandbox.value("n") == "1000"


@pytest.mark.timeout(300)
def test_a_reader_that_stops_reading_holds_up_nobody(sandbox):
    code = "line = 'y' * 99 + '\\n'\nimport sys\nfor _ in range(%d): sys.stdout.write(line * 1000)" % (
        HUNDRED_MB // 100_000
    )
    sock, message = sandbox.open("POST", "/execute", {"code": code}, headers={"Accept": NDJSON}, timeout=240)
    with sock:
        location = message.headers["Location"]
        eid = location.rsplit("/", 1)[1]
        # It ends although its first reader reads nothing, and the sandbox goes on meanwhile.
        other = sandbox.events(eid, timeout=240)
        digest, size = hashlib.sha256(), 0
        for event in other:
            if event["type"] == "output":
                text = event["output"]["text"].encode()
                digest.update(text)
                size += len(text)
            other.seen.clear()
        assert event["type"] == "done" and event["status"] == "ok", event
        want = hashlib.sha256()
        for _ in range(HUNDRED_MB // 1_000_000):
            want.update((b"y" * 99 + b"\n") * 10_000)
        assert (size, digest.hexdigest()) == (HUNDRED_MB, want.hexdigest())
        assert sandbox.value("1 + 1") == "2"
        # And whoever stopped gets all of it when he reads again.
        sock.settimeout(120)
        got = 0
        while True:
            part = message.read(1 << 20)
            if not part:
                break
            got += len(part)
        assert got > HUNDRED_MB


def test_two_readers_of_one_execution_see_the_same(sandbox):
    gate = Gate(sandbox)
    eid = sandbox.start(gate.code + "print('x')\n1/0")["id"]
    readers = [sandbox.events(eid, sse=sse) for sse in (False, True, False)]
    gate.open()
    logs = [r.all() for r in readers]
    contract.check_log(logs[0])
    assert logs[0] == logs[1] == logs[2]


def test_many_kept_connections_are_served(shared_controller):
    api = shared_controller.alice
    socks = [api.connect() for _ in range(200)]
    try:
        head = api.head("GET", "/healthz")
        for _ in range(3):
            for sock in socks:
                sock.sendall(head)
            for sock in socks:
                sock.settimeout(20)
                data = b""
                while b"ok" not in data:
                    part = sock.recv(4096)
                    assert part, data
                    data += part
    finally:
        for sock in socks:
            sock.close()
    assert api.get("/healthz").status == 200


def test_a_cancelled_crowd_leaves_room_for_the_next(sandbox):
    gate = Gate(sandbox)
    first = sandbox.start(gate.code)["id"]
    waiting = [sandbox.start("print(%d)" % n)["id"] for n in range(50)]
    for eid in waiting:
        sandbox.cancel(eid).expect(204)
    for eid in waiting:
        assert sandbox.execution(eid)["status"] == "cancelled"
    started = time.monotonic()
    gate.open()
    assert sandbox.wait(first)["status"] == "ok"
    assert time.monotonic() - started < 60
    assert sandbox.value("6 * 7") == "42"
