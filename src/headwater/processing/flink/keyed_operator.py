"""The operator of a step that keeps state for each key, with its timers.

How this works: Flink's state has one value for each key, its cell, encoded as the embedded runner stores it, and a map
of its rows if the step keeps rows. Of the timers of a key only the first is registered; when that time comes, those
that are due fire in order, and the next one is registered. At the end of the input the watermark is later than any
time: then only timers fire that were there before, and of these those that also fire when idle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor
from pyflink.datastream.time_domain import TimeDomain

from headwater.jobs.cells import Cell
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import NO_WATERMARK
from headwater.processing.embedded.fold import END_OF_TIME
from headwater.processing.embedded.keyed_state import TimerKind
from headwater.processing.flink.exchange import decode_element
from headwater.processing.flink.loading import Origin
from headwater.processing.flink.operators import Operator
from headwater.processing.flink.stage_work import (
    EVENT_TIMERS,
    LAST_TIMERS,
    WALL_TIMERS,
    Due,
    SetTimer,
    clamped,
    first_timer,
    set_since,
)

# How many bytes of the rows of keys an operator has in memory.
ROWS_BYTES_MAX = 33_554_432
_NONE: frozenset[SetTimer] = frozenset()


class KeyStates:
    """The cells and rows of the keys of one operator, in Flink's state: of the key that Flink has set."""

    def __init__(self, context: RuntimeContext, *, has_rows: bool) -> None:
        # The type: in thread mode, a value of an array of bytes that is not there yet cannot be read.
        self._cell = context.get_state(ValueStateDescriptor("cell", Types.PICKLED_BYTE_ARRAY()))
        self._rows_state: Any = None
        if has_rows:
            descriptor = MapStateDescriptor("rows", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
            self._rows_state = context.get_map_state(descriptor)
        # Those used last, at the end; this operator alone changes them.
        self._rows: OrderedDict[str, KeyRows] = OrderedDict()
        self._rows_bytes = 0

    def cell(self) -> Cell:
        """The cell of the key."""
        return Cell.decode(self._cell.value())

    def rows(self, key: str, cell: Cell) -> KeyRows | None:
        """The rows of the key, to be given to `keep` afterwards; None if the step keeps none."""
        if self._rows_state is None:
            return None
        rows = self._rows.pop(key, None)
        if rows is None:
            return KeyRows(self._rows_state.items() if cell.has_rows else ())
        self._rows_bytes -= rows.committed_bytes
        return rows

    def keep(self, key: str, before: Cell, after: Cell, rows: KeyRows | None) -> None:
        """Store what has changed."""
        if after != before:
            encoded = after.encode()
            if encoded is None:
                self._cell.clear()
            else:
                self._cell.update(encoded)
        if rows is None:
            return
        for name, content in rows.changes():
            if content is None:
                self._rows_state.remove(name)
            else:
                self._rows_state.put(name, content)
        rows.committed()
        self._rows[key] = rows
        self._rows_bytes += rows.committed_bytes
        while self._rows_bytes > ROWS_BYTES_MAX and len(self._rows) > 1:
            self._rows_bytes -= self._rows.popitem(last=False)[1].committed_bytes


class Keyed(KeyedProcessFunction):  # type: ignore[misc]
    """A stage that begins with a step that keeps state."""

    def __init__(self, origin: Origin, number: int) -> None:
        self._operator = Operator(origin, number)

    def open(self, runtime_context: RuntimeContext) -> None:
        self._operator.start(runtime_context)
        stage = self._operator.stage
        self._states = KeyStates(runtime_context, has_rows=stage.keyed.keeps_rows)
        self._delay_ms = stage.delay_ms
        self._watermark_ms = NO_WATERMARK
        # Timers that were set at the end of the input, by key.
        self._too_late: dict[str, frozenset[SetTimer]] = {}

    def close(self) -> None:
        self._operator.stop()

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        key, travelling = value[0], decode_element(bytes(value[1]))
        work, watermark_ms = self._operator.work, self._watermark(ctx.timer_service())
        overtaken = work.overtaken(travelling, watermark_ms)
        if overtaken is not None:
            yield from self._operator.given(overtaken)
            return
        before = self._states.cell()
        rows = self._states.rows(key, before)
        after, made = work.event(key.encode(), travelling.element, before, rows, watermark_ms)
        self._states.keep(key, before, after, rows)
        if after.timers is not before.timers:
            self._move_timers(before, after, ctx.timer_service())
        yield from self._operator.given(made)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        key, service = ctx.get_current_key(), ctx.timer_service()
        reached_ms = clamped(service.current_watermark())
        is_last, is_wall = reached_ms >= END_OF_TIME, ctx.time_domain() == TimeDomain.PROCESSING_TIME
        kinds = WALL_TIMERS if is_wall else LAST_TIMERS if is_last else EVENT_TIMERS
        delay_ms = 0 if is_wall else self._delay_ms
        before = self._states.cell()
        rows = self._states.rows(key, before)
        due = Due(
            kinds,
            timestamp - delay_ms,
            self._watermark(service),
            timestamp if is_wall else reached_ms - delay_ms,
            self._too_late.get(key, _NONE),
        )
        after, made = self._operator.work.fire(key.encode(), before, rows, due)
        self._states.keep(key, before, after, rows)
        if is_last and (since := set_since(before, after)):
            self._too_late[key] = self._too_late.get(key, _NONE) | since
        if is_wall:
            self._move_timers(before, after, service, fired=(TimerKind.WALL, timestamp))
        else:
            self._register(kinds, after, service, after_ms=timestamp, besides=self._too_late.get(key, _NONE))
            self._move_wall_timer(before, after, service)
        yield from self._operator.given(made)

    def _watermark(self, service: Any) -> int:
        """The watermark; at the end of the input, the last one before it."""
        watermark_ms = clamped(service.current_watermark())
        if watermark_ms < END_OF_TIME:
            self._watermark_ms = watermark_ms
        return self._watermark_ms

    def _move_timers(
        self, before: Cell, after: Cell, service: Any, *, fired: tuple[TimerKind, int] | None = None
    ) -> None:
        """Register the first timers of a key instead of those before. `fired`: a timer by the wall clock, and when."""
        old, new = first_timer(before, EVENT_TIMERS), first_timer(after, EVENT_TIMERS)
        if old is not None and (new is None or old[0] != new[0]):
            service.delete_event_time_timer(old[0] + self._delay_ms)
        if new is not None and (old is None or old[0] != new[0]):
            service.register_event_time_timer(new[0] + self._delay_ms)
        if fired is None:
            self._move_wall_timer(before, after, service)
        else:
            self._register(WALL_TIMERS, after, service, after_ms=fired[1])

    def _move_wall_timer(self, before: Cell, after: Cell, service: Any) -> None:
        old, new = first_timer(before, WALL_TIMERS), first_timer(after, WALL_TIMERS)
        if old is not None and (new is None or old[0] != new[0]):
            service.delete_processing_time_timer(old[0])
        if new is not None and (old is None or old[0] != new[0]):
            service.register_processing_time_timer(new[0])

    def _register(
        self,
        kinds: Sequence[TimerKind],
        cell: Cell,
        service: Any,
        *,
        after_ms: int,
        besides: frozenset[SetTimer] = _NONE,
    ) -> None:
        """Register the next timer of a key after one has fired at `after_ms`.

        One that was set for a time that has come fires after the others that are due.
        """
        found = first_timer(cell, kinds, besides)
        if found is None:
            return
        if kinds is WALL_TIMERS:
            service.register_processing_time_timer(max(found[0], after_ms + 1))
        else:
            service.register_event_time_timer(max(found[0] + self._delay_ms, after_ms + 1))
