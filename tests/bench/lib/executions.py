"""Executions beside those of the competitors: latency, live output, much output. All on beds."""

import hashlib

from . import stats
from .bed import Bed
from .clients import JSON, NDJSON, SSE, Bare, JupyterClient, JupyterSocket, OverHttp
from .report import Failure
from .things import JupyterServer, KernelTwin, StockKernel

BARE = "bare C client (ZeroMQ), kernel launched identically"
CONTROLLER = "caesarion: controller and runner"
RUNNER = "caesarion: the same sandbox's runner, directly"
CLIENT = "Python jupyter_client, kernel launched identically"
STOCK = "Python jupyter_client, stock kernel"
SERVER = "Jupyter Server, WebSocket (Python client), stock kernel"

BLOCK = '"0123456789" * 9 + "abcdefgh\\u00e9\\n"'
ONE_PRINT = "print((%s) * 200000, end='')" % BLOCK
LINES = "for i in range(200000): print(f'{i:099d}')"
LIVE = "import time\nfor _ in range(%d):\n    print(time.monotonic_ns())\n    time.sleep(0.037)"


def sha(data):
    return hashlib.sha256(data).hexdigest()


# 20 MB each. One has a character of two bytes in each line, which JSON may write as an escape.
EXPECTED = {
    ONE_PRINT: sha(("0123456789" * 9 + "abcdefgh\u00e9\n").encode() * 200000),
    LINES: sha(b"".join(b"%099d\n" % i for i in range(200000))),
}


class ExecutionBed(Bed):
    def compete(self, stack, server):
        twin = stack.enter_context(KernelTwin(self.sandbox.kernel_recipe()))
        socket = JupyterSocket(server)
        stack.callback(socket.delete)
        return {
            BARE: Bare(twin),
            CONTROLLER: OverHttp.controller(self.sandbox),
            RUNNER: OverHttp.runner(self.sandbox),
            CLIENT: JupyterClient(twin),
            STOCK: JupyterClient(stack.enter_context(StockKernel())),
            SERVER: socket,
        }

    def streamed(self, accept):
        return OverHttp.controller(self.sandbox, accept)

    def runner_streamed(self):
        return OverHttp.runner(self.sandbox, NDJSON)


