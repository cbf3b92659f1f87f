"""One ordered stream of changes of pages, made of the older streams, which tell of some changes in two of them.

How this works: events of a page are held for a time and then passed on in order of (revision, time). The events that
tell of one revision are passed on together. An event that comes later than that is late.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition
from headwater.jobs.operators import held as operators
from headwater.jobs.operators.held import check_room, element_of, held_rows
from headwater.jobs.steps import Element
from headwater.times import time_ms

from ..content import legacy_changes as legacy

HOLD_MS = 60_000
RELEASE = "release"
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
    """Hold an event until its time has come; rows: `b`ORDER is an event."""
    rows, state = held_rows(context), legacy.State(kept)
    is_of_revision = legacy.kind_of(event) in legacy.HALVES
    if context.event_time_ms + HOLD_MS < context.watermark_ms or (is_of_revision and event["rev_id"] <= state.rev_id):
        return Transition(kept, late=[event])
    check_room(rows, "b", HELD_MAX, "The job")
    rows[f"b{_order(event, context)}"] = operators.held(element_of(context))
    known, at_ms = context.timers.get(RELEASE), context.event_time_ms + HOLD_MS
    if known is None or at_ms < known.at_ms:
        context.timer(RELEASE, at_ms=at_ms)
    return Transition(kept)


def released(kept: Any, timer: str, context: Context) -> Transition:
    """Pass on the events whose time has come, those before them, and those about the same revision."""
    rows, state = held_rows(context), legacy.State(kept)
    names = rows.between("b", "c")
    events = {name: operators.released(rows[name]) for name in names}
    # At the end of the input everything is due.
    until_ms = max(context.event_time_ms, rows.until_ms)
    due = [name for name in names if events[name].event_time_ms + HOLD_MS <= until_ms]
    last = max(due, default="")
    rev_id = _rev_id(last) if due else ""
    passed = [name for name in names if name <= last or (_rev_id(name) == rev_id and _is_half(events[name].value))]
    for name in passed:
        del rows[name]
    of_older = _of_older_revisions(events)
    if dropped := of_older.intersection(passed):
        context.metrics.counter(OF_OLDER, len(dropped))
    made = _changes(state, [events[name] for name in passed if name not in of_older], context)
    left = [rows[name]["at"] for name in rows.between("b", "c")]
    if left:
        context.timer(RELEASE, at_ms=min(left) + HOLD_MS)
    return Transition(state.kept(), events=made)


def _of_older_revisions(events: Mapping[str, Element]) -> set[str]:
    """The changes of what is visible of a revision that was not the newest one any more, though it comes first in
    order."""
    made = [(one.event_time_ms, one.value["rev_id"]) for one in events.values() if _is_half(one.value)]
    return {
        name
        for name, one in events.items()
        if legacy.kind_of(one.value) == legacy.VISIBILITY
        and any(at <= one.event_time_ms and rev_id > one.value["rev_id"] for at, rev_id in made)
    }


def _changes(state: legacy.State, events: list[Element], context: Context) -> list[Element]:
    """The changes that these events, in order, are: each has the time and the id of its event.

    So a change has the same id, whatever it is released with. Of two halves it is the event of the revision.
    """
    made: list[Element] = []
    halves = _halves(events)
    for one in events:
        of, event, kind = one, one.value, legacy.kind_of(one.value)
        change: dict[str, Any] | None
        if kind in legacy.HALVES:
            of_revision = halves.pop(event["rev_id"], None)
            if of_revision is None:  # passed on with its other half
                continue
            of = of_revision.get(legacy.REVISION, one)
            change, is_incomplete = legacy.revised(state, {name: half.value for name, half in of_revision.items()})
            if is_incomplete:
                context.metrics.counter("incomplete_pair")
        elif kind == legacy.VISIBILITY:
            change = legacy.hidden(state, event)
            if change is None:
                context.metrics.counter(OF_OLDER)
        elif kind == legacy.UNDELETE:
            change = legacy.restored(state, event)
        else:
            change = legacy.deleted(state, event)
        if change is not None:
            made.append(Element(change, of.event_time_ms, f"{of.lineage_id}/0", of.stream, of.record, of.source))
    return made


def _halves(events: list[Element]) -> dict[int, dict[str, Element]]:
    """The events about each new revision, by revision and kind."""
    found: dict[int, dict[str, Element]] = {}
    for one in events:
        if _is_half(one.value):
            found.setdefault(one.value["rev_id"], {})[legacy.kind_of(one.value)] = one
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


page_change_consolidation = Job(
    "page_change_consolidation",
    tuple(f"mediawiki.{kind}" for kind in legacy.KINDS),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), PerKey("ordered", key, held, released, keeps_rows=True)),
    output=ToStream("mediawiki.page_change.v1", "1.2.0"),
    late_stream="mediawiki.page_change.late",
    summary="One ordered stream of changes of pages, made of the older streams.",
)
