"""The controller's walls towards the network: what it answers to whom, and that it goes on answering.

Every attack ends with the next request, which must be answered as if the bad one had not been.
"""

import contextlib
import resource
import socket
import subprocess
import sys
import time

import pytest
from lib.client import read_response
from lib.controller import TOKENS
from lib.jupyter import Channels
from lib.starts import spawn_as_ordinary_user

JUPYTER_CHANNELS = "/jupyter/api/kernels/%s/channels"


def goes_on(box):
    assert box.value("'ran' in globals()") == "False"


def rows(box):
    """(method, path, body): of every kind of answer one."""
    return [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/", None),
        ("GET", "/nothing", None),
        ("HEAD", "/healthz", None),
        ("OPTIONS", "/api/sandboxes", None),
        ("POST", "/api/sandboxes", {}),
        ("GET", box.prefix, None),
        ("POST", box.prefix + "/execute", {"code": "ran = True"}),
        ("GET", box.prefix + "/files/a", None),
        ("DELETE", box.prefix, None),
        ("GET", "/jupyter/api/kernels", None),
    ]


def ask(api, method, path, body, **kw):
    return api.api(method, path, json=body, **kw) if body is not None else api.api(method, path, **kw)


# ---- the name we are called by ----

REBOUND = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "2130706433"]


@pytest.mark.parametrize("host", REBOUND)
def test_a_name_that_points_here_is_no_name_of_ours(alice, box, host):
    """DNS rebinding: to its browser the page is of our own origin, so only Host tells."""
    for method, path, body in rows(box):
        for origin in ({}, {"Origin": "http://" + host}):
            found = ask(alice, method, path, body, headers={"Host": host, **origin})
            if method == "HEAD":
                assert found.status == 403
            else:
                assert "--allow-host" in found.problem("forbidden")["detail"]
            assert "Access-Control-Allow-Origin" not in found.headers
    kid = box.kernel()["id"]
    for path in (JUPYTER_CHANNELS, box.prefix + JUPYTER_CHANNELS):
        Channels(alice, kid, headers={"Host": host, "Origin": "http://" + host}, path=path, expect=403)
    goes_on(box)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "10.244.1.7:8080", "[::1]:8080", "LOCALHOST", "localhost.:80", "a.localhost"]
)
def test_addresses_and_localhost_are_ours(alice, box, host):
    alice.get("/healthz", headers={"Host": host}, token=None).expect(200)
    found = alice.get(box.prefix, headers={"Host": host, "Origin": "http://" + host}).expect(200)
    assert found.json()["id"] == box.id
    with Channels(alice, box.kernel()["id"], headers={"Host": host, "Origin": "http://" + host}) as ws:
        ws.execute("pass")


@pytest.mark.parametrize("host", ["", "a b", "a:b", "u@127.0.0.1", "127.0.0.1/x", "[::1", "127.0.0.1, b"])
def test_a_malformed_host_is_invalid(alice, box, host):
    alice.get("/healthz", headers={"Host": host}).problem("invalid")
    goes_on(box)


