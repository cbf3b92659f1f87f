"""One ordered stream of changes of pages, made of the older streams, which tell of some changes in two of them.

How this works: events of a page are held for a time and then passed on in order of (revision, time). The events that
tell of one revision are passed on together. An event that comes later than that is late.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition
from headwater.jobs.rows import KeyRows
from headwater.times import time_ms

from ..content import legacy_changes as legacy

HOLD_MS = 60_000
HELD_MAX = 10_000
# A counter.
OF_OLDER = "visibility_of_older_revision"


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what is needed of it."""
    legacy.checked(event)
    return event


def key(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Wiki and page."""
    return [event["database"], event["page_id"]]


def held(kept: Any, event: dict[str, Any], context: Context) -> Transition:
    """Hold an event until its time has come; rows: `b`ORDER is an event with the time at which it happened."""
    rows, state = _rows(context), legacy.State(kept)
    is_of_revision = legacy.kind_of(event) in legacy.HALVES
    if context.event_time_ms + HOLD_MS < context.watermark_ms or (is_of_revision and event["rev_id"] <= state.rev_id):
        return Transition(kept, late=[event])
    if rows.count("b") >= HELD_MAX:
        raise ValueError(f"{HELD_MAX:,} events of the page are held already.")
    rows[f"b{_order(event, context)}"] = {"at": context.event_time_ms, "event": event}
    _set_timer(rows, state, context)
    return Transition(kept)


def released(kept: Any, timer: str, context: Context) -> Transition:
    """Pass on the events whose time has come, those before them, and those about the same revision."""
    rows, state = _rows(context), legacy.State(kept)
    names = rows.between("b", "c")
    events = {name: rows[name] for name in names}
    # At the end of the input everything is due.
    until_ms = max(context.event_time_ms, rows.until_ms)
    due = [name for name in names if events[name]["at"] + HOLD_MS <= until_ms]
    last = max(due, default="")
    rev_id = _rev_id(last) if due else ""
    passed = [name for name in names if name <= last or (_rev_id(name) == rev_id and _is_half(events[name]["event"]))]
    for name in passed:
        del rows[name]
    of_older = _of_older_revisions(events)
    if dropped := of_older.intersection(passed):
        context.metrics.counter(OF_OLDER, len(dropped))
    made = _changes(state, [events[name]["event"] for name in passed if name not in of_older], context)
    state.released += 1
    _set_timer(rows, state, context)
    return Transition(state.kept(), events=made)


def _of_older_revisions(events: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The changes of what is visible of a revision that was not the newest one any more, though it comes first in
    order."""
    made = [(one["at"], one["event"]["rev_id"]) for one in events.values() if _is_half(one["event"])]
    return {
        name
        for name, one in events.items()
        if legacy.kind_of(one["event"]) == legacy.VISIBILITY
        and any(at <= one["at"] and rev_id > one["event"]["rev_id"] for at, rev_id in made)
    }


def _changes(state: legacy.State, events: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
    """The changes that these events, in order, are."""
    made: list[dict[str, Any] | None] = []
    halves = _halves(events)
    for event in events:
        kind = legacy.kind_of(event)
        if kind in legacy.HALVES:
            of_revision = halves.pop(event["rev_id"], None)
            if of_revision is None:  # passed on with its other half
                continue
            change, is_incomplete = legacy.revised(state, of_revision)
            if is_incomplete:
                context.metrics.counter("incomplete_pair")
            made.append(change)
        elif kind == legacy.VISIBILITY:
            hidden = legacy.hidden(state, event)
            if hidden is None:
                context.metrics.counter(OF_OLDER)
            made.append(hidden)
        elif kind == legacy.UNDELETE:
            made.append(legacy.restored(state, event))
        else:
            made.append(legacy.deleted(state, event))
    return [change for change in made if change is not None]


def _halves(events: list[dict[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    """The events about each new revision, by revision and kind."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for event in events:
        if _is_half(event):
            found.setdefault(event["rev_id"], {})[legacy.kind_of(event)] = event
    return found


def _is_half(event: Mapping[str, Any]) -> bool:
    return legacy.kind_of(event) in legacy.HALVES


def _order(event: Mapping[str, Any], context: Context) -> str:
    """Text that sorts as (revision, time), what makes a revision before what happens to it."""
    at = time_ms(legacy.happened_at(event))
    rank = legacy.KINDS.index(legacy.kind_of(event))
    made_first = 0 if _is_half(event) else 1
    return f"{event['rev_id']:020}{made_first}{(at or context.event_time_ms) + 2**61:020}{rank}{context.lineage_id}"


def _rev_id(name: str) -> str:
    return name[1:21]


def _set_timer(rows: KeyRows, state: legacy.State, context: Context) -> None:
    """To when the first of the held events is due. The name counts, so that each release has ids of its own."""
    for name in list(context.timers):
        context.cancel(name)
    at = [rows[name]["at"] for name in rows.between("b", "c")]
    if at:
        context.timer(f"release{state.released}", at_ms=min(at) + HOLD_MS)


def _rows(context: Context) -> KeyRows:
    assert isinstance(context.rows, KeyRows)
    return context.rows


page_change_consolidation = Job(
    "page_change_consolidation",
    tuple(f"mediawiki.{kind}" for kind in legacy.KINDS),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), PerKey("ordered", key, held, released, keeps_rows=True)),
    output=ToStream("mediawiki.page_change.v1", "1.2.0"),
    late_stream="mediawiki.page_change.late",
    summary="One ordered stream of changes of pages, made of the older streams.",
)
