"""Bad bodies of POST /api/sandboxes: what is said, and that nothing was made."""

import json

import pytest
from lib.client import JSON

SANDBOX_BODY_MAX = 1 << 20


def chunked(body, size=65536):
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


CREATE_BAD = [
    ("name", 1),
    ("name", "x" * 129),
    ("name", "a\nb"),
    ("idle_timeout_s", 0),
    ("idle_timeout_s", 31536000.001),
    ("exec_timeout_s", 86400.001),
    ("max_lifetime_s", "1h"),
    ("env", ["A=1"]),
    ("env", {"A": 1}),
    ("env", {"A=B": "1"}),
    ("env", {"": "1"}),
    ("env", {"A" * 257: "1"}),
    ("env", {"A": "x" * (32 * 1024 + 1)}),
    ("env", {"A%d" % n: "1" for n in range(129)}),
    ("labels", "a"),
    ("labels", {"a": None}),
    ("labels", {"a" * 64: "1"}),
    ("labels", {"a": "x" * 254}),
    ("labels", {"-a": "1"}),
    ("labels", {"a b": "1"}),
    ("labels", {"a": "b\tc"}),
    ("labels", {"l%d" % n: "1" for n in range(33)}),
    ("labels", {"owner": "bob"}),
    ("labels", {"caesarion": "1"}),
    ("labels", {"caesarion.io/owner": "bob"}),
    ("nonsense", None),
]


@pytest.mark.parametrize("name,value", CREATE_BAD, ids=lambda v: str(v)[:24])
def test_a_sandbox_of_bad_fields_is_invalid_and_not_made(alice, box, name, value):
    before = {s["id"] for s in alice.get("/api/sandboxes").expect(200).json()["sandboxes"]}
    alice.post("/api/sandboxes", {name: value}).problem("invalid", field=name)
    after = {s["id"] for s in alice.get("/api/sandboxes").expect(200).json()["sandboxes"]}
    assert after == before and box.id in after


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"\xff", b'{"name": "a", "name": "b"}', b"[" * 100_000]
)
def test_a_sandbox_of_malformed_json_is_invalid_and_not_made(alice, box, body):
    before = alice.get("/api/sandboxes").expect(200).json()["sandboxes"]
    alice.api("POST", "/api/sandboxes", body=body, headers={"Content-Type": JSON}).problem("invalid")
    after = alice.get("/api/sandboxes").expect(200).json()["sandboxes"]
    assert {s["id"] for s in after} == {s["id"] for s in before}


def test_a_sandbox_of_fields_at_their_limits_is_made(alice, box):
    fields = {
        "name": "n" * 128,
        "idle_timeout_s": 31536000,
        "exec_timeout_s": 86400,
        "max_lifetime_s": 31536000,
        "env": dict({"A%d" % n: "1" for n in range(126)}, **{"B" * 256: "2", "C": "ü" * (16 * 1024)}),
        "labels": dict({"l%d" % n: "1" for n in range(30)}, **{"k" * 63: "v", "v": "x" * 253}),
    }
    made = alice.create(**fields)
    try:
        for name in ("name", "idle_timeout_s", "exec_timeout_s", "labels"):
            assert made[name] == fields[name], name
        found = alice.box(made)
        assert found.value(
            "import os; len(os.environ['C']), os.environ['B' * 256], os.environ['A125']"
        ) == ("(16384, '2', '1')")
    finally:
        alice.delete("/api/sandboxes/" + made["id"]).expect(204)


def test_a_body_of_a_sandbox_at_its_limit(alice, box):
    """At the limit the body is read (and refused for what is in it); above it is too large."""
    body = json.dumps({"labels": {"owner": "bob"}}).encode()
    at = body + b" " * (SANDBOX_BODY_MAX - len(body))
    headers = {"Content-Type": JSON}
    alice.api("POST", "/api/sandboxes", body=at, headers=headers).problem("invalid", field="labels")
    alice.api("POST", "/api/sandboxes", body=at + b" ", headers=headers).problem("too_large")
    chunks = dict(headers, **{"Transfer-Encoding": "chunked"})
    alice.api("POST", "/api/sandboxes", body=chunked(at), headers=chunks).problem(
        "invalid", field="labels"
    )
    alice.api("POST", "/api/sandboxes", body=chunked(at + b" "), headers=chunks).problem("too_large")
    assert box.value("'next'") == "'next'"
