"""Beginnings and ends: a kernel's death, creating a sandbox, the runner's start."""

import json
import time

from . import stats
from .clients import NDJSON, Bare, JupyterClient, JupyterSocket
from .report import Failure
from .things import Controller, JupyterServer, KernelTwin, Runner, StockKernel

# The cell says when it will be dead, and is.
DIE = (
    "import os, time\n"
    "t = time.monotonic_ns() + 50_000_000\n"
    "print(t, flush=True)\n"
    "while time.monotonic_ns() < t:\n"
    "    pass\n"
    "os.kill(os.getpid(), 9)\n"
)
DEATHS_MAX = 4  # of one kernel: after five within a minute it stays dead, by design


def deaths(report, controller, plan):
    report.section("kill -9 of the kernel -> the client knows", "The kernel kills itself at a time it has printed before.")
    report.columns("ms", ratio="")
    lags = []
    while len(lags) < plan.deaths:
        controller.await_warm()
        with controller.create() as sandbox, controller.http() as http:
            for _ in range(min(DEATHS_MAX, plan.deaths - len(lags))):
                lags.append(one_death(http, sandbox))
    found = stats.summary(lags)
    report.row(
        "caesarion: `done` with kernel_died (NDJSON)",
        "ms",
        found,
        budgets=[("greatest, ms", found["max"], 100)],
        note="n is small: the budget is held against the greatest",
        id="death",
    )
    with JupyterServer() as server:
        found = stats.summary([death_at_server(server) for _ in range(plan.server_deaths)])
    report.row("Jupyter Server: status `restarting` or `dead` on the WebSocket", "ms", found, id="death.server")


def one_death(http, sandbox):
    http.send("POST", sandbox.path + "/execute", {"code": DIE}, NDJSON)
    status, _ = http.head()
    if status != 200:
        raise Failure("execute answered %d" % status)
    seen = b""
    died_at = None
    for chunk in http.chunks():
        now = time.monotonic_ns()
        seen += chunk
        if b'"type":"done"' in seen:
            died_at = now
    events = [json.loads(line) for line in seen.splitlines() if line]
    if events[-1].get("status") != "kernel_died":
        raise Failure("a killed kernel gave %s" % events[-1])
    text = "".join(e["output"]["text"] for e in events if e["type"] == "output")
    return (died_at - int(text)) / 1e6


def death_at_server(server):
    """The kernel, restarted by then or not, ends with the server: a DELETE now is often a 500."""
    client = JupyterSocket(server)
    with client.connected():
        client.execute("pass")
        client.send(DIE)
        t = None
        while True:
            msg = client.receive()
            if msg["header"]["msg_type"] == "stream":
                t = int(msg["content"]["text"])
            elif msg["content"].get("execution_state") in ("restarting", "dead", "autorestarting"):
                if t is None:
                    raise Failure("the Jupyter Server lost the output before the kernel's death")
                return (time.monotonic_ns() - t) / 1e6


def creates(report, controller, plan):
    report.section(
        "Create -> first result of print(1)",
        "One connection, POST /api/sandboxes, then POST execute; the pool refills meanwhile, on the same processors.",
    )
    report.columns("ms", ratio="")
    made, first, bare = [], [], []
    controller.await_warm()
    with controller.create() as sandbox:
        recipe = sandbox.kernel_recipe()
    for _ in range(plan.warm_creates):
        with KernelTwin(recipe) as twin:
            bare.append(Bare(twin).first("print(1)"))
        controller.await_warm()
        a, b = one_create(controller)
        made.append(a)
        first.append(b)
    found = stats.summary(first)
    report.row("caesarion, warm pool: created", "ms", stats.summary(made), id="create.warm.created")
    report.row(
        "caesarion, warm pool: created and first result",
        "ms",
        found,
        budgets=[("p50, ms", found["p50"], 10)],
        id="create.warm.first",
    )
    report.row("bare C client: first print(1) of a kernel that runs already", "ms", stats.summary(bare), id="create.bare")
    no_pool(report, plan, recipe)


def no_pool(report, plan, recipe):
    report.section("The same with nothing ready: from nothing to the first result", "Kernels start anew each time.")
    report.columns("ms", ratio="")
    with Controller("--warm", "0", "--log-level", "warn") as controller, JupyterServer() as server:
        ways = {
            "caesarion, --warm 0 (bubblewrap, runner, kernel)": lambda: one_create(controller)[1],
            "kernel launched identically, bare C client": lambda: first_bare(recipe),
            "kernel launched identically, jupyter_client": lambda: first_python(recipe),
            "stock kernel, KernelManager and jupyter_client": first_stock,
            "Jupyter Server: POST kernels, WebSocket": lambda: first_at(server),
        }
        times = {subject: [] for subject in ways}
        for _ in range(plan.cold_creates):
            for subject, way in ways.items():
                times[subject].append(way())
    for subject, values in times.items():
        note = "its wait_for_ready() alone takes 0.2 s and more" if subject.endswith("jupyter_client") else None
        report.row(subject, "ms", stats.summary(values), note=note, id="create.cold")


def first_bare(recipe):
    start = time.perf_counter()
    with KernelTwin(recipe) as twin:
        Bare(twin).first("print(1)")
        return (time.perf_counter() - start) * 1000


def one_create(controller):
    with controller.http() as http:
        start = time.perf_counter()
        id = http.ask("POST", "/api/sandboxes", expect=(201,))["id"]
        made = time.perf_counter()
        found = http.ask("POST", "/api/sandboxes/%s/execute" % id, {"code": "print(1)"})
        end = time.perf_counter()
        if found["stdout"] != "1\n":
            raise Failure("the first result was %r" % found["stdout"])
        http.ask("DELETE", "/api/sandboxes/" + id, expect=(204,))
    return (made - start) * 1000, (end - start) * 1000


def first_python(recipe):
    start = time.perf_counter()
    with KernelTwin(recipe) as kernel:
        client = JupyterClient(kernel)
        with client.connected():
            client.execute("print(1)")
            return (time.perf_counter() - start) * 1000


def first_stock():
    start = time.perf_counter()
    with StockKernel(keep_client=True) as kernel:
        JupyterClient(kernel, kernel.client).execute("print(1)")
        return (time.perf_counter() - start) * 1000


def first_at(server):
    start = time.perf_counter()
    client = JupyterSocket(server)
    with client.connected():
        client.execute("print(1)")
        taken = (time.perf_counter() - start) * 1000
    client.delete()
    return taken


def runner_starts(report, plan):
    report.section("The runner: exec -> serving", "caesarion-runner alone, no sandbox; its kernel starts beside it.")
    report.columns("ms", ratio="")
    serving, answered = [], []
    for _ in range(plan.runner_starts):
        with Runner() as runner:
            serving.append(runner.serving_s * 1000)
            answered.append(runner.answered_s * 1000)
    found = stats.summary(serving)
    report.row("it says that it serves", "ms", found, budgets=[("p50, ms", found["p50"], 20)], id="runner.serving")
    report.row("/healthz answered", "ms", stats.summary(answered), id="runner.answered")
