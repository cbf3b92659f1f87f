"""Joins two streams: events of one key that are at most `within` apart in event time become pairs.

How this works: both sides are held; an event is paired with those of the other side at once, and then held for those
that come later. It is deleted when the watermark is more than `within` after it, because only late events could match
it then. With `how="left"` an event of the left side without a match is emitted, with None, at that moment too, or when
the source is idle. Rows: `l`TIME ID and `r`TIME ID are held events, `m`TIME ID says that one of the left was emitted,
`u`TIME ID that one may have to be emitted without a match.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec

from headwater.errors import JobInvalid
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators.held import check_room, element_of, held, held_rows, released, short_name
from headwater.jobs.operators.windows import FORGET, TIME_CHARS, size_of, time_name, time_of
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, Element, PerKey, Timer, Transition

UNMATCHED = "unmatched"


class Pair(NamedTuple):
    """What the function of a job with a join gets: an event of each stream; `right` None without a match."""

    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Join:
    """Pairs of the other sources' events (left) with those of the stream `other` (right). Pass it to a job as `join=`.

    Events of one key match if their event times are at most `within` apart; each pair is emitted once. `how`: "inner",
    or "left" for also emitting events of the left that match none, as `(left, None)`. `held_max`: how many events of a
    key and side are held at a time; further ones become error events.
    """

    other: str
    within: Duration
    how: Literal["inner", "left"] = "inner"
    held_max: int = 100_000

    def __post_init__(self) -> None:
        """Raises JobInvalid for arguments of a wrong type."""
        if not isinstance(self.other, str) or not self.other:
            raise JobInvalid(f"Join: `other` is the name of a stream, not {self.other!r}.")
        if self.how not in ("inner", "left"):
            raise JobInvalid(f'Join: `how` is "inner" or "left", not {self.how!r}.')
        size_of(self.within, "Join: a time")

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The step that emits the pairs of each key."""
        within_ms, is_left_join, held_max = milliseconds(self.within), self.how == "left", self.held_max
        # An event exactly `within` later is on time when the watermark has its time.
        kept_ms = within_ms + 1
        timers = partial(_timers, kept_ms=kept_ms, grain_ms=max(1, within_ms // 4))

        def on_event(state: Any, event: Any, context: Context) -> Transition:
            rows, item = held_rows(context), element_of(context)
            at = item.event_time_ms
            if at + kept_ms <= context.watermark_ms:
                return Transition(None, late=[event])
            own, other = ("r", "l") if item.stream == self.other else ("l", "r")
            check_room(rows, own, held_max, "Join")
            name = _hold(rows, own, item)
            pairs = []
            for row in rows.between(other + time_name(at - within_ms), other + time_name(at + within_ms + 1)):
                match = released(rows[row])
                pairs.append(_pair(item, match) if own == "l" else _pair(match, item))
                if is_left_join:
                    rows[f"m{(name if own == 'l' else row)[1:]}"] = 1
            if is_left_join and own == "l" and not pairs:
                rows[f"u{name[1:]}"] = 1
            return Transition(None, pairs, timers(rows))

        def on_timer(state: Any, timer: str, context: Context) -> Transition:
            rows = held_rows(context)
            if timer == FORGET:
                _forget(rows, max(context.event_time_ms, context.watermark_ms) - kept_ms)
                return Transition(None, timers=timers(rows))
            made = _unmatched(rows, max(context.event_time_ms, rows.until_ms) - kept_ms)
            return Transition(None, made, timers(rows))

        delay_ms = kept_ms if is_left_join else 0
        return PerKey(name, key, on_event, on_timer, keeps_rows=True, delay_ms=delay_ms, timers_emit=is_left_join)


def _hold(rows: KeyRows, side: str, item: Element) -> str:
    """Keep an event; the same id may come again. The name of its row."""
    name = first = f"{side}{time_name(item.event_time_ms)}{short_name(item.lineage_id)}"
    again = 0
    while name in rows:
        again += 1
        name = f"{first}+{again:06d}"
    # Of the right only the value is needed: what a pair was read from is the record of the left.
    rows[name] = held(item if side == "l" else msgspec.structs.replace(item, record=None, source=None))
    return name


def _unmatched(rows: KeyRows, until_ms: int) -> list[Element]:
    """The events of the left up to this time that were not emitted."""
    made = []
    for row in rows.between("u", f"u{time_name(until_ms + 1)}"):
        del rows[row]
        if f"m{row[1:]}" not in rows and f"l{row[1:]}" in rows:
            rows[f"m{row[1:]}"] = 1
            made.append(_pair(released(rows[f"l{row[1:]}"]), None))
    return made


def _forget(rows: KeyRows, until_ms: int) -> None:
    unmatched = rows.first("u")
    if unmatched is not None:
        until_ms = min(until_ms, _time_in(unmatched) - 1)
    for prefix in "lrm":
        for row in rows.between(prefix, prefix + time_name(until_ms + 1)):
            del rows[row]


def _pair(left: Element, right: Element | None) -> Element:
    """A pair; its time is that of the later event, and its id does not depend on which came first."""
    value = Pair(left.value, None if right is None else right.value)
    at = left.event_time_ms if right is None else max(left.event_time_ms, right.event_time_ms)
    lineage_id = f"{left.lineage_id}+{'' if right is None else right.lineage_id}"
    return Element(value, at, lineage_id, left.stream, left.record, left.source)


def _timers(rows: KeyRows, *, kept_ms: int, grain_ms: int) -> dict[str, Timer]:
    """The time to forget is rounded up, so that it is not another one for each event."""
    timers = {}
    unmatched = rows.first("u")
    if unmatched is not None:
        timers[UNMATCHED] = Timer(_time_in(unmatched) + kept_ms)
    oldest = [row for side in "lr" if (row := rows.first(side)) is not None]
    if oldest:
        at = min(map(_time_in, oldest)) + kept_ms
        timers[FORGET] = Timer(at + -at % grain_ms, fires_when_idle=False)
    return timers


def _time_in(row: str) -> int:
    return time_of(row[1 : 1 + TIME_CHARS])
