"""What holds wherever a job runs, and is not seen in a comparison of places: failures, parking and late events."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater.jobs import Context, Job, NotYet, Reject, Retry, Window, job, tumbling
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
