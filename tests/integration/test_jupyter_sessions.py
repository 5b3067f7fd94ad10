"""Jupyter sessions of one sandbox: which notebook uses which of its kernels."""

import re

import pytest
from lib.jupyter import Channels

SESSIONS, KERNELS = "/jupyter/api/sessions", "/jupyter/api/kernels"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SESSIONS_MAX = 64


def start(box, path, status=201, **fields):
    body = {"path": path, "type": "notebook", "name": path, "kernel": {"name": "python3"}}
    return box.post(SESSIONS, dict(body, **fields)).expect(status).json()


def listed(box):
    return box.get(SESSIONS).expect(200).json()


def kernel_ids(box):
    return [k["id"] for k in box.get(KERNELS).expect(200).json()]


def test_the_life_of_a_session(sandbox):
    assert listed(sandbox) == []
    response = sandbox.post(SESSIONS, {"path": "a.ipynb", "type": "notebook", "name": "A"}).expect(201)
    made = response.json()
    assert set(made) == {"id", "path", "name", "type", "kernel", "notebook"}
    assert UUID.fullmatch(made["id"])
    assert response.headers["Location"].endswith("/jupyter/api/sessions/" + made["id"])
    assert (made["path"], made["name"], made["type"]) == ("a.ipynb", "A", "notebook")
    assert made["notebook"] == {"path": "a.ipynb", "name": "A"}
    assert made["kernel"]["id"] == sandbox.kernel()["id"]
    assert listed(sandbox) == [made]
    assert sandbox.get(SESSIONS + "/" + made["id"]).expect(200).json() == made
    changed = sandbox.api("PATCH", SESSIONS + "/" + made["id"], {"path": "b.ipynb"}).expect(200).json()
    assert changed == dict(made, path="b.ipynb", notebook={"path": "b.ipynb", "name": "A"})
    sandbox.delete(SESSIONS + "/" + made["id"]).expect(204)
    assert listed(sandbox) == []
    for method, body in (("GET", {}), ("PATCH", {}), ("DELETE", {})):
        found = sandbox.api(method, SESSIONS + "/" + made["id"], body)
        assert found.status == 404 and found.json()["message"], found
    # As in Jupyter Server, its kernel ended with it; here that is the sandbox's, which can come back.
    assert kernel_ids(sandbox) == []
    sandbox.restart()
    assert kernel_ids(sandbox) == [made["kernel"]["id"]]


def test_the_same_path_is_the_same_session(sandbox):
    first = start(sandbox, "same.ipynb")
    again = start(sandbox, "same.ipynb")
    assert again["id"] == first["id"] and again["kernel"]["id"] == first["kernel"]["id"]
    assert len(listed(sandbox)) == 1 and len(kernel_ids(sandbox)) == 1


def test_the_first_takes_the_main_kernel_and_the_second_a_further_one(sandbox):
    main = sandbox.kernel()["id"]
    first, second = start(sandbox, "one.ipynb"), start(sandbox, "two.ipynb")
    assert first["kernel"]["id"] == main
    assert second["kernel"]["id"] != main
    assert kernel_ids(sandbox) == [main, second["kernel"]["id"]]
    with Channels(sandbox, second["kernel"]["id"]) as client:
        assert client.text("print('of its own')") == "of its own\n"
    sandbox.delete(SESSIONS + "/" + second["id"]).expect(204)
    assert kernel_ids(sandbox) == [main]
    assert [s["id"] for s in listed(sandbox)] == [first["id"]]


def test_a_session_may_name_its_kernel(sandbox):
    main = sandbox.kernel()["id"]
    first = start(sandbox, "one.ipynb", kernel={"id": main})
    second = start(sandbox, "two.ipynb", kernel={"id": main})
    assert first["kernel"]["id"] == second["kernel"]["id"] == main
    unknown = main[:-3] + "00f"
    found = sandbox.post(SESSIONS, {"path": "c", "type": "notebook", "name": "", "kernel": {"id": unknown}})
    assert found.status == 404, found
    found = sandbox.post(SESSIONS, {"path": "c", "type": "notebook", "name": "", "kernel": {"name": "julia"}})
    assert found.status in (404, 501) and found.json()["message"], found
    assert len(listed(sandbox)) == 2 and kernel_ids(sandbox) == [main]


