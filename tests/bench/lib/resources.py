"""Memory, processor time, many sandboxes, many executions at once."""

import statistics
import time

from . import stats
from .clients import NDJSON, JupyterSocket, OverHttp, c_client, finish_c, get, start_c
from .executions import EXPECTED, LINES, ONE_PRINT
from .report import Failure
from .things import Controller, JupyterServer, cpu_ms, memory

STREAMS, STREAM_SANDBOXES = 200, 20
STORM = "import time\nfor i in range(10):\n    print(i, flush=True)\n    time.sleep(0.02)"
STORM_TEXT = "".join("%d\n" % i for i in range(10))
IDLE_S = 5
SETTLE_S = 2  # the runner gives memory back a second after the last large output


def memories(report, controller):
    report.section("Memory", "MB of 1,000,000 bytes. RssAnon: the process's own. PSS: with its share of libraries.")
    controller.await_warm()
    with controller.create() as sandbox:
        sandbox.execute("print(1)")
        pids = {"controller": controller.pid, "runner": sandbox.runner_pid()}
        controller.await_warm()
        before = {name: memory(pid) for name, pid in pids.items()}
        client = OverHttp.controller(sandbox, NDJSON)
        for code in (ONE_PRINT, LINES):
            if client.output(code)["sha256"] != EXPECTED[code]:
                raise Failure("output was lost")
        time.sleep(SETTLE_S)
        after = {name: memory(pid) for name, pid in pids.items()}
    limits = {"runner": 2, "controller": 6}
    for name in ("runner", "controller"):
        found = before[name]
        report.value(
            "%s, idle after one execution: RssAnon" % name,
            "MB",
            found["rss_anon"],
            [("RssAnon, MB", found["rss_anon"], limits[name])],
            id="memory." + name,
        )
        report.value("%s, the same: PSS" % name, "MB", found["pss"], id="memory.pss." + name)
        found = after[name]
        report.value("%s, after 2 x 20 MB of output: RssAnon" % name, "MB", found["rss_anon"], id="memory.after." + name)
        report.value("%s, the same: PSS" % name, "MB", found["pss"], id="memory.after.pss." + name)
    with JupyterServer() as server:
        client = JupyterSocket(server)
        client.latency(1, "print(1)")
        found = memory(server.process.pid)
        report.value("Jupyter Server with one kernel, idle: RssAnon", "MB", found["rss_anon"], id="memory.server")
        report.value("Jupyter Server, the same: PSS", "MB", found["pss"], id="memory.pss.server")
        client.delete()


def idle(report, subject, pid, id):
    """Processor time of a program that nobody asks anything."""
    used, naps = cpu_ms(pid)
    time.sleep(IDLE_S)
    used_after, naps_after = cpu_ms(pid)
    report.value(
        "%s: processor time in %d idle seconds" % (subject, IDLE_S),
        "ms",
        used_after - used,
        [("ms a second", (used_after - used) / IDLE_S, 1)],
        "woken %d times; no CPU is what the design wants, 1 ms a second what is called so here" % (naps_after - naps),
        id=id,
    )


def crowd(report, plan):
    """Growth to plan.crowd sandboxes, then the streams on some of them."""
    report.section(
        "From 1 to %d sandboxes on one controller" % plan.crowd,
        "Every one is real: bubblewrap, runner, kernel. No pool, so each create starts a kernel.",
    )
    flags = ("--warm", "0", "--max-sandboxes", str(plan.crowd + 20), "--memory", "1Gi", "--log-level", "warn")
    with Controller(*flags) as controller:
        idle(report, "controller, no sandbox", controller.pid, "idle.0")
        sandboxes, created = [], []
        marks = sorted({1, 10, 20, 50, plan.crowd} & set(range(plan.crowd + 1)))
        at = {0: mark(controller)}
        while len(sandboxes) < plan.crowd:
            start = time.perf_counter()
            sandboxes.append(controller.create())
            created.append((time.perf_counter() - start) * 1000)
            if len(sandboxes) in marks:
                at[len(sandboxes)] = mark(controller)
        kernels = controller.kernel_pids()
        show_growth(report, at, created, len(kernels))
        show_weights(report, controller, kernels)
        idle(report, "controller, %d sandboxes" % plan.crowd, controller.pid, "idle.crowd")
        removed = []
        for sandbox in sandboxes[STREAM_SANDBOXES:]:
            start = time.perf_counter()
            sandbox.delete()
            removed.append((time.perf_counter() - start) * 1000)
        if removed:
            report.columns("ms", ratio="")
            report.row("DELETE of a sandbox", "ms", stats.summary(removed), id="delete")
        storm(report, controller, sandboxes[:STREAM_SANDBOXES])


