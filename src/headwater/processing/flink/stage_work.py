"""What one operator of a Flink job does with an element or a due timer. Nothing here knows Flink.

How this works: an operator is given a record of the source, or an element with its key. It applies the steps of its
stage, with the functions that the embedded runner uses, and gives what is to be sent on, by key, and the records for
the sink. An element that is redriven goes past the steps before the one at which it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headwater.event import decode_json
from headwater.jobs.apply import Application
from headwater.jobs.cells import Cell
from headwater.jobs.job import Job
from headwater.jobs.rows import KeyRows
from headwater.jobs.scope import Scope
from headwater.jobs.steps import (
    NO_TIMERS,
    NO_WATERMARK,
    Await,
    Context,
    Element,
    Failure,
    PerKey,
    ReadRecord,
    Results,
)
from headwater.log.contract import StoredRecord
from headwater.processing.embedded.elements import elements_of
from headwater.processing.embedded.fold import END_OF_TIME
from headwater.processing.embedded.keyed_state import TimerKind, kind_of
from headwater.processing.failures.causes import OUTPUT
from headwater.processing.flink.exchange import Travelling, encode_element
from headwater.processing.flink.plan import Stage
from headwater.streams.stream import Stream

# Of several timers at one time, those that also fire when idle come first, as in the embedded runner.
_ORDER = {TimerKind.EVENT_OR_IDLE: 0, TimerKind.EVENT: 1, TimerKind.WALL: 2}
EVENT_TIMERS = (TimerKind.EVENT_OR_IDLE, TimerKind.EVENT)
# What fires at the end of the input: timers that wait for an event do not.
LAST_TIMERS = (TimerKind.EVENT_OR_IDLE,)
WALL_TIMERS = (TimerKind.WALL,)


@dataclass(slots=True)
class Made:
    """What came of one call. `sent`: elements for the next stage, each with its key; `results`: all else, of which the
    records are made; its `items` are outputs.
    """

    results: Results = field(default_factory=lambda: Results([], [], [], [], [], []))
    sent: list[tuple[str, bytes]] = field(default_factory=list)


class SetTimer(NamedTuple):
    """A timer of a key, as it was set."""

    name: str
    at_ms: int


class Due(NamedTuple):
    """Which timers of a key fire: of these kinds, up to `until_ms`, except `besides`, by name and time.

    `rows_until_ms`: up to when all timers fire now, of which these may be the first.
    """

    kinds: Sequence[TimerKind]
    until_ms: int
    watermark_ms: int
    rows_until_ms: int
    besides: frozenset[SetTimer] = frozenset()


def clamped(watermark_ms: int) -> int:
    """A watermark of Flink as one of ours: before the first event, and after the last one."""
    return min(max(watermark_ms, NO_WATERMARK), END_OF_TIME)


class StageWork:
    """The work of one operator."""

    def __init__(self, job: Job, stage: Stage, streams: dict[str, Stream], scope: Scope) -> None:
        """`streams` by topic: those that the job reads."""
        self.stage = stage
        self._job = job
        self._streams = streams
        self._scope = scope

    def read(self, record: StoredRecord, watermark_ms: int, now_ms: int) -> Made:
        """What the first stage makes of a record of the source."""
        made = Made()
        elements = elements_of([record], self._streams, _unseen, made.results, now_ms=now_ms, job=self._job)
        resumed, made.results.resumed = made.results.resumed, []
        self._through(elements, resumed, made, watermark_ms)
        return made

    def results(self, results: Results, watermark_ms: int) -> Made:
        """What the stage makes of the results of its head: its other steps are applied to them."""
        made = Made(results)
        items, results.items = results.items, []
        self._through(items, [], made, watermark_ms)
        return made

    def overtaken(self, travelling: Travelling, watermark_ms: int) -> Made | None:
        """What becomes of an element that goes past the head of this stage; None if it does not."""
        element, resume = travelling
        head = self.stage.head
        if resume is None or head is None or resume == head.name:
            return None
        made = Made()
        self._through([], [(resume, element)], made, watermark_ms)
        return made

    def event(
        self, key: bytes, element: Element, cell: Cell, rows: KeyRows | None, watermark_ms: int
    ) -> tuple[Cell, Made]:
        """Apply the stage, whose head keeps state, to an element: the cell of its key afterwards, and what it made."""
        step = self.stage.keyed
        made = Made()
        at_ms = watermark_ms - self.stage.delay_ms
        context = Context(
            element.event_time_ms,
            at_ms,
            element.stream,
            decode_json(key),
            None,
            NO_TIMERS,
            self._scope,
            element.lineage_id,
        )
        after = Application(made.results, at_ms, self._scope).event(step, key, element, cell, context, rows=rows)
        return after, self.results(made.results, watermark_ms)

    def fire(self, key: bytes, cell: Cell, rows: KeyRows | None, due: Due) -> tuple[Cell, Made]:
        """Fire the timers of a key that are due, in order of time, also those that they set for later."""
        step = self.stage.keyed
        results = Made().results
        apply = Application(results, due.watermark_ms - self.stage.delay_ms, self._scope)
        fired: set[SetTimer] = set()
        if rows is not None:
            rows.until_ms = due.rows_until_ms
        while True:
            first = first_timer(cell, due.kinds, due.besides | fired)
            if first is None or first[0] > due.until_ms:
                return cell, self.results(results, due.watermark_ms)
            at_ms, name = first
            fired.add(SetTimer(name, at_ms))
            cell = apply.timer(step, key, name, at_ms, cell, rows=rows)

    def _through(
        self, elements: list[Element], resumed: list[tuple[str, Element]], made: Made, watermark_ms: int
    ) -> None:
        """Take elements through the `Each` steps, and send them on, or let them be outputs."""
        results = made.results
        at_ms = watermark_ms - self.stage.steps_delay_ms
        for step in self.stage.steps:
            elements = [*elements, *(element for name, element in resumed if name == step.name)]
            one = Results([], results.emitted, results.failures, results.late, results.dropped)
            apply = Application(one, at_ms, self._scope)
            for element in elements:
                apply.each(step, element)
            elements = one.items
        later = [(name, element) for name, element in resumed if name not in self.stage.names]
        if self.stage.next is None:
            results.items = [*elements, *(element for name, element in later if name == OUTPUT)]
            return
        self._send(((element, None) for element in elements), made, at_ms)
        self._send(((element, name) for name, element in later), made, at_ms)

    def _send(self, elements: Iterable[tuple[Element, str | None]], made: Made, at_ms: int) -> None:
        following = self.stage.next
        assert following is not None
        apply = Application(made.results, at_ms, self._scope)
        for element, resume in elements:
            if resume not in (None, following.name):
                key: str | None = ""
            else:
                key = _key_of(following, element, apply)
            if key is None:
                continue
            try:
                made.sent.append((key, encode_element(element, resume)))
            except Exception as error:  # what a function returned cannot be passed on
                made.results.failures.append(Failure(element, following.name, error))


def first_timer(
    cell: Cell, kinds: Sequence[TimerKind], besides: frozenset[SetTimer] | set[SetTimer] = frozenset()
) -> tuple[int, str] | None:
    """The time and name of the timer of these kinds that is to fire first; None without one."""
    found = [
        (timer.at_ms, _ORDER[kind_of(timer)], name)
        for name, timer in cell.timers.items()
        if kind_of(timer) in kinds and (name, timer.at_ms) not in besides
    ]
    if not found:
        return None
    at_ms, _, name = min(found)
    return at_ms, name


def set_since(before: Cell, after: Cell) -> frozenset[SetTimer]:
    """Names and times of the timers that were set between the two."""
    known = {SetTimer(name, timer.at_ms) for name, timer in before.timers.items()}
    return frozenset(SetTimer(name, timer.at_ms) for name, timer in after.timers.items()) - known


def _key_of(step: Await | PerKey, element: Element, apply: Application) -> str | None:
    """Where an element is processed next: by the key of the step, else by where it was in the source, so that what was
    in order stays so. None if it has no key, which is a failure.
    """
    if step.key is None:
        return _key_of_record(element.record)
    found = apply.key(step, element)
    return None if found is None else found[0].decode()


def _key_of_record(record: ReadRecord | None) -> str:
    if record is None:
        return ""
    return f"{record.topic}/{record.partition}" if record.key is None else record.key.decode("latin-1")


def _unseen(seen: object) -> None:
    """The watermark is moved by Flink's source."""
