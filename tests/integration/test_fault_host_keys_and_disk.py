"""What a sandbox may take from, or leave on, the controller's side: keys, files to remove, log lines."""

import os
import platform
import select
import sys
import time

from lib.hostile import end, fresh, goes_on, small
from lib.process import Process

KEYCTL, ADD_KEY = {"x86_64": (250, 248), "aarch64": (219, 217)}[platform.machine()]
KEY = "caesarion-test-secret"


# ---- keys ----

# Starts the controller as systemd, PAM or a container's runtime would: with something in its session keyring.
WITH_A_KEY = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(%d, 1, None) < 0:
    sys.exit('no keys: ' + os.strerror(ctypes.get_errno()))
assert libc.syscall(%d, b'user', %r, b'hush', 4, -3) >= 0
os.execv(sys.argv[1], sys.argv[1:])
""" % (KEYCTL, ADD_KEY, KEY.encode())

# Inside: searches the session keyring, reads what it finds, and asks for it in every other way.
LOOK = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(64)
found = libc.syscall(%d, 10, -3, b'user', %r, 0)
print(found > 0, found > 0 and libc.syscall(%d, 11, found, buffer, 64) > 0 and buffer.value)
""" % (KEYCTL, KEY.encode(), KEYCTL)


def test_keys_of_the_controllers_session_are_not_to_be_had_inside(controller):
    with_key = [sys.executable, "-I", "-S", "-c", WITH_A_KEY]
    it = controller("--memory", "256Mi", start=False)

    def spawn(*more):
        it.processes.append(Process([*with_key, *it.argv(*more)], it.env(), cwd=it.dir))
        return it.process

    it.spawn = spawn
    it.start()
    box = it.sandbox()
    assert box.ok(LOOK)["stdout"] == "False False\n"
    # Nor are they listed: as ordinary user the host's keys are those of the sandbox's own id.
    for name in ("keys", "key-users"):
        found = box.execute("print(repr(open('/proc/%s').read()))" % name)
        assert found["status"] == "error" or found["stdout"] == "''\n", found
    goes_on(box)
    end(box)


# ---- files that are to be removed ----


def test_any_number_of_files_is_removed_beside_the_loop(controller):
    it = controller("--memory", "256Mi")
    box, other = it.sandbox(), it.sandbox()
    folder = it.state_dir / "sandboxes" / box.id / "spill"
    for i in range(200000):
        os.mknod(folder / str(i))
    slowest, asked = 0, 0
    with it.alice.connect() as sock:
        sock.sendall(it.alice.head("DELETE", "/api/sandboxes/" + box.id))
        while not select.select([sock], [], [], 0)[0]:
            before = time.monotonic()
            it.alice.get("/healthz", token=None).expect(200)
            slowest, asked = max(slowest, time.monotonic() - before), asked + 1
        assert sock.recv(100).startswith(b"HTTP/1.1 204 ")
    assert not folder.parent.exists()
    assert slowest < 0.5, "%g s beside the removal, in %d requests" % (slowest, asked)
    assert asked > 20, asked
    goes_on(other)
    it.alice.get("/api/sandboxes/" + box.id).problem("not_found")


# ---- the runner's log ----

CEILING = 4 << 20

# What code can have written into the log: one line in an execution.
FORGED = """
import json
kernel = get_ipython().kernel
raw = [json.dumps({'msg_id': '1', 'msg_type': 'forged', 'session': 's'}).encode(),
       json.dumps(kernel.get_parent('shell')['header'], default=str).encode(), b'{}', b'{malformed']
for _ in range(100): kernel.iopub_thread.send_multipart([b't', b'<IDS|MSG>', kernel.session.sign(raw), *raw])
"""


def test_the_runners_log_has_a_ceiling_and_keeps_its_end(controller):
    with small(controller) as it, fresh(it) as box:
        it.hold_logs()
        path = it.state_dir / "sandboxes" / box.id / "runner.log"
        box.ok(FORGED)
        lines = it.runner_log(box.id)
        assert sum("kernel_message_malformed" in x for x in lines) == 1, lines
        # The rest of the way, which takes user code some 20,000 executions.
        with path.open("a") as f:
            for n in range(100000):
                f.write("filler %05d %s\n" % (n, "." * 100))
                if f.tell() > CEILING - 100:
                    break
        box.ok(FORGED)
        assert path.stat().st_size < CEILING / 8
        lines = it.runner_log(box.id)
        assert '"event":"log_cut"' in lines[0], lines[0][:300]
        assert lines[-2].startswith("filler %05d" % n), lines[-2]
        assert "kernel_message_malformed" in lines[-1], lines[-1]
        box.ok(FORGED)
        assert len(it.runner_log(box.id)) == len(lines) + 1
        goes_on(box)
