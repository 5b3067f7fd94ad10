"""The command line of the controller: firm, as the README prints it."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest
from lib.client import Api, read_response
from lib.code import FOREVER, Gate
from lib.controller import BIN, PYTHON, TOKENS, clean_env
from lib.process import eventually

FLAGS = {
    "listen": "127.0.0.1:8080",
    "backend": "local",
    "token-file": None,
    "state-dir": None,
    "warm": "1",
    "max-sandboxes": "100",
    "max-sandboxes-per-caller": "0",
    "exec-timeout": "300s",
    "idle-timeout": "1h",
    "isolation": "bwrap",
    "network": "none",
    "memory": "2Gi",
    "pids": "256",
    "files-max": "1Gi",
    "output-limit": "256Mi",
    "python": None,
    "python-path": None,
    "runner": None,
    "on-exit": "remove",
    "drain-timeout": "30s",
    "idle-counts-connections": None,
    "metrics-open": None,
    "allow-origin": None,
    "allow-host": None,
    "log-level": "info",
}


def run(*args, env=None):
    return subprocess.run(
        [str(BIN / "caesarion"), *args],
        env=clean_env("/tmp", env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def refused(c, *flags, status=None):
    """A start that must fail: no ready line, one sentence; returns the sentence."""
    process = c.spawn(*flags)
    found = process.wait_exit(30)
    assert found not in (None, 0), "it started, or ended with 0"
    if status is not None:
        assert found == status
    process.stdout.wait_end(5)
    process.stderr.wait_end(5)
    assert process.stdout.all() == []
    lines = [json.loads(line) for line in process.stderr.all()]
    c._exit_seen.add(process)
    assert [e for e in lines if e["level"] == "error"], lines
    return lines[-1]["reason"]


@pytest.fixture
def idle(controller):
    """A controller that is set up and not started."""
    return lambda *flags, **options: controller(*flags, start=False, **options)


# ---- help and bad flags ----


def test_help_shows_every_option_with_its_twin_and_default():
    found = run("--help")
    assert found.returncode == 0 and found.stderr == ""
    for flag, default in FLAGS.items():
        assert "--" + flag in found.stdout, flag
        assert "CAESARION_" + flag.upper().replace("-", "_") in found.stdout, flag
        if default:
            assert default in found.stdout, flag
    assert "CAESARION_TOKEN" in found.stdout
    assert not re.search(r"--token[^-\w]", found.stdout)  # a secret is not a flag


def test_version():
    found = run("--version")
    assert found.returncode == 0
    assert re.match(r"^caesarion \d+\.\d+\.\d+\n$", found.stdout)


@pytest.mark.parametrize(
    "args, word",
    [
        (["--no-such-flag"], "no-such-flag"),
        (["--warm", "x"], "warm"),
        (["--warm", "-1"], "warm"),
        (["--warm"], "warm"),
        (["--warm", "1", "--warm=1.5"], "warm"),
        (["--backend", "docker"], "backend"),
        (["--isolation", "maybe"], "isolation"),
        (["--network", "some"], "network"),
        (["--memory", "2G"], "memory"),
        (["--memory", "lots"], "memory"),
        (["--exec-timeout", "5"], "exec-timeout"),
        (["--exec-timeout", "5 minutes"], "exec-timeout"),
        (["--exec-timeout", "0s"], "exec-timeout"),
        (["--max-sandboxes", "0"], "max-sandboxes"),
        (["--on-exit", "explode"], "on-exit"),
        (["--log-level", "loud"], "log-level"),
        (["--metrics-open=perhaps"], "metrics-open"),
        (["--token", "secret-on-the-command-line"], "token"),
        (["stray"], "stray"),
        (["--listen", "nonsense"], "listen"),
        (["--listen", "127.0.0.1:99999"], "listen"),
        (["--listen", "unix:" + "x" * 200], ""),
        (["--allow-origin", "not an origin"], "allow-origin"),
    ],
)
def test_a_bad_flag_is_refused_with_a_sentence(tmp_path, args, word):
    found = run(*args, "--state-dir", str(tmp_path), env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found.returncode == 2, found
    assert found.stdout == ""
    text = json.loads(found.stderr.splitlines()[-1])["reason"]
    assert word in text and len(text.split()) >= 4, text
    assert "secret-on-the-command-line" not in found.stderr


@pytest.mark.parametrize(
    "name, value", [("WARM", "x"), ("MEMORY", "1Q"), ("ISOLATION", "no"), ("BACKEND", "docker")]
)
def test_a_bad_twin_is_refused_with_its_name(tmp_path, name, value):
    found = run("--state-dir", str(tmp_path), env={"CAESARION_" + name: value, "XDG_RUNTIME_DIR": str(tmp_path)})
    assert found.returncode == 2, found
    assert "CAESARION_" + name in json.loads(found.stderr.splitlines()[-1])["reason"]


# ---- the ready line ----


def test_the_ready_line_is_all_of_stdout(controller):
    c = controller()
    c.alice.get("/healthz").expect(200)
    c.sandbox().ok("print('not on the controller')")
    assert c.stop() == 0
    c.process.stdout.wait_end(5)
    (line,) = c.process.stdout.all()
    host, port = c.address
    assert line == "caesarion ready at http://127.0.0.1:%d/" % port
    assert port != 0


def test_when_the_line_is_there_it_serves(controller):
    for _ in range(3):
        c = controller()
        with socket.create_connection(c.address, 1):
            pass
        c.alice.get("/readyz").expect(200)


def test_two_controllers_with_port_0_have_two_ports(controller):
    assert controller().address != controller().address


def test_a_unix_socket(controller):
    path = "/tmp/cz-test-%d.sock" % os.getpid()
    c = controller(listen="unix:" + path)
    assert c.ready_lines == ["caesarion ready at http+unix://" + path]
    assert c.sandbox().value("6 * 7") == "42"
    assert c.stop() == 0
    assert not os.path.exists(path)
    # What a kill left behind does not keep the next one from starting.
    c.start()
    c.kill()
    assert os.path.exists(path)
    c.start()
    c.alice.get("/healthz").expect(200)


def test_ipv6(controller):
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    c = controller(listen="[::1]:0")
    assert re.match(r"^caesarion ready at http://\[::1\]:\d+/$", c.ready_lines[0])
    c.alice.get("/healthz").expect(200)


# ---- tokens ----


def test_a_configured_token_is_never_printed(controller):
    c = controller()
    c.sandbox().ok("1")
    c.stop()
    text = "\n".join(c.process.stdout.all() + c.process.stderr.all())
    for token in TOKENS.values():
        assert token not in text
    assert "?token" not in text


def test_a_token_is_made_kept_and_printed_again(controller):
    c = controller(tokens=False)
    match = re.match(r"^caesarion ready at http://127\.0\.0\.1:\d+/\?token=([\w.~-]{20,})$", c.ready_lines[0])
    assert match
    token = match.group(1)
    assert c.sandbox().value("1") == "1"
    Api(c.address, None).get("/api/sandboxes").problem("unauthorized")
    Api(c.address, "x" + token).get("/api/sandboxes").problem("unauthorized")
    for path, _, names in os.walk(c.state_dir):
        for name in names:
            mode = os.lstat(os.path.join(path, name)).st_mode
            if stat.S_ISREG(mode):
                with open(os.path.join(path, name), "rb") as f:
                    if token.encode() in f.read():
                        assert stat.S_IMODE(mode) == 0o600, name
    c.restart()
    assert c.ready_lines[1] == c.ready_lines[0]
    assert token not in "\n".join(c.process.stderr.all())


def test_a_token_of_the_environment_is_an_admin_and_not_printed(controller):
    c = controller(tokens=False, env={"CAESARION_TOKEN": "env-token-0123456789"})
    assert c.ready_lines[0] == "caesarion ready at http://127.0.0.1:%d/" % c.address[1]
    c.own_token = "env-token-0123456789"
    box = c.sandbox()
    assert box.value("import os; 'env-token' in str(os.environ)") == "False"
    with open("/proc/%d/environ" % c.pid, "rb") as f:
        assert b"env-token" not in f.read()
    assert "env-token" not in "\n".join(c.process.stderr.all())


@pytest.mark.parametrize(
    "text",
    ["", "alice\n", "alice:\n", ":token-0123456789\n", "alice:tok en-0123456789\n", "alice:x-0123456789:root\n",
     "alice:token-0123456789\nbob:token-0123456789\n", "\xff:token-0123456789\n"],
)
def test_a_bad_token_file_is_refused(idle, text):
    c = idle()
    c.token_file.write_bytes(text.encode("latin-1"))
    reason = refused(c)
    assert str(c.token_file) in reason or "token" in reason
    assert "token-0123456789" not in "\n".join(c.process.stderr.all())


def test_a_missing_token_file_is_refused(idle):
    c = idle()
    c.token_file.unlink()
    assert str(c.token_file) in refused(c)


def test_a_token_file_may_have_comments_and_blank_lines(idle):
    c = idle()
    c.token_file.write_text("# callers\n\nalice:%(alice)s\nadmin:%(admin)s:admin\n" % TOKENS)
    c.start()
    c.alice.get("/api/sandboxes").expect(200)
    c.bob.get("/api/sandboxes").problem("unauthorized")


# ---- twins ----


def test_the_environment_sets_what_flags_set(controller):
    c = controller(
        listen=None,
        env={
            "CAESARION_LISTEN": "127.0.0.1:0",
            "CAESARION_WARM": "0",
            "CAESARION_EXEC_TIMEOUT": "700ms",
            "CAESARION_IDLE_TIMEOUT": "2m",
            "CAESARION_MAX_SANDBOXES": "1",
            "CAESARION_METRICS_OPEN": "true",
            "CAESARION_LOG_LEVEL": "debug",
            "CAESARION_ALLOW_ORIGIN": "http://a.example.com,http://b.example.com",
            "CAESARION_ON_EXIT": "remove",
        },
    )
    box = c.sandbox()
    assert (box.info["exec_timeout_s"], box.info["idle_timeout_s"]) == (0.7, 120)
    assert box.execute(FOREVER)["status"] == "timeout"
    c.alice.post("/api/sandboxes").problem("limit")
    c.alice.get("/metrics", token=None).expect(200)
    for origin in ("http://a.example.com", "http://b.example.com"):
        c.alice.get("/healthz", headers={"Origin": origin}).expect(200)
    assert [e for e in c.logs if e["level"] == "debug"]


def test_a_flag_beats_the_environment(controller):
    c = controller("--exec-timeout", "9s", env={"CAESARION_EXEC_TIMEOUT": "5s", "CAESARION_WARM": "0"})
    assert c.sandbox().info["exec_timeout_s"] == 9


@pytest.mark.parametrize("text, seconds", [("500ms", 0.5), ("90s", 90), ("3m", 180), ("2h", 7200)])
def test_durations(controller, text, seconds):
    assert controller("--idle-timeout", "3h", "--exec-timeout=" + text).sandbox().info["exec_timeout_s"] == seconds


def test_the_limits_of_a_sandbox_are_what_the_flags_say(controller):
    c = controller("--files-max", "8Mi", "--pids", "40", "--output-limit", "64Ki", "--memory", "1Gi")
    box = c.sandbox()
    code = (
        "import subprocess\nmade = []\ntry:\n    for _ in range(60): made.append(subprocess.Popen(['sleep', '100']))\n"
        "except OSError as e: print(type(e).__name__)\nn = len(made)\nfor p in made: p.kill(); p.wait()\nn < 40"
    )
    found = box.ok(code)
    assert (found["result"], found["stdout"]) == ("True", "BlockingIOError\n")
    events = box.log("print('x' * 1_000_000)")
    assert [e["type"] for e in events].count("truncated") == 1
    assert events[-1]["truncated_bytes"] > 900_000
    assert box.put("big", b"x" * (9 << 20)).problem("no_space")
    assert box.put("small", b"x" * (1 << 20)).expect(201)
    assert box.execute("x = bytearray(3 << 30)")["error"]["ename"] in ("MemoryError", "KernelDied")
    assert box.value("1") == "1"


def test_log_level_error_is_quiet(controller):
    c = controller("--log-level", "error")
    c.sandbox().ok("1")
    assert c.logs == []


# ---- the end ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(controller, number):
    c = controller()
    c.sandbox().ok("1")
    c.process.signal(number)
    assert c.process.wait_exit(30) == 0
    with pytest.raises(OSError):
        c.alice.get("/healthz")


def test_it_drains_what_runs(controller):
    c = controller()
    box = c.sandbox()
    gate = Gate(box)
    kept = box.connect()  # accepted before the stop, used after
    with box.stream("print('started', flush=True)\n" + gate.code + "print('whole')") as stream:
        stream.until_text("started")
        c.process.signal(signal.SIGTERM)
        eventually(lambda: refuses(c), 10, "it stops accepting")
        body = b""
        kept.sendall(box.head("PUT", "/files/" + gate.name, {"Content-Length": str(len(body))}) + body)
        events = stream.all()
    kept.close()
    assert events[-1]["status"] == "ok"
    assert c.process.wait_exit(30) == 0


def refuses(c):
    try:
        with socket.create_connection(c.address, 1):
            return False
    except OSError:
        return True


def test_while_it_stops_it_is_not_ready(controller):
    c = controller()
    stream = c.sandbox().stream(FOREVER)
    stream.until_text("started")
    head = c.alice.head("GET", "/readyz")
    with c.alice.connect() as begun:
        begun.sendall(head[:10])  # under way when the stop comes
        c.alice.get("/healthz").expect(200)
        c.process.signal(signal.SIGTERM)
        eventually(lambda: refuses(c), 10, "it stops accepting")
        begun.sendall(head[10:])
        read_response(begun).problem("unavailable")
    stream.close()
    assert c.process.wait_exit(30) == 0


def test_a_drain_that_takes_too_long_ends(controller):
    c = controller("--drain-timeout", "1s")
    stream = c.sandbox().stream(FOREVER)
    stream.until_text("started")
    begun = time.monotonic()
    c.process.signal(signal.SIGTERM)
    assert c.process.wait_exit(30) == 0
    assert 0.8 < time.monotonic() - begun < 15
    stream.close()


def test_a_second_signal_stops_at_once(controller):
    c = controller("--drain-timeout", "60s")
    stream = c.sandbox().stream(FOREVER)
    stream.until_text("started")
    c.process.signal(signal.SIGTERM)
    eventually(lambda: refuses(c), 10, "it stops accepting")
    begun = time.monotonic()
    c.process.signal(signal.SIGTERM)
    assert c.process.wait_exit(30) == 0
    assert time.monotonic() - begun < 15
    stream.close()


def test_on_exit_remove_ends_the_sandboxes(controller):
    c = controller("--on-exit", "remove")
    c.sandbox().ok("1")
    assert c.stop() == 0
    assert c.process.wait_all_gone(10) == []
    assert list(c.state_dir.glob("sandboxes/*")) == []
    c.start()
    assert c.alice.get("/api/sandboxes").json()["sandboxes"] == []


def test_on_exit_keep_leaves_the_sandboxes_to_the_next(controller):
    c = controller("--on-exit", "keep")
    box = c.sandbox(name="kept", env={"A": "b"})
    box.ok("x = 41")
    assert c.stop() == 0
    assert c.process.descendants()
    c.start()
    found = box.get("").expect(200).json()
    assert (found["name"], found["owner"], found["status"]) == ("kept", "alice", "ready")
    assert box.value("x + 1") == "42"


# ---- refused starts ----


def test_a_taken_port_is_refused(idle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        c = idle(listen="127.0.0.1:%d" % port)
        reason = refused(c)
    assert str(port) in reason and "taken" in reason
    c.start()
    c.alice.get("/healthz").expect(200)


def test_a_locked_state_directory_is_refused(controller, idle):
    first = controller()
    second = idle()
    reason = refused(second, "--state-dir", str(first.state_dir))
    assert str(first.state_dir) in reason
    first.alice.get("/healthz").expect(200)


def test_the_default_state_directory(idle):
    c = idle(env={"XDG_STATE_HOME": None})
    flags = c.argv
    c.argv = lambda *more: [w for w in drop_state_dir(flags(*more))]
    if os.getuid() == 0:
        pytest.skip("as root the default is /var/lib/caesarion, which is not the test's to use")
    c.start()
    assert (c.home / ".local/state/caesarion").is_dir()


def drop_state_dir(argv):
    at = argv.index("--state-dir")
    return argv[:at] + argv[at + 2 :]


def test_the_state_directory_is_private(controller):
    c = controller()
    c.sandbox()
    assert stat.S_IMODE(os.stat(c.state_dir).st_mode) == 0o700
    for path in c.state_dir.rglob("*"):
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and path.parent == c.state_dir:
            assert stat.S_IMODE(mode) & 0o077 == 0, path


@pytest.mark.parametrize("flag", ["--python", "--runner"])
def test_a_missing_program_is_refused_with_its_name(idle, flag):
    reason = refused(idle(), flag, "/nonexistent/program")
    assert "/nonexistent/program" in reason


def test_kubernetes_is_refused_while_it_is_not_there(idle):
    assert "kubernetes" in refused(idle(), "--backend", "kubernetes").lower()


def test_isolation_none_warns(controller):
    c = controller("--isolation", "none")
    assert [e for e in c.logs if e["level"] == "warn" and "isolation" in json.dumps(e)]
    box = c.sandbox()
    assert box.value("6 * 7") == "42"
    box.put("f", b"1").expect(201)
    assert box.value("open('f').read()") == "'1'"


def test_the_runner_is_found_beside_the_controller(controller):
    c = controller(env={"CAESARION_RUNNER": None})
    assert c.sandbox().value("1") == "1"


def test_a_relative_python_is_found_in_path(controller):
    c = controller(env={"CAESARION_PYTHON": "python", "PATH": os.path.dirname(PYTHON) + ":/usr/bin:/bin"})
    assert c.sandbox().value("import sys; sys.prefix") == repr(os.path.dirname(os.path.dirname(PYTHON)))