def test_the_form_of_old_clients(sandbox):
    made = sandbox.post(SESSIONS, {"notebook": {"path": "old.ipynb"}}).expect(201).json()
    assert (made["path"], made["type"], made["notebook"]["path"]) == ("old.ipynb", "notebook", "old.ipynb")
    text = {"Content-Type": "text/plain;charset=UTF-8"}
    body = '{"path": "text.ipynb", "type": "notebook", "name": "", "unknown": [1]}'
    assert sandbox.api("POST", SESSIONS, body=body, headers=text).expect(201).json()["path"] == "text.ipynb"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"path": "a.ipynb"},
        {"type": "notebook"},
        {"path": 7, "type": "notebook"},
        {"path": "a", "type": {}},
        [],
    ],
    ids=str,
)
def test_bodies_that_name_no_session(box, body):
    found = box.post(SESSIONS, body)
    assert found.status == 400 and found.json()["message"], found
    assert listed(box) == []


def test_a_patch_may_change_the_kernel(sandbox):
    made = start(sandbox, "one.ipynb")
    other = sandbox.post(KERNELS).expect(201).json()["id"]
    path = SESSIONS + "/" + made["id"]
    changed = sandbox.api("PATCH", path, {"kernel": {"id": other}, "name": "new"}).expect(200).json()
    assert (changed["kernel"]["id"], changed["name"]) == (other, "new")
    # The main kernel is the sandbox's and stays; one of its own that is left ends.
    assert kernel_ids(sandbox) == [made["kernel"]["id"], other]
    changed = sandbox.api("PATCH", path, {"kernel": {"name": "python3"}}).expect(200).json()
    assert changed["kernel"]["id"] not in (made["kernel"]["id"], other)
    assert kernel_ids(sandbox) == [made["kernel"]["id"], changed["kernel"]["id"]]


def test_a_session_goes_with_its_kernel(sandbox):
    start(sandbox, "one.ipynb")
    second = start(sandbox, "two.ipynb")
    sandbox.delete(KERNELS + "/" + second["kernel"]["id"]).expect(204)
    assert [s["path"] for s in listed(sandbox)] == ["one.ipynb"]


def test_the_labels_of_the_sandbox_hold_them(sandbox):
    made = start(sandbox, "labelled.ipynb")
    labels = sandbox.get("" if sandbox.prefix else "/sandbox").expect(200).json()["labels"]
    (key,) = [k for k in labels if made["id"] in k]
    assert key.startswith("caesarion") and "labelled.ipynb" in labels[key]


def test_64_sessions_and_one_more(sandbox):
    main = sandbox.kernel()["id"]
    for n in range(SESSIONS_MAX):
        start(sandbox, "n%d.ipynb" % n, kernel={"id": main})
    assert len(listed(sandbox)) == SESSIONS_MAX
    found = sandbox.post(
        SESSIONS, {"path": "more.ipynb", "type": "notebook", "name": "", "kernel": {"id": main}}
    )
    assert found.status == 429 and found.json()["message"], found
    # One that exists still can be had, and changed.
    assert start(sandbox, "n0.ipynb")["kernel"]["id"] == main
    sandbox.delete(SESSIONS + "/" + listed(sandbox)[-1]["id"]).expect(204)


def test_a_refused_session_leaves_no_kernel(sandbox):
    main = sandbox.kernel()["id"]
    for n in range(SESSIONS_MAX):
        start(sandbox, "n%d.ipynb" % n, kernel={"id": main})
    found = sandbox.post(SESSIONS, {"path": "more.ipynb", "type": "notebook", "name": ""})
    assert found.status == 429, found
    assert kernel_ids(sandbox) == [main]


def test_a_path_that_is_too_long(sandbox):
    found = sandbox.post(SESSIONS, {"path": "p" * 8193, "type": "notebook", "name": ""})
    assert found.status in (400, 413), found
    assert listed(sandbox) == []
    assert start(sandbox, "p" * 4000)["path"] == "p" * 4000
