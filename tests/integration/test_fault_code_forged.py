"""User code knows its kernel's key and sockets. What it forges may spoil its own output; the runner never
hangs or dies of it, every execution has its one `done`, and the next one is right.
"""

import json

import pytest
from lib import contract
from lib.hostile import alone, died, fresh, goes_on, of_host, rss_anon, small
from lib.process import eventually

MIB = 1 << 20

FORGE = """
import json, os, time, uuid, zmq
kernel = get_ipython().kernel

def own():
    return kernel.get_parent('shell')['header']

def frames(kind, content, parent=None):
    header = {'msg_id': uuid.uuid4().hex, 'session': 'forged', 'username': 'forger', 'version': '5.3',
              'date': '2020-01-01T00:00:00Z', 'msg_type': kind}
    raw = [p if isinstance(p, bytes) else json.dumps(p, default=str).encode()
           for p in (header, own() if parent is None else parent, {}, content)]
    return [b'<IDS|MSG>', kernel.session.sign(raw), *raw]

def iopub(*parts, **how):
    kernel.iopub_thread.send_multipart(list(parts), **how)

def publish(kind, content, parent=None):
    iopub(b'forged', *frames(kind, content, parent))

def shell(kind, content, parent=None):
    ident = kernel._parent_ident['shell']
    message = [*(ident if isinstance(ident, list) else [ident]), *frames(kind, content, parent)]
    loop = kernel.shell_channel_thread.io_loop
    loop.add_callback(lambda: kernel.shell_stream.socket.send_multipart(message))

def ask(kind, content, parent=None):
    ident = kernel._parent_ident['shell']
    kernel.stdin_socket.send_multipart(
        [*(ident if isinstance(ident, list) else [ident]), *frames(kind, content, parent)])

def client(channel):
    import ipykernel
    info = json.load(open(ipykernel.get_connection_file()))
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect('ipc://%s-%d' % (info['ip'], info[channel + '_port']))
    return socket
"""


@pytest.fixture(scope="module")
def hostile(module_controller):
    with small(module_controller) as controller:
        yield controller


@pytest.fixture
def victim(hostile):
    with fresh(hostile) as box:
        box.ok(FORGE)
        yield box


# ---- its own end ----


def test_a_forged_end_ends_only_its_own_execution(victim):
    code = """
shell('execute_reply', {'status': 'ok', 'execution_count': 77, 'user_expressions': {}})
publish('status', {'execution_state': 'idle'})
time.sleep(0.3)
print('still here')
"""
    with victim.stream(code) as running:
        waiting = victim.start("'mine'")
        events = running.all()
    contract.check_log(events)
    assert events[-1]["status"] == "ok" and events[-1]["execution_count"] == 77, events[-1]
    found = victim.wait(waiting["id"])
    assert (found["status"], found["result"]) == ("ok", "'mine'"), found
    # What the cell really did afterwards came late, to the cell.
    late = victim.execution(events[0]["execution_id"])["late_outputs"]
    assert contract.stream_text([{"type": "output", "output": o} for o in late]) == "still here\n"
    goes_on(victim)


def test_a_forged_end_before_code_that_never_ends(victim):
    code = """
shell('execute_reply', {'status': 'ok', 'execution_count': 1})
publish('status', {'execution_state': 'idle'})
while True: time.sleep(1)
"""
    assert victim.execute(code)["status"] == "ok"
    # The next one waits behind it, until its own clock has run out; then the kernel is a new one.
    found = victim.execute("'never'", timeout_s=0.5)
    assert found["status"] == "timeout" and found["result"] is None, found
    goes_on(victim, generation=2)


def test_a_verdict_that_was_forged_twice_counts_once(victim):
    code = """
for n in range(50):
    shell('execute_reply', {'status': 'error', 'ename': 'Forged', 'evalue': str(n), 'traceback': []})
for n in range(50):
    publish('status', {'execution_state': 'idle'})
    publish('status', {'execution_state': 'busy'})
"""
    events = victim.log(code)
    assert events[-1]["status"] == "error" and events[-1]["error"]["ename"] == "Forged", events[-1]
    goes_on(victim)


# ---- what is another's ----


def test_forged_output_of_other_executions_spoils_no_waiting_or_unknown_one(victim):
    finished = victim.ok("print('mine')")
    other = victim.add_kernel()["id"]
    elsewhere = victim.ok("print('elsewhere')", kernel_id=other)
    code = """
import builtins
gate = builtins.input()
waiting, *others = json.loads(gate)
for eid in [waiting, *others]:
    parent = dict(own(), msg_id=eid)
    publish('stream', {'name': 'stdout', 'text': 'forged'}, parent)
    publish('error', {'ename': 'Forged', 'evalue': '', 'traceback': []}, parent)
    shell('execute_reply', {'status': 'error', 'ename': 'Forged', 'evalue': '', 'traceback': []}, parent)
    publish('status', {'execution_state': 'idle'}, parent)
print('over')
"""
    with victim.stream(code, allow_stdin=True) as running:
        running.until("input_request")
        waiting = victim.start("print('waited')")
        ids = [waiting["id"], finished["id"], elsewhere["id"], "caesarion-warm", "unknown", "", "x" * 500]
        victim.input(running.id, json.dumps(ids)).expect(204)
        events = running.all()
    contract.check_log(events)
    assert events[-1]["status"] == "ok" and contract.stream_text(events) == "over\n", events
    found = victim.wait(waiting["id"])
    assert found["status"] == "ok" and found["stdout"] == "waited\n" and found["late_outputs"] == [], found
    # The finished one of this kernel has it as late output, its verdict stands; another kernel's has nothing.
    again = victim.execution(finished["id"])
    assert again["status"] == "ok" and again["stdout"] == "mine\n" and again["error"] is None
    assert len(again["late_outputs"]) == 2
    assert victim.execution(elsewhere["id"]) == elsewhere
    goes_on(victim)


