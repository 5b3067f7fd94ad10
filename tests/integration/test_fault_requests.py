"""Bad bodies of POST …/execute and its neighbours: what is said, and that nothing changed.

Every test ends with the next request, which must be answered as if the bad one had not been.
"""

import http.client
import json

import pytest
from lib.client import JSON, PROBLEM, Deadline, Response, read_all
from lib.code import Gate

MIB = 1 << 20
EXECUTE_BODY_MAX = 8 * MIB
CODE_MAX = MIB


def goes_on(box):
    """The next request is answered, and nothing of the bad one ran."""
    assert box.value("'ran' in globals()") == "False"


def post(box, body, content_type=JSON, **headers):
    headers = {"Content-Type": content_type, **headers}
    return box.api("POST", "/execute", body=body, headers={k: v for k, v in headers.items() if v})


def fields(box, **given):
    return box.post("/execute", dict({"code": "ran = True"}, **given))


# ---- JSON ----

MALFORMED = {
    "nothing": b"",
    "a blank": b" ",
    "text": b"ran = True",
    "half an object": b'{"code": "ran = True"',
    "half a string": b'{"code": "ran = Tr',
    "a comma too many": b'{"code": "ran = True",}',
    "two objects": b'{"code": "ran = True"}{}',
    "text behind": b'{"code": "ran = True"} x',
    "single quotes": b"{'code': 'ran = True'}",
    "a comment": b'{"code": "ran = True"} // no',
    "NaN": b'{"code": "ran = True", "timeout_s": NaN}',
    "Infinity": b'{"code": "ran = True", "timeout_s": Infinity}',
    "a leading zero": b'{"code": "ran = True", "timeout_s": 01}',
    "a bare line feed in a string": b'{"code": "ran = True\n"}',
    "a byte order mark": b'\xef\xbb\xbf{"code": "ran = True"}',
    "UTF-16": '{"code": "ran = True"}'.encode("utf-16"),
    "a NUL behind": b'{"code": "ran = True"}\0',
    "a duplicate key": b'{"code": "ran = True", "code": "ran = True"}',
    "a duplicate key in an inner object": b'{"code": "ran = True", "user_expressions": {"a": "1", "a": "2"}}',
    "a number too large for any type": b'{"code": "ran = True", "timeout_s": 1e999}',
    "an integer too large for any type": b'{"code": "ran = True", "generation": 99999999999999999999}',
    "a depth bomb": b'{"code": "ran = True", "user_expressions": ' + b"[" * 200_000,
    "a depth bomb of objects": b'{"a":' * 200_000,
    "a depth bomb that closes": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_json_is_invalid(box, body):
    found = post(box, body).problem("invalid")
    assert "JSON" in found["detail"], found
    goes_on(box)


@pytest.mark.parametrize(
    "body", [b"[]", b'"ran = True"', b"3", b"null", b"true", b'[{"code": "ran = True"}]']
)
def test_json_that_is_no_object_is_invalid(box, body):
    assert "object" in post(box, body).problem("invalid")["detail"]
    goes_on(box)


def test_a_problem_quotes_broken_bytes_as_valid_json(box):
    found = post(box, b'{"code": \xff\xfe\x80oh}').problem("invalid")
    assert "�" in found["detail"] or found["detail"].isascii(), found
    goes_on(box)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"]
)
def test_a_body_of_another_type_is_unsupported(box, kind):
    post(box, b'{"code": "ran = True"}', kind).problem("unsupported_media_type")
    goes_on(box)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", None])
def test_json_may_say_so_in_other_words_or_not_at_all(box, kind):
    assert post(box, b'{"code": "6 * 7"}', kind).expect(200).json()["result"] == "42"


# ---- fields ----

WRONG_TYPES = [("code", value) for value in (1, None, True, ["ran = True"], {"ran": "True"})] + [
    ("timeout_s", "5"),
    ("timeout_s", True),
    ("timeout_s", [5]),
    ("kernel_id", 7),
    ("stop_on_error", 1),
    ("stop_on_error", "true"),
    ("silent", 0),
    ("store_history", "no"),
    ("allow_stdin", []),
    ("user_expressions", ["1"]),
    ("user_expressions", {"a": 1}),
    ("generation", "1"),
    ("generation", 1.5),
    ("on_disconnect", True),
    ("on_disconnect", "explode"),
]


@pytest.mark.parametrize(
    "name,value", WRONG_TYPES, ids=lambda v: json.dumps(v) if not isinstance(v, str) else v
)
def test_a_wrong_type_is_invalid_and_named(box, name, value):
    fields(box, **{name: value}).problem("invalid", field=name)
    goes_on(box)


