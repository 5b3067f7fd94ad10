"""/jupyter/: all of a caller's sandboxes as one Jupyter server."""

import json
import re
import threading

import pytest
from lib.client import Api
from lib.jupyter import Channels, stream_text

KERNELS = "/jupyter/api/kernels"
SESSIONS = "/jupyter/api/sessions"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
A_UUID = "12345678-1234-4234-8234-123456789000"
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@pytest.fixture
def user(controller):
    """A controller of the test's own, and alice there."""
    c = controller("--warm", "1", "--max-sandboxes", "4")
    return c, c.alice


def check_kernel(kernel):
    assert UUID.match(kernel["id"]), kernel
    assert kernel["name"] == "python3"
    assert TIME.match(kernel["last_activity"]), kernel
    assert kernel["execution_state"] in ("starting", "idle", "busy", "restarting", "dead"), kernel
    assert isinstance(kernel["connections"], int)
    return kernel


def new_kernel(api, **kw):
    response = api.post(KERNELS, **kw).expect(201)
    kernel = check_kernel(response.json())
    assert response.headers["Location"] == KERNELS + "/" + kernel["id"]
    return kernel


def new_session(api, path, **fields):
    response = api.post(SESSIONS, {"path": path, "type": "notebook", "name": "", **fields}).expect(201)
    session = response.json()
    assert UUID.match(session["id"]), session
    assert (session["path"], session["type"]) == (path, "notebook")
    check_kernel(session["kernel"])
    assert response.headers["Location"] == SESSIONS + "/" + session["id"]
    return session


def listed(api, path=KERNELS):
    return [x["id"] for x in api.get(path).expect(200).json()]


def boxes(api):
    return [s["id"] for s in api.get("/api/sandboxes").expect(200).json()["sandboxes"]]


def error(response, status):
    """An error as both kinds of client read it."""
    assert response.status == status, response
    members = response.json()
    assert members["message"] == members["detail"] and members["message"], members
    assert members["reason"] is None or isinstance(members["reason"], str), members
    return members


# ---- what needs no sandbox ----


def test_the_server(alice):
    alice.get("/jupyter/").expect(200)
    version = alice.get("/jupyter/api").expect(200).json()
    assert re.match(r"^2\.\d+\.\d+$", version["version"])
    assert alice.get("/jupyter/api?1795421544360").expect(200).json() == version
    me = alice.get("/jupyter/api/me?permissions=%7B%22contents%22%3A%5B%22read%22%5D%7D").expect(200).json()
    assert me["identity"]["username"] == "alice"
    assert set(me["identity"]) == {"username", "name", "display_name", "initials", "avatar_url", "color"}
    assert me["permissions"] == {"contents": ["read"]}
    error(alice.get("/jupyter/api/terminals"), 404)
    error(alice.get("/jupyter/api/contents"), 404)
    error(alice.get("/jupyter/nothing"), 404)


def test_kernelspecs(alice):
    specs = alice.get("/jupyter/api/kernelspecs").expect(200).json()
    assert specs["default"] == "python3"
    (spec,) = specs["kernelspecs"].values()
    assert spec["spec"]["language"] == "python"
    assert alice.get("/jupyter/api/kernelspecs/python3").expect(200).json() == spec
    for path in spec["resources"].values():
        found = alice.get(path).expect(200)
        assert found.body and found.headers["Content-Type"].startswith("image/"), found
    error(alice.get("/jupyter/api/kernelspecs/ir"), 404)
    error(alice.get("/jupyter/kernelspecs/python3/../../../etc/passwd"), 404)


@pytest.mark.parametrize("path", ["", "api", "api/kernels", "api/sessions", "api/kernels/x/channels"])
def test_wrong_tokens(shared_controller, path):
    anyone = Api(shared_controller.address)
    path = "/jupyter/" + path
    error(anyone.get(path), 401)
    error(anyone.get(path + "?token=wrong"), 401)
    for scheme in ("Bearer", "token", "TOKEN", "Basic"):
        error(anyone.get(path, headers={"Authorization": scheme + " wrong"}), 401)
    if not path.endswith("channels"):
        good = shared_controller.alice.token
        anyone.get(path + "?token=" + good).expect(200)
        anyone.get(path, headers={"Authorization": "token " + good}).expect(200)


def test_a_page_of_a_foreign_origin(user):
    _, alice = user
    kid = new_kernel(alice)["id"]
    foreign = {"Origin": "https://evil.example"}
    error(alice.get(KERNELS, headers=foreign), 403)
    Channels(alice, kid, headers=foreign, expect=403)
    Channels(alice, kid, headers=foreign, query={"token": alice.token}, token="wrong", expect=403)