# ---- insane contents ----

INSANE = """
contents = [
    b'', b'null', b'[]', b'"x"', b'{', b'{"a":1}x', b'\\xff\\xfe', b'{"text":"\\xff"}', b'{}', b'{"a":' * 5000,
    b'[' * 100000 + b']' * 100000, b'{"text":NaN}', b'{"text":"\\\\ud800","name":"stdout"}',
    b'{"name":5,"text":{"a":1}}', b'{"name":"stdout","text":null}', b'{"name":"stdin","text":"t"}',
    b'{"execution_state":"insane"}', b'{"execution_state":null}', b'{"execution_state":{}}',
    b'{"data":[],"metadata":3,"transient":"x"}', b'{"data":{"text/plain":{}},"metadata":{"a":[]}}',
    b'{"data":{},"metadata":{},"transient":{"display_id":5}}', b'{"data":{},"transient":{"display_id":"d"}}',
    b'{"data":{},"metadata":{},"execution_count":"x"}', b'{"data":{},"execution_count":{"a":1}}',
    b'{"data":{},"execution_count":-5}', b'{"data":{},"execution_count":1e400}', b'{"execution_count":1.5}',
    b'{"execution_count":99999999999999999999}', b'{"ename":5,"evalue":5,"traceback":5}',
    b'{"ename":"a","evalue":"b","traceback":"c"}', b'{"ename":"a","evalue":"b","traceback":[1,{},null]}',
    b'{"ename":"a","evalue":"b"}', b'{"status":"error"}', b'{"status":[]}', b'{"wait":"yes"}', b'{"wait":1}',
    b'{"prompt":{},"password":"p"}', b'{"prompt":"' + b'p' * 2000000 + b'"}', b'{"code":5}',
    b'{"text":"\\\\u0000\\\\n\\\\u2028","name":"stderr"}', b'{"text":"1","text":"2","name":"stdout"}',
]
kinds = ['stream', 'display_data', 'update_display_data', 'execute_result', 'error', 'clear_output', 'status',
         'execute_input', 'execute_reply', 'kernel_info_reply', 'shutdown_reply', 'input_request', 'comm_open',
         'iopub_welcome', '', 'x' * 70, 'y' * 100000, 5, None, {'a': 1}]
"""


def test_insane_contents_keep_the_form_of_the_log(victim):
    victim.ok(INSANE)
    events = victim.log("for kind in kinds:\n for content in contents: publish(kind, content)\nprint('over')")
    assert events[-1]["status"] == "ok", events[-1]
    assert contract.stream_text(events, "stdout").endswith("over\n")
    contract.check_execution(victim.execution(events[0]["execution_id"]))
    for shown in contract.outputs(events, "execute_result"):
        assert shown["execution_count"] is None or shown["execution_count"] >= 0, shown
    for shown in contract.outputs(events, "error"):
        assert all(isinstance(line, str) for line in shown["traceback"]), shown
    goes_on(victim)


def test_insane_replies_end_an_execution_once(victim):
    victim.ok(INSANE)
    for n in range(4):
        events = victim.log("for content in contents[%d::4]: shell('execute_reply', content)" % n)
        assert events[-1]["status"] in ("ok", "error"), events[-1]
        goes_on(victim)


def test_insane_input_requests(victim):
    victim.ok(INSANE)
    # Nobody allowed them: they are not heard.
    events = victim.log("for content in contents: ask('input_request', content)")
    assert "input_request" not in [e["type"] for e in events], events
    events = victim.log(
        "for content in contents: ask('input_request', content)\nprint('over')", allow_stdin=True
    )
    assert events[-1]["status"] == "ok" and contract.stream_text(events).endswith("over\n")
    goes_on(victim)


PARENTS = """
import itertools
for parent in (b'', b'[]', b'x', b'{}', b'null', b'{"msg_id":5}', b'{"msg_id":"' + b'x' * 200 + b'"}',
               b'{"msg_id":"' + b'x' * 100000 + b'"}', b'\\xff', b'{"msg_id":"a","msg_id":"b"}',
               json.dumps(dict(own(), msg_id=None), default=str).encode()):
    for kind in kinds:
        publish(kind, {'name': 'stdout', 'text': 'forged', 'execution_state': 'idle'}, parent)
        shell(kind, {'status': 'ok'}, parent)
print('over')
"""

