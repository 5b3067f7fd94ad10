"""A controller may die at any time: nothing of a sandbox is lost with it."""

import http.client
import os
import signal

import pytest
from lib import contract
from lib.code import Gate

COUNTING = "import time\nfor i in range(60):\n    print(i, flush=True); time.sleep(0.02)"
COUNTED = "".join("%d\n" % i for i in range(60))


def read_until_it_breaks(stream):
    """What came before the controller died; the last line may be half."""
    try:
        while stream.next(30):
            pass
    except (OSError, http.client.HTTPException, AssertionError):
        pass
    return stream.seen


@pytest.mark.parametrize("sse", [False, True], ids=["ndjson", "sse"])
def test_a_stream_is_resumed_after_kill_9_without_loss_or_double(controller, sse):
    c = controller()
    box = c.sandbox()
    stream = box.stream(COUNTING, sse=sse)
    stream.until_text("5\n")
    c.restart(kill=True)
    before = read_until_it_breaks(stream)
    assert before and before[-1]["type"] != "done"
    after = box.events(stream.id, last_event_id=before[-1]["seq"], sse=sse).all()
    contract.check_log(before + after)
    assert contract.stream_text(before + after) == COUNTED
    assert after[-1]["status"] == "ok"


def test_a_json_caller_repeats_its_idempotency_key_after_kill_9(controller):
    c = controller()
    box = c.sandbox()
    gate = Gate(box)
    box.ok("runs = 0")
    key = {"Idempotency-Key": "the-one-call"}
    code = "runs += 1\nprint('started', flush=True)\n" + gate.code + "print(runs)"
    sock, _ = send_only(box, code, key)
    with sock:
        eid = started(box)
        c.restart(kill=True)
    gate.open()
    again = box.post_execute(code, key).expect(200).json()
    assert again["id"] == eid
    assert (again["status"], again["stdout"]) == ("ok", "started\n1\n")
    assert box.value("runs") == "1"


def send_only(box, code, headers):
    """Sends an execution and reads nothing."""
    import json

    body = json.dumps({"code": code}).encode()
    sock = box.connect()
    head = box.head(
        "POST",
        "/execute",
        dict(headers, **{"Content-Type": "application/json", "Content-Length": str(len(body))}),
    )
    sock.sendall(head + body)
    return sock, len(body)


def started(box):
    """The id of the one execution that is under way; it has printed."""
    from lib.process import eventually

    found = eventually(lambda: box.executions("?state=running"), 20)
    with box.events(found[0]["id"]) as stream:
        stream.until_text("started\n")
    return found[0]["id"]


def test_owner_labels_state_and_files_survive_the_controller(controller):
    c = controller()
    box = c.sandbox(name="alice", labels={"team": "red"}, env={"COLOUR": "blue"})
    box.ok("kept = 41")
    box.put("a.txt", b"text").expect(201)
    c.restart(kill=True)
    found = c.alice.get("/api/sandboxes?label=team=red").expect(200).json()["sandboxes"]
    assert [s["id"] for s in found] == [box.id]
    assert c.bob.get("/api/sandboxes/" + box.id).problem("not_found")
    assert box.value("kept + 1") == "42"
    assert box.value("__import__('os').environ['COLOUR']") == "'blue'"
    assert box.file("a.txt").body == b"text"


def test_a_repeated_create_finds_its_sandbox_after_kill_9(controller):
    c = controller()
    key = {"Idempotency-Key": "make-one"}
    first = c.alice.create(headers=key)
    c.restart(kill=True)
    again = c.alice.post("/api/sandboxes", {}, headers=key).expect(200).json()
    assert again["id"] == first["id"]


@pytest.mark.parametrize("what", ["kernels", "sessions"])
def test_a_key_of_jupyters_api_makes_one_also_over_kill_9(controller, what):
    c = controller()
    path, key = "/jupyter/api/" + what, {"Idempotency-Key": "make-one"}
    body = {"env": {"A": "1"}} if what == "kernels" else {"path": "a", "type": "notebook", "name": "a"}
    other = dict(body, env={"A": "2"}) if what == "kernels" else dict(body, path="b")
    first = c.alice.api("POST", path, body, headers=key).expect(201).json()
    for _ in range(2):
        again = c.alice.api("POST", path, body, headers=key).expect(201).json()
        assert again["id"] == first["id"]
        c.alice.api("POST", path, other, headers=key).problem("conflict")
        c.restart(kill=True)
    assert len(c.alice.get("/jupyter/api/kernels").expect(200).json()) == 1
    assert c.bob.api("POST", path, other, headers=key).expect(201).json()["id"] != first["id"]


