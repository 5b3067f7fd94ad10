"""jupyter_client over the native attach: at a sandbox's kernel, and starting kernels by a kernelspec."""

import concurrent.futures
import json

from drive import native, programs


def drive(home, env, script, *args):
    argv = [programs.PYTHON, str(programs.HERE / "drivers" / script), *args]
    return programs.result(argv, env, home / "work")


def test_a_kernel_manager(everywhere):
    with native.kernelspec(everywhere) as (home, env):
        saw = drive(home, env, "manager.py", native.SPEC)
    assert saw["first"] == {"text": "first\n", "status": "ok", "ename": None, "result": "42"}
    assert saw["beats"]
    assert saw["interrupted"]["ename"] == "KeyboardInterrupt", saw
    assert saw["after"]["result"] == "6"
    assert saw["restarted"]["ename"] == "NameError"
    assert saw["again"]["text"] == "again\n"
    assert not saw["alive"]
    if everywhere.ours:
        assert everywhere.kernels() == [], "the sandbox was left"


def test_kernel_managers_at_once(everywhere):
    with native.kernelspec(everywhere) as (home, env), concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [pool.submit(drive, home, env, "manager.py", native.SPEC) for _ in range(3)]
        texts = [run.result()["again"]["text"] for run in runs]
    assert texts == ["again\n"] * 3
    if everywhere.ours:
        assert everywhere.kernels() == [], "a sandbox was left"


def test_jupyter_lists_the_kernelspec(everywhere):
    with native.kernelspec(everywhere) as (home, env):
        argv = [programs.PYTHON, "-m", "jupyter_client.kernelspecapp", "list", "--json"]
        lines = programs.finished(argv, env, home)
    spec = json.loads("\n".join(lines))["kernelspecs"][native.SPEC]["spec"]
    assert spec["display_name"] == "Python (Caesarion)" and spec["language"] == "python"
    if everywhere.ours:
        assert everywhere.token not in json.dumps(spec)
        assert spec.get("interrupt_mode") == "message"
