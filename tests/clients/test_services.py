"""@jupyterlab/services, the client inside JupyterLab and VS Code, in node."""

import pytest
from drive import programs

PROTOCOLS = ["v1", "legacy"]
LINES = 300  # of the cell of the scenario `reconnect`


def drive(place, scenario, *args, protocol="v1"):
    return programs.node("services.mjs", scenario, *args, PROTOCOL=protocol, **place.env)


def kinds(ran):
    return [o["kind"] for o in ran["outputs"]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_executes(place, protocol):
    saw = drive(place, "execute", protocol=protocol)
    assert saw["protocol"] == ("v1.kernel.websocket.jupyter.org" if protocol == "v1" else "")
    assert saw["model"]["id"] == saw["id"] and saw["model"]["connections"] >= 1, saw["model"]
    assert saw["info"] == {"name": "python", "implementation": "ipython"}
    ran = saw["ran"]
    assert ran["text"] == "to stdout\n"
    assert sorted(kinds(ran)) == ["display_data", "execute_input", "execute_result", "stream", "stream"]
    found = {o["kind"]: o for o in ran["outputs"]}
    assert found["display_data"]["data"] == {"text/plain": "shown", "text/html": "<b>shown</b>"}
    assert found["execute_result"]["data"] == {"text/plain": "42"}
    assert [o["text"] for o in ran["outputs"] if o.get("name") == "stderr"] == ["to stderr\n"]
    assert ran["states"] == ["busy", "idle"]
    assert ran["reply"]["status"] == "ok" and ran["reply"]["execution_count"] == 1
    failed = saw["failed"]
    assert failed["reply"]["status"] == "error" and failed["reply"]["ename"] == "KeyError"
    assert kinds(failed) == ["execute_input", "error"]
    assert saw["silent"]["kinds"] == []
    assert saw["silent"]["reply"]["user_expressions"]["x"]["data"] == {"text/plain": "6"}
    assert saw["completes"] and saw["inspects"] and saw["remembers"]
    assert saw["isComplete"] == "incomplete"
    assert saw["listed"] == {"sessions": True, "kernels": True}
    assert saw["gone"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.ours
def test_much_output_comes_whole_in_messages_below_1_mib(one, protocol):
    saw = drive(one, "much", 5 << 20, protocol=protocol)
    assert saw["whole"], saw
    assert saw["largest"] < 1 << 20


def test_interrupt(place):
    saw = drive(place, "interrupt")
    assert saw["reply"]["status"] == "error" and saw["reply"]["ename"] == "KeyboardInterrupt"
    assert saw["kinds"] == ["execute_input", "stream", "error"]
    assert saw["after"] == "alive\n"


def test_restart(place):
    saw = drive(place, "restart")
    assert saw["after"]["ename"] == "NameError", saw
    assert saw["again"]["execution_count"] == 2
    assert saw["sameId"]


def test_restart_storm(one):
    assert drive(one, "restarts", 4)["texts"] == ["0\n", "1\n", "2\n", "3\n"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_comms_with_buffers_both_ways(one, protocol):
    saw = drive(one, "comm", 1 << 20, protocol=protocol)
    assert saw["opened"] == {"got": [256], "data": {"hello": "wörld"}}
    assert saw["echoed"] == {"echo": {"n": 1}}
    assert saw["intact"]
    assert saw["fromKernel"] == {"data": {"a": 1}, "intact": True}
    assert saw["listed"] == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_stdin(one, protocol):
    saw = drive(one, "stdin", protocol=protocol)
    assert saw["asked"] == [
        {"prompt": "name? ", "password": False},
        {"prompt": "word? ", "password": True},
    ]
    assert saw["text"] == "answer 1 answer 2\n"
    assert saw["refused"] == "StdinNotImplementedError"


def check_reconnected(saw):
    """All came, in order. What had been sent just before, and may have arrived or not, may come twice."""
    assert saw["cut"] == 1 and saw["refused"] == 2, saw
    (first, cut), *after = saw["runs"]
    assert first == 0 and len(after) <= 1 and saw["runs"][-1][1] == LINES - 1, saw["runs"]
    assert not after or 0 <= after[0][0] <= cut + 1, saw["runs"]
    assert [k for k in saw["kinds"] if k != "execute_input"] == ["execute_result"], saw
    assert saw["reply"]["status"] == "ok"
    assert saw["after"] == "after\n"
    assert saw["sameClient"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_lost_connection_loses_nothing(place, protocol):
    check_reconnected(drive(place, "reconnect", 2, protocol=protocol))


@pytest.mark.ours
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_connection_lost_amid_output_loses_nothing(one, protocol):
    check_reconnected(drive(one, "reconnect", 2, "amid", protocol=protocol))


@pytest.mark.ours
def test_api_and_client_share_a_kernel(place):
    saw = drive(place, "shared")
    assert saw["byApi"]["status"] == "ok"
    execution = [s for s in saw["seen"] if s["content"].get("code") or s["kind"] != "status"]
    assert [s["kind"] for s in execution] == ["execute_input", "stream", "execute_result"], saw["seen"]
    assert execution[0]["content"]["code"].startswith("shared = 40")
    assert execution[1]["content"]["text"] == "by the API\n"
    assert len({s["parent"] for s in execution}) == 1
    states = [s["content"]["execution_state"] for s in saw["seen"] if s["parent"] == execution[0]["parent"]
              and s["kind"] == "status"]
    assert states == ["busy", "idle"]
    assert saw["ran"]["text"] == "by the client 40\n"
    mine = saw["mine"]
    assert mine, "GET …/executions does not show what the client ran"
    assert mine["status"] == "ok" and mine["stdout"] == "by the client 40\n" and mine["result"] == "42", mine


@pytest.mark.ours
def test_a_kernel_dies_and_lives_again(one):
    saw = drive(one, "death")
    assert saw["reply"]["status"] == "error" and saw["reply"]["ename"] == "KernelDied", saw
    assert saw["kinds"] == ["execute_input", "stream", "error"], saw
    assert saw["ms"] < 5000
    assert {"restarting", "autorestarting"} & set(saw["states"]), saw
    assert saw["after"] == "alive\n"


def test_kernel_specs_and_logos(place):
    saw = drive(place, "specs")
    assert saw["default"] == "python3" and saw["language"] == "python"
    if place.ours:
        assert saw["logos"], "no logo"
    for logo in saw["logos"].values():
        assert logo["status"] == 200 and logo["type"].startswith("image/") and logo["size"] > 100, logo


def test_contents(one):
    saw = drive(one, "contents")
    assert saw["folder"] == "directory" and saw["named"] == "wörk 1"
    assert saw["book"] == {"type": "notebook", "path": "wörk 1/book.ipynb", "writable": True}
    assert saw["text"] == {"mimetype": "text/plain", "name": "a.txt"}
    assert saw["untitled"] == "wörk 1/Untitled.ipynb"
    assert saw["readBook"]["cells"][0]["source"] == "x"
    assert saw["readText"] == {"content": "grüße\n", "format": "text", "type": "file"}
    assert saw["readBin"]["format"] == "base64"
    assert saw["readBin"]["content"].replace("\n", "") == "AAECAwQF/w=="
    assert saw["bare"] == {"content": None, "format": None}
    assert saw["moved"] == "wörk 1/moved.txt"
    assert saw["list"] == [
        ["Untitled.ipynb", "notebook", None],
        ["a.txt", "file", None],
        ["b.bin", "file", None],
        ["book.ipynb", "notebook", None],
        ["moved.txt", "file", None],
    ]
    if one.ours:
        assert saw["checkpoints"] == []
    assert "wörk 1" not in saw["root"]
    assert saw["errors"] == [404]
