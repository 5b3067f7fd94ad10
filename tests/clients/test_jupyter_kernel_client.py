"""jupyter_kernel_client."""

from drive import programs


def test_jupyter_kernel_client(place):
    saw = programs.python("kernel_client.py", **place.env)
    assert saw["info"] == "python"
    simple = {o["output_type"] + o.get("name", ""): o for o in saw["simple"]["outputs"]}
    assert simple["streamstdout"]["text"] == "out\n" and simple["streamstderr"]["text"] == "err\n"
    assert simple["execute_result"]["data"] == {"text/plain": "42"}
    assert saw["simple"]["status"] == "ok" and saw["simple"]["execution_count"] == 1
    assert saw["display"]["outputs"][0]["data"]["text/html"] == "<b>b</b>"
    assert saw["error"]["status"] == "error" and saw["error"]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert saw["asked"] == ["name? "] and saw["stdin"]["outputs"][0]["text"] == "hello Ada\n"
    assert saw["variables"] == ["number", "text"]
    assert saw["interrupted"] == ["KeyboardInterrupt"]
    assert saw["shared"]["outputs"][0]["data"] == {"text/plain": "42"}
    assert saw["alive"]
    assert saw["restarted"]["outputs"][0]["ename"] == "NameError"
    assert saw["state"] == "idle" and saw["active"]
    if place.ours:  # a Jupyter Server starts it again, and only the DELETE after ten seconds ends it
        assert saw["stop_s"] < 8, saw
        assert saw["gone"]
