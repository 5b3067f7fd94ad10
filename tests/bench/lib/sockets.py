"""Jupyter clients' WebSockets beside those of the servers they come from: latency, a kernel's start, much output,
memory. One small C client for all of them, so that what differs is the server."""

from . import stats
from .bed import Bed
from .clients import Bare, OverSocket, finish_idle, start_kernel
from .executions import BARE, EXPECTED, LINES, ONE_PRINT, len_of
from .report import Failure
from .things import Controller, JupyterServer, KernelGateway, KernelTwin, memory

OURS = "caesarion, WebSocket (%s)"
SERVER = "Jupyter Server, WebSocket (%s), stock kernel"
GATEWAY = "Kernel Gateway, WebSocket (%s), stock kernel"
PROTOCOLS = ("legacy", "v1")
IDLE = 500
SLOW_SHARE = 8  # of the samples: what a competitor gets that takes 44 ms for one
PRINT = "print(1)"


class SocketBed(Bed):
    warm_up = 2

    def compete(self, stack, servers):
        found = {BARE: Bare(stack.enter_context(KernelTwin(self.sandbox.kernel_recipe())))}
        for protocol in PROTOCOLS:
            found[OURS % protocol] = OverSocket.controller(self.sandbox, protocol)
        for name, server in servers.items():
            kernel = server.kernel()
            stack.callback(server.end_kernel, kernel)
            for protocol in PROTOCOLS:
                found[name % protocol] = OverSocket.server(server, kernel, protocol)
        return found


class Sockets:
    def __init__(self, report, controller, plan):
        self.report, self.controller, self.plan = report, controller, plan
        self.latency = stats.Rounds()
        self.output = {ONE_PRINT: stats.Rounds(), LINES: stats.Rounds()}
        self.starts = stats.Rounds()
        self.largest = 0
        self._turn = 0

    def _in_turn(self, competitors):
        self._turn += 1
        return list(competitors.items())[:: 1 if self._turn % 2 else -1]

    def measure(self):
        with JupyterServer() as server, KernelGateway() as gateway:
            servers = {SERVER: server, GATEWAY: gateway}
            for _ in range(self.plan.beds):
                with SocketBed(self.controller, servers) as bed:
                    for _ in range(self.plan.latency_rounds):
                        self._latency_round(bed)
                    for _ in range(self.plan.output_rounds):
                        self._output_round(bed)
            for _ in range(self.plan.warm_creates):
                self._start_round(servers)

    def _latency_round(self, bed):
        self.latency.begin()
        for subject, c in self._in_turn(bed.competitors):
            n = self.plan.latency_n
            if not subject.startswith(("bare", "caesarion")):
                n = max(8, n // SLOW_SHARE)
            self.latency.add(subject, c.latency(n, PRINT))

    def _output_round(self, bed):
        wanted = [BARE, *(OURS % p for p in PROTOCOLS)]
        competitors = {s: c for s, c in bed.competitors.items() if s in wanted}
        for code, rounds in self.output.items():
            rounds.begin()
            for subject, c in self._in_turn(competitors):
                found = c.output(code)
                if found["sha256"] != EXPECTED[code] or found["bytes"] != len_of(code):
                    raise Failure("%s lost or changed output: %d bytes of %d" % (subject, found["bytes"], len_of(code)))
                self.largest = max(self.largest, found.get("largest", 0))
                rounds.add(subject, [found["mb_per_s"]])

    def _start_round(self, servers):
        ours, token = self.controller.address, self.controller.token
        competitors = {OURS % p: (ours, "/jupyter", token, p) for p in PROTOCOLS}
        for name, server in servers.items():
            competitors[name % "legacy"] = (server.address, "", server.token, "legacy")
        self.starts.begin()
        for subject, where in self._in_turn(competitors):
            if subject.startswith("caesarion"):
                self.controller.await_warm()
            self.starts.add(subject, [start_kernel(*where, PRINT)[1]])

    def show(self):
        self._show_latency()
        self._show_starts()
        for code, title, id in (
            (ONE_PRINT, "20 MB of stdout through a WebSocket: one print", "one-print"),
            (LINES, "20 MB of stdout through a WebSocket: 200,000 prints", "lines"),
        ):
            self._show_output(code, title, id)

    def _show_latency(self):
        self.report.section(
            "print(1) over a WebSocket, warm: request sent -> reply and idle received",
            "ws_client.c for all, one connection; ratio: to the bare client. Ours goes through controller and runner.",
        )
        self.report.columns("ms")
        for subject in self.latency.subjects_in_order(BARE, *(n % p for n in (OURS, SERVER, GATEWAY) for p in PROTOCOLS)):
            ratio = self.latency.ratio(subject, BARE)
            budgets = []
            if subject.startswith("caesarion"):
                protocol = next(p for p in PROTOCOLS if subject == OURS % p)
                budgets = [("p50, times bare", ratio["p50"], 1.3)]
                for name in (SERVER, GATEWAY):
                    faster = self.latency.ratio(name % protocol, subject)["p50"]
                    budgets.append((name.split(",")[0] + "'s p50, times ours", faster, 10, True))
            summary = stats.summary(self.latency.all(subject))
            self.report.row(subject, "ms", summary, ratio, budgets, id="socket.print")

    def _show_starts(self):
        self.report.section(
            "Start of a kernel -> first result of print(1)",
            "POST /api/kernels, a WebSocket, the request at once; ratio: to a Jupyter Server. Ours: /jupyter, a warm pool.",
        )
        self.report.columns("ms")
        for subject in self.starts.subjects():
            ratio = self.starts.ratio(subject, SERVER % "legacy")
            self.report.row(subject, "ms", stats.summary(self.starts.all(subject)), ratio, id="socket.start")

    def _show_output(self, code, title, id):
        rounds = self.output[code]
        self.report.section(title, "Rates: higher is better. All text is compared by its SHA-256; nothing may be missing.")
        self.report.columns("MB/s", rates=True)
        for subject in rounds.subjects_in_order(BARE, *(OURS % p for p in PROTOCOLS)):
            ratio = rounds.ratio(subject, BARE)
            note = "largest message: %d bytes" % self.largest if subject != BARE else None
            self.report.row(subject, "MB/s", stats.summary(rounds.all(subject)), ratio, note=note, id="socket.output." + id)


def idle(report):
    """What a WebSocket costs that says nothing. A fresh controller each time: memory once had is used again."""
    report.section("Memory of %d idle WebSockets on one kernel" % IDLE, "RssAnon, before and while they are open.")
    for protocol in PROTOCOLS:
        with Controller("--warm", "0") as controller, controller.create() as sandbox:
            client = OverSocket.controller(sandbox, protocol)
            client.latency(1, PRINT)
            pids = {"controller": controller.pid, "runner": sandbox.runner_pid()}
            before = {name: memory(pid)["rss_anon"] for name, pid in pids.items()}
            process = client.idle(IDLE)
            try:
                open_now = {name: memory(pid)["rss_anon"] for name, pid in pids.items()}
            finally:
                finish_idle(process)
        each = {name: (open_now[name] - before[name]) * 1e6 / IDLE for name in pids}
        for name, value in each.items():
            note = "%.2f MB before, %.2f MB with %d" % (before[name], open_now[name], IDLE)
            subject = "%s (%s): RssAnon a WebSocket" % (name, protocol)
            report.value(subject, "bytes", value, note=note, id="socket.idle.%s.%s" % (name, protocol))
        total = sum(each.values())
        budgets = [("bytes a WebSocket", total, 64 * 1024)]
        report.value("both together (%s)" % protocol, "bytes", total, budgets, id="socket.idle." + protocol)
