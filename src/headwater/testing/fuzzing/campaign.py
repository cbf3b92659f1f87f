"""Tries mutated inputs on a target, keeps those that reach something new, and reports failures.

How this works: inputs start from the target's examples and are mutated at random. One in `TRACED_EVERY` is run with its
lines recorded, which is slow, and fewer while nothing new is reached; if it reaches a new line of our code, it joins
the examples, as does one with a new outcome (a status, an error code). An input that takes longer than the limit is run
again, and counts if it does so every time, since machines are shared. Memory growth is measured from a quarter of the
campaign, when caches are filled, to its end.
"""

from __future__ import annotations

import ctypes
import gc
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from headwater.testing.fuzzing.mutation import Mutator
from headwater.testing.fuzzing.reached import Reached

TRACED_EVERY, TRACED_EVERY_MAX = 6, 96
EXAMPLES_MAX = 3_000
OUTCOMES_MAX = 200
FINDINGS_MAX = 20
ALIKE_MAX = 2
GROWTH_BYTES_MAX = 20_000_000
MINIMIZING_RUNS_MAX = 300
STALL_RUNS_MAX = 5
_WARM_CASES_MIN = 5_000
_NEWEST = 20
# After this many inputs that reach nothing new, lines are recorded half as often.
_IN_VAIN_MAX = 200


class Outcome(NamedTuple):
    """The outcome of an input: a word or two, and how long it blocked others, if that is not the whole time."""

    what: str
    stalled_seconds: float | None = None


class Target(Protocol):
    """Code that accepts bytes from outside. `run` raises if something happens that must not."""

    name: str
    words: Sequence[bytes]
    # The modules whose lines are counted to measure coverage.
    modules: Sequence[str]
    # How long one input may block others, in seconds.
    stall_seconds_max: float

    @property
    def examples(self) -> Sequence[bytes]:
        """Initial inputs; called inside `opened`."""
        ...

    def opened(self) -> AbstractContextManager[None]:
        """What `run` needs, for the duration of the block."""
        ...

    def run(self, data: bytes) -> Outcome:
        """Process the input. Returns if it was accepted, or refused as it should be."""
        ...


@dataclass(frozen=True)
class Finding:
    """An input and the failure it caused."""

    what: str
    data: bytes


