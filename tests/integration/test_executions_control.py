"""Timeouts, interrupts, cancelling, restarts, input(), the queue, repeated requests."""

import threading
import time

import pytest
from lib import contract
from lib.code import FOREVER, FOREVER_CATCHING, FOREVER_IGNORING, Gate
from lib.process import eventually


def start_forever(box, code=FOREVER, **fields):
    """Starts it as a stream; returns the stream once the code runs."""
    stream = box.stream(code, **fields)
    stream.until_text("started")
    return stream


def verdict(stream):
    events = stream.all()
    contract.check_log(events)
    return events[-1]


def assert_usable(box, generation):
    """The next request works, on the kernel of this generation."""
    found = box.ok("1 + 1")
    assert (found["result"], found["generation"]) == ("2", generation)
    assert box.kernel()["generation"] == generation
    assert box.kernel()["state"] == "idle"


# ---- timeout ----


def test_timeout_interrupts_and_keeps_the_state(box):
    box.ok("kept = 'state'")
    generation = box.kernel()["generation"]
    found = box.execute(FOREVER, timeout_s=0.5)
    assert found["status"] == "timeout"
    assert found["error"]["ename"] == "KeyboardInterrupt"
    assert found["stdout"] == "started\n"
    assert found["duration_ms"] >= 450
    assert box.value("kept") == "'state'"
    assert_usable(box, generation)


def test_timeout_that_the_code_catches_is_a_timeout(box):
    generation = box.kernel()["generation"]
    found = box.execute(FOREVER_CATCHING, timeout_s=0.4)
    assert (found["status"], found["error"]) == ("timeout", None)
    assert found["stdout"] == "started\ncaught\n"
    assert_usable(box, generation)


def test_timeout_of_code_that_ignores_it_kills_the_kernel(sandbox):
    sandbox.ok("gone = 1")
    begun = time.monotonic()
    stream = start_forever(sandbox, FOREVER_IGNORING, timeout_s=0.5)
    waiting = sandbox.start("print('never')")
    done = verdict(stream)
    assert time.monotonic() - begun > 2.3
    assert (done["status"], done["generation"]) == ("timeout", 1)
    cancelled = sandbox.wait(waiting["id"])
    assert (cancelled["status"], cancelled["stdout"]) == ("cancelled", "")
    assert_usable(sandbox, 2)
    assert sandbox.execute("gone")["error"]["ename"] == "NameError"


def test_timeout_of_a_sleep_and_of_a_child(box):
    generation = box.kernel()["generation"]
    assert box.execute("import time; time.sleep(60)", timeout_s=0.3)["status"] == "timeout"
    assert box.execute("!sleep 60", timeout_s=0.3)["status"] == "timeout"
    assert box.execute("import subprocess; subprocess.run(['sleep','60'])", timeout_s=0.3)[
        "status"
    ] == "timeout"
    assert_usable(box, generation)


def test_timeout_and_interrupt_of_code_that_only_awaits_keep_the_state(box):
    generation = box.kernel()["generation"]
    box.ok("import asyncio; kept = 'state'")
    found = box.execute("await asyncio.sleep(60)", timeout_s=0.3)
    assert (found["status"], found["error"]["ename"]) == ("timeout", "CancelledError")
    stream = start_forever(box, "print('started'); await asyncio.gather(asyncio.sleep(60), asyncio.Event().wait())")
    box.interrupt().expect(204)
    assert verdict(stream)["status"] == "interrupted"
    assert box.value("kept") == "'state'"
    assert_usable(box, generation)


def test_waiting_for_input_counts_for_the_timeout(box):
    generation = box.kernel()["generation"]
    found = box.execute("input('? ')", allow_stdin=True, timeout_s=0.4)
    assert found["status"] == "timeout"
    assert_usable(box, generation)


