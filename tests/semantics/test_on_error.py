"""`on_error`: a job stops in front of what it cannot process and continues there, or skips it, in each place.

The members are the ways in which an event can fail: before, in and behind an async function, with state, in a timer, in
the output, and as bytes that are no event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import JobInvalid, JobStopped
from headwater.jobs import Context, Job, NotYet, PerKey, Retry, Timer, ToStream, Transition, job, sql_job, table
from headwater.jobs.job import OnError
from semantics.places import PLACES, Event, event

everywhere = pytest.mark.parametrize("place", PLACES)
FAILING = 5
COUNT = 12


class Switch:
    """Whether the job is broken."""

    def __init__(self) -> None:
        self.is_broken = True

    def fail_on(self, one: Event) -> None:
        if self.is_broken and one["number"] == FAILING:
            raise ValueError("unforeseen")


def plain(on_error: OnError, switch: Switch) -> Job:
    @job(source="in", sink="out", on_error=on_error, name="made")
    def made(one: Event, context: Context) -> Event:
        switch.fail_on(one)
        return {"$schema": "/out/1.0.0", "number": one["number"]}

    return made


def awaiting(on_error: OnError, switch: Switch) -> Job:
    @job(source="in", sink="out", key="key", concurrency=4, on_error=on_error, name="made")
    async def made(one: Event, context: Context) -> Event:
        await asyncio.sleep((3 - one["number"] % 3) / 1_000)
        switch.fail_on(one)
        return {"$schema": "/out/1.0.0", "number": one["number"]}

    return made


def retried(on_error: OnError, switch: Switch) -> Job:
    @job(source="in", sink="out", retry=Retry("10ms", "2ms", "5ms"), on_error=on_error, name="made")
    async def made(one: Event, context: Context) -> Event:
        if switch.is_broken and one["number"] == FAILING:
            raise NotYet("not replicated")
        return {"$schema": "/out/1.0.0", "number": one["number"]}

    return made


def behind(on_error: OnError, switch: Switch) -> Job:
    @job(source="in", sink="out", key="key", on_error=on_error, name="made")
    async def made(one: Event, context: Context) -> Event:
        await asyncio.sleep(0)
        return one

    @made.then(key="key", state=list)
    def kept(one: Event, context: Context) -> Event:
        context.state = [*context.state, one["number"]]
        switch.fail_on(one)
        return {"$schema": "/out/1.0.0", "number": one["number"], "of_key": list(context.state)}

    return kept


def keyed(on_error: OnError, switch: Switch) -> Job:
    @job(source="in", sink="out", key="key", state=list, on_error=on_error, name="made")
    def made(one: Event, context: Context) -> Event:
        context.state = [*context.state, one["number"]]
        switch.fail_on(one)
        return {"$schema": "/out/1.0.0", "number": one["number"], "of_key": list(context.state)}

    return made


def written(on_error: OnError, switch: Switch) -> Job:
    @job(source="in", sink="out", on_error=on_error, name="made")
    def made(one: Event, context: Context) -> Event:
        is_bad = switch.is_broken and one["number"] == FAILING
        return {"$schema": "/out/1.0.0", "number": one["number"], "text": {1, 2} if is_bad else "good"}

    return made


KINDS: dict[str, Callable[[OnError, Switch], Job]] = {
    "plain": plain,
    "awaiting": awaiting,
    "retried": retried,
    "behind an async function": behind,
    "keyed": keyed,
    "output": written,
}
EVENTS = [event(number, "ab"[number % 2], number) for number in range(COUNT)]
each_kind = pytest.mark.parametrize("kind", KINDS)


def numbers(events: list[Event]) -> list[int]:
    return [one["number"] for one in events]


@everywhere
@each_kind
async def test_with_skip_an_event_that_fails_is_counted_and_leaves_nothing(
    place: str, kind: str, tmp_path: Path
) -> None:
    outcome = await PLACES[place](KINDS[kind]("skip", Switch()), EVENTS, tmp_path)
    assert numbers(outcome.streams["out"]) == [number for number in range(COUNT) if number != FAILING]
    assert outcome.streams["made.error"] == []
    assert (outcome.skipped, outcome.errors) == (1, 0)


@everywhere
@each_kind
async def test_with_stop_a_job_stops_in_front_of_an_event_and_continues_with_it_after_a_repair(
    place: str, kind: str, tmp_path: Path
) -> None:
    switch = Switch()
    made = KINDS[kind]("stop", switch)
    run = PLACES[place]
    for _ in range(3):
        # However often it is tried, it is never given up.
        with pytest.raises(JobStopped, match="event id-5") as caught:
            await run(made, EVENTS, tmp_path)
        assert str(FAILING) in caught.value.message
    switch.is_broken = False
    outcome = await run(made, EVENTS, tmp_path)
    # What came before it was committed, and is not repeated.
    assert numbers(outcome.streams["out"]) == list(range(COUNT))
    ids = [one["meta"]["id"] for one in outcome.streams["out"]]
    assert len(set(ids)) == COUNT
    assert outcome.streams["made.error"] == []
    if kind in ("keyed", "behind an async function"):
        assert outcome.streams["out"][-1]["of_key"] == [1, 3, 5, 7, 9, 11]


@everywhere
@pytest.mark.parametrize("on_error", ["stop", "skip"])
async def test_bytes_that_are_no_event_stop_a_job_or_are_skipped(place: str, on_error: OnError, tmp_path: Path) -> None:
    switch = Switch()
    switch.is_broken = False
    events = [*EVENTS[:8], b'{"no": "json', *EVENTS[8:]]
    if on_error == "skip":
        outcome = await PLACES[place](plain("skip", switch), events, tmp_path)
        assert numbers(outcome.streams["out"]) == list(range(COUNT))
        assert outcome.skipped == 1
        return
    with pytest.raises(JobStopped, match="in/0/8"):
        await PLACES[place](plain("stop", switch), events, tmp_path)


def reminded(on_error: OnError, switch: Switch) -> Job:
    def on_event(state: Any, one: Event, context: Context) -> Transition:
        return Transition(one["number"], timers={"soon": Timer(context.event_time_ms + 500)})

    def on_timer(state: Any, name: str, context: Context) -> Transition:
        switch.fail_on({"number": state})
        return Transition(None, [{"$schema": "/out/1.0.0", "number": state}])

    steps = (PerKey("remind", lambda one, context: one["key"], on_event, on_timer),)
    return Job("made", ("in",), steps, ToStream("out"), on_error=on_error)


@everywhere
async def test_a_timer_that_fails_stops_the_job_and_fires_after_a_repair(place: str, tmp_path: Path) -> None:
    switch = Switch()
    made = reminded("stop", switch)
    for _ in range(2):
        with pytest.raises(JobStopped, match='the timer remind/"b"/soon/'):
            await PLACES[place](made, EVENTS, tmp_path)
    switch.is_broken = False
    outcome = await PLACES[place](made, EVENTS, tmp_path)
    assert sorted(numbers(outcome.streams["out"])) == list(range(COUNT))


@everywhere
async def test_a_timer_that_fails_is_skipped(place: str, tmp_path: Path) -> None:
    outcome = await PLACES[place](reminded("skip", Switch()), EVENTS, tmp_path)
    assert sorted(numbers(outcome.streams["out"])) == [number for number in range(COUNT) if number != FAILING]
    assert outcome.skipped == 1


def test_each_way_to_make_a_job_takes_it() -> None:
    @sql_job(sink="out:1.0.0", on_error="stop")
    def of_sql() -> str:
        return 'SELECT key FROM "in"'

    filled = table("rows", source="in", columns={"key": "text"}, on_error="skip")
    assert (of_sql.on_error, filled.on_error) == ("stop", "skip")
    branched = plain("stop", Switch()).branch("part", sink="other")
    assert branched.on_error == "stop"
    with pytest.raises(JobInvalid, match="'error_event' or 'stop' or 'skip'"):
        job(source="in", on_error="ignore")  # type: ignore[typeddict-item]
    with pytest.raises(JobInvalid, match="error_event, stop, skip"):
        Job("made", ("in",), on_error="ignore")  # type: ignore[arg-type]