@dataclass
class Report:
    """The result of a campaign."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    examples: Sequence[bytes] = ()
    lines_reached: int = 0
    lines: int = 0
    missed: Sequence[str] = ()
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    growth_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


class Campaign:
    """One target's campaign; `seed` makes it repeatable. `examples`: more inputs to begin with."""

    def __init__(self, target: Target, seed: int, examples: Sequence[bytes] = ()) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._mutator = Mutator(target.words, self._random)
        self._examples = list(examples)
        self._reached = Reached(target.modules)
        self._traced_every, self._in_vain = TRACED_EVERY, 0
        self._kinds: Counter[str] = Counter()
        self.report = Report(target.name)

    def run(self, *, seconds: float, cases: int) -> Report:
        """Run until that much time has passed, that many cases were tried, or there are FINDINGS_MAX findings."""
        report = self.report
        started = time.monotonic()
        warm_bytes: int | None = None
        with self._reached.following_threads(), self._target.opened():
            self._examples[:0] = self._target.examples
            for example in list(self._examples):
                self._try(example, traced=True)
            while report.cases < cases and time.monotonic() - started < seconds and len(report.findings) < FINDINGS_MAX:
                data = self._mutator.changed(self._example(), self._random.choice(self._examples))
                self._try(data, traced=report.cases % self._traced_every == 0)
                if warm_bytes is None and report.cases >= _WARM_CASES_MIN:
                    share = max(report.cases / cases, (time.monotonic() - started) / seconds)
                    warm_bytes = memory_bytes() if share >= 0.25 else None
            report.growth_bytes = max(0, memory_bytes() - warm_bytes) if warm_bytes is not None else 0
        report.seconds = time.monotonic() - started
        report.examples = self._examples
        report.lines_reached, report.lines = self._reached.depth()
        report.missed = self._reached.missed()
        if report.growth_bytes > GROWTH_BYTES_MAX:
            report.findings.append(Finding(f"memory grew by {report.growth_bytes:,} bytes", b""))
        return report

    def _example(self) -> bytes:
        """An input to mutate: any, or one of the newest, which are at the frontier of coverage."""
        newest = self._random.random() < 0.3
        return self._random.choice(self._examples[-_NEWEST:] if newest else self._examples)

    def _try(self, data: bytes, *, traced: bool) -> None:
        self.report.cases += 1
        before, outcomes = self._reached.lines, len(self.report.outcomes)
        if traced:
            with self._reached.recorded():
                self._run(data)
            self._note_traced(in_vain=self._reached.lines == before)
        if not traced or self._reached.lines > before:
            self._measure(data)
        is_new = self._reached.lines > before or len(self.report.outcomes) > outcomes
        if is_new and len(self._examples) < EXAMPLES_MAX and data not in self._examples[-_NEWEST:]:
            self._examples.append(data)

    def _note_traced(self, *, in_vain: bool) -> None:
        if not in_vain:
            self._traced_every, self._in_vain = TRACED_EVERY, 0
        elif (self._in_vain + 1) % _IN_VAIN_MAX:
            self._in_vain += 1
        else:
            self._traced_every, self._in_vain = min(2 * self._traced_every, TRACED_EVERY_MAX), 0

    def _measure(self, data: bytes) -> None:
        seconds = self._run(data)
        for _ in range(STALL_RUNS_MAX - 1):
            if seconds > self._target.stall_seconds_max:
                seconds = min(seconds, self._run(data))
        if seconds > self._target.stall_seconds_max:
            self._found(f"took {seconds * 1000:.0f} ms", data)
        self.report.slowest_seconds = max(self.report.slowest_seconds, seconds)

    def _run(self, data: bytes) -> float:
        started = time.perf_counter()
        try:
            outcome = self._target.run(data)
        except Exception as error:
            self._found(_what(error), data)
            return time.perf_counter() - started
        elapsed = time.perf_counter() - started
        if outcome.what in self.report.outcomes or len(self.report.outcomes) < OUTCOMES_MAX:
            self.report.outcomes[outcome.what] += 1
        return elapsed if outcome.stalled_seconds is None else outcome.stalled_seconds

    def _found(self, what: str, data: bytes) -> None:
        """Record a finding, minimised; of those that differ only in numbers, a few."""
        kind = _kind(what)
        self._kinds[kind] += 1
        if self._kinds[kind] <= ALIKE_MAX:
            if not what.startswith("took "):
                data = minimized(data, lambda shorter: self._fails_alike(shorter, kind))
            if all(finding.data != data for finding in self.report.findings):
                self.report.findings.append(Finding(what, data))

    def _fails_alike(self, data: bytes, kind: str) -> bool:
        try:
            self._target.run(data)
        except Exception as error:
            return _kind(_what(error)) == kind
        return False


def minimized(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A short part of `data` that still fails: pieces are removed, from halves to single bytes."""
    runs, size = 0, max(1, len(data) // 2)
    while size:
        at = 0
        while at < len(data):
            runs += 1
            if runs > MINIMIZING_RUNS_MAX:
                return data
            shorter = data[:at] + data[at + size :]
            if fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def memory_bytes() -> int:
    """The memory that this process uses, after garbage collection; 0 if the system does not report it."""
    gc.collect()
    # The allocator of glibc keeps what was freed, tens of megabytes of it, until it is asked to return it.
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096
    except OSError:
        return 0


def _what(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def _kind(what: str) -> str:
    return re.sub(r"[0-9]+", "0", what)[:60]