# ---- kernels ----


def test_a_kernel_from_first_to_last(user):
    c, alice = user
    assert listed(alice) == []
    kid = new_kernel(alice)["id"]
    assert boxes(alice) == ["sb-" + kid]
    assert listed(alice) == [kid]
    assert listed(c.bob) == []
    assert listed(c.admin) == [kid]
    assert check_kernel(alice.get(KERNELS + "/" + kid).expect(200).json())["id"] == kid
    with Channels(alice, kid) as ws:
        assert ws.text("x = 6 * 7; print(x)") == "42\n"
        status = alice.get("/jupyter/api/status").expect(200).json()
        assert (status["kernels"], status["connections"]) == (1, 1)
        assert TIME.match(status["started"]) and TIME.match(status["last_activity"])
    # One live kernel: the API finds what the notebook left.
    assert alice.box("sb-" + kid).value("x") == "42"
    assert alice.delete(KERNELS + "/" + kid).expect(204).body == b""
    assert listed(alice) == boxes(alice) == []
    error(alice.delete(KERNELS + "/" + kid), 404)
    error(alice.get(KERNELS + "/" + kid), 404)


def test_interrupt_and_restart(user):
    _, alice = user
    kid = new_kernel(alice)["id"]
    with Channels(alice, kid) as ws:
        ws.execute("x = 1")
        running = ws.run("print('begun', flush=True)\nwhile True: pass")
        ws.until_type("stream", running)
        alice.post(KERNELS + "/" + kid + "/interrupt", body="", headers={"Content-Type": "text/plain"}).expect(204)
        assert "KeyboardInterrupt" in json.dumps([m["content"] for m in ws.answers(running)])
        kernel = alice.post(KERNELS + "/" + kid + "/restart").expect(200).json()
        assert check_kernel(kernel)["id"] == kid
        assert "NameError" in str(ws.execute("x"))


@pytest.mark.parametrize(
    "body, headers",
    [
        (None, {}),
        ("", {"Content-Type": "application/json"}),
        ("{}", {"Content-Type": "text/plain;charset=UTF-8"}),
        ('{"name":"python3","path":"/a/b"}', {}),
        ('{"name":null,"kernel_id":"11111111-2222-3333-4444-555555555555","later":[1]}', {}),
    ],
)
def test_bodies_that_make_a_kernel(user, body, headers):
    _, alice = user
    kid = new_kernel(alice, body=body, headers=headers)["id"]
    assert alice.box("sb-" + kid).value("1") == "1"


@pytest.mark.parametrize(
    "body, status",
    [
        ('{"name":"ir"}', 404),
        ('{"name":7}', 400),
        ('{"env":[]}', 400),
        ('{"env":{"A":1}}', 400),
        ('{"env":"A=1"}', 400),
        ("[]", 400),
        ("{", 400),
        ("x", 400),
    ],
)
def test_bodies_that_make_none(user, body, status):
    _, alice = user
    error(alice.post(KERNELS, body=body), status)
    assert boxes(alice) == []


def test_the_environment_of_a_kernel(user):
    _, alice = user
    body = {"env": {"KERNEL_USERNAME": "ann", "A": "b c"}}
    kid = new_kernel(alice, json=body)["id"]
    box = alice.box("sb-" + kid)
    assert box.value("import os; os.environ['KERNEL_USERNAME'] + os.environ['A']") == "'annb c'"


def test_the_limit_of_sandboxes(controller):
    alice = controller("--warm", "1", "--max-sandboxes", "1").alice
    kid = new_kernel(alice)["id"]
    response = alice.post(KERNELS)
    error(response, 429)
    assert float(response.headers["Retry-After"]) >= 0
    error(alice.post(SESSIONS, {"path": "p", "type": "notebook"}), 429)
    alice.delete(KERNELS + "/" + kid).expect(204)
    new_kernel(alice)


def test_a_foreign_callers_kernel(user):
    c, alice = user
    kid = new_kernel(alice)["id"]
    sid = new_session(alice, "p", kernel={"id": kid})["id"]
    for path in (KERNELS + "/" + kid, SESSIONS + "/" + sid):
        error(c.bob.get(path), 404)
        error(c.bob.delete(path), 404)
    for what in ("interrupt", "restart"):
        error(c.bob.post(KERNELS + "/%s/%s" % (kid, what)), 404)
    error(c.bob.api("PATCH", SESSIONS + "/" + sid, {"path": "q"}), 404)
    error(c.bob.post(SESSIONS, {"path": "p", "type": "notebook", "kernel": {"id": kid}}), 404)
    Channels(c.bob, kid, expect=404)
    with Channels(c.admin, kid) as ws:
        assert ws.text("print('by the admin')") == "by the admin\n"
    assert listed(alice) == [kid]