def mark(controller):
    lists = get(controller, 50, 1, "/api/sandboxes")
    return memory(controller.pid)["rss_anon"], statistics.median(lists)


def show_growth(report, at, created, kernels):
    top = max(at)
    for n, (rss, listing) in at.items():
        report.value("controller with %d sandboxes: RssAnon" % n, "MB", rss, id="crowd.rss.%d" % n)
        report.value("    GET /api/sandboxes, p50 (one page: at most its default limit)", "ms", listing, id="crowd.list.%d" % n)
    growth = (at[top][0] - at[1][0]) * 1e6 / (top - 1)
    report.value(
        "growth of RssAnon a sandbox, 1 to %d" % top,
        "bytes",
        growth,
        [
            ("bytes a sandbox", growth, 4096),
            ("RssAnon at %d, MB" % top, at[top][0], 6 + 0.004096 * top),
        ],
        "real: %d kernels" % kernels,
        id="crowd.growth",
    )
    report.columns("ms", ratio="")
    tenth = max(5, len(created) // 10)
    report.row("create, the first %d" % tenth, "ms", stats.summary(created[:tenth]), id="crowd.create.first")
    report.row("create, the last %d" % tenth, "ms", stats.summary(created[-tenth:]), id="crowd.create.last")


def show_weights(report, controller, kernels):
    runners = [memory(pid) for pid in controller.runner_pids().values()]
    for name, found in (("runners", runners), ("kernels", [memory(pid) for pid in kernels])):
        for what, label in (("rss_anon", "RssAnon"), ("pss", "PSS")):
            values = [m[what] for m in found]
            if None not in values:
                report.value("%s of the %d %s, median" % (label, len(found), name), "MB", statistics.median(values), id="crowd.%s.%s" % (name, what))


def storm(report, controller, sandboxes):
    report.section(
        "%d streaming executions at once over %d sandboxes, /healthz beside them" % (STREAMS, len(sandboxes)),
        "Each prints ten lines in 0.2 s; those of one sandbox queue. /healthz every 3 ms or so, by http_client.c.",
    )
    calm = get(controller, 300, 3, "/healthz")
    argv = [c_client("http_client"), controller.address, "storm", str(STREAMS), STORM_TEXT, STORM]
    process = start_c(argv + [s.path + "/execute" for s in sandboxes], controller.token)
    beside = []
    while process.poll() is None:
        beside += get(controller, 50, 3, "/healthz")
    found = finish_c(process)
    if found["failed"] or found["wrong"]:
        raise Failure("of %d streams %d failed, %d had wrong text" % (STREAMS, found["failed"], found["wrong"]))
    report.columns("ms", ratio="")
    report.row("/healthz, nothing else", "ms", stats.summary(calm), id="storm.calm")
    healthz = stats.summary(beside)
    report.row("/healthz beside the streams", "ms", healthz, budgets=[("p99, ms", healthz["p99"], 20)], id="storm.healthz")
    report.row(
        "streams: request -> first byte of the answer",
        "ms",
        stats.summary([us / 1000 for us in found["first"]["us"]]),
        id="storm.first",
    )
    report.row(
        "streams: request -> end",
        "ms",
        stats.summary([us / 1000 for us in found["done"]["us"]]),
        budgets=[("streams that failed", found["failed"] + found["wrong"], 0)],
        note="all %d complete, in %.1f s together" % (STREAMS, found["seconds"]),
        id="storm.done",
    )
