"""Jupyter starts kernels in sandboxes, by the kernelspec that caesarion-attach installs."""

import json
import os
import signal
import stat
import subprocess

import pytest
from lib.attach import (
    Run,
    attaching,
    base_url,
    control,
    run,
    sandboxes,
    wait_iopub,
    wait_no_sandbox,
)
from lib.process import eventually


@pytest.fixture(scope="module")
def own_controller(module_controller):
    return module_controller("--warm", "1")


@pytest.fixture
def attach(own_controller):
    try:
        with attaching(own_controller) as made:
            yield made
        own_controller.hold_logs()
        wait_no_sandbox(own_controller)
    finally:
        own_controller.delete_all()  # of a test that failed


@pytest.fixture
def installed(attach):
    attach.install(
        "--url", base_url(attach.controller), CAESARION_TOKEN=attach.controller.tokens["alice"]
    )
    return attach


def test_what_is_installed(attach):
    token = attach.controller.tokens["alice"]
    words = attach.install("--url", base_url(attach.controller) + "/", CAESARION_TOKEN=token)
    folder = attach.data / "kernels" / "caesarion"
    assert str(folder) in words[0]
    spec = json.loads((folder / "kernel.json").read_text())
    assert spec["display_name"] == "Python (Caesarion)" and spec["language"] == "python"
    assert spec["interrupt_mode"] == "message" and spec["metadata"] == {"debugger": True}
    assert os.path.isabs(spec["argv"][0]) and spec["argv"][1:4] == ["--new", "-f", "{connection_file}"]
    file = spec["argv"][spec["argv"].index("--token-file") + 1]
    assert file == str(attach.dir / ".config" / "caesarion" / "token")
    assert open(file).read().strip() == token
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(file)).st_mode) == 0o700
    assert token not in (folder / "kernel.json").read_text()
    assert (folder / "logo-64x64.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in folder.iterdir()} == {
        "kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg",
    }  # fmt: skip
    # again, elsewhere and under another name
    prefix = attach.dir / "prefix"
    attach.install("--prefix", prefix, "--name", "other", "--token-file", attach.token_file)
    spec = json.loads((prefix / "share/jupyter/kernels/other/kernel.json").read_text())
    assert spec["argv"][-1] == str(attach.token_file)
    venv = attach.dir / "venv"
    attach.install("--sys-prefix", VIRTUAL_ENV=str(venv))
    spec = json.loads((venv / "share/jupyter/kernels/caesarion/kernel.json").read_text())
    assert "--token-file" not in spec["argv"]


def test_start_execute_interrupt_restart_shutdown(installed):
    km = installed.manager()
    kc = installed.adopt(km.blocking_client())
    assert run(kc, "print(6*7)").text == "42\n"
    (box,) = sandboxes(installed.controller)
    msg_id = kc.execute("print('on', flush=True)\nimport time; time.sleep(600)")
    wait_iopub(kc, lambda m: m["msg_type"] == "stream")
    km.interrupt_kernel()
    assert Run(kc, msg_id).of("error")[0]["ename"] == "KeyboardInterrupt"
    run(kc, "open('kept.txt', 'w').write('still here'); x = 1")
    km.restart_kernel()
    kc.wait_for_ready(timeout=60)
    again = run(kc, "print(open('kept.txt').read()); x")
    assert again.text == "still here\n" and again.of("error")[0]["ename"] == "NameError"
    assert [b["id"] for b in sandboxes(installed.controller)] == [box["id"]]
    km.shutdown_kernel()
    wait_no_sandbox(installed.controller)
    assert not os.path.exists(km.connection_file + ".caesarion")


def test_killed_and_restarted_keeps_the_sandbox(installed):
    """As a restarter does it when the process is gone."""
    km = installed.manager()
    kc = installed.adopt(km.blocking_client())
    run(kc, "open('kept.txt', 'w').write('still here')")
    file = km.connection_file + ".caesarion"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    km.restart_kernel(now=True)
    kc.wait_for_ready(timeout=60)
    assert run(kc, "print(open('kept.txt').read())").text == "still here\n"
    assert len(sandboxes(installed.controller)) == 1