def test_an_http_1_1_request_has_one_host(alice, box):
    for lines in (b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host: localhost\r\nhOST: evil.example\r\n"):
        alice.raw(b"GET /healthz HTTP/1.1\r\n" + lines + b"\r\n").problem("invalid")
    alice.raw(b"GET /healthz HTTP/1.0\r\n\r\n").expect(200)
    alice.raw(b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n").problem("forbidden")
    goes_on(box)


def test_an_absolute_target_is_judged_as_host_is(alice, box):
    for target, host, code in (
        (b"http://evil.example/healthz", b"evil.example", "forbidden"),
        (b"http://evil.example/healthz", b"127.0.0.1", "invalid"),
        (b"http://127.0.0.1/healthz", b"evil.example", "invalid"),
        (b"http:///healthz", b"", "invalid"),
        (b"http://u@127.0.0.1/healthz", b"u@127.0.0.1", "invalid"),
        (b"http://127.0.0.1:80/healthz", b"127.0.0.1:80", None),
    ):
        found = alice.raw(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, host))
        found.problem(code) if code else found.expect(200)
    goes_on(box)


def test_names_that_were_allowed_are_ours(controller):
    c = controller("--allow-host", "caesarion.example", "--allow-host", "Other.Example.")
    for host in ("caesarion.example", "CAESARION.example.:443", "other.example:80", "127.0.0.1"):
        c.alice.get("/healthz", headers={"Host": host}).expect(200)
        c.alice.get("/api/sandboxes", headers={"Host": host, "Origin": "https://" + host}).expect(200)
    for host in ("evil.example", "sub.caesarion.example", "xcaesarion.example"):
        c.alice.get("/healthz", headers={"Host": host}).problem("forbidden")


def test_every_name_is_ours_where_that_was_said(controller):
    c = controller(env={"CAESARION_ALLOW_HOST": "a.example,*"})
    c.alice.get("/api/sandboxes", headers={"Host": "any.example"}).expect(200)
    # A page of another name stays a foreign one.
    c.alice.get("/healthz", headers={"Host": "any.example", "Origin": "http://evil.example"}).problem("forbidden")


def test_the_name_in_listen_is_ours(controller):
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 0)
    except OSError:
        pytest.skip("this machine does not know its own name")
    c = controller(listen=name + ":0")
    c.alice.get("/healthz", headers={"Host": name.upper() + ":1"}).expect(200)
    c.alice.get("/healthz", headers={"Host": name + ".evil.example"}).problem("forbidden")


def test_any_name_will_do_on_a_unix_socket(controller):
    c = controller(start=False)
    c.listen = "unix:%s" % (c.dir / "front")
    c.start()
    for host in ("evil.example", "%2Frun%2Fcaesarion", ""):
        c.alice.get("/healthz", headers={"Host": host}).expect(200)
    c.alice.raw(b"GET /healthz HTTP/1.1\r\n\r\n").problem("invalid")


# ---- what every answer says ----


def test_no_answer_may_be_sniffed(alice, box):
    box.put("page.txt", b"<script>alert(1)</script>").expect(201)
    found = box.file("page.txt").expect(200)
    kept = box.file("page.txt", headers={"If-None-Match": found.headers["ETag"]})
    assert kept.status == 304
    eid = box.ok("1")["id"]
    answers = [kept, alice.get("/healthz", headers={"Host": "evil.example"})]
    answers += [ask(alice, *row) for row in rows(box) if row[0] not in ("DELETE", "POST")]
    answers += [alice.get("/"), alice.get("/openapi.json"), alice.get("/api/sandboxes", token=None)]
    answers += [alice.api("HEAD", box.prefix + "/files/page.txt"), box.get("/executions/" + eid + "/events")]
    answers += [alice.get("/nothing", headers={"X": "y" * 17000}), alice.get("/" + "x" * 9000)]
    answers += [alice.raw(b"GET /healthz HTTP/1.1\r\n\r\n")]
    for found in answers:
        assert found.headers.get_all("X-Content-Type-Options") == ["nosniff"], (found, found.headers.items())
    for sse in (False, True):
        with box.events(eid, sse=sse) as stream:
            assert stream.headers.get_all("X-Content-Type-Options") == ["nosniff"]
            stream.all()
    with Channels(box, box.kernel()["id"], path=JUPYTER_CHANNELS) as ws:
        assert ws.headers["x-content-type-options"] == "nosniff"
    goes_on(box)


def test_a_runners_answers_may_not_be_sniffed_either(make_runner):
    box = make_runner().box()
    for path in ("/healthz", "/nothing", "/metrics", "/files"):
        found = box.get(path)
        assert found.headers.get_all("X-Content-Type-Options") == ["nosniff"], (path, found)


# ---- tokens ----


@pytest.mark.parametrize("token", ["x", "0123456789abcde"])
def test_a_token_that_can_be_guessed_is_refused_at_the_start(controller, token):
    for where in ("environment", "file"):
        c = controller(tokens=where == "file", start=False)
        c.expected_exits.add(2)
        if where == "file":
            c.token_file.write_text("alice:%s\nbob:%s\n" % (TOKENS["alice"], token))
        else:
            c.extra_env["CAESARION_TOKEN"] = token
        process = c.spawn()
        assert process.wait_exit(20) == 2
        text = "\n".join(process.stderr.all())
        assert "must be 16 to 512" in text and ":" + token not in text, text
        assert ("line 2" if where == "file" else "CAESARION_TOKEN") in text, text


