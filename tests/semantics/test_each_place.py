"""What holds wherever a job runs, and is not seen in a comparison of places: failures, parking and late events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import (
    Context,
    Job,
    NotYet,
    PerKey,
    Reject,
    Retry,
    Timer,
    ToStream,
    Transition,
    Window,
    job,
    tumbling,
)
from semantics.places import PLACES, Event, event

everywhere = pytest.mark.parametrize("place", PLACES)


@job(source="in", sink="out", timeout="50ms", retry=Retry("20ms", "2ms", "5ms"))
async def failing(one: Event, context: Context) -> Event:
    match one.get("does"):
        case "reject":
            raise Reject("no such page")
        case "wait":
            raise NotYet("not replicated")
        case "hang":
            await asyncio.sleep(30)
        case "exit":
            raise SystemExit("a library for scripts")
        case "grow":
            return {"$schema": "/out/1.0.0", "text": "x" * 5_000_000}
        case "no event":
            return {"$schema": "/out/1.0.0", "text": {1, 2}}
    return {"$schema": "/out/1.0.0", "number": one["number"]}


CLASSES = {
    "reject": "REJECTED",
    "wait": "NOT_YET",
    "hang": "TIMEOUT",
    "exit": "HANDLER_ERROR",
    "grow": "MESSAGE_TOO_LARGE",
    "no event": "INVALID_OUTPUT",
}


@everywhere
async def test_each_failure_is_an_error_event_of_its_class_and_the_events_after_it_are_processed(
    place: str, tmp_path: Path
) -> None:
    events: list[Event | bytes] = [event(0, "a", 0)]
    for number, does in enumerate(CLASSES, 1):
        events += [event(number, "a", number, does=does)]
    outcome = await PLACES[place](failing, [*events, b'{"no": "json', event(99, "a", 20)], tmp_path)
    assert [one["number"] for one in outcome.streams["out"]] == [0, 99]
    found = {one["raw_event"]: one["error_type"] for one in outcome.streams["failing.error"]}
    expected = {f'"does":"{does}"': kind for does, kind in CLASSES.items()} | {'{"no": "json': "INVALID_INPUT"}
    assert len(found) == len(expected) == outcome.errors
    for text, kind in expected.items():
        assert [of for raw, of in found.items() if text in raw] == [kind], text


def windows(late: str | None) -> Job:
    @job(
        source="in",
        sink="out",
        key="key",
        window=tumbling("10s").count("n"),
        out_of_order="20s",
        late=late,
        name="windows",
    )
    def made(window: Window, context: Context) -> Event:
        return {"$schema": "/out/1.0.0", "start": window.start, "n": window.n}

    return made


@everywhere
@pytest.mark.parametrize("late", ["late", None])
async def test_an_event_within_the_bound_is_never_late_and_one_beyond_it_is_sent_to_the_late_stream_or_counted(
    place: str, late: str | None, tmp_path: Path
) -> None:
    # 40 s has been seen, so that the window of 10 s is complete, and that of 20 s is not.
    seconds = (15, 25, 40, 20.5, 11, 60, 39)
    made = windows(late)
    outcome = await PLACES[place](made, [event(number, "a", at) for number, at in enumerate(seconds)], tmp_path)
    assert outcome.late == 2
    assert [(one["start"][17:19], one["n"]) for one in outcome.streams["out"]] == [
        ("10", 1),
        ("20", 2),
        ("40", 1),
        ("00", 1),
    ]
    if late:
        assert [one["number"] for one in outcome.streams["late"]] == [4, 6]
        assert [one["meta"]["id"] for one in outcome.streams["late"]] == ["id-4", "id-6"]


@everywhere
async def test_a_parked_event_is_overtaken_and_after_its_last_park_it_is_an_error_event(
    place: str, tmp_path: Path
) -> None:
    attempts: list[int] = []

    @job(source="in", sink="out", retry=Retry("10ms", "2ms", "5ms", park=("20ms", "40ms")))
    async def parking(one: Event, context: Context) -> Event:
        if one["number"] == 1:
            attempts.append(context.attempt)
            raise NotYet("not replicated")
        return {"$schema": "/out/1.0.0", "number": one["number"]}

    outcome = await PLACES[place](parking, [event(number, "a", number) for number in range(4)], tmp_path)
    assert [one["number"] for one in outcome.streams["out"]] == [0, 2, 3]
    assert [one["error_type"] for one in outcome.streams["parking.error"]] == ["NOT_YET"]
    # In place, and once after each park.
    assert len(attempts) >= 3
    assert attempts == sorted(attempts)


def chained(rounds: int | None) -> Job:
    """A timer that sets the next one, so often or without end."""

    def on_event(state: Any, one: Event, context: Context) -> Transition:
        return Transition(0, timers={"next": Timer(context.event_time_ms + 1_000)})

    def on_timer(state: int, name: str, context: Context) -> Transition:
        out = [{"$schema": "/out/1.0.0", "key": context.key, "round": state}]
        if rounds is not None and state + 1 >= rounds:
            return Transition(None, out)
        return Transition(state + 1, out, {"next": Timer(context.event_time_ms + 1_000)})

    steps = (PerKey("chain", lambda one, context: one["key"], on_event, on_timer),)
    return Job("chained", ("in",), steps, ToStream("out"))


@everywhere
async def test_at_the_end_of_the_input_timers_fire_and_over_history_those_that_they_set(
    place: str, tmp_path: Path
) -> None:
    outcome = await PLACES[place](chained(20), [event(0, "a", 0), event(1, "b", 0)], tmp_path)
    for key in "ab":
        found = [one["round"] for one in outcome.streams["out"] if one["key"] == key]
        # A live job may go on, and its timers with it.
        assert found == list(range(20 if place == "batch" else 1))


async def test_timers_that_never_end_are_an_error_over_history(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match="they would never end"):
        await PLACES["batch"](chained(None), [event(0, "a", 0)], tmp_path)
