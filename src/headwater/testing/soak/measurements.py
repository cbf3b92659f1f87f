"""The resources of a platform, sampled while it runs, and how fast they grow: a line by least squares."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

BLOCKS = 40
_PAGE_BYTES = 4096
_NORMAL_QUANTILE = 1.96

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Holdings:
    """The resources of a process, and of those it has started, at one moment.

    `resident_bytes` includes pages of files, `own_bytes` does not.
    """

    seconds: float
    resident_bytes: int
    own_bytes: int
    handles: int
    threads: int


def holdings(pid: int, seconds: float) -> Holdings:
    """The present values, `seconds` after the start. Raises OSError if the process has ended."""
    total = _own_holdings(pid, seconds)
    children = [(task / "children").read_text().split() for task in (Path("/proc") / str(pid) / "task").iterdir()]
    for child in (int(one) for some in children for one in some):
        # One of them may end at any moment.
        with contextlib.suppress(OSError):
            one = holdings(child, seconds)
            total = Holdings(
                seconds,
                total.resident_bytes + one.resident_bytes,
                total.own_bytes + one.own_bytes,
                total.handles + one.handles,
                total.threads + one.threads,
            )
    return total


def _own_holdings(pid: int, seconds: float) -> Holdings:
    folder = Path("/proc") / str(pid)
    fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    return Holdings(
        seconds,
        resident_bytes=int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES,
        own_bytes=int(fields["RssAnon"].split()[0]) * 1024,
        handles=len(list((folder / "fd").iterdir())),
        threads=int(fields["Threads"]),
    )


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per hour, in the unit of the values, and half the width of its 95 % confidence interval."""

    per_hour: float
    uncertainty: float

    def exceeds(self, bound_per_hour: float) -> bool:
        """Whether it is above the bound, and significantly above zero."""
        return self.per_hour > bound_per_hour and self.per_hour - self.uncertainty > 0


def slope(series: Series) -> Slope:
    """The slope of (seconds, value) by least squares over the means of BLOCKS equal stretches of time.

    Successive samples are correlated, so there is less information than their number suggests: means of stretches are
    used, and the remaining correlation of their residuals widens the interval. Raises ValueError for fewer than four
    stretches with samples.
    """
    means = block_means(series)
    if len(means) < 4:
        raise ValueError(f"{len(series)} samples in {len(means)} stretches of time are too few for a slope.")
    at = statistics.fmean(x for x, _ in means)
    level = statistics.fmean(y for _, y in means)
    spread = sum((x - at) ** 2 for x, _ in means)
    steepness = sum((x - at) * (y - level) for x, y in means) / spread
    rest = [y - level - steepness * (x - at) for x, y in means]
    freedom = len(means) - 2
    squares = sum(r * r for r in rest)
    error = math.sqrt(squares / freedom / spread)
    if squares:
        likeness = min(0.9, max(0.0, sum(a * b for a, b in pairwise(rest)) / squares))
        error *= math.sqrt((1 + likeness) / (1 - likeness))
    return Slope(steepness * 3600, _student_quantile(freedom) * error * 3600)


def block_means(series: Series) -> list[tuple[float, float]]:
    """The mean time and value of each of BLOCKS equal stretches, without empty ones."""
    if not series:
        return []
    begin, end = series[0][0], series[-1][0]
    width = (end - begin) / BLOCKS or 1.0
    blocks: dict[int, list[tuple[float, float]]] = {}
    for x, y in series:
        blocks.setdefault(min(int((x - begin) / width), BLOCKS - 1), []).append((x, y))
    return [(statistics.fmean(x for x, _ in block), statistics.fmean(y for _, y in block)) for block in blocks.values()]


def rise(series: Series) -> float:
    """The median of the last third minus that of the first third."""
    third = max(1, len(series) // 3)
    return statistics.median(y for _, y in series[-third:]) - statistics.median(y for _, y in series[:third])


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution, by its expansion around the normal distribution."""
    z = _NORMAL_QUANTILE
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
