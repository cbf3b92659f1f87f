"""Holds the events of a key until their time has come, and gives them back in an order of the caller's.

How this works: the rows of a step are the events that are held, named by their order. What is due is everything up to
the last event that has been held for long enough, so that none overtakes another.
"""

from __future__ import annotations

from collections.abc import Iterator

from headwater.jobs import Context
from headwater.jobs.operators.held import check_room, element_of, held, held_rows, released
from headwater.jobs.steps import Element

RELEASE = "release"


def hold(context: Context, order: str, hold_ms: int, held_max: int) -> None:
    """Keep the event of the context. `order`: text that sorts as the events are to be given back. Raises JobInvalid
    if `held_max` are held already.
    """
    rows, at_ms = held_rows(context), context.event_time_ms + hold_ms
    check_room(rows, "b", held_max, "The job")
    rows[f"b{order}{context.event_time_ms + 2**61:020}{context.lineage_id}"] = held(element_of(context))
    timer = context.timers.get(RELEASE)
    if timer is None or at_ms < timer.at_ms:
        context.timer(RELEASE, at_ms=at_ms)


def is_holding(context: Context) -> bool:
    return bool(held_rows(context))


def due(context: Context, hold_ms: int) -> Iterator[Element]:
    """The events whose time has come, and those before them; the others stay. At the end of the input all are due."""
    rows = held_rows(context)
    until_ms = max(context.event_time_ms, rows.until_ms)
    names = list(rows.between("b", "c"))
    last = max((name for name in names if rows[name]["at"] + hold_ms <= until_ms), default="")
    for name in names:
        if name <= last:
            yield released(rows[name])
            del rows[name]
    left = [rows[name]["at"] for name in names if name > last]
    if left:
        context.timer(RELEASE, at_ms=min(left) + hold_ms)


def passed(held_event: Element, value: object) -> Element:
    """What was made of an event that was held, with its time and an id that does not depend on when it was passed."""
    one = held_event
    return Element(value, one.event_time_ms, f"{one.lineage_id}/0", one.stream, one.record, one.source)