RAW = """
good = frames('stream', {'name': 'stdout', 'text': 'never shown'})
for parts in ([b''], [b'x'], [b'<IDS|MSG>'], good[:2], good[:4], good[:5], [b''] * 300, [b'<IDS|MSG>'] * 300,
              good + [b'buffer'] * 300, [b'ident'] * 300 + good, [b'x' * 1000000] * 20, good[:2] + good[:1:-1]):
    iopub(*parts)
    loop = kernel.shell_channel_thread.io_loop
    ident = kernel._parent_ident['shell']
    ident = ident if isinstance(ident, list) else [ident]
    loop.add_callback(kernel.shell_stream.socket.send_multipart, [*ident, *parts])
print('over')
"""


@pytest.mark.parametrize("code", [PARENTS, RAW], ids=["parents", "frames"])
def test_malformed_messages_are_dropped(victim, code):
    victim.ok(INSANE)
    events = victim.log(code)
    assert events[-1]["status"] == "ok" and contract.stream_text(events) == "over\n", events
    goes_on(victim)


def test_a_traceback_that_was_only_shown_is_no_error(victim):
    found = victim.ok("try: 1/0\nexcept ZeroDivisionError: get_ipython().showtraceback()\nprint('on')")
    assert found["error"] is None and found["stdout"] == "on\n"
    assert [o["output_type"] for o in found["outputs"]] == ["error", "stream"]
    goes_on(victim)


# ---- its own client of the kernel ----


def test_requests_of_its_own_client_are_no_execution(victim):
    victim.ok("""
mine = client('shell')
for n in range(20):
    mine.send_multipart(frames('execute_request', {'code': 'print("own client %d")' % n, 'silent': False}, {}))
""")
    goes_on(victim)
    assert len(victim.executions()) == 3
    goes_on(victim)


def test_a_shutdown_by_its_own_client_is_a_death(victim):
    found = victim.execute(
        "c = client('control'); c.send_multipart(frames('shutdown_request', {'restart': False}, {}))"
    )
    # It ends when the cell is over, which the runner may have heard of or not.
    if found["status"] != "ok":
        died(found, exit_code=0)
    eventually(lambda: victim.kernel()["generation"] == 2, 20)
    goes_on(victim, generation=2)
    alone(victim)


def test_interrupts_by_its_own_client_are_errors_of_the_code(victim):
    found = victim.execute(
        "c = client('control')\nc.send_multipart(frames('interrupt_request', {}, {}))\nwhile True: time.sleep(1)"
    )
    assert (found["status"], found["error"]["ename"]) == ("error", "KeyboardInterrupt"), found
    goes_on(victim)


# ---- the other end of the wire ----

GARBAGE = """
import glob, random, socket, threading
import ipykernel
prefix = json.load(open(ipykernel.get_connection_file()))['ip']

def serve(path):
    os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    dice = random.Random(path)
    while True:
        peer, _ = listening.accept()
        try:
            what = dice.randrange(4)
            if what == 0:
                peer.sendall(dice.randbytes(200))
            elif what == 1:  # a greeting of ZMTP 3, then a frame of 2**63 bytes
                peer.sendall(b'\\xff' + bytes(8) + b'\\x7f\\x03\\x00NULL' + bytes(48) + b'\\x02' + b'\\x7f' * 8)
                peer.sendall(dice.randbytes(4096))
            elif what == 2:  # a command of nonsense
                peer.sendall(b'\\xff' + bytes(8) + b'\\x7f\\x03\\x00NULL' + bytes(48) + b'\\x04\\x05\\x05READY')
            peer.close()
        except OSError:
            pass

for path in glob.glob(prefix + '-*'):
    threading.Thread(target=serve, args=(path,), daemon=True).start()
# The connections that stand are broken off, so that the runner makes new ones.
for name in os.listdir('/proc/self/fd'):
    try:
        if os.readlink('/proc/self/fd/' + name).startswith('socket:'):
            s = socket.socket(fileno=os.dup(int(name)))
            if not s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and prefix in str(s.getsockname()):
                s.shutdown(2)
            s.close()
    except OSError:
        pass
time.sleep(60)
"""


def test_garbage_in_place_of_the_kernels_sockets(victim):
    found = victim.execute(GARBAGE, timeout_s=3)
    assert found["status"] == "timeout", found
    goes_on(victim, generation=2)
    goes_on(victim, generation=2)


ENDLESS = """
block = bytes(1 << 20)
iopub(b'forged', *frames('stream', {'name': 'stdout', 'text': ''}), *[block] * 4000, copy=False)
time.sleep(60)
"""


def test_a_message_without_an_end_is_memory_of_the_sandbox(hostile, victim):
    runner, _ = of_host(hostile, victim.id)
    died(victim.execute(ENDLESS), signal=9, oom=True)
    goes_on(victim, generation=2)
    eventually(lambda: rss_anon(runner) < 400 * MIB, 20)
    goes_on(victim, generation=2)
    assert victim.kernel()["generation"] == 2
