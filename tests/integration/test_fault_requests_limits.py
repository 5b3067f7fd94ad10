"""Too many of something, or twice the same: each has a bound, and the next request is served."""

import concurrent.futures
import threading

import pytest
from lib import contract
from lib.client import JSON, NDJSON
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


def test_a_caller_has_a_limit_of_its_own(controller):
    c = controller("--max-sandboxes-per-caller", "2")
    session = {"path": "a.ipynb", "type": "notebook", "name": "a"}
    doors = [
        ("/api/sandboxes", {}),
        ("/jupyter/api/kernels", {}),
        ("/jupyter/api/sessions", session),
    ]
    found = at_once(6, lambda n: c.alice.post(*doors[n % 3]))
    # Sessions of one path are one.
    refused = [r for r in found if r.status != 201]
    kernels = c.alice.get("/jupyter/api/kernels").expect(200).json()
    assert len(kernels) == 2 and refused, found
    for response in refused:
        assert "2 sandboxes" in response.problem("limit")["detail"]
    for path, body in (*doors[:2], ("/jupyter/api/sessions", {**session, "path": "b.ipynb"})):
        c.alice.post(path, body).problem("limit")
    goes_on(c.sandbox("bob"))
    ended = c.alice.box({"id": "sb-" + kernels[0]["id"]})
    c.alice.delete("/api/sandboxes/" + ended.id).expect(204)
    goes_on(c.alice.box(c.alice.create()))
    c.alice.post("/api/sandboxes").problem("limit")


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
        found = at_once(8, lambda _, headers=headers: box.post_execute(code, headers).expect(200).json())
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
