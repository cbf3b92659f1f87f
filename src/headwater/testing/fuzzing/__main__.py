"""Runs the fuzz campaign from the command line.

python -m headwater.testing.fuzzing --cases 10000000              every target, ten million cases in all
python -m headwater.testing.fuzzing filters --seconds 30 --seed 7
python -m headwater.testing.fuzzing filters --input FILE          once more what was found
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from headwater.testing.fuzzing.campaign import Report
from headwater.testing.fuzzing.kept import digest, run_campaign
from headwater.testing.fuzzing.targets import TARGETS

INPUT_SHOWN_BYTES = 100
OUTCOMES_SHOWN = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if something was found, else 0. Failing inputs are written to `--output-dir`."""
    parser = argparse.ArgumentParser(description="Try mutated inputs on everything that accepts bytes from outside.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each target")
    parser.add_argument("--cases", type=int, default=None, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the mutations")
    parser.add_argument("--at-once", type=int, default=1, help="how many targets run at the same time")
    parser.add_argument("--input", type=Path, nargs="+", help="files to try once, on one target")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("fuzz-findings"), help="where failing inputs are written"
    )
    parser.add_argument("--corpus-dir", type=Path, help="where inputs that reach new code are kept between campaigns")
    parser.add_argument("--missed", action="store_true", help="name the functions under test that no input reached")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.targets) - TARGETS.keys())
    if unknown:
        parser.error(f"there is no target {unknown[0]!r}; the targets are {', '.join(TARGETS)}")
    names: Sequence[str] = given.targets or list(TARGETS)
    if given.input is not None:
        return _repeated(names[0], given.input)
    if given.cases is None and given.seconds == float("inf"):
        parser.error("give a limit with --seconds or --cases")
    cases = max(1, given.cases // len(names)) if given.cases else sys.maxsize
    reports = []
    # A process for each target, so that memory growth is its own.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, given.at_once), mp_context=spawned, max_tasks_per_child=1) as pool:
        running = [
            pool.submit(run_campaign, name, given.seed, given.seconds, cases, given.corpus_dir) for name in names
        ]
        for done in as_completed(running):
            reports.append(done.result())
            _show(reports[-1], given.output_dir, missed=given.missed)
    print(f"{sum(report.cases for report in reports):,} cases, {sum(len(r.findings) for r in reports)} findings")
    return 1 if any(report.findings for report in reports) else 0


def _repeated(name: str, files: Sequence[Path]) -> int:
    """Try files once; 1 if one fails, 2 if one cannot be read."""
    target, failed = TARGETS[name], 0
    with target.opened():
        for file in files:
            try:
                data = file.read_bytes()
            except OSError as error:
                print(f"{file}: {error.strerror}", file=sys.stderr)
                return 2
            started = time.perf_counter()
            try:
                outcome = target.run(data).what
            except Exception as error:
                outcome, failed = f"{type(error).__name__}: {error}", 1
            print(f"{file}: {outcome} ({(time.perf_counter() - started) * 1000:.0f} ms)", flush=True)
    return failed


def _show(report: Report, directory: Path, *, missed: bool) -> None:
    pace = report.cases / report.seconds if report.seconds else 0.0
    print(
        f"{report.target:<14}{report.cases:>11,} cases {pace:>8,.0f}/s"
        f"  lines {report.lines_reached:,} of {report.lines:,} ({report.lines_reached / max(1, report.lines):.0%})"
        f"  {len(report.examples):,} examples  longest stall {report.slowest_seconds * 1000:.0f} ms"
        f"  grown {report.growth_bytes / 1e6:.1f} MB  {len(report.findings)} findings"
    )
    common = ", ".join(f"{what} {count:,}" for what, count in report.outcomes.most_common(OUTCOMES_SHOWN))
    more = len(report.outcomes) - OUTCOMES_SHOWN
    print(f"    {common}{f', and {more} more' if more > 0 else ''}", flush=True)
    for function in report.missed if missed else ():
        print(f"    not reached: {function}")
    for finding in report.findings:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{report.target}-{digest(finding.data)}"
        file.write_bytes(finding.data)
        print(f"  {finding.what}\n    input: {finding.data[:INPUT_SHOWN_BYTES]!r} ({len(finding.data)} bytes)")
        print(f"    again: python -m headwater.testing.fuzzing {report.target} --input {file}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
