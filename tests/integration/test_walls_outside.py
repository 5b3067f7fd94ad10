"""Attacks from outside that lie between the parts: several things that go wrong at once, and what is asked then.

Every one of them ends with an ordinary request, and with what the fixtures check: descriptors, processes,
folders, sanitizers.
"""

import contextlib
import fcntl
import os
import resource
import signal
import socket
import struct
import termios
import threading

import pytest
from lib.client import read_response
from lib.jupyter import Channels, Closed
from lib.process import eventually
from test_adoption import runner_pid

CHANNELS = "/jupyter/api/kernels/%s/channels"
WAITS = "print('up', flush=True)\nimport time\ntime.sleep(600)"


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def arrived(sock):
    """What was sent so far was taken by the other end's system."""
    left = bytearray(4)
    eventually(lambda: fcntl.ioctl(sock, termios.TIOCOUTQ, left) == 0 and struct.unpack("i", left)[0] == 0, 5)


# ---- how bytes come ----


def test_a_head_in_two_packets_at_every_byte(alice, box):
    head = alice.head("GET", box.prefix, {"X-Odd": " a\tb "})
    for at in range(1, len(head)):
        with alice.connect() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(head[:at])
            arrived(sock)
            sock.sendall(head[at:])
            found = read_response(sock).expect(200).json()
            assert found["id"] == box.id, at


def test_pipelined_requests_are_answered_in_their_order(alice, box):
    body = b'{"code":"21 * 2"}'
    fields = {"Content-Type": "application/json", "Content-Length": len(body)}
    post = alice.head("POST", box.prefix + "/execute", fields)
    one = alice.head("GET", "/healthz") + post + body + alice.head("GET", "/nothing") + alice.head("HEAD", box.prefix)
    with alice.connect() as sock:
        sock.sendall(one * 20)
        sock.settimeout(60)
        # One reader for all: answers share packets.
        with sock.makefile("rb") as lines:
            for _ in range(20):
                for status, head_only in ((200, False), (200, False), (404, False), (200, True)):
                    line = lines.readline()
                    assert line.startswith(b"HTTP/1.1 %d " % status), line
                    fields = {}
                    while (line := lines.readline()) not in (b"\r\n", b""):
                        name, value = line.split(b":", 1)
                        fields[name.lower()] = value.strip()
                    if not head_only:
                        if b"content-length" in fields:
                            lines.read(int(fields[b"content-length"]))
                        else:
                            while n := int(lines.readline(), 16):
                                lines.read(n + 2)
                            lines.readline()
    assert box.value("1") == "1"


@pytest.mark.parametrize(
    "token, path, status", [(None, "/execute", 401), ("x", "/nothing", 404), ("x", "/execute", 413)]
)
def test_a_refused_expectation_lets_no_body_be_a_request(alice, box, token, path, status):
    hidden = alice.head("POST", box.prefix + "/execute", {"Content-Length": "0"})
    headers = {"Expect": "100-continue", "Content-Type": "application/json", "Content-Length": len(hidden)}
    if status == 413:
        headers["Content-Length"] = str(1 << 30)
    options = {} if token else {"token": None}
    with alice.connect() as sock:
        sock.sendall(alice.head("POST", box.prefix + path, headers, **options))
        sock.settimeout(20)
        first = sock.recv(1 << 16)
        if first.startswith(b"HTTP/1.1 100"):
            sock.sendall(hidden)
            first = first.split(b"\r\n\r\n", 1)[1] or sock.recv(1 << 16)
        assert first.startswith(b"HTTP/1.1 %d " % status), first
        with contextlib.suppress(OSError):
            sock.sendall(hidden)
            sock.shutdown(socket.SHUT_WR)
        rest = b""
        with contextlib.suppress(OSError):
            while part := sock.recv(1 << 16):
                rest += part
    assert b"HTTP/1.1 200" not in rest
    assert box.value("1") == "1"


# ---- connections that hold what others need, without a token ----


