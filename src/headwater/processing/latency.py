"""How long jobs take from the receipt of an event to the commit of what was made of it: a histogram, and percentiles.

How this works: the events of a commit are counted together. Their times of receipt are sorted, which costs little since
they nearly are, and how many fall into each bucket is found by bisection: the cost for each event is that of reading
its time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from headwater.log.contract import StoredRecord
from headwater.telemetry import Histogram, Telemetry, declared

# The upper bounds of the buckets of the metric, in seconds: from a quick commit to the backlog of a week.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
# Those of the percentiles, in milliseconds: each is a fifth larger than the one before.
BOUNDS_MS = tuple(round(1.2**power, 2) for power in range(115))
# The percentiles are those of at least the last five minutes, and at most ten.
PERIOD_SECONDS = 300.0

_BUCKETS_MS = tuple(bound * 1000 for bound in BUCKETS)
_received_ms = attrgetter("timestamp_ms")


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """How many events had a latency in each of the buckets of `BOUNDS_MS`, during the last minutes."""

    counts: tuple[int, ...] = ()

    def __add__(self, other: LatencyReport) -> LatencyReport:
        if not self.counts or not other.counts:
            return self if self.counts else other
        return LatencyReport(tuple(one + more for one, more in zip(self.counts, other.counts, strict=True)))

    def percentile_ms(self, share: float) -> float | None:
        """The latency that this share of the events does not exceed, to within a fifth; None if there are none."""
        total = sum(self.counts)
        if not total:
            return None
        # Within a bucket they are taken to be evenly distributed.
        rank = share * total
        index = bisect_left(list(accumulate(self.counts)), rank)
        below = BOUNDS_MS[index - 1] if index else 0.0
        above = BOUNDS_MS[min(index, len(BOUNDS_MS) - 1)]
        before = sum(self.counts[:index])
        return below + (above - below) * (rank - before) / self.counts[index]


NO_LATENCY = LatencyReport()


class Latency:
    """The latencies of one runner. `clock`: seconds, for the age of what was counted."""

    def __init__(self, histogram: Histogram, clock: Callable[[], float]) -> None:
        self._histogram = histogram
        self._clock = clock
        self._began = clock()
        self._counts = [0] * (len(BOUNDS_MS) + 1)
        self._before = [0] * (len(BOUNDS_MS) + 1)

    @classmethod
    def of(cls, telemetry: Telemetry, job: str, clock: Callable[[], float]) -> Latency:
        """That of the job of this name, with its metric."""
        histogram = telemetry.histogram(
            "headwater_job_latency_seconds",
            "From the receipt of an event to the commit of what a job made of it.",
            (declared("job"),),
            BUCKETS,
        )
        return cls(histogram.labels(job), clock)

    def committed(self, records: Sequence[StoredRecord], now_ms: int) -> None:
        """What was made of these records is committed at this time, in epoch milliseconds."""
        if not records:
            return
        received_ms = sorted(map(_received_ms, records))
        seconds = max(0, now_ms * len(received_ms) - sum(received_ms)) / 1000
        self._histogram.observe_counts(counts_of(received_ms, now_ms, _BUCKETS_MS), seconds)
        self._rotate()
        for index, count in counts_of(received_ms, now_ms, BOUNDS_MS):
            self._counts[index] += count

    def report(self) -> LatencyReport:
        """The latencies of the last minutes."""
        self._rotate()
        return LatencyReport(tuple(one + more for one, more in zip(self._before, self._counts, strict=True)))

    def _rotate(self) -> None:
        periods = (self._clock() - self._began) // PERIOD_SECONDS
        if periods >= 1:
            self._before = self._counts if periods == 1 else [0] * len(self._counts)
            self._counts = [0] * len(self._counts)
            self._began += periods * PERIOD_SECONDS


def counts_of(received_ms: Sequence[int], now_ms: int, bounds_ms: Sequence[float]) -> Iterator[tuple[int, int]]:
    """The buckets that have any of these times, which are sorted and not empty, by index, and how many of them.

    A bucket has the latencies up to its bound; after the last one there is one for all others.
    """
    left = len(received_ms)
    first = bisect_left(bounds_ms, now_ms - received_ms[-1])
    last = bisect_left(bounds_ms, now_ms - received_ms[0])
    for index in range(first, last):
        start = bisect_left(received_ms, now_ms - bounds_ms[index])
        if start < left:
            yield index, left - start
            left = start
    if left:
        yield last, left
