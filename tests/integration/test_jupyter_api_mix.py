"""One kernel, many front ends: the API and notebook clients see and wait for each other's executions."""

import contextlib
import json
import re
import threading

import pytest
from lib import contract
from lib.code import FOREVER, FOREVER_IGNORING, Gate
from lib.jupyter import Channels, frame, of_type, states, stream_text, types
from lib.process import eventually

KERNELS = "/jupyter/api/kernels"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
CATCHING = """
import time
try:
    print('started', flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print('caught')
"""
EXECS_KEPT, NOTEBOOK_EXECS_KEPT, API_QUEUE = 512, 64, 256

both = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])


@pytest.fixture
def attach(box):
    """Opens clients of the module's kernel; they are closed afterwards."""
    with contextlib.ExitStack() as stack:
        yield lambda to=box, **options: stack.enter_context(Channels(to, to.kernel()["id"], **options))


def model_of(box):
    return box.get("%s/%s" % (KERNELS, box.kernel()["id"])).expect(200).json()


def hold_kernel(box, client, code=""):
    """A notebook's cell that runs until the gate is opened: (gate, its id)."""
    gate = Gate(box)
    running = client.run(gate.code + code)
    client.until_type("execute_input", running)
    return gate, running


# ---- the API's executions, as notebook clients see them ----


@both
def test_an_execution_of_the_api_appears_as_another_clients(box, attach, v1):
    client = attach(v1=v1)
    client.ping()
    code = "print('from the API')\n6 * 7"
    found = box.ok(code)
    heard = client.answers(found["id"], reply=False)
    assert types(heard) == ["status", "execute_input", "stream", "execute_result", "status"]
    assert states(heard) == ["busy", "idle"]
    given = of_type(heard, "execute_input")[0]["content"]
    assert given == {"code": code, "execution_count": found["execution_count"]}
    assert stream_text(heard) == "from the API\n"
    assert of_type(heard, "execute_result")[0]["content"]["data"] == {"text/plain": "42"}
    # Its reply is the API's alone.
    client.execute("pass")
    assert {m["channel"] for m in client.of_parent[found["id"]]} == {"iopub"}


def test_state_is_shared(box, attach):
    client = attach()
    box.ok("shared = ['api']")
    assert client.text("shared.append('notebook'); print(shared)") == "['api', 'notebook']\n"
    assert box.value("shared") == "['api', 'notebook']"


def test_input_of_an_execution_of_the_api_is_the_apis(box, attach):
    client = attach()
    client.ping()
    with box.stream("print(input('? '))", allow_stdin=True) as stream:
        stream.until("input_request")
        box.input(stream.id, "typed").expect(204)
        events = stream.all()
    assert contract.stream_text(events) == "typed\n"
    client.answers(stream.id, reply=False)
    assert of_type(client.seen, "input_request") == []


# ---- notebooks' executions, as the API sees them ----


@both
def test_what_a_notebook_ran_is_an_execution(box, attach, v1):
    client = attach(v1=v1)
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\n{'a': 1}"
    asked = client.run(code)
    count = of_type(client.answers(asked, "execute_reply"), "execute_reply")[0]["content"]["execution_count"]
    found = box.execution(asked)
    assert (found["id"], found["code"], found["status"], found["state"]) == (asked, code, "ok", "done")
    assert (found["stdout"], found["stderr"], found["result"]) == ("out\n", "err\n", "{'a': 1}")
    assert (found["execution_count"], found["error"]) == (count, None)
    assert (found["kernel_id"], found["generation"]) == (box.kernel()["id"], box.kernel()["generation"])
    assert box.executions()[0]["id"] == asked
    events = box.events(asked).all()
    contract.check_log(events)
    assert [e["type"] for e in events][0] == "started" and events[-1]["status"] == "ok"


def test_displays_of_a_notebook(box, attach):
    client = attach()
    asked = client.run(
        "from IPython.display import display, clear_output\n"
        "d = display('one', display_id=True)\nd.update('two')\nprint('gone')\nclear_output()\nprint('stays')"
    )
    client.answers(asked, "execute_reply")
    events = box.events(asked).all()
    contract.check_log(events)
    assert {"update_display", "clear_output"} <= {e["type"] for e in events}
    found = box.execution(asked)
    assert [o["output_type"] for o in found["outputs"]] == ["stream"]
    assert found["outputs"][0]["text"] == "stays\n"


def test_its_events_can_be_followed_live(box, attach):
    client = attach()
    gate, running = hold_kernel(box, client, "print('after')")
    (listed,) = box.executions("?state=running")
    assert listed["id"] == running
    with box.events(running) as stream:
        stream.until("started")
        gate.open()
        stream.until_text("after")
        contract.check_log(stream.all())
    assert stream.seen[-1]["status"] == "ok"


def test_the_error_of_a_notebook(box, attach):
    client = attach()
    asked = client.run("1/0")
    told = of_type(client.answers(asked, "execute_reply"), "error")[0]["content"]
    found = box.execution(asked)
    assert found["status"] == "error"
    assert found["error"] == {k: told[k] for k in ("ename", "evalue", "traceback")}


def test_silent_requests_leave_no_record(box, attach):
    client = attach()
    asked = client.run("quiet = 1", silent=True)
    client.answers(asked, "execute_reply")
    box.get("/executions/" + asked).problem("not_found")
    assert box.value("quiet") == "1"


def test_a_msg_id_that_is_no_execution_id_gets_another(box, attach):
    client = attach()
    content = {"code": "print('odd id')", "silent": False}
    asked = client.send("execute_request", content, msg_id="odd id / with spaces?#")
    client.answers(asked, "execute_reply")
    found = box.executions()[0]
    assert found["id"] != asked and found["code"] == "print('odd id')"
    assert box.execution(found["id"])["stdout"] == "odd id\n"