def test_waiting_in_the_queue_does_not_count_for_the_timeout(box):
    gate = Gate(box)
    first = box.start(gate.code)
    box.wait_started(first["id"])
    second = box.start("'ran'", timeout_s=0.3)
    # The time of a third caller passes: it is what a timeout of 0.6 s takes.
    with pytest.raises(TimeoutError):
        with box.events(second["id"]) as stream:
            stream.until("started", timeout=0.6)
    gate.open()
    assert box.wait(second["id"])["result"] == "'ran'"


@pytest.mark.parametrize("value", [0, -1, "1", [], {}, True, 86401, 1e400, float("nan")])
def test_a_bad_timeout_is_invalid(box, value):
    count = box.kernel()["execution_count"]
    box.post_execute("1", timeout_s=value).problem("invalid")
    assert box.ok("2")["execution_count"] == count + 1


def test_the_sandbox_has_a_default_timeout_that_a_request_may_exceed(shared_controller):
    box = shared_controller.sandbox(exec_timeout_s=0.6)
    assert box.info["exec_timeout_s"] == 0.6
    assert box.execute(FOREVER)["status"] == "timeout"
    assert box.ok("import time; time.sleep(1.2)", timeout_s=30)["duration_ms"] > 1000
    box.delete("").expect(204)


# ---- interrupt ----


def test_interrupt_stops_what_runs_and_keeps_the_state(box):
    box.ok("kept = 'i'")
    generation = box.kernel()["generation"]
    stream = start_forever(box)
    box.interrupt().expect(204)
    done = verdict(stream)
    assert (done["status"], done["error"]["ename"]) == ("interrupted", "KeyboardInterrupt")
    assert box.value("kept") == "'i'"
    assert_usable(box, generation)


def test_interrupt_that_the_code_catches_is_an_interrupt(box):
    stream = start_forever(box, FOREVER_CATCHING)
    box.interrupt().expect(204)
    done = verdict(stream)
    assert (done["status"], done["error"]) == ("interrupted", None)
    assert contract.stream_text(stream.seen) == "started\ncaught\n"


def test_interrupt_of_an_idle_kernel_changes_nothing(box):
    generation = box.kernel()["generation"]
    for _ in range(3):
        box.interrupt().expect(204)
        assert_usable(box, generation)


def test_interrupt_never_kills(sandbox):
    gate = Gate(sandbox)
    with sandbox.stream(gate.stubborn_code) as stream:
        stream.until_text("started")
        for n in (1, 2):
            sandbox.interrupt().expect(204)
            stream.until_text("ignored\n" * n)
        # Longer than the 2 s after which a timeout or a cancel would kill.
        with pytest.raises(TimeoutError):
            stream.until("done", timeout=2.6)
        gate.open()
    done = sandbox.wait(stream.id)
    assert done["status"] == "interrupted"
    assert_usable(sandbox, 1)


def test_interrupt_does_not_touch_the_queue(box):
    stream = start_forever(box)
    queued = box.start("'after'")
    box.interrupt().expect(204)
    assert verdict(stream)["status"] == "interrupted"
    assert box.wait(queued["id"])["result"] == "'after'"


@pytest.mark.parametrize("body", [{"kernel_id": 3}, {"kernel": "x"}, [], "x", {"kernel_id": ""}])
def test_a_bad_interrupt_or_restart_does_nothing(box, body):
    generation = box.kernel()["generation"]
    for path in ("/interrupt", "/restart"):
        found = box.post(path, body)
        assert found.status in (400, 404), found
        found.problem(found.json()["code"])
    assert_usable(box, generation)


# ---- cancel ----


def test_cancel_of_a_running_execution(box):
    generation = box.kernel()["generation"]
    stream = start_forever(box)
    queued = box.start("'after'")
    box.cancel(stream.id).expect(204)
    assert verdict(stream)["status"] == "interrupted"
    assert box.wait(queued["id"])["result"] == "'after'"
    assert_usable(box, generation)