def never_sent(api):
    """A request is answered when its body is over; of one that needs no token, too."""
    return api.head("GET", "/healthz", {"Content-Length": "10"}, token=None)


def never_read(api):
    """Refusals are answers, too."""
    return api.head("GET", "/api/sandboxes", token=None) * 1000


@pytest.mark.parametrize("what", [never_sent, never_read])
def test_connections_without_a_token_shut_out_nobody(controller, what):
    c = controller()
    hard = resource.prlimit(c.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(c.pid, resource.RLIMIT_NOFILE, (len(c.process.fds()) + 6, hard[1]))
    try:
        with contextlib.ExitStack() as held:
            for _ in range(20):
                sock = held.enter_context(socket.socket())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # so that buffers stay small
                sock.settimeout(20)
                sock.connect(c.address)
                sock.sendall(what(c.alice))
            for _ in range(5):
                c.alice.get("/healthz", token=None, timeout=15).expect(200)
    finally:
        resource.prlimit(c.pid, resource.RLIMIT_NOFILE, hard)
    assert c.sandbox().value("6 * 7") == "42"


# ---- a runner that stands still, or dies, under many clients ----


def many(box, n_streams, n_sockets, stack):
    eids = [box.start(WAITS)["id"]]
    box.wait_started(eids[0])
    streams = [stack.enter_context(box.events(eids[0])) for _ in range(n_streams)]
    kid = box.kernel()["id"]
    sockets = [stack.enter_context(Channels(box, kid, path=CHANNELS)) for _ in range(n_sockets)]
    for s in streams:
        s.until_text("up\n")
    return eids[0], streams, sockets


def test_a_stopped_runner_under_many_clients_holds_up_nobody(controller):
    c = controller()
    boxes = [c.sandbox() for _ in range(2)]
    with contextlib.ExitStack() as stack:
        found = [many(b, 150, 20, stack) for b in boxes]
        pids = [runner_pid(b.id) for b in boxes]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            began, fds = cpu_s(c.pid), len(c.process.fds())
            # Clients that leave meanwhile.
            for _, streams, sockets in found:
                for thing in streams[:75] + sockets[:10]:
                    thing.close()
            eventually(lambda: len(c.process.fds()) <= fds - 2 * 85, 20)
            b = boxes[0]
            answers = []
            askers = [
                threading.Thread(target=lambda m=m, p=p: answers.append(b.api(m, p, timeout=150).status))
                for m, p in (("GET", ""), ("GET", "/kernels"), ("GET", "/files"), ("GET", "/jupyter/api/kernels"))
            ]
            for t in askers:
                t.start()
            assert c.sandbox().value("6 * 7") == "42"
            assert cpu_s(c.pid) - began < 10  # with sanitizers; what spins takes all there is
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for t in askers:
            t.join(150)
        assert len(answers) == 4, answers
        for b, (eid, streams, sockets) in zip(boxes, found):
            b.cancel(eid).expect(204)
            for s in streams[75:]:
                assert s.until("done")["status"] == "interrupted"
            for ws in sockets[10:]:
                assert ws.text("print('after')") == "after\n"


def test_a_runner_killed_under_everything_at_once(controller):
    c = controller()
    box = c.sandbox()
    with contextlib.ExitStack() as stack:
        _, streams, sockets = many(box, 100, 40, stack)
        half = [stack.enter_context(c.alice.connect()) for _ in range(20)]
        for n, sock in enumerate(half):
            sock.sendall(box.head("PUT", "/files/f%d" % n, {"Content-Length": "10000000"}) + b"x" * 300000)
        os.kill(runner_pid(box.id), signal.SIGKILL)
        removed = [threading.Thread(target=lambda: c.alice.delete(box.prefix).expect(204, 404, 502)) for _ in range(10)]
        for t in removed:
            t.start()
        for t in removed:
            t.join(60)
        for s in streams:
            assert s.until("done")["status"] == "sandbox_lost"
        for ws in sockets:
            code, _ = ws.closed()
            assert code in (1001, 1012), code
    c.alice.get(box.prefix).problem("not_found")
    assert c.sandbox().value("6 * 7") == "42"


# ---- sandboxes that have not said yet whose they are ----


def test_every_route_of_a_sandbox_that_does_not_answer_yet(controller):
    c = controller("--on-exit", "keep")
    box = c.sandbox()
    kid = box.kernel()["id"]
    box.put("a", b"kept").expect(201)
    pid = runner_pid(box.id)
    os.kill(pid, signal.SIGSTOP)
    try:
        c.restart(kill=True)
        rows = [
            ("GET", ""), ("DELETE", ""), ("DELETE", ""), ("POST", "/execute"), ("GET", "/executions"),
            ("GET", "/kernels"), ("POST", "/restart"), ("POST", "/interrupt"),
            ("PUT", "/files/a"), ("DELETE", "/files/a"), ("GET", "/files/a"),
            ("GET", "/jupyter/api/kernels"), ("PUT", "/jupyter/api/contents/a"), ("POST", "/jupyter/api/kernels"),
        ]
        for api in (c.alice, c.bob, c.admin):
            for method, path in rows:
                found = api.api(method, box.prefix + path, json={"code": "1"}, timeout=20)
                assert found.status in (404, 503), (method, path, found)
            for path in (CHANNELS, box.prefix + CHANNELS):
                with pytest.raises(AssertionError, match="got (404|503)"):
                    Channels(api, kid, path=path)
            assert api.delete("/jupyter/api/kernels/" + box.id, timeout=20).status in (404, 503)
        assert c.alice.get("/api/sandboxes").expect(200).json()["sandboxes"] == []
        assert c.alice.create()["id"] != box.id
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: c.alice.get(box.prefix).status == 200, 30)
    assert c.alice.box(box.id).file("a").expect(200).body == b"kept"
    assert c.alice.box(box.id).value("1") == "1"