def test_the_sandbox_goes_away_meanwhile(installed):
    """The process ends, so that Jupyter sees a dead kernel; its restart makes a new sandbox."""
    km = installed.manager()
    kc = installed.adopt(km.blocking_client())
    (box,) = sandboxes(installed.controller)
    installed.controller.alice.delete("/api/sandboxes/" + box["id"]).expect(204)
    eventually(lambda: not km.is_alive(), 30, "it ends")
    assert km.provisioner.process.returncode == 1
    km.restart_kernel(now=True)
    kc.wait_for_ready(timeout=60)
    (other,) = sandboxes(installed.controller)
    assert other["id"] != box["id"]


def test_requests_before_the_sandbox_is_there(controller):
    """The ports answer at once; what is asked meanwhile waits."""
    one = controller("--warm", "0")
    with attaching(one) as attach:
        attach.install("--url", base_url(one), CAESARION_TOKEN=one.tokens["alice"])
        one.kill()
        km = attach.manager()
        kc = attach.adopt(km.blocking_client(), ready=False)
        assert kc.get_iopub_msg(timeout=20)["msg_type"] == "iopub_welcome"
        msg_id = kc.execute("print('first')")
        eventually(kc.is_alive, 10, "its heart beats")
        one.start()
        assert Run(kc, msg_id).text == "first\n"
    one.hold_logs()
    wait_no_sandbox(one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_sandbox(installed, number):
    km = installed.manager()
    installed.adopt(km.blocking_client())
    os.kill(km.provisioner.process.pid, number)
    assert km.provisioner.process.wait(20) == 0
    wait_no_sandbox(installed.controller)
    assert not os.path.exists(km.connection_file + ".caesarion")


def test_the_manager_dies_without_a_word(installed):
    with subprocess.Popen(["/bin/sleep", "1000"]) as parent:
        path = installed.dir / "conn.json"
        path.write_text(
            json.dumps(
                {
                    "shell_port": 0, "iopub_port": 0, "stdin_port": 0, "control_port": 0, "hb_port": 0,
                    "ip": "127.0.0.1", "transport": "tcp", "key": "k", "signature_scheme": "hmac-sha256",
                }
            )
        )  # fmt: skip
        process = installed.spawn(
            "--new", "-f", path, "--url", base_url(installed.controller),
            "--token-file", installed.token_file, JPY_PARENT_PID=str(parent.pid),
        )  # fmt: skip
        # ports that were open are filled in, as ipykernel does it
        eventually(lambda: json.loads(path.read_text() or "{}").get("hb_port"), 20, "ports")
        installed.client(path)
        process.signal(signal.SIGINT)  # what a terminal sends to all is not meant for a kernel
        assert len(sandboxes(installed.controller)) == 1
        parent.kill()
    assert process.wait_exit(20) == 0
    wait_no_sandbox(installed.controller)


def test_no_controller_to_make_a_sandbox(attach):
    path = attach.dir / "conn.json"
    ports = {name + "_port": 0 for name in ("shell", "iopub", "stdin", "control", "hb")}
    path.write_text(json.dumps({"key": "k", **ports}))
    attach.token_file.write_text("wrong")
    process = attach.spawn(
        "--new", "-f", path, "--url", base_url(attach.controller), "--token-file", attach.token_file
    )
    assert process.wait_exit(30) == 1
    assert process.stderr.wait(lambda line: "the token is not accepted" in line, 10), attach.tail()


def test_shutdown_while_the_sandbox_is_made(controller):
    """Nobody waits for it, and it is not left behind."""
    one = controller("--warm", "0")
    with attaching(one) as attach:
        attach.install("--url", base_url(one), CAESARION_TOKEN=one.tokens["alice"])
        km = attach.manager()
        km.shutdown_kernel()
        assert km.provisioner is None or not km.is_alive()
    wait_no_sandbox(one)
    one.hold_logs()


def test_a_shutdown_request_of_a_client(installed):
    km = installed.manager()
    kc = installed.adopt(km.blocking_client())
    reply = control(kc, "shutdown_request", restart=False)
    assert reply["status"] == "ok" and reply["restart"] is False
    assert km.provisioner.process.wait(20) == 0
    wait_no_sandbox(installed.controller)