class Executions:
    def __init__(self, report, controller, plan):
        self.report = report
        self.controller = controller
        self.plan = plan
        self.latency = {"print(1)": stats.Rounds(), "pass": stats.Rounds()}
        self.live = stats.Rounds()
        self.output = {ONE_PRINT: stats.Rounds(), LINES: stats.Rounds()}
        self.lost = {}  # share of the Jupyter Server's output that did not come, by code
        self._turn = 0

    def _in_turn(self, competitors):
        """A,B,C, then C,B,A."""
        self._turn += 1
        return list(competitors.items())[:: 1 if self._turn % 2 else -1]

    def measure(self):
        with JupyterServer() as server:
            for _ in range(self.plan.beds):
                with ExecutionBed(self.controller, server) as bed:
                    self._latency(bed)
                    self._live(bed)
                    self._output(bed)

    def _latency(self, bed):
        for _ in range(self.plan.latency_rounds):
            for code, rounds in self.latency.items():
                rounds.begin()
                for subject, c in self._in_turn(bed.competitors):
                    n = self.plan.latency_n
                    rounds.add(subject, c.latency(n if subject != SERVER else max(8, n // 8), code))

    def _live(self, bed):
        code = LIVE % self.plan.live_n
        competitors = {
            BARE: bed.competitors[BARE],
            CONTROLLER + " (NDJSON)": bed.streamed(NDJSON),
            CONTROLLER + " (SSE)": bed.streamed(SSE),
            STOCK: bed.competitors[STOCK],
            SERVER: bed.competitors[SERVER],
        }
        self._live_subjects = list(competitors)
        self.live.begin()
        for subject, c in self._in_turn(competitors):
            lags = c.live(code)
            if len(lags) != self.plan.live_n:
                raise Failure("%s: %d of %d lines came" % (subject, len(lags), self.plan.live_n))
            self.live.add(subject, lags)

    def _output(self, bed):
        competitors = {
            BARE: bed.competitors[BARE],
            CONTROLLER + " (NDJSON)": bed.streamed(NDJSON),
            CONTROLLER + " (SSE)": bed.streamed(SSE),
            CONTROLLER + " (JSON, at the end)": bed.streamed(JSON),
            RUNNER + " (NDJSON)": bed.runner_streamed(),
            STOCK: bed.competitors[STOCK],
            SERVER: bed.competitors[SERVER],
        }
        if not self.plan.forms:
            del competitors[CONTROLLER + " (SSE)"], competitors[CONTROLLER + " (JSON, at the end)"]
        self._output_subjects = list(competitors)
        for _ in range(self.plan.output_rounds):
            for code, rounds in [(ONE_PRINT, self.output[ONE_PRINT])] * 3 + [(LINES, self.output[LINES])]:
                rounds.begin()
                for subject, c in self._in_turn(competitors):
                    found = c.output(code)
                    whole = found["sha256"] == EXPECTED[code] and found["bytes"] == len_of(code)
                    if subject == SERVER:
                        self.lost.setdefault(code, []).append(1 - found["bytes"] / len_of(code))
                    elif not whole:
                        raise Failure(
                            "%s lost or changed output: %d bytes of %d" % (subject, found["bytes"], len_of(code))
                        )
                    rounds.add(subject, [found["mb_per_s"]])

    def show(self):
        for code, rounds in self.latency.items():
            self._show_latency(code, rounds)
        self._show_share()
        self._show_live()
        self._show_output(ONE_PRINT, "20 MB of stdout: one print, lines of 100 bytes", "one-print")
        self._show_output(LINES, "20 MB of stdout: 200,000 prints", "lines")

    def _show_latency(self, code, rounds):
        self.report.section(
            "%s, warm: request sent -> reply and idle (or the HTTP answer) received" % code,
            "HTTP: http_client.c, one kept-alive connection, Accept: application/json; ratio: to the bare client.",
        )
        self.report.columns("ms")
        for subject in (BARE, CONTROLLER, RUNNER, CLIENT, STOCK, SERVER):
            ratio = rounds.ratio(subject, BARE)
            budgets = []
            if subject == CONTROLLER and code == "print(1)":
                budgets = [("p50, times bare", ratio["p50"], 1.3), ("p99, times bare", ratio["p99"], 2.0)]
            self.report.row(
                subject, "ms", stats.summary(rounds.all(subject)), ratio, budgets, id="latency." + code
            )

    def _show_share(self):
        self.report.section("The controller's own share: via controller minus via runner, same sandbox")
        self.report.columns("ms", ratio="")
        for code, rounds in self.latency.items():
            shares = rounds.per_round(CONTROLLER, RUNNER, lambda a, b: a - b)
            found = stats.summary(shares)
            self.report.row(
                "%s: p50 of a round through the controller, minus directly" % code,
                "ms",
                found,
                budgets=[("p50, ms", found["p50"], 0.3)],
                id="share." + code,
            )

    def _show_live(self):
        self.report.section(
            "print inside a running cell -> bytes read by the client",
            "The cell prints its clock every 37 ms; the client compares it with its own (the same clock).",
        )
        self.report.columns("ms")
        for subject in self._live_subjects:
            found = stats.summary(self.live.all(subject))
            ours = subject.startswith(CONTROLLER)
            self.report.row(
                subject,
                "ms",
                found,
                self.live.ratio(subject, BARE),
                [("p50, ms", found["p50"], 30)] if ours else (),
                id="live",
            )

    def _show_output(self, code, title, id):
        rounds = self.output[code]
        self.report.section(title, "Rates: higher is better. All text is compared by its SHA-256; nothing may be missing.")
        self.report.columns("MB/s", rates=True)
        for subject in self._output_subjects:
            ratio = rounds.ratio(subject, BARE)
            note = None
            if subject == SERVER:
                worst = max(self.lost[code])
                note = "its default limits dropped up to %.0f %% of it" % (worst * 100) if worst > 0 else "complete"
            budgets = []
            if subject == CONTROLLER + " (NDJSON)":
                budgets = [("rate, times bare", ratio["p50"], 0.9, True)]
            self.report.row(
                subject, "MB/s", stats.summary(rounds.all(subject)), ratio, budgets, note, id="output." + id
            )


def len_of(code):
    return 200000 * (101 if code == ONE_PRINT else 100)
