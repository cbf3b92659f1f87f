"""The journeys of edits, and the comparison of counts: it is content with what is right, and sees whatever is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from headwater.cli.demo.wikimedia.counts import Expected, differences, station_places, store_places
from headwater.cli.demo.wikimedia.journeys import Journeys, Stored
from headwater.cli.demo.wikimedia.stations import ACTIONS, HOURS, OUTCOMES, PURGES, STATIONS, STORES
from headwater.cli.demo.wikimedia.texts import Edit
from headwater.times import time_ms

DT = "2026-01-31T12:00:00.000Z"
AT_MS = time_ms(DT) or 0
EDITS = [
    (1001, 1, Edit("River", "A<ref>b</ref>", "Ada", "", is_new=True, changes_references=True)),
    (1002, 2, Edit("Lake", "A", "Bo", "", is_new=True)),
    (1003, 1, Edit("River", "B<ref>b</ref>", "Bo", "")),
]


def _event(stream: str, path: str, rev_id: int) -> dict[str, Any]:
    event: dict[str, Any] = {"meta": {"stream": stream, "request_id": f"request-{rev_id}"}}
    holder = event
    *outer, name = path.split(".")
    for one in outer:
        holder = holder.setdefault(one, {})
    holder[name] = rev_id
    return event


def _events() -> list[dict[str, Any]]:
    """What the platform makes of the edits."""
    found = []
    for rev_id, page_id, edit in EDITS:
        for station in STATIONS:
            wanted = {"all": True, "changes": not edit.is_new, "references": edit.changes_references}[station.edits]
            if station.rev_id and wanted:
                found.append(_event(station.stream, station.rev_id, rev_id))
            if station.stream == ACTIONS:
                action = "create" if edit.is_new else "edit"
                found[-1] |= {"dt": DT, "action": action, "page": {"page_id": page_id, "page_title": edit.title}}
        # The outcome may be seen before the event it is about.
        found.append({"meta": {"stream": OUTCOMES}, "event_id": f"purge-{rev_id}"})
        found.append({"meta": {"stream": PURGES, "id": f"purge-{rev_id}", "request_id": f"request-{rev_id}"}})
    return found


def _stored() -> Stored:
    newest = {1: 1003, 2: 1002}
    return Stored({store.name: dict(newest) for store in STORES}, Counter([1001, 1002, 1003]))


def _expected() -> Expected:
    made = Expected()
    for rev_id, page_id, edit in EDITS:
        made.add(edit, page_id, rev_id)
    return made


def _journeys(events: list[dict[str, Any]]) -> Journeys:
    made = Journeys()
    for event in events:
        made.take(event, AT_MS + 40)
    made.look(_stored(), AT_MS + 90)
    return made


def test_all_that_follows_from_the_edits_agrees_and_each_has_its_latency() -> None:
    journeys = _journeys(_events())
    assert differences(journeys, _stored(), _expected(), [1, 2], {"edit_types": 0}) == []
    places = station_places(journeys, _expected())
    assert {place.p50_ms for place in places} == {40}
    assert {place.where: place.count for place in places}[OUTCOMES] == 3
    assert {place.max_ms for place in store_places(journeys, _stored(), 3, 2)} == {90}
    assert not journeys.waits_for_stores()


@pytest.mark.parametrize("station", [station for station in STATIONS if station.rev_id], ids=lambda one: one.stream)
def test_an_event_that_is_missing_or_comes_twice_is_seen(station: Any) -> None:
    events = _events()
    mine = next(event for event in events if event["meta"]["stream"] == station.stream)
    without = [event for event in events if event is not mine]
    for changed in (without, [*events, mine]):
        (found, *_) = differences(_journeys(changed), _stored(), _expected(), [3], {})
        assert station.stream in found


def _lose_row(stored: Stored) -> None:
    del stored.lake[1002]


def _repeat_row(stored: Stored) -> None:
    stored.lake[1002] += 1


def _old_document(stored: Stored) -> None:
    dict.__setitem__(stored.newest["search_index"], 1, 1001)  # type: ignore[arg-type]


def _no_page(stored: Stored) -> None:
    dict.pop(stored.newest["current_pages"], 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("spoil", [_lose_row, _repeat_row, _old_document, _no_page])
def test_a_store_that_lacks_repeats_or_is_behind_is_seen(spoil: Callable[[Stored], None]) -> None:
    stored = _stored()
    spoil(stored)
    assert differences(_journeys(_events()), stored, _expected(), [3], {}) != []


def test_wrong_hours_and_errors_of_jobs_are_seen() -> None:
    found = differences(_journeys(_events()), _stored(), _expected(), [2], {"edit_types": 1, "revision_diff": 0})
    assert found == [f"{HOURS} counts 2 edits, should count 3", "the job edit_types has 1 error events"]


def test_an_edit_waits_until_it_is_in_every_store() -> None:
    journeys = Journeys()
    for event in _events():
        journeys.take(event, AT_MS)
    assert journeys.waits_for_stores()
    stored = _stored()
    _lose_row(stored)
    journeys.look(stored, AT_MS)
    assert journeys.waits_for_stores()
    journeys.look(_stored(), AT_MS)
    assert not journeys.waits_for_stores()