def test_cancel_of_a_queued_execution(box):
    gate = Gate(box)
    first = box.start(gate.code + "'first'")
    queued = box.start("ran_though_cancelled = 1")
    last = box.start("'last'")
    box.cancel(queued["id"]).expect(204)
    found = box.wait(queued["id"])
    assert (found["status"], found["started_at"], found["execution_count"]) == ("cancelled", None, None)
    gate.open()
    assert box.wait(first["id"])["result"] == "'first'"
    assert box.wait(last["id"])["result"] == "'last'"
    assert box.value("'ran_though_cancelled' in globals()") == "False"


def test_cancel_of_one_that_is_done_changes_nothing(box):
    found = box.ok("'done'")
    box.cancel(found["id"]).expect(204)
    assert box.execution(found["id"]) == found


def test_cancel_kills_what_ignores_it(sandbox):
    stream = start_forever(sandbox, FOREVER_IGNORING)
    begun = time.monotonic()
    sandbox.cancel(stream.id).expect(204)
    done = verdict(stream)
    assert time.monotonic() - begun > 1.5
    assert (done["status"], done["generation"]) == ("interrupted", 1)
    assert_usable(sandbox, 2)


# ---- restart ----


def test_restart_ends_the_running_and_the_queued(sandbox):
    sandbox.ok("gone = 1")
    stream = start_forever(sandbox)
    queued = [sandbox.start("'never'") for _ in range(3)]
    kernel = sandbox.restart()
    contract.check_kernel(kernel)
    assert kernel["id"] == sandbox.kernel()["id"] and kernel["generation"] == 2
    done = verdict(stream)
    assert (done["status"], done["generation"]) == ("interrupted", 1)
    assert [sandbox.wait(q["id"])["status"] for q in queued] == ["cancelled"] * 3
    found = sandbox.execute("gone")
    assert found["error"]["ename"] == "NameError"
    assert (found["generation"], found["execution_count"]) == (2, 1)
    assert_usable(sandbox, 2)


def test_restart_of_an_idle_kernel(sandbox):
    for generation in (2, 3):
        sandbox.ok("x = 1")
        assert sandbox.restart()["generation"] == generation
        assert_usable(sandbox, generation)
        assert sandbox.value("'x' in globals()") == "False"


def test_restart_of_code_that_ignores_signals(sandbox):
    stream = start_forever(sandbox, FOREVER_IGNORING)
    assert sandbox.restart()["generation"] == 2
    assert verdict(stream)["status"] == "interrupted"
    assert_usable(sandbox, 2)


def test_executions_sent_while_the_kernel_restarts_are_queued(sandbox):
    results = []
    thread = threading.Thread(target=lambda: results.append(sandbox.restart()))
    thread.start()
    eventually(lambda: sandbox.kernel()["generation"] == 2 or results, 20, "the restart")
    found = sandbox.ok("'queued'")
    thread.join(30)
    assert (found["result"], found["generation"]) == ("'queued'", 2)


# ---- death (the rest is in test_fault_*.py) ----


def test_a_kernel_that_exits_is_reported_and_replaced(sandbox):
    stream = sandbox.stream("import os\nprint('last words', flush=True)\nos._exit(3)")
    stream.until("started")
    queued = sandbox.start("'never'")
    done = verdict(stream)
    assert (done["status"], done["generation"]) == ("kernel_died", 1)
    assert (done["error"]["exit_code"], done["error"]["signal"]) == (3, None)
    assert done["error"]["oom"] is False
    # Either it waited when the kernel died, or it came afterwards.
    assert sandbox.wait(queued["id"])["status"] in ("cancelled", "ok")
    assert_usable(sandbox, 2)


