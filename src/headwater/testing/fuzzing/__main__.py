"""Runs the fuzz campaign from the command line.

python -m headwater.testing.fuzzing --cases 10000000              every target, ten million cases in all
python -m headwater.testing.fuzzing filters --seconds 30 --seed 7
python -m headwater.testing.fuzzing filters --input FILE          once more what was found
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from headwater.testing.fuzzing.campaign import Campaign, Report
from headwater.testing.fuzzing.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where something was found, else 0. Inputs that were found are written to `--output-dir`."""
    parser = argparse.ArgumentParser(description="Try changed inputs on everything that takes bytes from outside.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each target")
    parser.add_argument("--cases", type=int, default=None, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="another seed tries other inputs")
    parser.add_argument("--input", type=Path, help="a file to try once, on one target")
    parser.add_argument("--output-dir", type=Path, default=Path("fuzz-findings"), help="where inputs are written")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.targets) - TARGETS.keys())
    if unknown:
        parser.error(f"there is no target {unknown[0]!r}; the targets are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    if given.input is not None:
        target = TARGETS[names[0]]
        with target.opened():
            target.run(given.input.read_bytes())
        return 0
    if given.cases is None and given.seconds == float("inf"):
        parser.error("say when to end, with --seconds or --cases")
    cases = given.cases // len(names) if given.cases else sys.maxsize
    found = 0
    # What is refused is logged, and here everything is refused.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        for name in names:
            report = Campaign(TARGETS[name], given.seed).run(seconds=given.seconds, cases=cases)
            found += len(report.findings)
            _show(report, given.output_dir)
    finally:
        logging.disable(before)
    return 1 if found else 0


def _show(report: Report, directory: Path) -> None:
    pace = report.cases / report.seconds if report.seconds else 0.0
    print(
        f"{report.target:<12}{report.cases:>12,} cases {pace:>10,.0f}/s"
        f" {report.lines:>6,} lines {report.examples:>6,} examples"
        f"  slowest {report.slowest_seconds * 1000:.0f} ms  grown {report.growth_bytes / 1e6:.0f} MB"
        f"  {len(report.findings)} findings",
        flush=True,
    )
    for number, finding in enumerate(report.findings):
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{report.target}-{number}"
        file.write_bytes(finding.data)
        print(f"  {file}: {finding.what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