@pytest.mark.parametrize(
    "kid", ["x", "0", "None", "%00", "a" * 300, "ABCDEF01" + A_UUID[8:], A_UUID + "0", "a%2Fb", A_UUID[:-1]]
)
def test_ids_that_are_not_uuids(alice, kid):
    for what in ("", "/channels"):
        error(alice.get(KERNELS + "/" + kid + what), 404)
    for what in ("/interrupt", "/restart"):
        error(alice.post(KERNELS + "/" + kid + what), 404)
    error(alice.delete(KERNELS + "/" + kid), 404)
    error(alice.get(SESSIONS + "/" + kid), 404)
    error(alice.delete(SESSIONS + "/" + kid), 404)
    error(alice.api("PATCH", SESSIONS + "/" + kid, {}), 404)


def test_further_kernels_are_listed_and_deleted_alone(user):
    _, alice = user
    kid = new_kernel(alice)["id"]
    box = alice.box("sb-" + kid)
    more = check_kernel(box.post("/jupyter/api/kernels").expect(201).json())["id"]
    assert more != kid and sorted(listed(alice)) == sorted([kid, more])
    with Channels(alice, more) as ws:
        assert ws.text("print('further')") == "further\n"
    alice.delete(KERNELS + "/" + more).expect(204)
    assert listed(alice) == [kid]
    assert box.value("2") == "2"


def test_shutdown_by_message_ends_the_sandbox(user):
    _, alice = user
    kid = new_kernel(alice)["id"]
    with Channels(alice, kid) as ws:
        ws.execute("pass")
        ws.send("shutdown_request", {"restart": False}, channel="control")
        with pytest.raises(Exception, match="closed"):
            while True:
                ws.next()
    wait_until(lambda: listed(alice) == [] and boxes(alice) == [])


def wait_until(true, seconds=20):
    gone = threading.Event()
    for _ in range(seconds * 20):
        if true():
            return
        gone.wait(0.05)
    raise AssertionError("it did not come about")


def test_a_deleted_kernel_closes_its_websocket(user):
    _, alice = user
    kid = new_kernel(alice)["id"]
    with Channels(alice, kid) as ws:
        ws.until_type("stream", ws.run("print('begun', flush=True)\nwhile True: pass"))
        alice.delete(KERNELS + "/" + kid).expect(204)
        with pytest.raises(Exception, match="closed"):
            while True:
                ws.next()


# ---- sessions ----


def test_a_session_from_first_to_last(user):
    c, alice = user
    session = new_session(alice, "a.ipynb")
    sid, kid = session["id"], session["kernel"]["id"]
    again = new_session(alice, "a.ipynb")
    assert (again["id"], again["kernel"]["id"]) == (sid, kid)
    assert listed(alice, SESSIONS) == [sid] and listed(c.bob, SESSIONS) == []
    assert alice.get(SESSIONS + "/" + sid).expect(200).json()["path"] == "a.ipynb"
    with Channels(alice, kid) as ws:
        assert stream_text(ws.execute("print(1)")) == "1\n"
    renamed = alice.api("PATCH", SESSIONS + "/" + sid, {"path": "b.ipynb", "name": "b"}).expect(200).json()
    assert (renamed["id"], renamed["path"], renamed["name"]) == (sid, "b.ipynb", "b")
    assert new_session(alice, "b.ipynb")["id"] == sid
    assert alice.delete(SESSIONS + "/" + sid).expect(204).body == b""
    assert listed(alice, SESSIONS) == listed(alice) == boxes(alice) == []
    error(alice.get(SESSIONS + "/" + sid), 404)


@pytest.mark.parametrize(
    "body, status",
    [
        ({}, 400),
        ({"path": "a"}, 400),
        ({"type": "notebook"}, 400),
        ({"path": 7, "type": "notebook"}, 400),
        ({"path": "a", "type": "notebook", "kernel": 7}, 400),
        ({"path": "a", "type": "notebook", "kernel": {"name": "ir"}}, 404),
        ({"path": "a", "type": "notebook", "kernel": {"id": "x"}}, 404),
        ({"path": "a" * 8193, "type": "notebook"}, 400),
    ],
)
def test_bodies_that_make_no_session(user, body, status):
    _, alice = user
    error(alice.post(SESSIONS, body), status)
    assert boxes(alice) == []