def test_a_kernel_that_is_killed_is_reported_and_replaced(sandbox):
    done = sandbox.execute("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert (done["status"], done["generation"]) == ("kernel_died", 1)
    assert (done["error"]["exit_code"], done["error"]["signal"]) == (None, 9)
    assert_usable(sandbox, 2)


def test_five_deaths_within_a_minute_are_the_end_until_restart(sandbox):
    for generation in range(1, 6):
        found = sandbox.execute("import os; os._exit(1)")
        assert (found["status"], found["generation"]) == ("kernel_died", generation)
    assert sandbox.kernel()["state"] == "dead"
    sandbox.post_execute("1").problem("kernel_dead")
    assert sandbox.restart()["state"] == "idle"
    assert sandbox.value("1") == "1"


# ---- input ----


def test_input_is_asked_for_and_given(box):
    with box.stream("name = input('name? ')\nprint('hello', name)", allow_stdin=True) as stream:
        asked = stream.until("input_request")
        assert (asked["prompt"], asked["password"]) == ("name? ", False)
        box.input(stream.id, "Ada ünï").expect(204)
    contract.check_log(box.events(stream.id).all())
    assert box.wait(stream.id)["stdout"].endswith("hello Ada ünï\n")


def test_several_inputs(box):
    with box.stream("[input('%d ' % n) for n in range(3)]", allow_stdin=True) as stream:
        for n in range(3):
            assert stream.until("input_request")["prompt"] == "%d " % n
            box.input(stream.id, str(n)).expect(204)
        assert stream.until("done")["status"] == "ok"
    assert box.execution(stream.id)["result"] == "['0', '1', '2']"


def test_getpass_asks_for_a_password(box):
    with box.stream("import getpass\nlen(getpass.getpass('pw: '))", allow_stdin=True) as stream:
        asked = stream.until("input_request")
        assert (asked["prompt"], asked["password"]) == ("pw: ", True)
        box.input(stream.id, "secret").expect(204)
        stream.until("done")
    found = box.execution(stream.id)
    assert found["result"] == "6"
    assert "secret" not in str(box.events(stream.id).all())


def test_input_that_nobody_asked_for_is_a_conflict(box):
    done = box.ok("1")
    box.input(done["id"], "x").problem("no_input_pending")
    gate = Gate(box)
    running = box.start(gate.code)
    box.wait_started(running["id"])
    box.input(running["id"], "x").problem("no_input_pending")
    queued = box.start("2")
    box.input(queued["id"], "x").problem("no_input_pending")
    gate.open()
    assert box.wait(queued["id"])["result"] == "2"


def test_an_input_is_answered_once(box):
    gate = Gate(box)
    with box.stream("input()\n" + gate.code, allow_stdin=True) as stream:
        stream.until("input_request")
        box.input(stream.id, "one").expect(204)
        box.input(stream.id, "two").problem("no_input_pending")
        gate.open()
        assert stream.until("done")["status"] == "ok"


@pytest.mark.parametrize(
    "body", [{}, {"value": 1}, {"value": None}, {"value": "x", "more": 1}, [], "x", {"value": "x" * 1048577}]
)
def test_a_bad_input_leaves_it_pending(box, body):
    with box.stream("input()", allow_stdin=True) as stream:
        stream.until("input_request")
        found = box.post("/executions/%s/input" % stream.id, body)
        found.problem("too_large" if found.status == 413 else "invalid")
        box.input(stream.id, "good").expect(204)
        stream.until("done")
    assert box.execution(stream.id)["result"] == "'good'"


def test_an_input_of_one_mebibyte(box):
    with box.stream("len(input())", allow_stdin=True) as stream:
        stream.until("input_request")
        box.input(stream.id, "x" * 1048576).expect(204)
        stream.until("done")
    assert box.execution(stream.id)["result"] == "1048576"


def test_interrupt_ends_a_wait_for_input(box):
    with box.stream("input()", allow_stdin=True) as stream:
        stream.until("input_request")
        box.interrupt().expect(204)
        assert stream.until("done")["status"] == "interrupted"
    box.input(stream.id, "late").problem("no_input_pending")
    assert box.value("1") == "1"


@pytest.mark.parametrize("fields", [{}, {"allow_stdin": False}])
def test_without_allow_stdin_input_raises(box, fields):
    found = box.execute("input('? ')", **fields)
    assert (found["status"], found["error"]["ename"]) == ("error", "StdinNotImplementedError")
    assert box.value("1") == "1"


# ---- the queue ----


def test_executions_run_one_at_a_time_in_order(box):
    gate = Gate(box)
    box.ok("order = []")
    first = box.start(gate.code + "order.append(0)")
    ids = [box.start("order.append(%d)" % n)["id"] for n in range(1, 10)]
    gate.open()
    box.wait(first["id"])
    counts = [box.wait(eid)["execution_count"] for eid in ids]
    assert box.value("order") == str(list(range(10)))
    assert counts == list(range(counts[0], counts[0] + 9))


def test_stop_on_error_aborts_those_behind(box):
    gate = Gate(box)
    first = box.start(gate.code + "1/0", stop_on_error=True)
    behind = [box.start("'never'")["id"] for _ in range(2)]
    gate.open()
    assert box.wait(first["id"])["status"] == "error"
    for eid in behind:
        found = box.wait(eid)
        assert (found["status"], found["error"], found["outputs"]) == ("aborted", None, [])
    assert box.value("'next'") == "'next'"


def test_without_stop_on_error_callers_are_independent(box):
    gate = Gate(box)
    first = box.start(gate.code + "1/0")
    behind = box.start("'ran'")
    gate.open()
    assert box.wait(first["id"])["status"] == "error"
    assert box.wait(behind["id"])["result"] == "'ran'"


def test_stop_on_error_of_code_that_succeeds_aborts_nothing(box):
    gate = Gate(box)
    first = box.start(gate.code, stop_on_error=True)
    behind = box.start("'ran'")
    gate.open()
    assert box.wait(first["id"])["status"] == "ok"
    assert box.wait(behind["id"])["result"] == "'ran'"


def test_256_may_wait_and_the_257th_may_not(box):
    gate = Gate(box)
    box.ok("ran = []")
    box.wait_started(box.start(gate.code)["id"])
    ids = [box.start("ran.append(%d)" % n)["id"] for n in range(256)]
    found = box.post_execute("ran.append('too many')")
    assert found.problem("limit")["retryable"] is True
    assert len(box.executions("?state=queued")) == 256
    gate.open()
    assert box.wait(ids[-1])["status"] == "ok"
    assert box.value("ran == list(range(256))") == "True"


# ---- generation ----


def test_a_generation_that_is_the_kernels_runs(box):
    generation = box.kernel()["generation"]
    assert box.value("'g'", generation=generation) == "'g'"


def test_another_generation_is_a_mismatch_and_runs_nothing(box):
    generation = box.kernel()["generation"]
    box.post_execute("ran_mismatched = 1", generation=generation + 1).problem("generation_mismatch")
    assert box.value("'ran_mismatched' in globals()", generation=generation) == "False"


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True, [], 2**40])
def test_a_bad_generation_is_invalid(box, value):
    box.post_execute("1", generation=value).problem("invalid", field="generation")
    assert box.value("1") == "1"