@pytest.mark.parametrize(
    "name", ["Code", "timeout", "timeout_ms", "kernelId", "", "__proto__", "x" * 300, "ä"]
)
def test_an_unknown_field_is_invalid_and_named(box, name):
    found = fields(box, **{name: None}).problem("invalid")
    assert name.startswith(found.get("field", "")) and ("field" in found or not name), found
    goes_on(box)


@pytest.mark.parametrize("code", ["", " ", "\n\t \r\n"])
def test_code_that_is_empty_is_invalid(box, code):
    box.post_execute(code).problem("invalid", field="code")
    goes_on(box)


def test_code_that_is_missing_is_invalid(box):
    box.post("/execute", {}).problem("invalid", field="code")
    goes_on(box)


BROKEN_UTF8 = {
    "a lone byte": b"\xff",
    "a cut character": b"\xe2\x82",
    "an overlong slash": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "above the last character": b"\xf4\x90\x80\x80",
    "latin-1": "é".encode("latin-1"),
}


@pytest.mark.parametrize("broken", BROKEN_UTF8.values(), ids=BROKEN_UTF8)
def test_code_of_invalid_utf8_is_invalid(box, broken):
    post(box, b'{"code": "ran = True # ' + broken + b'"}').problem("invalid")
    goes_on(box)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800\\u0041", "\\uZZZZ", "\\u12"])
def test_code_with_a_broken_escape_is_invalid(box, escape):
    post(box, '{"code": "ran = True # %s"}' % escape).problem("invalid")
    goes_on(box)


@pytest.mark.parametrize("nul", [b"\0", b"\\u0000"], ids=["raw", "escaped"])
@pytest.mark.parametrize("place", [b"%sran = True", b"ran = True%s", b"ran %s= True"])
def test_code_with_a_nul_is_invalid(box, nul, place):
    post(box, b'{"code": "' + place.replace(b"%s", nul) + b'"}').problem("invalid")
    goes_on(box)


def code_of(length, last="len(text)"):
    """Code of exactly so many bytes of UTF-8, two of them a character."""
    head, tail = "text = '", "'\n" + last
    rest = length - len(head) - len(tail)
    return head + "é" * (rest // 2) + "x" * (rest % 2) + tail


def test_code_of_one_mib_runs(box):
    code = code_of(CODE_MAX)
    assert len(code.encode()) == CODE_MAX
    assert int(box.value(code)) > CODE_MAX // 2 - 20


def test_code_over_one_mib_is_too_large(box):
    code = code_of(CODE_MAX + 1, "ran = True")
    assert len(code.encode()) == CODE_MAX + 1
    box.post_execute(code).problem("too_large", field="code")
    goes_on(box)


# ---- numbers ----


@pytest.mark.parametrize("seconds", [0, -1, -0.0, -1e300, 86400.001, 86401, 1e15, 1e308, 2**63 - 1])
def test_a_timeout_out_of_range_is_invalid(box, seconds):
    fields(box, timeout_s=seconds).problem("invalid", field="timeout_s")
    goes_on(box)


def test_the_longest_timeout_is_taken(box):
    assert box.value("'ok'", timeout_s=86400) == "'ok'"
    assert box.value("'ok'", timeout_s=86400.0) == "'ok'"


@pytest.mark.parametrize("seconds", [0.0001, 1e-300, 5e-324])
def test_the_shortest_timeout_is_a_timeout(sandbox, seconds):
    gate = Gate(sandbox)  # stays shut
    assert sandbox.execute(gate.code, timeout_s=seconds)["status"] == "timeout"
    assert sandbox.value("'next'") == "'next'"


@pytest.mark.parametrize("generation", [0, -1, 2**31, 2**53, -(2**63)])
def test_a_generation_out_of_range_is_invalid(box, generation):
    fields(box, generation=generation).problem("invalid", field="generation")
    goes_on(box)


@pytest.mark.parametrize("generation", [2, 2**31 - 1])
def test_a_wrong_generation_is_a_mismatch(box, generation):
    fields(box, generation=generation).problem("generation_mismatch")
    assert box.value("'ran' in globals()", generation=1) == "False"


def test_user_expressions_at_their_limit(box):
    at = {"e%d" % n: "%d + 1" % n for n in range(32)}
    found = box.ok("None", user_expressions=at)["user_expressions"]
    assert set(found) == set(at) and found["e31"]["data"]["text/plain"] == "32", found
    fields(box, user_expressions=dict(at, more="1")).problem("invalid", field="user_expressions")
    goes_on(box)


def test_an_expression_at_its_limit(box):
    at = "1" + " " * (64 * 1024 - 1)
    assert box.ok("None", user_expressions={"e": at})["user_expressions"]["e"]["status"] == "ok"
    fields(box, user_expressions={"e": at + " "}).problem("invalid", field="user_expressions")
    goes_on(box)


# ---- bodies over the limit ----


def padded(length, code="6 * 7"):
    """A body of exactly so many bytes."""
    body = json.dumps({"code": code}).encode()
    return body + b" " * (length - len(body))


def chunked(body, size=65536):
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("as_chunks", [False, True], ids=["length", "chunked"])
def test_a_body_of_the_limit_is_taken(box, as_chunks):
    body = padded(EXECUTE_BODY_MAX)
    headers = {"Transfer-Encoding": "chunked"} if as_chunks else {}
    assert (
        post(box, chunked(body) if as_chunks else body, **headers).expect(200).json()["result"] == "42"
    )


@pytest.mark.parametrize("as_chunks", [False, True], ids=["length", "chunked"])
def test_a_body_over_the_limit_is_too_large(box, as_chunks):
    body = padded(EXECUTE_BODY_MAX + 1, "ran = True")
    headers = {"Transfer-Encoding": "chunked"} if as_chunks else {}
    post(box, chunked(body) if as_chunks else body, **headers).problem("too_large")
    goes_on(box)


@pytest.mark.parametrize("as_chunks", [False, True], ids=["length", "chunked"])
def test_a_body_of_65_mib_is_refused_and_cut_off(box, as_chunks):
    """Above 64 MiB nothing is read to its end: the client gets the answer while it is still sending."""
    body = padded(65 * MIB, "ran = True")
    headers = {"Transfer-Encoding": "chunked"} if as_chunks else {}
    found = post(box, chunked(body) if as_chunks else body, **headers)
    found.problem("too_large")
    assert found.headers["Connection"] == "close", found.headers.items()
    goes_on(box)


@pytest.mark.parametrize(
    "length", ["18446744073709551616", "9223372036854775808", "-1", "1e3", "0x10", "12 34", ""]
)
def test_a_broken_content_length_is_invalid(box, length):
    with box.connect() as sock:
        sock.sendall(box.head("POST", "/execute", {"Content-Type": JSON, "Content-Length": length}))
        found = box_answer(sock)
    assert found.status in (400, 413), found
    goes_on(box)


def box_answer(sock):
    message = http.client.HTTPResponse(sock)
    message.begin()
    return Response(message, read_all(sock, message, Deadline(20)))


@pytest.mark.parametrize(
    "framing",
    [
        {"Content-Length": "30", "Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": "gzip, chunked"},
        {"Transfer-Encoding": "identity"},
        {"Transfer-Encoding": "chunked, chunked"},
    ],
    ids=lambda f: "+".join("%s:%s" % p for p in f.items()),
)
def test_a_body_framed_in_two_ways_is_invalid_and_its_connection_ends(box, framing):
    """Nobody may smuggle a second request behind the first."""
    inner = (
        box.head("POST", "/execute", {"Content-Type": JSON, "Content-Length": "22"})
        + b'{"code": "ran = True"}'
    )
    with box.connect() as sock:
        sock.sendall(
            box.head("POST", "/execute", dict(framing, **{"Content-Type": JSON})) + b"0\r\n\r\n" + inner
        )
        found = box_answer(sock)
        assert found.status == 400 and found.headers["Content-Type"].split(";")[0] == PROBLEM, found
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    goes_on(box)


@pytest.mark.parametrize(
    "chunk", [b"zz\r\nab\r\n", b"-1\r\nab\r\n", b"ffffffffffffffffff\r\nab\r\n", b"2\r\nabXX0\r\n\r\n"]
)
def test_broken_chunks_are_refused_and_their_connection_ends(box, chunk):
    with box.connect() as sock:
        sock.sendall(
            box.head("POST", "/execute", {"Content-Type": JSON, "Transfer-Encoding": "chunked"}) + chunk
        )
        try:
            text = b"".join(iter(lambda: sock.recv(4096), b""))
        except ConnectionResetError:
            text = b""
    # What is no HTTP is answered by the HTTP library itself: its status, then the end.
    assert text == b"" or text.split(b" ")[1] in (b"400", b"413"), text
    goes_on(box)


# ---- bodies of other requests ----


@pytest.mark.parametrize(
    "path", ["/interrupt", "/restart", "/kernels", "/executions/x/cancel", "/executions/x/input"]
)
def test_bodies_of_other_requests_are_checked_too(box, path):
    eid = box.ok("1")["id"]
    generation = box.kernel()["generation"]
    path = path.replace("/x/", "/%s/" % eid)
    if not path.endswith("cancel"):
        box.api("POST", path, body=b"{", headers={"Content-Type": JSON}).problem("invalid")
        box.post(path, {"nonsense": 1}).problem("invalid", field="nonsense")
        box.post(path, []).problem("invalid")
    limit = 8 * MIB if path.endswith(("/kernels", "/input")) else MIB
    box.api("POST", path, body=b" " * (limit + 1), headers={"Content-Type": JSON}).problem("too_large")
    goes_on(box)
    assert box.kernel()["generation"] == generation and len(box.kernels()) == 1
