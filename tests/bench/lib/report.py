"""What was measured: a table for people, JSON for programs."""

import json
import os
import pathlib
import platform
import sys
import time

WIDTH = 62


class Failure(Exception):
    """A measurement that is none: a competitor is missing, an execution failed, output was lost."""


def number(value):
    if value is None:
        return "-"
    if value >= 1000:
        return "%.0f" % value
    return "%.3g" % value if value < 1 else "%.1f" % value if value >= 10 else "%.2f" % value


class Report:
    def __init__(self, mode, args):
        self.started = time.time()
        self.rows = []
        self.failures = []
        self.head = {
            "mode": mode,
            "arguments": args,
            "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine(),
            "load_before": os.getloadavg(),
        }

    def fail(self, section, why):
        self.failures.append({"section": section, "why": why})
        print("\nFAILED in %s: %s" % (section, why), file=sys.stderr, flush=True)

    def section(self, title, note=None):
        self._section = title
        print("\n%s" % title)
        if note:
            print("  " + note.replace("\n", "\n  "))

    def columns(self, unit, ratio="ratio", rates=False):
        """What the next rows show; of rates the 99th percentile is no bad case: least and greatest."""
        self._cells = ("p50", "min", "max") if rates else ("p50", "p90", "p99")
        names = ("", "p50", "least", "most") if rates else (ratio and "p99", *self._cells)
        head = "  %-*s %7s %7s  %9s %9s %9s %6s   %s" % (WIDTH, "", ratio, *names, "n", unit)
        print(head)

    def row(self, subject, unit, stats, ratio=None, budgets=(), note=None, id=None):
        """stats: of stats.summary(); ratio: of Rounds.ratio(); budgets: (what, value, limit, more)."""
        made = [budget(*b) for b in budgets]
        self.rows.append(
            {
                "section": self._section,
                "id": id,
                "subject": subject,
                "unit": unit,
                **stats,
                "ratio": ratio,
                "budgets": made,
                "note": note,
            }
        )
        cells = [number(stats[k]) for k in self._cells]
        ratios = [number(ratio["p50"]), number(ratio["p99"]) if "p99" in self._cells else ""] if ratio else ["", ""]
        line = "  %-*s %7s %7s  %9s %9s %9s %6d" % (WIDTH, subject, *ratios, *cells, stats["n"])
        print(line + ("   rounds %.2f to %.2f" % (ratio["least"], ratio["greatest"]) if spread(ratio) else ""))
        self._below(made, note)

    def value(self, subject, unit, value, budgets=(), note=None, id=None):
        """One number that has no distribution."""
        made = [budget(*b) for b in budgets]
        self.rows.append(
            {
                "section": self._section,
                "id": id,
                "subject": subject,
                "unit": unit,
                "n": 1,
                "value": value,
                "budgets": made,
                "note": note,
            }
        )
        print("  %-*s %25s %s" % (WIDTH, subject, number(value), unit))
        self._below(made, note)

    def _below(self, budgets, note):
        for b in budgets:
            verdict = "met" if b["met"] else "MISSED"
            print("      budget: %s %s %s: %s (%s)" % (b["what"], b["sign"], b["limit"], verdict, number(b["value"])))
        if note:
            print("      " + note)
        sys.stdout.flush()

    def save(self, path, extra):
        data = dict(
            self.head,
            load_after=os.getloadavg(),
            seconds=round(time.time() - self.started, 1),
            **extra,
            rows=self.rows,
            failures=self.failures,
        )
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n")

    def close(self):
        missed = [(r, b) for r in self.rows for b in r["budgets"] if not b["met"]]
        met = sum(b["met"] for r in self.rows for b in r["budgets"])
        print("\nBudgets: %d met, %d missed" % (met, len(missed)))
        for r, b in missed:
            print(
                "  missed: %s, %s: %s is %s, budget %s %s"
                % (r["section"], r["subject"], b["what"], number(b["value"]), b["sign"], b["limit"])
            )
        for f in self.failures:
            print("FAILED: %s: %s" % (f["section"], f["why"]))


def spread(ratio):
    return ratio and ratio["least"] != ratio["greatest"]


def budget(what, value, limit, more=False):
    """more: the limit is the least that will do, not the most."""
    met = value >= limit if more else value <= limit
    return {"what": what, "value": value, "limit": limit, "sign": ">=" if more else "<=", "met": met}


def machine():
    model = ""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }
