"""The HTTP of the API: callers, answers' headers, content types, origins, and the paths beside sandboxes.

What bad requests get stands in test_fault_requests*.py.
"""

import json
import re

import pytest
from lib import contract
from lib.client import JSON, NDJSON, SSE

ORIGIN = "https://app.example.com"


# ---- callers ----


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "token", "Token"])
def test_a_token_in_the_header(alice, scheme):
    headers = {"Authorization": "%s %s" % (scheme, alice.token)}
    alice.get("/api/sandboxes", headers=headers, token=None).expect(200)


def test_a_token_in_the_query(alice, box):
    path = "/api/sandboxes?limit=1&token=" + alice.token
    alice.get(path, token=None).expect(200)
    found = box.post("/execute?token=" + alice.token, {"code": "1"}, token=None).expect(200)
    assert found.json()["result"] == "1"


def test_a_token_never_reaches_the_log(shared_controller, alice):
    for token in (alice.token, "a-wrong-token-that-is-long"):
        alice.get("/api/sandboxes?token=" + token, token=None)
        alice.get("/api/sandboxes", token=token)
    request = alice.get("/api/sandboxes").headers["X-Request-Id"]
    shared_controller.wait_log(event="request", request=request)
    text = "\n".join(shared_controller.process.stderr.all())
    assert alice.token not in text and "a-wrong-token" not in text


def test_without_a_token_it_says_how_to_get_in(alice):
    found = alice.get("/api/sandboxes", token=None)
    members = found.problem("unauthorized")
    assert members["retryable"] is False and len(members["detail"]) > 10
    assert found.headers["WWW-Authenticate"].lower().startswith("bearer")


# ---- request ids ----


def test_every_answer_has_a_request_id(alice, box):
    seen = set()
    for method, path in (
        ("GET", "/"),
        ("GET", "/healthz"),
        ("GET", "/nothing"),
        ("PATCH", "/api/sandboxes"),
        ("GET", box.prefix),
        ("GET", box.prefix + "/files/none"),
        ("HEAD", "/healthz"),
        ("DELETE", "/api/sandboxes/" + contract.unknown_sandbox()),
    ):
        seen.add(alice.api(method, path).headers["X-Request-Id"])
    assert len(seen) == 8 and None not in seen
    with box.stream("1") as stream:
        assert stream.headers["X-Request-Id"]
        stream.all()


def test_a_request_id_of_the_caller_is_echoed_and_logged(shared_controller, alice, box):
    for api, path in ((alice, "/api/sandboxes"), (box, "/kernels"), (box, "/nothing")):
        found = api.get(path, headers={"X-Request-Id": "my-id.1_2"})
        assert found.headers["X-Request-Id"] == "my-id.1_2"
    shared_controller.wait_log(event="request", request="my-id.1_2", caller="alice")


@pytest.mark.parametrize("given", ["", "x" * 300, 'a"b', "a b", "a\tb"])
def test_a_request_id_that_is_not_sane_is_replaced(alice, given):
    found = alice.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert found and found != given


# ---- methods and types ----


def test_head_is_get_without_a_body(alice, box):
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/api/sandboxes", box.prefix):
        get, head = alice.get(path).expect(200), alice.api("HEAD", path).expect(200)
        assert head.body == b""
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert head.headers.get("Content-Length") in (None, get.headers["Content-Length"]) or path == "/metrics"
    found = alice.api("HEAD", "/api/sandboxes/" + contract.unknown_sandbox())
    assert (found.status, found.body) == (404, b"")


def test_a_connection_goes_on_after_a_head(alice):
    from lib.client import read_response

    with alice.connect() as sock:
        for method in ("HEAD", "GET", "HEAD", "GET"):
            sock.sendall(alice.head(method, "/openapi.json"))
            found = read_response(sock, method)
            assert found.status == 200 and bool(found.body) == (method == "GET")


@pytest.mark.parametrize(
    "accept, kind",
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (NDJSON, NDJSON),
        (SSE, SSE),
        ("text/html, application/x-ndjson", NDJSON),
        ("TEXT/EVENT-STREAM", SSE),
        (SSE + ";q=0.9", SSE),
    ],
)
def test_accept_picks_the_form_of_the_answer(box, accept, kind):
    found = box.post_execute("'the result'", {"Accept": accept} if accept else {}).expect(200)
    assert found.headers["Content-Type"].split(";")[0] == kind
    assert b"'the result'" in found.body


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/xml, text/plain"])
def test_an_accept_of_nothing_we_have_is_not_acceptable(box, accept):
    count = box.kernel()["execution_count"]
    box.post_execute("1", {"Accept": accept}).problem("not_acceptable")
    eid = box.ok("1")
    assert eid["execution_count"] == count + 1
    box.get("/executions/%s/events" % eid["id"], headers={"Accept": accept}).problem("not_acceptable")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_of_another_type_is_unsupported(alice, box, kind):
    headers = {"Content-Type": kind}
    box.api("POST", "/execute", body='{"code":"1"}', headers=headers).problem("unsupported_media_type")
    box.api("POST", "/kernels", body="{}", headers=headers).problem("unsupported_media_type")
    before = len(alice.get("/api/sandboxes").json()["sandboxes"])
    found = alice.api("POST", "/api/sandboxes", body="{}", headers=headers)
    found.problem("unsupported_media_type")
    assert len(alice.get("/api/sandboxes").json()["sandboxes"]) == before


def test_a_json_body_may_be_chunked(box):
    body = b'{"code":"6 * 7"}'
    head = box.head("POST", "/execute", {"Content-Type": JSON, "Transfer-Encoding": "chunked"})
    data = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert box.raw(head + data, "POST").expect(200).json()["result"] == "42"


def test_prefer_other_things_is_ignored(box):
    assert box.post_execute("1", {"Prefer": "wait=5"}).expect(200).json()["result"] == "1"


def test_what_is_json_is_never_cached_or_sniffed(alice, box):
    for api, path in ((alice, "/api/sandboxes"), (box, ""), (box, "/executions")):
        headers = api.get(path).expect(200).headers
        assert headers["Content-Type"].split(";")[0] == JSON


# ---- origins ----


def test_the_own_page_may_call(alice):
    headers = {"Origin": "http://127.0.0.1:8080", "Host": "127.0.0.1:8080"}
    alice.get("/api/sandboxes", headers=headers).expect(200)


@pytest.mark.parametrize("origin", [ORIGIN, "null", "http://127.0.0.1:9", "http://evil.127.0.0.1"])
def test_a_foreign_page_may_not(alice, box, origin):
    headers = {"Origin": origin, "Host": "127.0.0.1:8080"}
    for method, path in (("GET", "/api/sandboxes"), ("POST", "/api/sandboxes"), ("OPTIONS", box.prefix)):
        found = alice.api(method, path, headers=headers)
        found.problem("forbidden")
        assert "Access-Control-Allow-Origin" not in found.headers
    box.post_execute("1", headers).problem("forbidden")