def test_after_a_restart_the_old_generation_is_refused(sandbox):
    assert sandbox.value("1", generation=1) == "1"
    sandbox.restart()
    sandbox.post_execute("1", generation=1).problem("generation_mismatch")
    assert sandbox.value("1", generation=2) == "1"


def test_no_execution_passes_from_one_generation_to_the_next(sandbox):
    """What is asked for while the kernel is replaced runs on the generation that it names, or not at all."""
    sandbox.ok("marked = True")
    ran = {}
    for old in range(1, 6):
        thread = threading.Thread(target=sandbox.restart)
        thread.start()
        asked = [sandbox.post_execute("1", generation=old, headers={"Prefer": "respond-async"}) for _ in range(20)]
        asked += [sandbox.post_execute("1", generation=old + 1, headers={"Prefer": "respond-async"}) for _ in range(4)]
        thread.join(30)
        for n, answer in enumerate(asked):
            if answer.status == 409:
                answer.problem("generation_mismatch")
                continue
            found = sandbox.wait(answer.expect(202).json()["id"])
            wanted = old if n < 20 else old + 1
            if found["status"] != "cancelled":
                assert found["generation"] == wanted, found
                ran[wanted] = ran.get(wanted, 0) + 1
        assert_usable(sandbox, old + 1)
    assert ran, "nothing that was asked for ran"


# ---- Idempotency-Key ----


def test_a_repeated_key_runs_once(box):
    box.ok("times = 0")
    headers = {"Idempotency-Key": "once-1"}
    first = box.execute("times += 1; print('ran'); times", headers)
    again = box.execute("times += 1; print('ran'); times", headers)
    assert first == again and first["result"] == "1"
    events = box.stream("times += 1; print('ran'); times", headers=headers).all()
    assert events == box.events(first["id"]).all()
    assert box.value("times") == "1"


def test_a_key_with_another_body_is_a_conflict(box):
    headers = {"Idempotency-Key": "once-2"}
    first = box.execute("'a'", headers)
    box.post_execute("'b'", headers).problem("conflict")
    assert box.execute("'a'", headers) == first


def test_two_requests_with_one_key_at_once_run_once(box):
    box.ok("at_once = 0")
    gate = Gate(box)
    found = []

    def run():
        found.append(box.execute("at_once += 1\n" + gate.code, {"Idempotency-Key": "once-3"}))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    eventually(lambda: box.executions("?state=running"), 20, "it runs")
    gate.open()
    for t in threads:
        t.join(60)
    assert len(found) == 4 and all(f == found[0] for f in found)
    assert box.value("at_once") == "1"


def test_keys_of_two_sandboxes_are_apart(box, sandbox):
    headers = {"Idempotency-Key": "once-4"}
    assert box.execute("'here'", headers)["result"] == "'here'"
    assert sandbox.execute("'there'", headers)["result"] == "'there'"


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
def test_a_bad_key_is_invalid(box, key):
    box.post_execute("1", {"Idempotency-Key": key}).problem("invalid", field="Idempotency-Key")
    assert box.execute("1", {"Idempotency-Key": "k" * 255})["status"] == "ok"


def test_a_key_of_an_expired_execution_is_gone(sandbox):
    headers = {"Idempotency-Key": "old"}
    sandbox.execute("'old'", headers)
    for _ in range(512):
        sandbox.post_execute("0").expect(200)
    sandbox.post_execute("'old'", headers).problem("expired")
    assert sandbox.value("1") == "1"


# ---- a client that leaves ----


def test_a_client_that_leaves_interrupts_when_it_said_so(box):
    stream = start_forever(box, on_disconnect="interrupt")
    eid = stream.id
    stream.close()
    assert box.wait(eid, timeout=20)["status"] == "interrupted"
    assert box.value("1") == "1"


def test_a_json_client_that_leaves_interrupts_when_it_said_so(box):
    body = b'{"code":"import time\\nwhile True: time.sleep(0.01)","on_disconnect":"interrupt"}'
    head = box.head(
        "POST", "/execute", {"Content-Type": "application/json", "Content-Length": str(len(body))}
    )
    with box.connect() as sock:
        sock.sendall(head + body)
        (running,) = eventually(lambda: box.executions("?state=running"), 20, "it runs")
    assert box.wait(running["id"], timeout=20)["status"] == "interrupted"


@pytest.mark.parametrize("fields", [{}, {"on_disconnect": "continue"}])
def test_a_client_that_leaves_changes_nothing_by_itself(box, fields):
    gate = Gate(box)
    stream = box.stream("print('started', flush=True)\n" + gate.code + "print('went on')", **fields)
    stream.until_text("started")
    eid = stream.id
    stream.close()
    # Longer than the second in which the controller would notice.
    with pytest.raises(TimeoutError):
        with box.events(eid) as again:
            again.until("done", timeout=2.5)
    gate.open()
    found = box.wait(eid)
    assert (found["status"], found["stdout"]) == ("ok", "started\nwent on\n")


@pytest.mark.parametrize("value", ["cancel", "", 1, True])
def test_a_bad_on_disconnect_is_invalid(box, value):
    box.post_execute("1", on_disconnect=value).problem("invalid", field="on_disconnect")
