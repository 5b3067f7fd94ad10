"""The log of an execution: its events, as NDJSON and SSE, live and later, from the start and resumed."""

import threading

import pytest
from lib import contract
from lib.client import NDJSON, SSE
from lib.code import Gate


def test_the_events_of_a_print(box):
    # One write; the two of a print may come as two events.
    events = box.log("import sys\n_ = sys.stdout.write('42\\n')")
    kernel = box.kernel()
    started, output, done = events
    assert started == {
        "seq": 1,
        "type": "started",
        "execution_id": started["execution_id"],
        "execution_count": kernel["execution_count"],
        "kernel_id": kernel["id"],
        "generation": kernel["generation"],
    }
    assert output == {
        "seq": 2,
        "type": "output",
        "output": {"output_type": "stream", "name": "stdout", "text": "42\n"},
    }
    assert done == {
        "seq": 3,
        "type": "done",
        "status": "ok",
        "execution_count": kernel["execution_count"],
        "duration_ms": done["duration_ms"],
        "generation": kernel["generation"],
        "truncated_bytes": 0,
        "error": None,
        "user_expressions": {},
    }


@pytest.mark.parametrize("sse", [False, True], ids=["ndjson", "sse"])
def test_a_stream_says_its_type_and_place_at_once(box, sse):
    gate = Gate(box)
    with box.stream(gate.code + "print('after')", sse=sse) as stream:
        assert stream.headers["Content-Type"].split(";")[0] == (SSE if sse else NDJSON)
        assert stream.headers["X-Request-Id"]
        eid = stream.id
        assert stream.location == "%s/executions/%s" % (box.prefix, eid)
        assert stream.next()["execution_id"] == eid
        # Headers and the first event came while the code waits for us.
        assert box.execution(eid)["state"] == "running"
        gate.open()
        contract.check_log(stream.all())
    assert contract.stream_text(stream.seen) == "after\n"


def test_sse_ids_are_the_seqs(box):
    stream = box.stream("for i in range(5): print(i, flush=True)", sse=True)
    events = stream.all()
    contract.check_log(events)
    assert stream.ids == [e["seq"] for e in events] == list(range(1, len(events) + 1))


def test_the_log_is_the_same_in_every_form_and_at_every_reading(box):
    stream = box.stream("print(1)\nprint(2)\n'three'")
    events = stream.all()
    for sse in (False, True):
        assert box.events(stream.id, sse=sse).all() == events
    assert box.events(stream.id, after=0).all() == events


def test_a_json_answer_leaves_a_log_too(box):
    found = box.ok("print('kept')")
    events = box.events(found["id"]).all()
    contract.check_log(events)
    assert events[0]["execution_id"] == found["id"]
    assert contract.stream_text(events) == "kept\n"


@pytest.mark.parametrize("sse", [False, True], ids=["ndjson", "sse"])
def test_reading_resumes_after_any_event(box, sse):
    stream = box.stream("import sys\nfor i in range(4):\n  print(i)\n  print(i, file=sys.stderr)")
    events = stream.all()
    assert len(events) >= 4
    for n in range(len(events) + 1):
        by_query = box.events(stream.id, after=n, sse=sse).all()
        by_header = box.events(stream.id, last_event_id=n, sse=sse).all()
        assert by_query == by_header == events[n:]


def test_the_later_of_query_and_header_counts(box):
    """A browser that reconnects repeats its query and says in the header what it has read since."""
    stream = box.stream("for i in range(3): print(i, flush=True)")
    events = stream.all()
    for after, last in ((1, 2), (2, 1)):
        assert box.events(stream.id, after=after, last_event_id=last, sse=True).all() == events[2:]


def test_a_reader_may_resume_in_the_middle_of_a_running_cell(box):
    gate = Gate(box)
    with box.stream("print('one', flush=True)\n" + gate.code + "print('two')") as first:
        first.until_text("one")
        head = list(first.seen)
    with box.events(first.id, last_event_id=head[-1]["seq"], sse=True) as second:
        gate.open()
        tail = second.all()
    contract.check_log(head + tail)
    assert contract.stream_text(head + tail) == "one\ntwo\n"
    assert box.events(first.id).all() == head + tail


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "99999999999999999999", "1%00", " "])
def test_a_malformed_after_is_invalid(box, after):
    eid = box.ok("1")["id"]
    found = box.get("/executions/%s/events?after=%s" % (eid, after.replace(" ", "%20")))
    found.problem("invalid", field="after")
    assert box.value("'next'") == "'next'"


def test_a_malformed_last_event_id_is_invalid(box):
    eid = box.ok("1")["id"]
    found = box.get("/executions/%s/events" % eid, headers={"Last-Event-ID": "abc"})
    found.problem("invalid", field="Last-Event-ID")


