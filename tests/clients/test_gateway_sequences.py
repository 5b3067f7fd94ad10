"""What smolagents, Open WebUI and autogen send to a Kernel Gateway: drivers/sequences.py."""

from drive import programs



def drive(place, client):
    """What it saw, and what its execution with much output must have brought: the length, and that it is right.

    `websockets` ends a connection that brings a message above 1 MiB, and a Jupyter Server sends such ones.
    """
    much = 5 << 20 if place.ours else 1 << 19
    saw = programs.python("sequences.py", client, MUCH=much, **place.env)
    return saw, [much, True]


def test_smolagents(place):
    saw, expected = drive(place, "smolagents")
    first, second, final, failed, much = saw["runs"]
    assert first["stdout"] == "log of a step\n" and first["error"] is None
    assert second["stdout"] == "[1, 2]\n" and second["text"] == ["1"]
    assert final["error"][:2] == ["FinalAnswerException", 'safe:{"a": [1, 2]}']
    assert failed["error"][:2] == ["KeyError", "'b'"] and failed["error"][2] > 0
    assert much["stdout"] == expected


def test_open_webui(place):
    saw, expected = drive(place, "open_webui")
    simple, plot, failed, much = saw["runs"]
    assert simple["stdout"] == "42\n" and simple["stderr"] == "aside\n" and simple["error"] is None
    assert ["image/png", "text/plain"] in plot["results"], plot
    assert failed["error"][0] == "ZeroDivisionError"
    assert much["stdout"] == expected
    assert all(run["gone"] for run in (simple, plot, failed, much))


def test_autogen(place):
    saw, expected = drive(place, "autogen")
    first, failed, second, much, forgotten = saw["runs"]
    assert first["stdout"] == "1\n" and failed["error"][0] == "ZeroDivisionError"
    assert second["text"] == ["2"] and second["error"] is None
    assert forgotten["error"][0] == "NameError"
    assert much["stdout"] == expected
    assert saw["after"] == saw["before"]
