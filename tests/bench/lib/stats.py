"""Percentiles, and ratios that survive a noisy machine."""

import math
import statistics


def percentile(values, q):
    """The nearest-rank percentile: a value that was measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q / 100 * len(ordered)) - 1)]


def summary(values):
    return {
        "n": len(values),
        "p50": statistics.median(values),
        "p90": percentile(values, 90),
        "p99": percentile(values, 99),
        "min": min(values),
        "max": max(values),
    }


class Rounds:
    """Samples of several competitors, taken in rounds: each round measures each of them, one after
    the other, so that what slows the machine slows them all."""

    def __init__(self):
        self._rounds = []

    def begin(self):
        self._rounds.append({})

    def add(self, subject, values):
        self._rounds[-1].setdefault(subject, []).extend(values)

    def subjects(self):
        return list(dict.fromkeys(name for r in self._rounds for name in r))

    def subjects_in_order(self, *names):
        """Those of these names that were measured."""
        return [name for name in names if name in self.subjects()]

    def all(self, subject):
        return [v for r in self._rounds for v in r.get(subject, ())]

    def per_round(self, subject, other, join):
        """join(median of subject, median of other) for each round that has both."""
        return [
            join(statistics.median(r[subject]), statistics.median(r[other]))
            for r in self._rounds
            if r.get(subject) and r.get(other)
        ]

    def ratio(self, subject, yardstick):
        """The median over rounds of the ratio of medians, with its least and greatest; and the ratio
        of the 99th percentiles of all samples."""
        ratios = self.per_round(subject, yardstick, lambda a, b: a / b)
        return {
            "p50": statistics.median(ratios),
            "least": min(ratios),
            "greatest": max(ratios),
            "p99": percentile(self.all(subject), 99) / percentile(self.all(yardstick), 99),
        }