def test_an_allowed_page_may_call(controller):
    c = controller("--allow-origin", ORIGIN, "--allow-origin", "http://localhost:3000")
    for origin in (ORIGIN, "http://localhost:3000"):
        found = c.alice.get("/api/sandboxes", headers={"Origin": origin}).expect(200)
        assert found.headers["Access-Control-Allow-Origin"] == origin
        assert "Origin" in found.headers["Vary"]
        assert "Location" in found.headers["Access-Control-Expose-Headers"]
        # Also with an answer that refuses, or the page could not read why.
        found = c.alice.get("/nothing", headers={"Origin": origin})
        found.problem("not_found")
        assert found.headers["Access-Control-Allow-Origin"] == origin
        found = c.alice.get("/api/sandboxes", headers={"Origin": origin}, token=None)
        found.problem("unauthorized")
        assert found.headers["Access-Control-Allow-Origin"] == origin
        preflight = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        }
        found = c.alice.api("OPTIONS", "/api/sandboxes", headers=preflight, token=None).expect(204)
        assert found.headers["Access-Control-Allow-Origin"] == origin
        assert "POST" in found.headers["Access-Control-Allow-Methods"]
        allowed = found.headers["Access-Control-Allow-Headers"].lower()
        for name in ("authorization", "content-type", "idempotency-key", "last-event-id", "accept", "prefer"):
            assert name in allowed
    c.alice.get("/api/sandboxes", headers={"Origin": "https://other.example.com"}).problem("forbidden")
    box = c.sandbox()
    with box.stream("print(1)", headers={"Origin": ORIGIN}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == ORIGIN
        stream.all()


# ---- the other paths ----


def test_healthz_and_readyz_need_no_token(alice):
    for path in ("/healthz", "/readyz"):
        alice.get(path, token=None).expect(200)
        alice.get(path, token="wrong").expect(200)


def test_the_page_says_how_to_call(alice):
    found = alice.get("/").expect(200)
    assert found.headers["Content-Type"].split(";")[0] == "text/html"
    for word in ("Caesarion", "/api/sandboxes", "execute", "openapi.json"):
        assert word in found.text, word
    assert len(found.body) < 20000


def test_openapi_names_every_path(alice):
    document = alice.get("/openapi.json").expect(200).json()
    assert re.match(r"3\.\d", document["openapi"])
    assert set(document["paths"]) >= {
        "/api/sandboxes",
        "/api/sandboxes/{id}",
        "/api/sandboxes/{id}/execute",
        "/api/sandboxes/{id}/executions",
        "/api/sandboxes/{id}/executions/{eid}",
        "/api/sandboxes/{id}/executions/{eid}/events",
        "/api/sandboxes/{id}/executions/{eid}/cancel",
        "/api/sandboxes/{id}/executions/{eid}/input",
        "/api/sandboxes/{id}/interrupt",
        "/api/sandboxes/{id}/restart",
        "/api/sandboxes/{id}/kernels",
        "/api/sandboxes/{id}/kernels/{kid}",
        "/api/sandboxes/{id}/files",
        "/api/sandboxes/{id}/files/{path}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/",
    }
    codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert set(codes) == set(contract.PROBLEMS)


METRIC = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})? [-+0-9.eEInfNa]+$')


def test_metrics_are_prometheus_text_and_an_admins(alice, admin, box):
    box.ok("1")
    alice.get("/metrics", token=None).problem("unauthorized")
    alice.get("/metrics").problem("forbidden")
    found = admin.get("/metrics").expect(200)
    assert found.headers["Content-Type"].startswith("text/plain")
    lines = found.text.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("# ") or METRIC.match(line), line
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    assert any(name.startswith("caesarion_") for name in names), names


def test_metrics_count(admin, box):
    def requests():
        text = admin.get("/metrics").expect(200).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if re.match(r"caesarion_\w*requests_total[ {]", line)
        )

    before = requests()
    for _ in range(5):
        box.get("").expect(200)
    assert requests() >= before + 5


def test_metrics_open(controller):
    c = controller("--metrics-open")
    c.alice.get("/metrics", token=None).expect(200)
    c.alice.get("/metrics").expect(200)
    c.alice.get("/api/sandboxes", token=None).problem("unauthorized")


# ---- logs ----


def test_every_line_of_the_log_is_an_object(shared_controller, alice):
    request = alice.get("/api/sandboxes?token=x").headers["X-Request-Id"]
    line = shared_controller.wait_log(event="request", request=request)
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/sandboxes", "200")
    for found in shared_controller.logs:
        assert {"time", "level", "event"} <= set(found), found
        contract.check_time(found["time"])


def test_a_path_cannot_forge_a_line_of_the_log(shared_controller, alice):
    before = len(shared_controller.logs)
    found = alice.get("/x%0a%7b%22event%22:%22forged%22%7d%1b[31m")
    found.problem("not_found")
    shared_controller.wait_log(event="request", request=found.headers["X-Request-Id"])
    assert all(e["event"] != "forged" for e in shared_controller.logs[before:])
    assert all("\x1b" not in json.dumps(e, ensure_ascii=False) for e in shared_controller.logs[before:])