# ---- creating ----


def test_a_create_killed_at_any_step_makes_one(controller):
    c = controller("--on-exit", "keep")
    for n, wait in enumerate((0, 0.02, 0.1, 0.3, 0.6, 0.9)):
        key = {"Idempotency-Key": "k%d" % n}
        with c.alice.connect() as sock:
            sock.sendall(c.alice.head("POST", "/api/sandboxes", {**key, "Content-Length": "0"}))
            sock.settimeout(wait or 0.001)
            with contextlib.suppress(TimeoutError):
                sock.recv(1)
            c.restart(kill=True)
        found = []

        def again():
            a = c.alice.post("/api/sandboxes", {}, headers=key)
            found.append(a)
            return a.status in (200, 201)

        eventually(again, 60)
        assert {a.status for a in found[:-1]} <= {503}, found
        sid = found[-1].json()["id"]
        listed = [s["id"] for s in c.alice.get("/api/sandboxes").expect(200).json()["sandboxes"]]
        assert listed == [sid], (wait, listed)
        assert c.alice.box(sid).value("6 * 7") == "42"
        c.alice.delete("/api/sandboxes/" + sid).expect(204)


def test_a_key_whose_caller_left_is_not_free_for_another_request(controller):
    c = controller()
    key = {"Idempotency-Key": "k"}
    body = b'{"name":"first"}'
    head = c.alice.head(
        "POST", "/api/sandboxes", {**key, "Content-Type": "application/json", "Content-Length": len(body)}
    )
    pid = None
    try:
        with c.alice.connect() as sock:
            sock.sendall(head + body)
            eventually(lambda: any(c.state_dir.glob("sandboxes/sb-*")), 20)
            sid = next(c.state_dir.glob("sandboxes/sb-*")).name

            def found_runner():
                nonlocal pid
                with contextlib.suppress(AssertionError):
                    pid = runner_pid(sid)
                return pid

            eventually(found_runner, 20)
            os.kill(pid, signal.SIGSTOP)  # it is being made for as long as we like
            before = len(c.process.fds())
        # The controller has seen that the caller left.
        eventually(lambda: len(c.process.fds()) < before, 20)
        c.alice.post("/api/sandboxes", {"name": "second"}, headers=key).problem("conflict")
    finally:
        if pid:
            os.kill(pid, signal.SIGCONT)
    found = c.alice.post("/api/sandboxes", {"name": "first"}, headers=key).expect(200).json()
    assert (found["id"], found["name"]) == (sid, "first")