def test_a_warm_sandbox_is_adopted_into_the_pool(controller):
    c = controller("--warm", "1")
    c.wait_log(event="sandbox_state", to="warm", timeout=60)
    warm = [line["sandbox"] for line in c.logs if line.get("to") == "warm"]
    c.restart(kill=True)
    box = c.sandbox()
    assert box.id in warm
    assert box.value("1") == "1"


def test_what_died_meanwhile_is_removed_and_said(controller):
    c = controller()
    box = c.sandbox()
    stream = box.stream("import time\nprint('up', flush=True)\ntime.sleep(600)")
    stream.until_text("up\n")
    c.kill()
    box_pid = runner_pid(box.id)
    os.kill(box_pid, signal.SIGKILL)
    c.start()
    c.alice.get("/api/sandboxes/" + box.id).problem("not_found")
    assert c.alice.get("/api/sandboxes").json()["sandboxes"] == []


def test_a_runner_that_dies_ends_its_streams_with_sandbox_lost(controller):
    c = controller()
    box = c.sandbox()
    stream = box.stream("import time\nprint('up', flush=True)\ntime.sleep(600)")
    stream.until_text("up\n")
    os.kill(runner_pid(box.id), signal.SIGKILL)
    rest = stream.all()
    contract.check_log(stream.seen, ended=True)
    assert rest[-1]["status"] == "sandbox_lost"
    c.alice.get("/api/sandboxes/" + box.id).problem("not_found")
    # Whoever asks for another gets one.
    assert c.sandbox().value("1") == "1"


def test_a_runner_that_dies_before_an_answer_is_502(controller):
    import threading

    c = controller()
    box = c.sandbox()
    gate = Gate(box)
    answers = []
    caller = threading.Thread(
        target=lambda: answers.append(box.post_execute("print('started', flush=True)\n" + gate.code))
    )
    caller.start()
    started(box)
    os.kill(runner_pid(box.id), signal.SIGKILL)
    caller.join(60)
    answers[0].problem("sandbox_lost")
    c.alice.get("/api/sandboxes/" + box.id).problem("not_found")


def unknown(c, box):
    """Nobody sees it, nobody may touch it, and its place is taken."""
    path = "/api/sandboxes/" + box.id
    for api in (c.alice, c.bob, c.admin):
        assert api.get("/api/sandboxes").expect(200).json()["sandboxes"] == []
        assert box.id in api.get(path).problem("unavailable")["detail"]
        api.delete(path).problem("unavailable")
        api.post(path + "/execute", {"code": "1"}).problem("unavailable")
        api.get("/jupyter/api/kernels/" + box.id[3:]).problem("unavailable")
        assert api.get("/jupyter/api/kernels").expect(200).json() == []
    c.bob.post("/api/sandboxes").problem("limit")


def test_a_runner_that_is_stopped_while_a_controller_starts_keeps_its_sandbox(controller):
    c = controller("--max-sandboxes", "1")
    key = {"Idempotency-Key": "make-one"}
    box = c.alice.box(c.alice.create(headers=key))
    box.ok("kept = 41")
    box.put("a.txt", b"text").expect(201)
    c.hold_logs()
    c.kill()
    pid = runner_pid(box.id)
    os.kill(pid, signal.SIGSTOP)
    try:
        c.start()
        unknown(c, box)
        # It may be the one that this key made.
        c.alice.post("/api/sandboxes", {}, headers=key).problem("unavailable")
    finally:
        os.kill(pid, signal.SIGCONT)
    c.wait_log(event="sandbox_state", sandbox=box.id, to="ready")
    found = c.alice.get("/api/sandboxes").expect(200).json()["sandboxes"]
    assert [s["id"] for s in found] == [box.id]
    assert box.value("kept + 1") == "42"
    assert box.file("a.txt").body == b"text"
    assert c.alice.post("/api/sandboxes", {}, headers=key).expect(200).json()["id"] == box.id
    c.bob.get("/api/sandboxes/" + box.id).problem("not_found")


def test_a_runner_of_another_key_is_left_alone(controller):
    c = controller("--max-sandboxes", "1")
    box = c.sandbox()
    box.ok("kept = 41")
    c.kill()
    key_file = c.state_dir / "key"
    key = key_file.read_bytes()
    key_file.write_bytes(bytes(byte ^ 1 for byte in key))
    c.start()
    unknown(c, box)
    c.kill()
    said = [line for line in c.logs if line.get("event") == "sandbox_foreign"]
    assert [(line["sandbox"], line["level"]) for line in said] == [(box.id, "warn")]
    key_file.write_bytes(key)
    c.start()
    assert box.value("kept + 1") == "42"


def runner_pid(sandbox_id):
    """The host's pid of a sandbox's PID 1 (not of bubblewrap's monitor)."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/cmdline" % entry, "rb") as f:
                argv = f.read().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(b"caesarion-runner") and sandbox_id.encode() in argv:
            return int(entry)
    raise AssertionError("no runner of " + sandbox_id)