def test_a_token_of_sixteen_characters_will_do(controller):
    c = controller(tokens=False, env={"CAESARION_TOKEN": "0123456789abcdef"})
    c.own_token = "0123456789abcdef"
    c.api().get("/api/sandboxes").expect(200)
    c.api().with_token("0123456789abcdeg").get("/api/sandboxes").problem("unauthorized")


def test_metrics_are_an_admins(controller):
    c = controller()
    c.alice.get("/metrics", token=None).problem("unauthorized")
    c.alice.get("/metrics").problem("forbidden")
    c.admin.get("/metrics").expect(200)
    c.alice.get("/api/sandboxes").expect(200)


# ---- heads that two readers could understand differently ----

HEADS = {
    "a lone CR": b"X: a\rTransfer-Encoding: chunked\r\n",
    "a lone LF": b"X: a\nTransfer-Encoding: chunked\r\n",
    "a NUL in a value": b"X: a\0b\r\n",
    "a NUL in a name": b"X\0Y: a\r\n",
    "a folded line": b"X: a\r\n Content-Length: 5\r\n",
    "a folded encoding": b"Transfer-Encoding:\r\n chunked\r\n",
    "a blank before the colon": b"Content-Length : 5\r\n",
    "no name": b": a\r\n",
    "a control character": b"X: a\x01\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "a list of lengths": b"Content-Length: 5, 5\r\n",
    "a signed length": b"Content-Length: +5\r\n",
    "no length": b"Content-Length: five\r\n",
    "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "an unknown encoding": b"Transfer-Encoding: gzip, chunked\r\n",
}


def until_the_end(sock):
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def smuggled(api, head, path):
    """Sends it with another request behind it; returns what comes until the connection ends."""
    with api.connect() as sock:
        sock.sendall(head + b"\r\n" + b"0\r\n\r\n" + api.head("DELETE", path))
        return until_the_end(sock)


@pytest.mark.parametrize("lines", HEADS.values(), ids=HEADS)
def test_an_ambiguous_head_is_invalid_and_nothing_behind_it_runs(alice, box, lines):
    box.put("precious", b"here").expect(201, 204)
    head = alice.head("POST", box.prefix + "/execute")[:-2] + lines
    answer = smuggled(alice, head, box.prefix + "/files/precious")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    # The library answers a malformed length itself, and writes its head twice.
    assert answer.count(b"HTTP/1.1 ") == (2 if b"<b>Content-Length</b>" in answer else 1), answer
    assert b"X-Content-Type-Options: nosniff" in answer or b"<html>" in answer
    assert box.file("precious").body == b"here"
    goes_on(box)


@pytest.mark.parametrize(
    "line", [b"POST  %s HTTP/1.1", b"POST %s  HTTP/1.1", b"POST %s x HTTP/1.1", b"POST %s\0 HTTP/1.1", b"POST\0 %s HTTP/1.1"]
)
def test_an_ambiguous_request_line_is_invalid(alice, box, line):
    head = alice.head("POST", "/x").split(b"\r\n", 1)[1][:-2]
    answer = smuggled(alice, line % box.prefix.encode() + b"\r\n" + head, box.prefix)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer
    goes_on(box)


def test_a_runner_judges_heads_alike(make_runner):
    box = make_runner().box()
    for lines in HEADS.values():
        answer = smuggled(box, box.head("POST", "/restart")[:-2] + lines, "/files/x")
        assert answer.startswith(b"HTTP/1.1 400 "), (lines, answer)
    assert box.value("1") == "1" and box.kernel()["generation"] == 1


