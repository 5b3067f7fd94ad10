"""Who may ask for what: ids, tokens, other callers' sandboxes, foreign pages, headers that are too large.

Every test ends with the next request, which must be answered as if the bad one had not been.
"""

import uuid

import pytest
from lib import contract
from lib.client import JSON, read_response
from lib.code import Gate

RUN = {"code": "ran = True"}


def goes_on(box):
    assert box.value("'ran' in globals()") == "False"


def everything(sid, eid="an-id", kid=None):
    """Every row below one sandbox, as (method, path, body)."""
    kid = kid or str(uuid.uuid4())
    base = "/api/sandboxes/" + sid
    return [
        ("GET", base, None),
        ("POST", base + "/execute", RUN),
        ("GET", base + "/executions", None),
        ("GET", base + "/executions/" + eid, None),
        ("GET", base + "/executions/" + eid + "/events", None),
        ("POST", base + "/executions/" + eid + "/cancel", None),
        ("POST", base + "/executions/" + eid + "/input", {"value": "x"}),
        ("POST", base + "/interrupt", None),
        ("POST", base + "/restart", None),
        ("GET", base + "/kernels", None),
        ("POST", base + "/kernels", None),
        ("GET", base + "/kernels/" + kid, None),
        ("DELETE", base + "/kernels/" + kid, None),
        ("GET", base + "/files", None),
        ("GET", base + "/files/a", None),
        ("PUT", base + "/files/a", "bytes"),
        ("DELETE", base + "/files/a", None),
    ]


def ask(api, method, path, body, **kw):
    if isinstance(body, dict):
        return api.api(method, path, json=body, **kw)
    return api.api(method, path, body=body, **kw)


# ---- ids ----

MALFORMED_IDS = [
    "x",
    "sb-",
    "sb-" + "0" * 36,
    "sb-00000000-0000-4000-8000-000000000001",  # not the main kernel's
    "SB-00000000-0000-4000-8000-000000000000",
    "sb-00000000-0000-4000-8000-00000000000",
    "sb-00000000-0000-4000-8000-0000000000000",
    "sb-00000000-0000-4000-8000-00000000000g",
    "%00",
    "sb-00000000-0000-4000-8000-000000000000%00",
    "%ff%fe",
    "%2e%2e",
    "%2F",
    "a%0d%0aX-Injected:%201",
    "x" * 5000,
]


@pytest.mark.parametrize("sid", MALFORMED_IDS, ids=lambda s: s[:48])
def test_a_malformed_sandbox_id_is_not_found(alice, box, sid):
    for method, path, body in everything(sid):
        found = ask(alice, method, path, body)
        found.problem("not_found")
        assert "X-Injected" not in found.headers
    alice.delete("/api/sandboxes/" + sid).problem("not_found")
    goes_on(box)


def test_an_unknown_sandbox_is_not_found(alice, box):
    sid = contract.unknown_sandbox()
    for method, path, body in everything(sid):
        ask(alice, method, path, body).problem("not_found")
    alice.delete("/api/sandboxes/" + sid).expect(204)
    goes_on(box)


@pytest.mark.parametrize(
    "eid",
    [
        "unknown",
        "%00",
        "a%2fb",
        "..",
        "%2e%2e",
        "é",
        "x" * 129,
        "x" * 5000,
        "0f5a9d7e-0000-4000-8000-00000000abcd",
    ],
)
def test_an_unknown_or_malformed_execution_is_not_found(box, eid):
    eid = eid.replace("é", "%c3%a9")
    box.get("/executions/" + eid).problem("not_found")
    box.get("/executions/" + eid + "/events").problem("not_found")
    box.post("/executions/" + eid + "/cancel").problem("not_found")
    box.post("/executions/" + eid + "/input", {"value": "x"}).problem("not_found")
    goes_on(box)


@pytest.mark.parametrize(
    "kid", ["x", "%00", "..", "%2e%2e", "x" * 5000, "0f5a9d7e-0000-4000-8000-00000000a000", "next"]
)
def test_an_unknown_or_malformed_kernel_is_not_found(box, kid):
    if kid == "next":  # of this sandbox's family, but there is no such kernel
        kid = box.kernel()["id"][:-3] + "001"
    box.get("/kernels/" + kid).problem("not_found")
    box.delete("/kernels/" + kid).problem("not_found")
    if "%" not in kid and len(kid) < 40:
        for path, body in (("/execute", RUN), ("/interrupt", {}), ("/restart", {})):
            box.post(path, dict(body, kernel_id=kid)).problem("not_found")
    goes_on(box)


def test_a_kernel_id_that_is_very_long_is_refused(box):
    for path, body in (("/execute", RUN), ("/interrupt", {}), ("/restart", {})):
        found = box.post(path, dict(body, kernel_id="x" * 5000))
        assert found.status in (404, 400, 413), found
    goes_on(box)


