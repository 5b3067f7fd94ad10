"""Connections between controller and runner that break while the sandbox lives: nothing is lost, nothing comes
twice, nothing is done twice, and nothing is called lost that is not."""

import os
import signal
import threading

import pytest
from lib import contract
from lib.code import Gate
from lib.cutter import PASS, REFUSE, SWALLOW, BoxBehind
from lib.jupyter import Channels
from lib.process import eventually
from test_adoption import runner_pid

LINES = 400
# Each line an event of its own, for long enough that connections break in the middle.
PRINTS = "import time\nfor i in range(%d):\n    print(i, flush=True)\n    time.sleep(0.004)" % LINES
TEXT = "".join("%d\n" % i for i in range(LINES))


@pytest.fixture
def behind(controller):
    with BoxBehind(controller()) as found:
        yield found


def read_with_cuts(stream, cutter, every=25):
    seen = 0
    for event in stream:
        seen += 1
        if seen % every == 0 and event["type"] != "done":
            cutter.cut()
    stream.close()
    return stream.seen


@pytest.mark.parametrize("sse", [False, True], ids=["ndjson", "sse"])
def test_a_stream_survives_broken_connections(behind, sse):
    before = behind.cutter.accepted
    stream = behind.box.stream(PRINTS, sse=sse)
    events = read_with_cuts(stream, behind.cutter)
    contract.check_log(events)
    assert contract.stream_text(events) == TEXT
    assert events[-1]["status"] == "ok"
    assert behind.cutter.accepted > before + 2, "nothing was broken"
    if sse:
        assert stream.ids == [e["seq"] for e in events]
    # The log says the same to who reads it later.
    assert behind.box.events(stream.id).all() == events


def test_a_later_reader_survives_them_too(behind):
    eid = behind.box.start(PRINTS)["id"]
    with behind.box.events(eid) as first:
        while first.next()["seq"] < 3:
            pass
    events = read_with_cuts(behind.box.events(eid, after=3), behind.cutter)
    assert [e["seq"] for e in events] == list(range(4, 4 + len(events)))
    assert events[-1]["status"] == "ok"


def test_a_large_output_survives_them(behind):
    size = 20_000_000
    code = "import sys\n_ = sys.stdout.write('0123456789' * %d)" % (size // 10)
    stream = behind.box.stream(code)
    events = read_with_cuts(stream, behind.cutter, every=40)
    contract.check_log(events)
    text = contract.stream_text(events)
    assert len(text) == size and text == "0123456789" * (size // 10)


def test_a_json_answer_is_fetched_again_and_its_code_runs_once(behind):
    box = behind.box
    gate = Gate(box)
    answers = []
    code = "n = globals().get('n', 0) + 1\nprint('run', n, flush=True)\n" + gate.code
    caller = threading.Thread(target=lambda: answers.append(box.post_execute(code)))
    before = behind.cutter.accepted
    caller.start()
    eventually(lambda: behind.cutter.accepted > before and box.executions("?state=running")[1:], 20)
    behind.cutter.cut()
    behind.cutter.wait_attempts(1)
    gate.open()
    caller.join(60)
    found = answers[0].expect(200).json()
    assert found["status"] == "ok" and found["stdout"] == "run 1\n"
    assert box.value("n") == "1"


def test_a_runner_that_cannot_be_reached_for_a_while(behind):
    gate = Gate(behind.box)
    with behind.box.stream("print('up', flush=True)\n" + gate.code + "print('after')") as stream:
        stream.until_text("up\n")
        behind.cutter.mode = REFUSE
        behind.cutter.cut()
        behind.cutter.wait_attempts(3)
        behind.cutter.mode = PASS
        gate.open()
        events = stream.all()
    contract.check_log(events)
    assert contract.stream_text(events) == "up\nafter\n"


@pytest.mark.parametrize("sse", [False, True], ids=["ndjson", "sse"])
def test_a_runner_that_dies_while_it_cannot_be_reached_is_lost(behind, sse):
    stream = behind.box.stream("print('up', flush=True)\nimport time\ntime.sleep(600)", sse=sse)
    stream.until_text("up\n")
    behind.cutter.mode = REFUSE
    behind.cutter.cut()
    behind.cutter.wait_attempts(2)
    os.kill(runner_pid(behind.box.id), signal.SIGKILL)
    events = stream.all()
    contract.check_log(events, ended=True)
    assert events[-1]["status"] == "sandbox_lost"
    eventually(lambda: not os.path.exists(behind.cutter.path), 20)


def test_the_lost_event_follows_what_the_reader_had(controller):
    # What EventSource sends when it connects again: the query as it was, and where it is.
    box = controller().sandbox()
    eid = box.start("for i in range(6): print(i, flush=True)\nimport time\ntime.sleep(600)")["id"]
    with box.events(eid) as first:
        last = first.until_text("5\n")["seq"]
    stream = box.events(eid, after=0, last_event_id=last, sse=True)
    ahead = box.events(eid, after=last, last_event_id=2)
    os.kill(runner_pid(box.id), signal.SIGKILL)
    for reader in (stream, ahead):
        events = reader.all()
        assert [e["seq"] for e in events] == [last + 1]
        assert events[0]["status"] == "sandbox_lost"
    assert stream.ids == [last + 1]


def test_what_acts_is_not_sent_twice(behind):
    box = behind.box
    before = box.kernel()["generation"]
    behind.cutter.mode = SWALLOW
    box.post("/restart").problem("unavailable")
    behind.cutter.mode = PASS
    eventually(lambda: box.kernel()["generation"] == before + 1, 20)
    assert box.value("1 + 1") == "2"
    assert box.kernel()["generation"] == before + 1


def test_input_is_not_sent_twice(behind):
    box = behind.box
    stream = box.stream("a = input('a')\nb = input('b')\nprint(a, b)", allow_stdin=True)
    stream.until("input_request")
    behind.cutter.mode = SWALLOW
    box.post("/executions/%s/input" % stream.id, {"value": "first"}).problem("unavailable")
    behind.cutter.mode = PASS
    stream.until("input_request")
    box.input(stream.id, "second").expect(204)
    assert contract.stream_text(stream.all()) == "first second\n"


def test_a_description_is_unavailable_and_not_lost(behind):
    controller_path = behind.box.prefix
    behind.cutter.mode = REFUSE
    behind.cutter.cut()
    alice = behind.controller.alice
    assert alice.get(controller_path).problem("unavailable")["retryable"] is True
    behind.cutter.mode = PASS
    assert alice.get(controller_path).expect(200).json()["kernel"]["state"] == "idle"


def test_a_websocket_is_told_to_connect_again(behind):
    kernel = behind.box.kernel()["id"]
    with Channels(behind.box, kernel, session="s1") as ws:
        assert ws.text("print('before')") == "before\n"
        behind.cutter.cut()
        code, reason = ws.closed()
        assert (code, "connect again" in reason) == (1012, True)
    with Channels(behind.box, kernel, session="s1") as ws:
        assert ws.text("print('after')") == "after\n"


def test_a_websocket_of_a_lost_sandbox_says_that_it_is_gone(controller):
    box = controller().sandbox()
    with Channels(box, box.kernel()["id"]) as ws:
        assert ws.text("print('before')") == "before\n"
        os.kill(runner_pid(box.id), signal.SIGKILL)
        code, reason = ws.closed()
        assert (code, reason) == (1001, "the sandbox is gone")
