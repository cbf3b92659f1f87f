"""Prints measurements: ratios first, as minimum, median and maximum over the rounds."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path


def spread(values: Sequence[float]) -> str:
    """`min/median/max`, with digits according to the size."""
    return "/".join(_digits(value) for value in (min(values), statistics.median(values), max(values)))


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table that is also Markdown."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print("\n".join(lines), flush=True)


def conditions(note: str) -> None:
    """Print the machine and the conditions of the measurement, without which figures are meaningless."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    load = _lines("/proc/loadavg")[0].split()[0] if _lines("/proc/loadavg") else "?"
    print(f"\n{model}; Python {platform.python_version()}; load average {load} at the start; {note}", flush=True)


def progress(text: str) -> None:
    """Print to standard error what is being measured now."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