def test_a_session_with_a_given_kernel(user):
    _, alice = user
    kid = new_kernel(alice)["id"]
    session = new_session(alice, "p", kernel={"id": kid, "name": "python3"})
    assert session["kernel"]["id"] == kid
    assert boxes(alice) == ["sb-" + kid]


def test_two_at_once_get_one_session(user):
    _, alice = user
    found = []
    body = {"path": "same.ipynb", "type": "notebook", "name": ""}

    def make():
        found.append(alice.post(SESSIONS, body).expect(201).json()["id"])

    threads = [threading.Thread(target=make) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(found) == 6 and len(set(found)) == 1
    assert len(boxes(alice)) == 1


def test_a_session_gets_a_new_kernel(user):
    _, alice = user
    session = new_session(alice, "p.ipynb")
    sid, kid = session["id"], session["kernel"]["id"]
    body = {"kernel": {"id": None, "name": "python3"}}
    moved = alice.api("PATCH", SESSIONS + "/" + sid, body).expect(200).json()
    assert (moved["id"], moved["path"]) == (sid, "p.ipynb")
    assert moved["kernel"]["id"] != kid
    wait_until(lambda: boxes(alice) == ["sb-" + moved["kernel"]["id"]])
    # It is found under its id, though that names a sandbox that has ended.
    assert alice.get(SESSIONS + "/" + sid).expect(200).json()["kernel"]["id"] == moved["kernel"]["id"]
    assert listed(alice, SESSIONS) == [sid]
    alice.delete(SESSIONS + "/" + sid).expect(204)
    assert boxes(alice) == []


def test_a_session_goes_to_another_kernel(user):
    _, alice = user
    session = new_session(alice, "p.ipynb")
    other = new_kernel(alice)["id"]
    body = {"kernel": {"id": other}}
    moved = alice.api("PATCH", SESSIONS + "/" + session["id"], body).expect(200).json()
    assert (moved["id"], moved["kernel"]["id"]) == (session["id"], other)
    wait_until(lambda: boxes(alice) == ["sb-" + other])
    assert listed(alice, SESSIONS) == [session["id"]]


def test_sessions_outlive_the_controller(controller):
    c = controller("--warm", "1", "--on-exit", "keep")
    session = new_session(c.alice, "p.ipynb")
    c.restart(kill=True)
    assert listed(c.alice, SESSIONS) == [session["id"]]
    assert new_session(c.alice, "p.ipynb")["id"] == session["id"]
    with Channels(c.alice, session["kernel"]["id"]) as ws:
        assert ws.text("print('still here')") == "still here\n"


# ---- the program itself ----


def test_a_stop_closes_websockets_at_once(controller):
    c = controller("--warm", "1", "--drain-timeout", "60s")
    kid = new_kernel(c.alice)["id"]
    with Channels(c.alice, kid) as ws:
        ws.execute("pass")
        assert c.stop(timeout=20) == 0
        with pytest.raises(Exception, match="closed|ended"):
            while True:
                ws.next(10)


def test_what_is_counted_and_logged(user):
    c, alice = user
    kid = new_kernel(alice)["id"]
    with Channels(alice, kid, query={"token": alice.token}, headers={"Authorization": None}) as ws:
        ws.execute("pass")
        metrics = c.admin.get("/metrics").expect(200).text
        assert "caesarion_websockets_open 1\n" in metrics
        assert re.search(r'caesarion_websocket_bytes_total\{direction="to_client"\} [1-9]', metrics)
        assert re.search(r'caesarion_websocket_bytes_total\{direction="to_runner"\} [1-9]', metrics)
    entry = c.wait_log(event="request", path=KERNELS + "/" + kid + "/channels")
    assert entry["status"] == "101"
    wait_until(lambda: "caesarion_websockets_open 0\n" in c.admin.get("/metrics").text)
    assert not any(alice.token in json.dumps(line) for line in c.logs)


def test_five_hundred_silent_websockets(user):
    c, alice = user
    kid = new_kernel(alice)["id"]
    with Channels(alice, kid) as ws:
        ws.execute("pass")
    many = [Channels(alice, kid) for _ in range(500)]
    try:
        assert alice.get("/jupyter/api/status").expect(200).json()["connections"] == 500
        assert many[250].text("print('one of many')") == "one of many\n"
    finally:
        for ws in many:
            ws.close()
    wait_until(lambda: alice.get("/jupyter/api/status").json()["connections"] == 0)