def test_a_crowd_at_the_limit_leaves_no_place_taken(controller):
    c = controller("--max-sandboxes", "3", "--max-sandboxes-per-caller", "2")
    statuses = []

    def one(n):
        api = c.alice if n % 2 else c.bob
        headers = {"Idempotency-Key": "k%d" % (n % 7)} if n % 3 == 0 else {}
        if n % 5 == 0:
            with api.connect(30) as sock:
                sock.sendall(api.head("POST", "/api/sandboxes", {**headers, "Content-Length": "0"}))
            return
        statuses.append(api.post("/api/sandboxes", {}, headers=headers, timeout=100).status)

    for _ in range(4):
        crowd = [threading.Thread(target=one, args=(n,)) for n in range(500)]
        for t in crowd:
            t.start()
        for t in crowd:
            t.join(100)
        assert set(statuses) <= {200, 201, 429, 409}, {s: statuses.count(s) for s in set(statuses)}
        c.delete_all()
    # All places are free again.
    def free():
        c.delete_all()
        made = [api.post("/api/sandboxes", {}).status for api in (c.alice, c.alice, c.bob)]
        return made == [201, 201, 201]

    eventually(free, 60)


# ---- the end under load ----


def test_sigterm_under_everything(controller):
    c = controller("--warm", "1")
    boxes = [c.sandbox() for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for b in boxes:
            many(b, 40, 10, stack)
        for n in range(20):
            sock = stack.enter_context(c.alice.connect())
            sock.sendall(boxes[0].head("PUT", "/files/f%d" % n, {"Content-Length": "10000000"}) + b"x" * 300000)
        for n in range(10):
            sock = stack.enter_context(c.alice.connect())
            key = {"Content-Length": "0", "Idempotency-Key": "k%d" % (n // 2)}
            sock.sendall(c.alice.head("POST", "/api/sandboxes", key))
        os.kill(runner_pid(boxes[1].id), signal.SIGSTOP)
        assert c.stop(60) == 0


def test_sigkill_and_sigterm_in_turns(controller):
    c = controller("--warm", "2", "--on-exit", "keep")
    box = c.sandbox()
    for n in range(4):
        for _ in range(3):
            with c.alice.connect() as sock:
                sock.sendall(c.alice.head("POST", "/api/sandboxes", {"Content-Length": "0"}))
        c.restart(kill=n % 2 == 0)
    assert c.alice.box(box.id).value("6 * 7") == "42"
    c.delete_all()


# ---- lists that are sent while what they list goes ----


EXECS_KEPT = 512


def test_lists_that_nobody_reads_while_executions_go(sandbox):
    box = sandbox
    code = "pass\n#" + "x" * 900_000
    for _ in range(12):
        box.ok(code)
    with contextlib.ExitStack() as held:
        slow = []
        for _ in range(12):
            sock = held.enter_context(box.connect(60))
            sock.sendall(box.head("GET", "/executions?limit=100", {"Connection": "close"}))
            slow.append(sock)
        for sock in slow:
            assert sock.recv(64)
        for _ in range(EXECS_KEPT):
            box.ok("pass")  # now those that are being listed are gone
        for sock in slow[:6]:
            sock.close()
        box.restart()
        for sock in slow[6:]:
            last = b""
            while part := sock.recv(1 << 20):
                last = (last + part)[-5:]
            assert last == b"0\r\n\r\n", last  # the whole of it
    assert box.value("1") == "1"
