"""Tries changed inputs on a target, keeps those that reach new code, and reports what must not happen.

How this works: inputs begin as the target's own examples and are changed at random. One in `TRACED_EVERY` is run with
its lines recorded; where it reaches a line of ours that none before it has, it joins the examples. An input that takes
longer than the limit is run again, twice, before it counts, since machines are shared; memory is looked at from time
to time.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from headwater.testing.fuzzing.mutation import Mutator

TRACED_EVERY = 10
EXAMPLES_MAX = 3_000
FINDINGS_MAX = 20
ALIKE_MAX = 2
GROWTH_BYTES_MAX = 100_000_000
_MEMORY_EVERY = 5_000


class Target(Protocol):
    """Something that takes bytes from outside. `run` raises where something happens that must not."""

    name: str
    examples: Sequence[bytes]
    words: Sequence[bytes]
    # Whether the work is done in the calling thread, so that its lines can be recorded.
    traceable: bool
    # How long one input may take, in seconds.
    stall_seconds_max: float

    def opened(self) -> AbstractContextManager[None]:
        """What is needed for running, for the length of the block."""
        ...

    def run(self, data: bytes) -> None:
        """Hand the input in. Returns where it was taken, or refused as it should be."""
        ...


@dataclass(frozen=True)
class Finding:
    """An input and what it did."""

    what: str
    data: bytes


@dataclass
class Report:
    """What a campaign came to."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    examples: int = 0
    lines: int = 0
    slowest_seconds: float = 0.0
    growth_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


class Campaign:
    """One target's campaign; `seed` makes it repeatable."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._mutator = Mutator(target.words, self._random)
        self._examples = list(target.examples)
        self._lines: set[tuple[str, int]] = set()
        self._kinds: Counter[str] = Counter()
        self.report = Report(target.name)

    def run(self, *, seconds: float, cases: int) -> Report:
        """Until that much time has passed or that many cases were tried, or there are FINDINGS_MAX findings."""
        report = self.report
        started = time.monotonic()
        with self._target.opened():
            for example in self._target.examples:
                self._try(example, traced=self._target.traceable)
            memory = memory_bytes()
            while report.cases < cases and time.monotonic() - started < seconds and len(report.findings) < FINDINGS_MAX:
                data = self._mutator.changed(self._random.choice(self._examples), self._random.choice(self._examples))
                self._try(data, traced=self._target.traceable and report.cases % TRACED_EVERY == 0)
                if report.cases == _MEMORY_EVERY:
                    # What is made once is there by now.
                    memory = memory_bytes()
            report.growth_bytes = max(0, memory_bytes() - memory)
        report.seconds = time.monotonic() - started
        report.examples, report.lines = len(self._examples), len(self._lines)
        if report.growth_bytes > GROWTH_BYTES_MAX:
            report.findings.append(Finding(f"memory grew by {report.growth_bytes:,} bytes", b""))
        return report

    def _try(self, data: bytes, *, traced: bool) -> None:
        self.report.cases += 1
        if traced:
            with self._recorded(data):
                self._run(data)
            return
        seconds = self._run(data)
        if seconds > self._target.stall_seconds_max:
            seconds = min(seconds, self._run(data), self._run(data))
        if seconds > self._target.stall_seconds_max:
            self._found(f"took {seconds * 1000:.0f} ms", data)
        self.report.slowest_seconds = max(self.report.slowest_seconds, seconds)

    def _run(self, data: bytes) -> float:
        started = time.perf_counter()
        try:
            self._target.run(data)
        except Exception as error:
            self._found(f"{type(error).__name__}: {str(error)[:300]}", data)
        return time.perf_counter() - started

    def _found(self, what: str, data: bytes) -> None:
        """Keep a finding; of those that read alike but for numbers, a few."""
        kind = re.sub(r"[0-9]+", "0", what)[:60]
        self._kinds[kind] += 1
        if self._kinds[kind] <= ALIKE_MAX:
            self.report.findings.append(Finding(what, data))

    @contextmanager
    def _recorded(self, data: bytes) -> Iterator[None]:
        before = len(self._lines)
        lines = self._lines

        def local(frame: FrameType, event: str, _: Any) -> Any:
            lines.add((frame.f_code.co_filename, frame.f_lineno))
            return local

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            return local if "headwater" in frame.f_code.co_filename else None

        earlier = sys.gettrace()
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(earlier)
        if len(lines) > before and len(self._examples) < EXAMPLES_MAX:
            self._examples.append(data)


def memory_bytes() -> int:
    """What this process has in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096
    except OSError:
        return 0
