"""What the job campaign compares: everything that a fault can do to what the jobs made is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from headwater.testing.job_campaign.comparison import FIELDS, Comparison, differences_to
from headwater.testing.job_campaign.found import Found
from headwater.testing.job_campaign.inputs import events
from headwater.testing.job_campaign.oracle import Expected, minute_of
from headwater.testing.job_campaign.project import ERRORS, INPUTS, STREAMS
from headwater.testing.job_campaign.schedule import schedule

GIVEN = list(events(3, 800))
EXPECTED = Expected(GIVEN)


def as_expected() -> Found:
    """What an exact platform makes of the events."""
    found = Found({name: [] for name in (*INPUTS, *STREAMS, *ERRORS)}, {"job/a/b/cells": {b"k": b"1"}}, EXPECTED.rows)
    for stream, by_user in (EXPECTED.ordered | EXPECTED.sets).items():
        for user, values in by_user.items():
            found.events[stream] += [
                made(stream, user, dict(zip(FIELDS[stream], map(as_read, value), strict=True))) for value in values
            ]
    for stream, windows in (EXPECTED.finals | {"tumbled": EXPECTED.minutes}).items():
        for (user, start), value in windows.items():
            fields = dict(zip(FIELDS[stream], value, strict=True))
            # An earlier result, which the last one corrects.
            found.events[stream].append(made(stream, user, {"start": start, "number": 1} | dict.fromkeys(fields, 0)))
            found.events[stream].append(made(stream, user, {"start": start} | fields))
    for stream in ("quiet", "reminders"):
        for user, numbers in EXPECTED.collected.items():
            found.events[stream].append(made(stream, user, {"numbers": [number for (number,) in numbers]}))
    for job, numbers_of_job in EXPECTED.errors.items():
        for number in numbers_of_job:
            error = made(f"{job}.error", "", {"number": number})
            error["meta"]["failure"] = {"event_id": f"edits-{number}"}
            found.events[f"{job}.error"].append(error)
    for event in GIVEN:
        found.events[event["meta"]["stream"]].append(event)
    return found


def as_read(value: Any) -> Any:
    """As it is in an event."""
    return [{"value": one, "count": count} for one, count in value] if isinstance(value, tuple) else value


def made(stream: str, user: str, fields: dict[str, Any]) -> dict[str, Any]:
    name = json.dumps([stream, user, fields])
    return {"user": user, **fields, "meta": {"id": name, "stream": stream}}


def moved_to_late(found: Found) -> None:
    """An event of a window is late, and counted in it all the same."""
    found.events["tumbled_late"].append(next(event for event in GIVEN if event["meta"]["stream"] == "edits"))


def late_and_not_counted(found: Found) -> None:
    event = next(event for event in GIVEN if event["meta"]["stream"] == "edits")
    found.events["tumbled_late"].append(event)
    window = next(
        one
        for one in reversed(found.events["tumbled"])
        if (one["user"], one["start"]) == (event["user"], minute_of(event))
    )
    window["edits"] -= 1
    window["size"] -= event["size"]


def swapped(found: Found) -> None:
    ones = [event for event in found.events["asked"] if event["user"] == "user1"]
    first, second = found.events["asked"].index(ones[0]), found.events["asked"].index(ones[1])
    found.events["asked"][first], found.events["asked"][second] = ones[1], ones[0]


def changed(stream: str, index: int, field: str, value: Any) -> Callable[[Found], None]:
    return lambda found: found.events[stream][index].update({field: value})


FAULTS: dict[str, tuple[Callable[[Found], None], str]] = {
    "an output is lost": (lambda found: found.events["kept"].pop(7) and None, "kept: "),
    "an output is there twice": (lambda found: found.events["passed"].append(found.events["passed"][3]), "passed: "),
    "outputs of a key are out of order": (swapped, "asked: "),
    "a state was lost": (changed("totals", -1, "edits", 1), "totals: "),
    "an emitted event is lost": (lambda found: found.events["copies"].pop() and None, "copies: "),
    "a window counts an event twice": (changed("slid", -1, "edits", 99), "slid: "),
    "a window is not corrected": (lambda found: found.events["asked_minutes"].pop() and None, "asked_minutes: "),
    "an event is late and counted": (moved_to_late, "tumbled: "),
    "a timer fired twice": (lambda found: found.events["quiet"].append(dict(found.events["quiet"][0])), "quiet: "),
    "a timer did not fire": (lambda found: found.events["reminders"].pop() and None, "reminders: "),
    "a pair is lost": (lambda found: found.events["joined"].pop() and None, "joined: "),
    "an error event is lost": (lambda found: found.events["asked.error"].pop() and None, "asked.error: "),
    "an error event too many": (
        lambda found: found.events["kept.error"].append(found.events["totals.error"][0]),
        "kept.error: ",
    ),
    "an input is lost": (lambda found: found.events["views"].pop() and None, "views has "),
    "a row is old": (lambda found: found.rows.update(user1=(0, 1)), "the rows "),
}


def test_what_is_as_it_must_be_has_no_differences() -> None:
    assert Comparison(EXPECTED, as_expected()).problems() == []
    assert differences_to(as_expected(), as_expected()) == []


def test_an_event_may_be_late_or_counted() -> None:
    found = as_expected()
    late_and_not_counted(found)
    assert Comparison(EXPECTED, found).problems() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_difference_is_found_and_named(fault: str) -> None:
    change, said = FAULTS[fault]
    found = copy.deepcopy(as_expected())
    change(found)
    assert any(problem.startswith(said) for problem in Comparison(EXPECTED, found).problems())


def test_a_job_that_was_reset_may_write_the_same_again_and_nothing_else() -> None:
    found = as_expected()
    found.events["totals"] += copy.deepcopy(found.events["totals"])
    assert Comparison(EXPECTED, found, moved=["totals"]).problems() == []
    assert Comparison(EXPECTED, found).problems() != []
    found.events["totals"][-1]["edits"] = 0
    assert any("totals: " in problem for problem in Comparison(EXPECTED, found, moved=["totals"]).problems())


def test_state_that_differs_from_an_uninterrupted_run_is_found() -> None:
    found = as_expected()
    found.states = {"job/a/b/cells": {b"k": b"2"}, "job/a/progress": {b"p": b"1"}, "job/a/b/rows": {b'"end"': b"1"}}
    assert differences_to(as_expected(), found) == [
        "state job/a/b/cells: b'k' is b'1' uninterrupted, b'2' here",
    ]


def test_a_schedule_has_as_many_kills_as_asked_for_and_is_the_same_for_a_seed() -> None:
    rounds = schedule(5, 40, processes=2, on_kafka=True)
    assert sum(one.kills for one in rounds) == 40
    assert list(rounds) == list(schedule(5, 40, processes=2, on_kafka=True))
    assert {one.slot for one in rounds} == {0, 1}
    assert any(one.pause_seconds > 5 for one in rounds)
    assert not any(one.pause_seconds > 5 for one in schedule(5, 40, processes=1, on_kafka=False))
