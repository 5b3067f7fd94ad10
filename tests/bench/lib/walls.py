"""What one hostile sandbox costs its neighbours, and how soon it is stopped."""

import time

from . import stats
from .clients import OverHttp, get
from .report import Failure

SPINNERS = 150
# They begin together; each ends by itself after two minutes of CPU.
SPIN = """
import os, subprocess
r, w = os.pipe()
for _ in range(%d):
    subprocess.Popen(['setsid', 'sh', '-c', 'ulimit -t 120; read x; while :; do :; done'], stdin=r)
os.close(r); os.close(w)
""" % SPINNERS
MEMORY_MIB = 256
FULL = "held = bytearray(b'x') * (%d << 20)" % (MEMORY_MIB - 100)
# The clock is the host's: what the code says can be compared with what we see. It says so before, as what
# is on its way when a kernel is killed is lost.
OVER = """
import time
at = time.clock_gettime(time.CLOCK_MONOTONIC) + 0.2
print(at, flush=True)
while time.clock_gettime(time.CLOCK_MONOTONIC) < at: pass
more = bytearray(b'x') * (200 << 20)
time.sleep(60)
"""
ROUNDS = 10
FLAGS = ("--warm", "0", "--memory", "%dMi" % MEMORY_MIB, "--files-max", "64Mi", "--log-level", "warn")


def neighbours(report, controller, plan):
    report.section(
        "Beside one sandbox with %d spinning processes" % SPINNERS,
        "Each in a session of its own. Without a cgroup of the CPU (see memory_held_by in the log) this is the host's own fairness.",
    )
    report.columns("ms", ratio="")
    n = max(50, plan.latency_n // 4)
    with controller.create() as neighbour, controller.create() as hostile:
        client = OverHttp.controller(neighbour)
        client.latency(10, "print(1)")
        for when in ("before", "beside"):
            if when == "beside":
                hostile.execute(SPIN)
            said = "alone" if when == "before" else "beside the spinners"
            report.row("print(1), %s" % said, "ms", stats.summary(client.latency(n, "print(1)")), id="walls.print." + when)
            report.row("GET /healthz, %s" % said, "ms", stats.summary(get(controller, n, 1, "/healthz")), id="walls.healthz." + when)


def reaction(report, controller):
    took = []
    for _ in range(ROUNDS):
        with controller.create() as sandbox, controller.http() as http:
            sandbox.execute(FULL)
            found = http.ask("POST", sandbox.path + "/execute", {"code": OVER})
            now = time.clock_gettime(time.CLOCK_MONOTONIC)
            if found["status"] != "kernel_died" or not found["error"]["oom"]:
                raise Failure("memory above the limit ended with %s" % found["status"])
            took.append((now - float(found["stdout"])) * 1000)
    report.section("The watchdog", "From the statement that passes --memory, filling it included, to the answer.")
    report.columns("ms", ratio="")
    report.row("memory above the limit → kernel_died at the client", "ms", stats.summary(took), id="walls.memory")


def walls(report, controller, plan):
    neighbours(report, controller, plan)
    reaction(report, controller)