def test_a_death_is_the_verdict(sandbox, attach):
    client = attach(to=sandbox)
    gate = Gate(sandbox)
    asked = client.run(
        "print('last words', flush=True)\n"
        + gate.code
        + "import signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    client.until_type("stream", asked)
    gate.open()
    client.answers(asked, "execute_reply")
    found = sandbox.execution(asked)
    assert (found["status"], found["generation"], found["stdout"]) == ("kernel_died", 1, "last words\n")
    assert found["error"]["ename"] == "KernelDied" and found["error"]["signal"] == 9


def test_late_output_of_a_notebook(box, attach):
    client = attach()
    gate = Gate(box)
    code = "import threading\ndef late():\n    %s\n    print('late')\nt = threading.Thread(target=late); t.start()"
    asked = client.run(code % gate.code.replace("\n", "\n    "))
    client.answers(asked, "execute_reply")
    gate.open()
    client.until(lambda m: "late" in m["content"].get("text", ""))
    box.ok("t.join()")
    assert stream_text(client.of_parent[asked]) == "late\n"
    found = eventually(lambda: box.execution(asked)["late_outputs"])
    assert "".join(o["text"] for o in found) == "late\n"


def test_the_api_answers_for_input_of_a_notebook_with_409(box, attach):
    client = attach()
    asked = client.run("input('mine? ')", allow_stdin=True)
    request = client.until_type("input_request", asked)
    # Another socket than the code's: it may come first.
    if not of_type(client.of_parent[asked], "execute_input"):
        client.until_type("execute_input", asked)
    box.input(asked, "not yours").problem("no_input_pending")
    client.send("input_reply", {"value": "mine"}, channel="stdin", parent=request["header"])
    client.answers(asked, "execute_reply")


# ---- orders ----


def test_the_api_cancels_what_a_notebook_runs(box, attach):
    client = attach()
    asked = client.run(FOREVER)
    client.until_type("stream", asked)
    box.cancel(asked).expect(204)
    reply = of_type(client.answers(asked, "execute_reply"), "execute_reply")[0]["content"]
    assert reply["ename"] == "KeyboardInterrupt"
    assert box.wait(asked)["status"] == "interrupted"
    assert box.kernel()["generation"] == 1
    box.cancel(asked).expect(204)


def test_an_interrupt_that_a_notebook_catches_is_interrupted(box, attach):
    client = attach()
    asked = client.run(CATCHING)
    client.until_type("stream", asked)
    box.interrupt().expect(204)
    assert of_type(client.answers(asked, "execute_reply"), "execute_reply")[0]["content"]["status"] == "ok"
    assert box.wait(asked)["status"] == "interrupted"


def test_cancel_kills_what_ignores_it(sandbox, attach):
    client = attach(to=sandbox)
    asked = client.run(FOREVER_IGNORING)
    client.until_type("stream", asked)
    sandbox.cancel(asked).expect(204)
    reply = of_type(client.answers(asked, "execute_reply"), "execute_reply")[0]["content"]
    assert reply["status"] == "error"
    assert sandbox.wait(asked)["status"] == "interrupted"
    client.until(lambda m: m["content"].get("execution_state") == "restarting")
    assert client.text("print('again')") == "again\n"
    assert sandbox.kernel()["generation"] == 2


def test_a_notebook_interrupts_what_the_api_runs(box, attach):
    client = attach()
    running = box.start(FOREVER)
    client.until_type("stream", running["id"])
    client.answers(client.send("interrupt_request", channel="control"), "interrupt_reply")
    found = box.wait(running["id"])
    assert (found["status"], found["error"]["ename"]) == ("interrupted", "KeyboardInterrupt")


def test_a_restart_by_a_notebook_ends_what_the_api_runs_and_queues(sandbox, attach):
    client = attach(to=sandbox)
    running = sandbox.start(FOREVER)
    client.until_type("stream", running["id"])
    waiting = sandbox.start("print('never')")
    sandbox.post("%s/%s/restart" % (KERNELS, sandbox.kernel()["id"])).expect(200)
    assert sandbox.wait(running["id"])["status"] == "interrupted"
    assert sandbox.wait(waiting["id"])["status"] == "cancelled"


# ---- waiting for each other ----


def test_the_api_waits_behind_notebooks_and_is_not_timed_out(box, attach):
    client = attach()
    gate, running = hold_kernel(box, client, "print('notebook')")
    second = client.run("order = ['notebook']")
    with box.stream("order.append('api'); print(order)", timeout_s=0.3) as stream:
        assert stream.next()["type"] == "queued"
        # Its own time has not begun: an execution that runs longer than that is over meanwhile.
        client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
        assert box.execution(stream.id)["state"] == "queued"
        third = client.run("import time; time.sleep(0.4); order.append('third')")
        client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
        gate.open()
        events = stream.all()
    contract.check_log(events)
    assert [e["type"] for e in events] == ["queued", "started", "output", "done"]
    assert events[-1]["status"] == "ok", events[-1]
    # Started only when those before it were over; which of the later ones is first is open.
    assert contract.stream_text(events) in ("['notebook', 'api']\n", "['notebook', 'third', 'api']\n")
    for asked in (running, second, third):
        client.answers(asked, "execute_reply")
    client.answers(stream.id, reply=False)
    heard = [
        m["parent_header"].get("msg_id") for m in client.seen if m["header"]["msg_type"] == "execute_input"
    ]
    assert [h for h in heard if h != stream.id] == [running, second, third]
    assert heard.index(stream.id) > heard.index(second)


def test_cancel_ends_the_wait_behind_a_notebook(box, attach):
    client = attach()
    gate, running = hold_kernel(box, client)
    waiting = box.start("print('never')")
    box.cancel(waiting["id"]).expect(204)
    assert box.wait(waiting["id"])["status"] == "cancelled"
    gate.open()
    client.answers(running, "execute_reply")
    assert waiting["id"] not in client.of_parent


def test_a_notebook_beside_the_apis_queue(box, attach):
    client = attach()
    gate = Gate(box)
    running = box.start("order = []\n" + gate.code)
    box.wait_started(running["id"])
    waiting = [box.start("order.append('api')") for _ in range(3)]
    asked = client.run("order.append('notebook')")
    client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
    gate.open()
    client.answers(asked, "execute_reply")
    for execution in waiting:
        assert box.wait(execution["id"])["status"] == "ok"
    # It went straight to the shell, where it was ahead of all that were not sent yet.
    assert box.value("order") == "['notebook', 'api', 'api', 'api']"


def test_a_failing_cell_does_not_abort_executions_of_the_api(box, attach):
    client = attach()
    for _ in range(10):
        gate, running = hold_kernel(box, client, "raise ValueError('stops')")
        aborted = client.run("print('aborted')")
        waiting = box.start("print('ran')")
        gate.open()
        client.answers(running, "execute_reply")
        reply = of_type(client.answers(aborted, "execute_reply"), "execute_reply")[0]["content"]
        assert reply["status"] == "aborted"
        found = box.wait(waiting["id"])
        assert (found["status"], found["stdout"]) == ("ok", "ran\n"), found
        box.get("/executions/" + aborted).problem("not_found")


def test_a_failure_of_the_api_does_not_abort_a_notebooks_cells(box, attach):
    client = attach()
    gate = Gate(box)
    running = box.start(gate.code + "1/0", stop_on_error=True)
    box.wait_started(running["id"])
    waiting = box.start("print('aborted')")
    asked = client.run("print('ran')")
    client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
    gate.open()
    assert box.wait(running["id"])["status"] == "error"
    assert box.wait(waiting["id"])["status"] == "aborted"
    assert stream_text(client.answers(asked, "execute_reply")) in ("ran\n", "")


def test_notebooks_are_not_limited_by_the_queue_of_the_api(sandbox, attach):
    client = attach(to=sandbox)
    gate, running = hold_kernel(sandbox, client)
    ids = [sandbox.start("1")["id"] for _ in range(API_QUEUE)]
    sandbox.post_execute("1").problem("limit")
    asked = [client.run("n = %d" % n) for n in range(API_QUEUE + 50)]
    gate.open()
    for msg_id in asked:
        reply = of_type(client.answers(msg_id, "execute_reply"), "execute_reply")[0]["content"]
        assert reply["status"] == "ok"
    assert sandbox.wait(ids[-1])["status"] == "ok"
    assert sandbox.value("n") == str(API_QUEUE + 49)


def test_the_last_of_both_are_kept_apart(sandbox, attach):
    client = attach(to=sandbox)
    first_api = sandbox.ok("'api'")["id"]
    asked = [client.run("%d" % n) for n in range(NOTEBOOK_EXECS_KEPT + 1)]
    for msg_id in asked:
        client.answers(msg_id, "execute_reply")
    # One more than is kept: the oldest is gone, the API's is there.
    sandbox.get("/executions/" + asked[0]).problem("expired")
    assert sandbox.execution(asked[1])["status"] == "ok"
    assert sandbox.execution(first_api)["status"] == "ok"
    for _ in range(EXECS_KEPT):
        last = sandbox.post_execute("1").expect(200).json()["id"]
    sandbox.get("/executions/" + first_api).problem("expired")
    assert sandbox.execution(last)["status"] == "ok"
    assert [e["id"] for e in sandbox.executions() if e["id"] in asked] == asked[:0:-1]
    assert len(sandbox.executions()) == EXECS_KEPT + NOTEBOOK_EXECS_KEPT


# ---- what Jupyter clients are told of the kernel ----


def test_the_model_of_a_kernel(box, attach):
    client = attach()
    before = model_of(box)
    assert set(before) == {"id", "name", "last_activity", "execution_state", "connections"}
    assert TIME.fullmatch(before["last_activity"]), before
    assert (before["id"], before["name"]) == (box.kernel()["id"], "python3")
    assert (before["execution_state"], before["connections"]) == ("idle", 1)
    client.execute("pass")
    after = model_of(box)
    assert after["last_activity"] > before["last_activity"]
    assert box.get(KERNELS).expect(200).json() == [after]


def test_the_state_is_busy_while_a_cell_runs_and_introspection_does_not_flip_it(box, attach):
    client = attach()
    gate, running = hold_kernel(box, client)
    assert model_of(box)["execution_state"] == "busy"
    client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
    assert model_of(box)["execution_state"] == "busy"
    assert box.kernel()["state"] == "busy"
    gate.open()
    client.answers(running, "execute_reply")
    assert model_of(box)["execution_state"] == "idle"


def test_an_execution_of_the_api_makes_it_busy_too(box, attach):
    gate = Gate(box)
    running = box.start(gate.code)
    box.wait_started(running["id"])
    assert model_of(box)["execution_state"] == "busy"
    gate.open()
    box.wait(running["id"])
    assert model_of(box)["execution_state"] == "idle"


# ---- idle ----


def idles(after):
    """Flags of a runner that nobody claims."""
    return ("--idle-timeout", after, "--unclaimed-timeout", after)


def test_silent_clients_do_not_keep_a_sandbox(make_runner):
    it = make_runner(*idles("2s"))
    box = it.box()
    with (
        Channels(box, box.kernel()["id"], pong=False) as client,
        Channels(box, box.kernel()["id"], session="s", pong=False) as other,
    ):
        client.execute("pass")
        assert it.process.wait_exit(15) == 0
        assert client.closed()[0] == 1001
        assert other.closed()[0] == 1001


def test_pings_are_no_activity(make_runner):
    it = make_runner(*idles("2s"))
    box = it.box()
    with Channels(box, box.kernel()["id"]) as client:
        client.execute("pass")
        ended = threading.Event()

        def ping():
            with contextlib.suppress(OSError):
                while not ended.wait(0.2):
                    client.raw(frame(9, b"ping"))

        thread = threading.Thread(target=ping)
        thread.start()
        try:
            assert it.process.wait_exit(15) == 0
        finally:
            ended.set()
            thread.join()


def test_connections_count_where_asked_for(make_runner):
    counting = make_runner(*idles("1s"), "--idle-counts-connections")
    plain = make_runner(*idles("2s"))
    box = counting.box()
    with Channels(box, box.kernel()["id"]) as client:
        client.execute("pass")
        # One that idles longer is over, this one is not.
        assert plain.process.wait_exit(15) == 0
        assert counting.process.alive
        assert client.text("print('kept')") == "kept\n"
    assert counting.process.wait_exit(15) == 0


def test_notebook_messages_are_activity(make_runner):
    """A running cell of a notebook, and messages that run nothing."""
    busy, talking, plain = (make_runner(*idles("2s")) for _ in range(3))
    with (
        Channels(busy.box(), busy.box().kernel()["id"]) as runs,
        Channels(talking.box(), talking.box().kernel()["id"]) as talks,
    ):
        gate = Gate(busy.box())
        cell = runs.run(gate.code + "print('done')")
        runs.until_type("execute_input", cell)
        with contextlib.closing(plain.box().connect()):
            while plain.process.wait_exit(0.2) is None:
                asked = talks.send("complete_request", {"code": "a", "cursor_pos": 1})
                talks.answers(asked, "complete_reply")
        assert busy.process.alive and talking.process.alive
        gate.open()
        assert stream_text(runs.answers(cell, "execute_reply")) == "done\n"
        for it in (busy, talking):
            assert it.process.wait_exit(15) == 0


# ---- an execution of the API that has a notebook's cell ahead of it in the kernel's shell ----


def behind(box, client, code, then="", **fields):
    """One that was sent and waits behind a cell that came later: (gate, the cell, the execution's id)."""
    first, second = Gate(box), Gate(box)
    running = box.start(first.code)
    box.wait_started(running["id"])
    waiting = box.start(code, **fields)
    cell = client.run(second.code + then)
    client.answers(client.send("kernel_info_request", channel="control"), "kernel_info_reply")
    first.open()
    client.until_type("execute_input", cell)
    assert box.wait(running["id"])["status"] == "ok"
    assert box.execution(waiting["id"])["state"] == "queued"
    return second, cell, waiting["id"]


def test_cancel_ends_at_once_what_was_sent_behind_a_notebook(box, attach):
    client = attach()
    box.ok("effects = []")
    gate, cell, waiting = behind(box, client, "effects.append('cancelled all the same')")
    box.cancel(waiting).expect(204)
    # The cell runs on: it is not waited for.
    found = box.wait(waiting, timeout=5)
    assert (found["status"], found["started_at"], found["outputs"]) == ("cancelled", None, []), found
    assert [e["type"] for e in box.events(waiting).all()] == ["queued", "done"]
    box.cancel(waiting).expect(204)
    after = box.start("effects")
    gate.open()
    client.answers(cell, "execute_reply")
    assert box.execution(cell)["status"] == "ok", "the interrupt was another's"
    assert box.wait(after["id"])["result"] == "[]"
    assert box.kernel()["generation"] == after["generation"]
    # The kernel passed it over: it never said that it runs it.
    assert "execute_input" not in types(client.answers(waiting, reply=False))


def test_a_restart_cancels_what_was_sent_behind_a_notebook(sandbox, attach):
    client = attach(sandbox)
    sandbox.ok("pass")
    _, cell, waiting = behind(sandbox, client, "open('effect', 'w')")
    sandbox.restart()
    assert sandbox.wait(waiting)["status"] == "cancelled"
    assert sandbox.execution(cell)["status"] == "interrupted"
    assert sandbox.value("__import__('os').path.exists('effect')") == "False"


def test_a_death_cancels_what_was_sent_behind_a_notebook(sandbox, attach):
    client = attach(sandbox)
    gate, cell, waiting = behind(sandbox, client, "open('effect', 'w')", then="os._exit(1)")
    gate.open()
    assert sandbox.wait(waiting)["status"] == "cancelled"
    assert sandbox.wait(cell)["status"] == "kernel_died"
    assert sandbox.value("__import__('os').path.exists('effect')") == "False"


def test_an_interrupt_is_not_the_next_cells(box, attach):
    """A silent cell announces nothing, so an interrupt waits a moment for it; when it is over, nobody's."""
    client = attach()
    client.ping()
    for _ in range(10):
        silent = client.run("import time; time.sleep(0.02)", silent=True)
        after = client.run("import time; time.sleep(0.15); print('through')")
        box.interrupt().expect(204)
        client.answers(silent, "execute_reply")
        assert stream_text(client.answers(after, "execute_reply")) == "through\n"
        assert box.execution(after)["status"] == "ok"
