"""A job has the same outcome on SQLite, on Kafka and in batch: outputs, their ids and order, errors and late events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from headwater.jobs import (
    Context,
    Dedupe,
    Job,
    NotYet,
    PerKey,
    Rate,
    Reject,
    Reorder,
    Retry,
    Timer,
    ToStream,
    Transition,
    Window,
    job,
    session,
    tumbling,
)
from semantics.places import PLACES, START_MS, Event, Outcome, event

SHORT = Retry("30ms", "2ms", "5ms")


@job(source="in", sink="out")
def filtered(one: Event, context: Context) -> list[Event] | None:
    """Maps, filters and multiplies."""
    if one["number"] % 4 == 3:
        return None
    return [{"$schema": "/out/1.0.0", "number": one["number"], "copy": copy} for copy in range(one["number"] % 3)]


@job(source="in", sink="out", key="key", retry=SHORT, concurrency=8)
async def looked_up(one: Event, context: Context) -> Event:
    """Answers come in another order than questions, and some only at the second attempt."""
    await asyncio.sleep((7 - one["number"] % 7) / 2_000)
    if one["number"] % 5 == 4 and context.attempt == 1:
        raise NotYet("not replicated")
    return {"$schema": "/out/1.0.0", "key": one["key"], "number": one["number"], "again": context.idempotency_key}


@job(source="in", sink="out", retry=SHORT)
async def failing(one: Event, context: Context) -> Event:
    """Each class of failure."""
    match one["number"] % 6:
        case 1:
            raise Reject("GONE: no such page")
        case 2:
            raise NotYet("never replicated")
        case 3:
            raise ValueError("unforeseen")
        case 4:
            return {"$schema": "/out/1.0.0", "meta": "no object", "number": {1, 2}}
    return {"$schema": "/out/1.0.0", "number": one["number"]}


@job(source="in", sink="out", key="key", state=list)
def remembered(one: Event, context: Context) -> Event:
    """State of each key, which a failing event does not change."""
    context.state = [*context.state, one["number"]]
    if one["number"] % 5 == 4:
        raise ValueError("unforeseen")
    return {"$schema": "/out/1.0.0", "key": context.key, "numbers": list(context.state)}


def _reminding(state: Any, one: Event, context: Context) -> Transition:
    timers = {**context.timers, f"echo {one['number']}": Timer(context.event_time_ms + 10_000)}
    match one["number"] % 4:
        case 0:
            # A name has one timer: a later one replaces it.
            timers["replaced"] = Timer(START_MS + 200_000 + one["number"])
        case 1:
            timers["cancelled"] = Timer(START_MS + 300_000)
        case 3:
            timers.pop("cancelled", None)
    return Transition(one["number"], timers=timers)


def _reminded(state: Any, name: str, context: Context) -> Transition:
    return Transition(state, [{"$schema": "/out/1.0.0", "key": context.key, "timer": name}])


reminded = Job(
    "reminded",
    ("in",),
    (PerKey("remind", lambda one, context: one["key"], _reminding, _reminded),),
    ToStream("out"),
)


@job(source="in", sink="out", key="key", window=tumbling("10s", lateness="5s").count("n"), late="late")
def counted(window: Window, context: Context) -> Event:
    return {"$schema": "/out/1.0.0", "key": window.key, "start": window.start, "n": window.n}


@job(source="in", sink="out", key="key", window=session("8s").count("n"), late="late", out_of_order="5s")
def sessions(window: Window, context: Context) -> Event:
    return {"$schema": "/out/1.0.0", "key": window.key, "start": window.start, "end": window.end, "n": window.n}


@job(source="in", sink="out", key="key", reorder=Reorder("rev", "30s"), late="late")
def reordered(one: Event, context: Context) -> Event:
    return {"$schema": "/out/1.0.0", "key": one["key"], "number": one["number"]}


@job(source="in", sink="out", key="key", dedupe=Dedupe("unit", "1d"), rate=Rate(2, "10s", over="drop"))
def limited(one: Event, context: Context) -> Event:
    return {"$schema": "/out/1.0.0", "key": one["key"], "number": one["number"]}


@job(source="in", sink="out", outputs=("aside",))
def divided(one: Event, context: Context) -> Event:
    context.emit({"$schema": "/aside/1.0.0", "number": one["number"]}, to="aside")
    return {"$schema": "/out/1.0.0", "number": one["number"]}


CORPUS = (filtered, looked_up, failing, remembered, reminded, counted, sessions, reordered, limited, divided)
SECONDS = (0, 1, 1, 4, 3, 12, 9, 13, 13, 27, 26, 11, 40, 41, 39, 2, 62, 70, 66, 90)


def of_times(seconds: Sequence[float]) -> list[Event]:
    return [
        event(number, "abc"[number % 3], second, unit=number % 11, rev=number ^ 4)
        for number, second in enumerate(seconds)
    ]


# A function with state and timers of its own sees the order of arrival; windows sort what is within their lateness.
IN_ORDER, OUT_OF_ORDER = of_times(sorted(SECONDS)), of_times(SECONDS)
MAY_BE_LATE = (counted, sessions)


def comparable(outcome: Outcome, job: Job) -> dict[str, dict[str, list[object]]]:
    """By stream and key, in order: what does not depend on the moment of the run. Error events: by id."""
    found: dict[str, dict[str, list[object]]] = {}
    for stream, events in outcome.streams.items():
        for one in events:
            body = {name: part for name, part in one.items() if name not in ("meta", "dt")}
            if stream == job.writes().errors:
                # Those of one commit are in the order of the steps that failed.
                body = {name: one[name] for name in ("error_type", "message", "raw_event")}
            found.setdefault(stream, {}).setdefault(str(one.get("key")), []).append((one["meta"]["id"], body))
    for of_key in found.get(job.writes().errors, {}).values():
        of_key.sort(key=str)
    return found


@pytest.mark.parametrize("made", CORPUS, ids=lambda one: one.name)
@pytest.mark.parametrize("place", ["kafka", "batch"])
async def test_a_job_writes_the_same_events_with_the_same_ids_in_the_same_order(
    made: Job, place: str, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    events = OUT_OF_ORDER if made in MAY_BE_LATE else IN_ORDER
    expected = comparable(await PLACES["sqlite"](made, events, tmp_path / "one"), made)
    found = comparable(await PLACES[place](made, events, tmp_path / "other"), made)
    assert found == expected
    assert sum(len(events) for by_key in expected.values() for events in by_key.values()) > 5