def test_paths_that_are_none_of_the_api_are_not_found(alice, box):
    for path in (
        "/nothing",
        "/api",
        "/api/",
        "/api/sandboxes/",
        "//api/sandboxes",
        "/api//sandboxes",
        "/%61pi/sandboxes/x/y",
        "/api/sandboxes/../sandboxes",
        box.prefix + "/",
        box.prefix + "/claim",
        box.prefix + "/sandbox",
        box.prefix + "/readyz",
        box.prefix + "/metrics",
        box.prefix + "/%2e%2e/claim",
        "/claim",
    ):
        for method in ("GET", "POST"):
            alice.api(method, path).problem("not_found")
    goes_on(box)


def test_methods_that_are_not_there_are_not_allowed(alice, box):
    for method, path, allow in (
        ("PATCH", "/api/sandboxes", {"GET", "POST"}),
        ("PUT", box.prefix, {"GET", "DELETE"}),
        ("GET", box.prefix + "/execute", {"POST"}),
        ("DELETE", "/healthz", {"GET"}),
    ):
        found = alice.api(method, path)
        found.problem("method_not_allowed")
        assert allow <= {m.strip() for m in found.headers["Allow"].split(",")}, found.headers.items()
    goes_on(box)


# ---- tokens ----

NO_TOKENS = {
    "none": {},
    "wrong": {"Authorization": "Bearer wrong-token-0123456789"},
    "empty": {"Authorization": "Bearer "},
    "no scheme": {"Authorization": "alice-token-0123456789"},
    "another scheme": {"Authorization": "Basic YWxpY2U6YWxpY2UtdG9rZW4tMDEyMzQ1Njc4OQ=="},
    "cut": {"Authorization": "Bearer alice-token-012345678"},
    "longer": {"Authorization": "Bearer alice-token-01234567890"},
    "another case": {"Authorization": "Bearer ALICE-TOKEN-0123456789"},
    "with its name": {"Authorization": "Bearer alice:alice-token-0123456789"},
    "very long": {"Authorization": "Bearer " + "x" * 8000},
    "not ASCII": {"Authorization": "Bearer älice"},
}


@pytest.mark.parametrize("headers", NO_TOKENS.values(), ids=NO_TOKENS)
def test_without_a_valid_token_everything_is_unauthorized(alice, box, headers):
    rows = everything(box.id) + [
        ("POST", "/api/sandboxes", {}),
        ("GET", "/api/sandboxes", None),
        ("DELETE", box.prefix, None),
        ("GET", "/metrics", None),
        ("GET", "/no/such/path", None),
    ]
    for method, path, body in rows:
        found = ask(alice, method, path, body, token=None, headers=headers)
        found.problem("unauthorized")
        assert "alice-token" not in found.text
    goes_on(box)


def test_a_wrong_token_in_the_query_is_unauthorized(alice, box):
    for token in ("wrong", "", "alice-token-012345678", "%00"):
        alice.get("/api/sandboxes?token=" + token, token=None).problem("unauthorized")
    # A wrong header is not mended by a right query.
    alice.get("/api/sandboxes?token=" + alice.token, headers={"Authorization": "Bearer wrong"}).problem(
        "unauthorized"
    )
    alice.get("/api/sandboxes?token=" + alice.token, token=None).expect(200)
    goes_on(box)


def test_a_body_without_a_token_is_read_and_refused_and_the_connection_goes_on(alice, box):
    body = b" " * (2 << 20)
    head = alice.head(
        "POST", box.prefix + "/execute", {"Content-Type": JSON, "Content-Length": str(len(body))}, None
    )
    with alice.connect() as sock:
        sock.sendall(head + body)
        read_response(sock).problem("unauthorized")
        sock.sendall(alice.head("GET", box.prefix))
        read_response(sock).expect(200)
    goes_on(box)


def test_another_callers_sandbox_is_not_found_and_not_touched(alice, bob, box):
    kid = box.kernel()["id"]
    box.put("a", b"mine").expect(201)
    gate = Gate(box)
    eid = box.start(gate.code + "print('done')")["id"]
    for method, path, body in everything(box.id, eid, kid):
        found = ask(bob, method, path, body)
        members = found.problem("not_found")
        # It reads as for one that never was.
        unknown = contract.unknown_sandbox()
        other = ask(bob, method, path.replace(box.id, unknown), body).problem("not_found")
        assert members["detail"].replace(box.id, "…") == other["detail"].replace(unknown, "…")
    bob.delete(box.prefix).expect(204)
    assert box.id not in [s["id"] for s in bob.get("/api/sandboxes").json()["sandboxes"]]
    gate.open()
    found = box.wait(eid)
    assert (found["status"], found["stdout"]) == ("ok", "done\n")
    assert box.file("a").body == b"mine" and box.kernel()["generation"] == 1
    goes_on(box)