def test_http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept(alice):
    with alice.connect() as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = until_the_end(sock)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: close" in answer
    with alice.connect() as sock:
        for _ in range(2):
            sock.sendall(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert read_response(sock).expect(200).headers["Connection"].lower() == "keep-alive"


def test_a_stream_to_http_1_0_ends_with_its_connection(alice, box):
    eid = box.ok("print(1)")["id"]
    head = alice.head("GET", "%s/executions/%s/events" % (box.prefix, eid)).replace(b"HTTP/1.1", b"HTTP/1.0")
    with alice.connect() as sock:
        sock.sendall(head)
        answer = until_the_end(sock)
    top, body = answer.split(b"\r\n\r\n", 1)
    assert b"Transfer-Encoding" not in top and b"Content-Length" not in top
    assert b'"type":"done"' in body.splitlines()[-1]


# ---- all connections, all descriptors ----

CONNECTIONS_MAX = 4096


@contextlib.contextmanager
def many_descriptors(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this process may have only %d descriptors" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_silent_connections_shut_out_nobody(controller):
    c = controller()
    box = c.sandbox()
    with many_descriptors(2 * CONNECTIONS_MAX), contextlib.ExitStack() as held:
        with box.stream("input('go on')", allow_stdin=True) as stream:
            stream.until("input_request")
            worst = 0.0
            for n in range(CONNECTIONS_MAX + 100):
                held.enter_context(c.alice.connect())
                if n % 1000 == 999 or n >= CONNECTIONS_MAX + 90:
                    began = time.monotonic()
                    c.alice.get("/healthz", token=None).expect(200)
                    worst = max(worst, time.monotonic() - began)
            assert worst < 2, worst  # the deadline of a silent one is 10 s
            # What is under way goes on.
            box.input(stream.id, "x").expect(204)
            assert stream.until("done")["status"] == "ok"
        entry = c.wait_log(event="connections_short")
        assert entry["level"] == "warn" and "gave way" in entry["reason"], entry
        assert box.value("1") == "1"
    assert sum(e["event"] == "connections_short" for e in c.logs) <= 2


def test_a_controller_without_descriptors_goes_on_answering(controller):
    c = controller()
    c.alice.get("/healthz").expect(200)
    hard = resource.prlimit(c.pid, resource.RLIMIT_NOFILE)
    few = len(c.process.fds()) + 6
    resource.prlimit(c.pid, resource.RLIMIT_NOFILE, (few, hard[1]))
    try:
        with contextlib.ExitStack() as held:
            for _ in range(20):
                held.enter_context(c.alice.connect())
            for _ in range(5):
                c.alice.get("/healthz", token=None).expect(200)
            entry = c.wait_log(event="connections_short")
            assert "no descriptor" in entry["reason"], entry
    finally:
        resource.prlimit(c.pid, resource.RLIMIT_NOFILE, hard)
    assert sum(e["event"] == "connections_short" for e in c.logs) <= 2
    assert c.sandbox().value("6 * 7") == "42"


# ---- what the process shows of itself ----


def test_the_controller_dumps_no_core(controller):
    c = controller()
    assert resource.prlimit(c.pid, resource.RLIMIT_CORE) == (0, 0)


def test_others_of_its_user_cannot_look_into_the_controller(controller):
    c = controller(start=False)
    c.spawn = lambda *more: spawn_as_ordinary_user(c)
    c.start()
    box = c.sandbox()
    assert box.value("6 * 7") == "42"
    look = (
        "import os, sys\n"
        "for name in ('environ', 'fd/0', 'mem'):\n"
        "    try:\n"
        "        os.close(os.open('/proc/%s/%s' % (sys.argv[1], name), os.O_RDONLY))\n"
        "        print('opened', name)\n"
        "    except OSError as e:\n"
        "        print(type(e).__name__, name)\n"
    )
    user = ["nsenter", "--user=/proc/%d/ns/user" % c.pid, "--preserve-credentials", sys.executable, "-I", "-c"]

    def seen(pid):
        return subprocess.run([*user, look, str(pid)], capture_output=True, text=True, timeout=30).stdout.splitlines()

    # Another process of that user shows itself, the controller does not.
    with subprocess.Popen([*user, "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert "opened environ" in seen(other.pid)
        other.stdin.close()
    assert seen(c.pid) == ["PermissionError environ", "PermissionError fd/0", "PermissionError mem"]
    assert box.value("1") == "1"