def test_several_readers_see_the_same(box):
    gate = Gate(box)
    stream = box.stream("print('a', flush=True)\n" + gate.code + "print('b')")
    stream.until("started")
    logs = [None] * 8

    def read(n):
        logs[n] = box.events(stream.id, sse=bool(n % 2)).all()

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    gate.open()
    events = stream.all()
    for t in threads:
        t.join(60)
    contract.check_log(events)
    assert logs == [events] * 8


def test_output_reaches_the_reader_while_the_cell_runs(box):
    gate = Gate(box)
    with box.stream("print('early')\n" + gate.code + "print('late')") as stream:
        stream.until_text("early\n", timeout=20)  # without a flush by the code
        assert box.execution(stream.id)["stdout"] == "early\n"
        assert box.execution(stream.id)["ended_at"] is None
        gate.open()
        stream.all()
    assert contract.stream_text(stream.seen) == "early\nlate\n"


def test_one_that_waits_is_told_its_position(box):
    gate = Gate(box)
    first = box.start(gate.code)
    box.wait_started(first["id"])
    with box.stream("'b'") as b, box.stream("'c'") as c:
        queued = [b.next(), c.next()]
        # The running one has position 1.
        for position, event in enumerate(queued, 2):
            contract.check_event(event)
            assert event["type"] == "queued" and event["seq"] == 1
            assert event["position"] == position
        assert [e["execution_id"] for e in queued] == [b.id, c.id]
        assert box.execution(b.id)["state"] == "queued"
        gate.open()
        for stream in (b, c):
            contract.check_log(stream.all())
            assert [e["type"] for e in stream.seen] == ["queued", "started", "output", "done"]


def test_respond_async_answers_at_once(box):
    gate = Gate(box)
    execution = box.start(gate.code + "6 * 7")
    assert execution["state"] in ("queued", "running") and execution["status"] is None
    assert execution["outputs"] == [] and execution["ended_at"] is None
    gate.open()
    done = box.wait(execution["id"])
    assert (done["status"], done["result"]) == ("ok", "42")


def test_an_execution_shows_its_outputs_so_far(box):
    gate = Gate(box)
    with box.stream("print('so far', flush=True)\n" + gate.code) as stream:
        stream.until_text("so far\n")
        found = box.execution(stream.id)
        assert found["state"] == "running"
        assert found["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "so far\n"}]
        gate.open()
        stream.all()


def test_executions_are_listed_newest_first_without_outputs(box):
    ids = [box.ok("print(%d)" % n)["id"] for n in range(3)]
    gate = Gate(box)
    running = box.start(gate.code)["id"]
    box.wait_started(running)
    queued = box.start("1")["id"]
    listed = box.executions()
    assert [e["id"] for e in listed][:5] == [queued, running] + ids[::-1]
    for item in listed:
        assert set(item) < contract.EXECUTION_KEYS, item
        assert not set(item) & {"outputs", "stdout", "stderr", "late_outputs"}, item
    assert [e["id"] for e in box.executions("?state=queued")] == [queued]
    assert [e["id"] for e in box.executions("?state=running")] == [running]
    assert ids[0] in [e["id"] for e in box.executions("?state=done")]
    assert not {queued, running} & {e["id"] for e in box.executions("?state=done")}
    gate.open()
    box.wait(queued)
    assert box.executions("?state=queued") == box.executions("?state=running") == []


def test_an_unknown_state_is_invalid(box):
    box.get("/executions?state=sleeping").problem("invalid", field="state")


@pytest.mark.parametrize("eid", ["63a04052-2bcd-416d-8b78-930b56decff4", "x", "a" * 500, "%20", "%00", "..%2f..", "%ff"])
def test_unknown_and_malformed_execution_ids_are_not_found(box, eid):
    base = "/executions/" + eid
    box.get(base).problem("not_found")
    box.get(base + "/events").problem("not_found")
    box.post(base + "/cancel").problem("not_found")
    box.post(base + "/input", {"value": ""}).problem("not_found")
    assert box.value("1") == "1"


def test_the_last_512_executions_are_kept(sandbox):
    first = sandbox.ok("'first'")["id"]
    second = sandbox.ok("'second'")["id"]
    for _ in range(510):
        sandbox.post_execute("0").expect(200)
    # N: 512 are kept.
    assert sandbox.execution(first)["result"] == "'first'"
    sandbox.ok("1")
    # N + 1: the oldest went.
    sandbox.get("/executions/" + first).problem("expired")
    sandbox.get("/executions/%s/events" % first).problem("expired")
    assert sandbox.execution(second)["result"] == "'second'"
    assert len(sandbox.executions()) == 512
    assert sandbox.value("'next'") == "'next'"