def test_an_admin_touches_everybodys(admin, box):
    admin.get(box.prefix).expect(200)
    assert admin.box(box.id).value("6 * 7") == "42"
    goes_on(box)


# ---- pages of other origins ----


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost",
        "",
        "file://",
        "x" * 4000,
    ],
)
def test_a_foreign_origin_is_forbidden(alice, box, origin):
    for method, path, body in everything(box.id) + [
        ("POST", "/api/sandboxes", {}),
        ("DELETE", box.prefix, None),
    ]:
        found = ask(alice, method, path, body, headers={"Origin": origin})
        found.problem("forbidden")
        assert "Access-Control-Allow-Origin" not in found.headers
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    found = alice.api("OPTIONS", box.prefix + "/execute", headers=preflight, token=None)
    assert found.status == 403 and "Access-Control-Allow-Origin" not in found.headers, found
    goes_on(box)


def test_the_servers_own_origin_is_no_foreign_one(alice, box):
    host = "%s:%d" % alice.address
    found = alice.get(box.prefix, headers={"Host": host, "Origin": "http://" + host}).expect(200)
    assert found.json()["id"] == box.id


# ---- headers and URIs ----

HEADERS_MAX = 16 * 1024
URI_MAX = 8 * 1024


def with_header_bytes(api, size):
    """A request whose header lines take exactly so many bytes."""
    have = api.head("GET", "/api/sandboxes")
    lines = len(have) - len(have.split(b"\r\n", 1)[0]) - 4
    return api.head("GET", "/api/sandboxes", {"X-Filler": "x" * (size - lines - len("X-Filler: \r\n"))})


def test_headers_of_the_limit_are_taken_and_above_are_too_large(alice, box):
    request = with_header_bytes(alice, HEADERS_MAX)
    assert len(request) - len(request.split(b"\r\n", 1)[0]) - 4 == HEADERS_MAX
    alice.raw(request).expect(200)
    alice.raw(with_header_bytes(alice, HEADERS_MAX + 1)).problem("header_too_large")
    alice.raw(with_header_bytes(alice, 60 * 1024)).problem("header_too_large")
    assert alice.raw(with_header_bytes(alice, 1 << 20)).status == 431
    goes_on(box)


def test_many_headers_are_too_large(alice, box):
    found = alice.get("/api/sandboxes", headers={"X-%d" % n: "1" for n in range(5000)})
    assert found.status == 431, found
    goes_on(box)


def test_a_uri_of_the_limit_is_taken_and_above_is_too_long(alice, box):
    path = "/api/sandboxes?label=a%3D"
    at = path + "x" * (URI_MAX - len(path))
    found = alice.get(at)
    assert found.status in (200, 400), found  # read, and looked at
    alice.get(at + "x").problem("uri_too_long")
    assert alice.get(path + "x" * (1 << 20)).status in (414, 431)
    goes_on(box)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET",
        b"GET /",
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.1 x",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x00",
        b" / HTTP/1.1",
        b"PRI * HTTP/2.0",
    ],
)
def test_what_is_no_http_ends_its_connection(alice, box, request_line):
    with alice.connect(15) as sock:
        sock.sendall(request_line + b"\r\nHost: x\r\n\r\n")
        try:
            text = b"".join(iter(lambda: sock.recv(4096), b""))
        except ConnectionResetError:
            text = b""
    assert text == b"" or text.split(b" ")[1][:1] in (b"4", b"5"), text
    goes_on(box)


def test_a_nul_in_the_head_reaches_nothing_else(alice, box):
    """The HTTP library ends a line's part there: what is left must be nothing more than it was."""
    head = alice.head("GET", box.prefix + "/files")
    for where in (b"/files", b"Bearer "):
        found = alice.raw(head.replace(where, where[:-1] + b"\0" + where[-1:]))
        assert found.status in (400, 401, 404, 405), (where, found)
    goes_on(box)


@pytest.mark.parametrize("headers", [{"Host": None}, {"Ho st": "x"}, {"X-Y\t": "1"}], ids=str)
def test_broken_headers_are_invalid(alice, box, headers):
    alice.get("/api/sandboxes", headers=headers).problem("invalid")
    goes_on(box)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "limit=-1", "limit=1001", "status=ok", "label=", "label=%00", "continue=x"],
)
def test_a_malformed_query_is_invalid_and_named(alice, box, query):
    alice.get("/api/sandboxes?" + query).problem("invalid", field=query.split("=")[0])
    goes_on(box)
