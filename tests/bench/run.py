"""The benchmark: ./dev bench [--quick] [--out FILE] [--only SECTION]

It measures and tells; no time makes it fail. It fails (exit status 1) where a measurement is none: a
competitor is missing, an execution failed, output was lost. README.md says how to read it.
"""

import argparse
import dataclasses
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from lib import peers, things  # noqa: E402
from lib.report import Failure, Report  # noqa: E402


@dataclasses.dataclass
class Plan:
    beds: int  # fresh sandboxes and kernels that executions are measured on
    latency_rounds: int  # a bed
    latency_n: int  # executions a round and competitor
    live_n: int  # lines a bed and competitor
    output_rounds: int  # a bed
    deaths: int
    server_deaths: int
    warm_creates: int
    cold_creates: int
    runner_starts: int
    crowd: int  # sandboxes at once
    forms: bool  # much output in all forms of an answer


QUICK = Plan(2, 4, 30, 20, 1, 4, 1, 8, 2, 10, 20, False)
FULL = Plan(4, 6, 50, 40, 2, 20, 3, 25, 8, 30, 100, True)

REAL = {
    "kernels": "real ipykernel processes everywhere, no stand-in; those of sandboxes in bubblewrap",
    "runners": "real, one a sandbox, PID 1 of its namespace; alone only where the table says so",
    "records": "real: each sandbox on the list of the controller is one that runs",
    "network": "loopback; controller to runner: Unix sockets",
    "clients": "http_client.c, ws_client.c and bare_client.c (same clock and statistics); jupyter_client and websocket-client: Python",
}


def parse(argv):
    p = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    p.add_argument("--quick", action="store_true", help="at most 3 minutes in place of 12")
    p.add_argument("--out", help="the JSON file; build/bench.json of the checkout by default")
    p.add_argument("--only", action="append", choices=list(SECTIONS), help="measure this only; may be repeated")
    return p.parse_args(argv)


def executions(report, plan):
    from lib.executions import Executions

    with things.Controller("--warm", "1") as controller:
        found = Executions(report, controller, plan)
        found.measure()
        found.show()


def sockets(report, plan):
    from lib import sockets as jupyter

    with things.Controller("--warm", "1") as controller:
        found = jupyter.Sockets(report, controller, plan)
        found.measure()
        found.show()
    jupyter.idle(report)


def lifecycle(report, plan):
    from lib import lifecycle as life

    with things.Controller("--warm", "1") as controller:
        life.deaths(report, controller, plan)
        life.creates(report, controller, plan)
    life.runner_starts(report, plan)


def memory(report, plan):
    from lib import resources

    with things.Controller("--warm", "1") as controller:
        resources.memories(report, controller)
        resources.idle(report, "controller, one warm sandbox", controller.pid, "idle.warm")
        controller.await_warm()
        runner = next(iter(controller.runner_pids().values()))
        resources.idle(report, "its runner (looks at the sandbox's memory once a second)", runner, "idle.runner")


def crowd(report, plan):
    from lib import resources

    resources.crowd(report, plan)


def walls(report, plan):
    from lib import walls as held

    with things.Controller(*held.FLAGS) as controller:
        held.walls(report, controller, plan)


SECTIONS = {
    "executions": executions,
    "sockets": sockets,
    "lifecycle": lifecycle,
    "memory": memory,
    "crowd": crowd,
    "walls": walls,
}


def guarded(report, name, plan):
    """One section's failure hides no other's numbers."""
    start = time.monotonic()
    try:
        SECTIONS[name](report, plan)
    except (Failure, ImportError, OSError) as e:
        report.fail(name, "%s: %s" % (type(e).__name__, e))
    except Exception as e:  # a fault of the benchmark itself, or of a client library
        import traceback

        traceback.print_exc()
        report.fail(name, "%s: %s" % (type(e).__name__, e))
    report.head.setdefault("section_seconds", {})[name] = round(time.monotonic() - start, 1)


def on_sigterm(number, frame):
    sys.exit(128 + number)  # so that what was started is ended


def main(argv):
    args = parse(argv)
    signal.signal(signal.SIGTERM, on_sigterm)
    for name in ("caesarion", "caesarion-runner"):
        if not (things.BIN / name).exists():
            sys.exit("run.py: %s is not in %s: use ./dev bench, which builds it" % (name, things.BIN))
    if not things.PYTHON:
        sys.exit("run.py: CAESARION_PYTHON does not name the kernels' Python: use ./dev bench")
    plan = QUICK if args.quick else FULL
    report = Report("quick" if args.quick else "full", argv)
    m = report.head["machine"]
    print("Caesarion benchmark, %s: %s, %d CPUs, %.0f GiB, Linux %s, load %.1f" % (
        report.head["mode"], m["cpu"], m["cpus"], m["memory_gib"], m["kernel"], report.head["load_before"][0]))
    if report.head["load_before"][0] > m["cpus"] / 2:
        print("  others use this machine: believe the ratios, and the more the closer their rounds lie together")
    for what, text in REAL.items():
        print("  %-8s %s" % (what, text))
    start = time.monotonic()
    for name in args.only or SECTIONS:
        guarded(report, name, plan)
    peers.show()
    report.close()
    out = args.out or HERE.parent.parent / "build" / "bench.json"
    report.save(out, {"plan": dataclasses.asdict(plan), "real": REAL, "published": peers.data()})
    times = ", ".join("%s %.0f s" % t for t in report.head["section_seconds"].items())
    print("\n%.0f s (%s); written to %s" % (time.monotonic() - start, times, out))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
