"""Applies a step of a job to one event or timer, and adds what comes of it to `Results`.

Nothing here knows a log, a runner or an event loop: a runner decides when, how often and how many at a time. What a
function raises is a `Failure`, never an error of the caller; only `attempt` raises, because its caller may retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import JobInvalid
from headwater.event import decode_json
from headwater.foreign import awaited, contain
from headwater.jobs.cells import Cell
from headwater.jobs.outcomes import Postpone
from headwater.jobs.rows import KeyRows
from headwater.jobs.scope import NO_SCOPE, STATE_BYTES_WARNED, Scope
from headwater.jobs.steps import NO_TIMERS, Await, Context, Each, Element, Failure, PerKey, Results, Transition
from headwater.schemas.json_value import identified


@dataclass(slots=True)
class Application:
    """Applies steps at one watermark; the output goes to `results`."""

    results: Results
    watermark_ms: int
    scope: Scope = NO_SCOPE

    def each(self, step: Each, item: Element) -> None:
        """Apply `step` to one item."""
        context = Context(
            item.event_time_ms, self.watermark_ms, item.stream, None, None, NO_TIMERS, self.scope, item.lineage_id
        )
        try:
            made = _several(step.apply(item.value, context))
        except BaseException as error:  # the job's code: anything it raises becomes an error event
            contain(error)
            self.results.failures.append(Failure(item, step.name, error))
            return
        self._add(item, context, made)

    async def attempt(self, step: Await, item: Element, number: int = 1) -> Results:
        """Call the function of `step` once, for the attempt `number`; the output of this call alone.

        Raises what the function raises: Escaped for anything that is not an Exception. A caller that retries gives the
        next attempt a copy of the item made before the first, as a function may change its event and fail then.
        """
        context = Context(
            item.event_time_ms,
            self.watermark_ms,
            item.stream,
            None,
            None,
            NO_TIMERS,
            self.scope,
            item.lineage_id,
            number,
        )
        try:
            made = _several(await awaited(step.call(item.value, context)))
        except Postpone as error:
            # Each attempt emits events of its own.
            error.emitted = _emitted(item, context.emitted or [], f"/attempt/{number}")
            raise
        emitted = [] if context.emitted is None else _emitted(item, context.emitted)
        return Results(_derived(item, made), emitted)

    def key(self, step: PerKey | Await, item: Element) -> tuple[bytes, Context] | None:
        """The item's key, encoded in a canonical form, and the context to give with it to `event`.

        None, and a failure, if it has no key that is JSON.
        """
        context = Context(
            item.event_time_ms, self.watermark_ms, item.stream, None, None, NO_TIMERS, self.scope, item.lineage_id
        )
        try:
            key, context.key = identified(None if step.key is None else step.key(item.value, context))
        except BaseException as error:
            contain(error)
            self.results.failures.append(Failure(item, step.name, error))
            return None
        context.emitted = None
        return key, context

    def event(
        self, step: PerKey, key: bytes, item: Element, cell: Cell, context: Context, *, rows: KeyRows | None = None
    ) -> Cell:
        """Apply `step`, whose cell for `key` is `cell`, to one item; the cell afterwards.

        `key` and `context` are what `self.key` gave for the item; `rows` are those of the key. If the function fails,
        the cell is the same, and the rows are as they were.
        """
        try:
            context.state, context.timers = cell.state, dict(cell.timers)
            if rows is not None:
                rows.element, context.rows = item, rows
            transition = step.on_event(context.state, item.value, context)
            after, made, late = _settle(transition, context, cell, rows)
        except BaseException as error:
            contain(error)
            if rows is not None:
                rows.undo()
            self.results.failures.append(Failure(item, step.name, error, key))
            return cell
        if made or context.emitted is not None:
            self._add(item, context, made)
        if late:
            self.results.late.extend(_derived(item, late))
        if transition.dropped is not None:
            self.results.dropped.append((transition.dropped, item))
        return after

    def timer(
        self, step: PerKey, key: bytes, name: str, at_ms: int, cell: Cell, *, rows: KeyRows | None = None
    ) -> Cell:
        """Fire the timer `name` of `key` that was set to `at_ms`; the cell afterwards.

        Does nothing if it was set again.
        """
        timer = cell.timers.get(name)
        if timer is None or timer.at_ms != at_ms:
            return cell
        left = cell.without_timer(name)
        if step.on_timer is None:
            return left
        item = Element(None, timer.at_ms, f"{step.name}/{key.decode()}/{name}/{timer.at_ms}")
        try:
            if rows is not None:
                rows.element = item
            context = Context(
                item.event_time_ms,
                self.watermark_ms,
                None,
                decode_json(key),
                left.state,
                dict(left.timers),
                self.scope,
                item.lineage_id,
                1,
                rows,
            )
            transition = step.on_timer(context.state, name, context)
            after, made, late = _settle(transition, context, left, rows)
        except BaseException as error:  # the timer is deleted, the state is kept
            contain(error)
            if rows is not None:
                rows.undo()
            self.results.failures.append(Failure(item, step.name, error, key))
            return left
        if made or context.emitted is not None:
            self._add(item, context, made)
        if late:
            self.results.late.extend(_derived(item, late))
        return after

    def _add(self, item: Element, context: Context, made: list[Any]) -> None:
        """Add the output of one call, which has succeeded."""
        self.results.items.extend(_derived(item, made))
        if context.emitted is not None:
            self.results.emitted.extend(_emitted(item, context.emitted))


def _settle(
    transition: Transition, context: Context, cell: Cell, rows: KeyRows | None
) -> tuple[Cell, list[Any], list[Any]]:
    """The cell after a transition, and its events; everything that can fail happens in here."""
    if not isinstance(transition, Transition):
        raise JobInvalid(f"A keyed function returns a Transition, not {type(transition).__name__}.")
    timers = context.timers if transition.timers is None else transition.timers
    after = cell.changed(transition.state, timers, has_rows=bool(rows))
    if after.size_bytes > STATE_BYTES_WARNED:
        context.scope.large_state(context.key, after.size_bytes)
    made, late = _several(transition.events), _several(transition.late)
    if rows is not None:
        rows.keep()
    return after, made, late


def _several(made: Any) -> list[Any]:
    if made is None:
        return []
    kind = type(made)
    if kind is dict:
        return [made]
    if kind is tuple or kind is list:
        return list(made)
    if isinstance(made, Mapping | str | bytes) or not isinstance(made, Iterable):
        return [made]
    return list(made)


def _derived(item: Element, made: list[Any]) -> list[Element]:
    return [
        value
        if isinstance(value, Element)
        else Element(value, item.event_time_ms, f"{item.lineage_id}/{index}", item.stream, item.record, item.source)
        for index, value in enumerate(made)
    ]


def _emitted(item: Element, emitted: list[tuple[str, Any]], attempt: str = "") -> list[Element]:
    origin = f"{item.lineage_id}{attempt}/emit"
    return [
        Element(value, item.event_time_ms, f"{origin}/{index}", item.stream, item.record, item.source, to)
        for index, (to, value) in enumerate(emitted)
    ]
