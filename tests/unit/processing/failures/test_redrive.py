"""A redriven event gives what it would have given had it never failed, once, whatever step it failed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Context, Dedupe, Reject, Window, job, tumbling
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Each, PerKey, Timer, Transition
from headwater.log.contract import Record
from headwater.processing.control import JobControl, Move
from headwater.processing.embedded.loop import RunnerSettings
from headwater.processing.embedded.partitioned import SharedRunner
from headwater.processing.failures.redrive import redrive_entries
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit, open_gate
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog

from .kit import Switch, edit, errors_of, redrive

Make = Callable[[Switch], Job]


def stateless(switch: Switch) -> Job:
    """Every third event fails."""

    @job(source="edits", sink="out")
    def stateless(event: dict[str, Any], context: Context) -> Any:
        if switch.is_broken and event["number"] % 3 == 0:
            raise ValueError(f"number {event['number']} is not for me")
        return {"$schema": "/out/1.0.0", "n": event["number"]}

    return stateless


def some_of_several(switch: Switch) -> Job:
    """One of three outputs is refused by the Gate."""

    @job(source="edits", sink="out")
    def some_of_several(event: dict[str, Any], context: Context) -> Any:
        number = "not a number" if switch.is_broken and event["number"] % 2 else event["number"]
        return [{"$schema": "/out/1.0.0", "n": n} for n in (event["number"] * 10, number, 7)]

    return some_of_several


def keyed(switch: Switch) -> Job:
    """A function with state fails: what it did to the state is discarded."""

    @job(source="edits", sink="out", key="wiki", state=lambda: 0)
    def keyed(event: dict[str, Any], context: Context) -> Any:
        context.state += event["number"]
        if switch.is_broken and event["number"] == 5:
            raise RuntimeError("five")
        return {"$schema": "/out/1.0.0", "n": event["number"]}

    return keyed


def after_state(switch: Switch) -> Job:
    """A step fails after another one has taken note of the event, and would leave it out the next time."""

    def once(seen: Any, event: Any, context: Context) -> Transition:
        return Transition(True) if seen else Transition(True, events=[{**event, "first": True}])

    def last(event: Any, context: Context) -> Any:
        if switch.is_broken and event["number"] % 3 == 0:
            raise KeyError("page")
        return {"$schema": "/out/1.0.0", "n": event["number"], "first": event["first"]}

    steps = (PerKey("once", lambda event, context: event["number"], once), Each("last", last))
    return Job("after_state", ("edits",), steps, ToStream("out"))


def after_window(switch: Switch) -> Job:
    """The function that gets the windows fails: no event is left that could make the window again."""

    @job(source="edits", sink="out", key="wiki", window=tumbling("10s").count("edits"))
    def after_window(window: Window, context: Context) -> Any:
        if switch.is_broken and window.start_ms % 20_000 == 0:
            raise ValueError("an even window")
        return {"$schema": "/out/1.0.0", "wiki": window.key, "start": window.start, "n": window.edits}

    return after_window


def deduplicated(switch: Switch) -> Job:
    """A function fails after its event was noted as seen."""

    @job(source="edits", sink="out", key="wiki", dedupe=Dedupe("meta.id", "1d"))
    def deduplicated(event: dict[str, Any], context: Context) -> Any:
        if switch.is_broken and event["number"] % 3 == 0:
            raise ValueError("no")
        return {"$schema": "/out/1.0.0", "n": event["number"]}

    return deduplicated


def reordered(switch: Switch) -> Job:
    """A function fails with an event that was held."""

    @job(source="edits", sink="out", key="wiki", reorder=("number", "5s"))
    def reordered(event: dict[str, Any], context: Context) -> Any:
        if switch.is_broken and event["number"] % 5 == 0:
            raise ValueError("no")
        return {"$schema": "/out/1.0.0", "n": event["number"]}

    return reordered


def awaited(switch: Switch) -> Job:
    """An async function fails."""

    @job(source="edits", sink="out", concurrency=4, retry=None)
    async def awaited(event: dict[str, Any], context: Context) -> Any:
        if switch.is_broken and event["number"] % 3 == 0:
            raise Reject("NO_CONTENT: empty")
        return {"$schema": "/out/1.0.0", "n": event["number"]}

    return awaited


def awaited_then_keyed(switch: Switch) -> Job:
    """A step fails after an async function, and after a step that keeps state."""

    async def look(event: Any, context: Context) -> Any:
        return {**event, "looked": True}

    def once(seen: Any, event: Any, context: Context) -> Transition:
        return Transition(True) if seen else Transition(True, events=[event])

    def last(event: Any, context: Context) -> Any:
        if switch.is_broken and event["number"] % 3 == 0:
            raise KeyError("page")
        return {"$schema": "/out/1.0.0", "n": event["number"], "looked": event["looked"]}

    steps = (Await("look", look), PerKey("once", lambda event, context: event["number"], once), Each("last", last))
    return Job("awaited_then_keyed", ("edits",), steps, ToStream("out"))


def emitting(switch: Switch) -> Job:
    """The output is refused, and what the function emits elsewhere is not."""

    @job(source="edits", sink="out", outputs=("also:1.0.0",))
    def emitting(event: dict[str, Any], context: Context) -> Any:
        context.emit({"$schema": "/also/1.0.0", "n": event["number"]}, to="also")
        is_wrong = switch.is_broken and event["number"] % 3 == 0
        return {"$schema": "/out/1.0.0", "n": "wrong" if is_wrong else event["number"]}

    return emitting


MAKERS: Sequence[Make] = (
    stateless,
    some_of_several,
    keyed,
    after_state,
    after_window,
    deduplicated,
    reordered,
    awaited,
    awaited_then_keyed,
    emitting,
)
SCHEMAS = {"/out/1.0.0": {"properties": {"n": {"type": "integer"}}}}


async def processed(make: Make, switch: Switch, **options: Any) -> JobKit:
    kit = JobKit(make(switch), schemas=SCHEMAS, **options)
    await kit.open()
    await kit.put(*[edit(number, wiki=f"w{number % 3}") for number in range(40)])
    await kit.run()
    return kit


async def written(kit: JobKit) -> list[dict[str, Any]]:
    """Everything the job wrote but errors."""
    return [event for stream in kit.job.writes().outputs for event in await kit.events(stream)]


def by_id(events: Sequence[dict[str, Any]]) -> list[Any]:
    """The events in order of their ids, without the time at which they were stored."""
    stripped = [{**event, "meta": {**event["meta"], "dt": None}} for event in events]
    return sorted(stripped, key=lambda event: event["meta"]["id"])


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("batch", [1, 500])
async def test_after_a_repair_a_redrive_gives_the_outputs_of_a_run_that_never_failed(make: Make, batch: int) -> None:
    settings = RunnerSettings(wait_seconds=0.02, batch_records_max=batch)
    whole = Switch()
    whole.is_broken = False
    expected = await written(await processed(make, whole, settings=settings))
    switch = Switch()
    kit = await processed(make, switch, settings=settings)
    assert len(await written(kit)) < len(expected)
    failed = await errors_of(kit)
    assert failed
    switch.is_broken = False
    outcome = await redrive(kit)
    assert (outcome.redriven, outcome.impossible) == (len(failed), 0)
    await kit.run()
    assert by_id(await written(kit)) == by_id(expected)
    # Again, nothing is left to redrive.
    outcome = await redrive(kit)
    assert (outcome.events, outcome.before) == (0, len(failed))
    await kit.run()
    assert by_id(await written(kit)) == by_id(expected)


async def test_what_fails_again_is_a_new_attempt_in_the_same_group_and_can_be_redriven_again() -> None:
    switch = Switch()
    kit = await processed(stateless, switch)
    first = await errors_of(kit)
    await redrive(kit)
    await kit.run()
    both = await errors_of(kit)
    again = both[len(first) :]
    assert [error.details.attempt for error in again] == [2] * len(first)
    assert {error.group for error in both} == {first[0].group}
    assert not {error.id for error in again} & {error.id for error in first}
    assert [error.details.place for error in again] == [error.details.place for error in first]
    assert [error.details.first_failed_at for error in again] == [error.details.first_failed_at for error in first]
    switch.is_broken = False
    outcome = await redrive(kit)
    assert (outcome.events, outcome.before) == (len(first), len(first))
    await kit.run()
    assert len(await kit.events()) == 40


async def test_a_redriven_event_keeps_its_place_and_its_time() -> None:
    """An event without an id is identified by where it was read first, and its time is that of its first receipt."""
    switch = Switch()
    seen = []

    def function(event: Any, context: Context) -> Any:
        seen.append((context.event_time_ms, context.stream))
        if switch.is_broken:
            raise ValueError("no")
        return {"$schema": "/out/1.0.0", "n": 1}

    kit = JobKit(Job("placed", ("edits", "moves"), (Each("function", function),), ToStream("out")))
    await kit.open()
    await kit.log.append([Record("moves", b'{"$schema":"/m/1.0.0"}')])
    await kit.run()
    kit.clock.advance(86_400)
    switch.is_broken = False
    await redrive(kit)
    await kit.run()
    assert seen == [seen[0]] * 2
    assert seen[0][1] == "moves"
    whole = JobKit(replace(kit.job))
    await whole.open()
    await whole.log.append([Record("moves", b'{"$schema":"/m/1.0.0"}')])
    await whole.run()
    assert [one["meta"]["id"] for one in await kit.events()] == [one["meta"]["id"] for one in await whole.events()]


async def test_other_jobs_of_the_stream_get_nothing_of_a_redrive() -> None:
    switch = Switch()
    kit = await processed(stateless, switch)
    before = await kit.log.last(["edits"])
    switch.is_broken = False
    await redrive(kit)
    assert await kit.log.last(["edits"]) == before


async def test_a_redriven_event_does_not_move_the_watermark_and_makes_no_other_event_late() -> None:
    @job(source="edits", sink="out", key="wiki", window=tumbling("10s").count("edits"))
    def counted(window: Window, context: Context) -> Any:
        return {"$schema": "/out/1.0.0", "start": window.start, "n": window.edits}

    kit = JobKit(counted)
    await kit.open()
    await kit.put(edit(1, wiki="w"), edit(12, wiki="w"))
    kit.clock.now += 60
    await kit.log.append([Record("edits", b"not an event")])
    await kit.run_live()
    await redrive(kit, mapper=lambda _: edit(50, wiki="w"))
    await kit.run_live()
    await kit.put(edit(13, wiki="w"))
    await kit.run_live()
    assert kit.runner.status.report().late == 0
    await kit.run()
    assert sorted((one["start"][17:19], one["n"]) for one in await kit.events()) == [("00", 1), ("10", 2), ("50", 1)]


async def test_a_mapper_changes_the_event_but_never_its_id_and_may_leave_it_out() -> None:
    @job(source="edits", sink="out")
    def titled(event: dict[str, Any], context: Context) -> Any:
        return {"$schema": "/out/1.0.0", "n": event["number"], "title": event["title"]}

    kit = JobKit(titled)
    await kit.open()
    await kit.put(edit(1), edit(2), edit(3))
    await kit.run()

    def with_title(event: dict[str, Any]) -> Any:
        if event["number"] == 2:
            return None
        return {**event, "title": "T", "meta": {**event["meta"], "id": "another"}}

    outcome = await redrive(kit, mapper=with_title)
    assert (outcome.events, outcome.left_out) == (2, 1)
    await kit.run()
    assert [(one["n"], one["title"]) for one in await kit.events()] == [(1, "T"), (3, "T")]
    whole = JobKit(titled)
    await whole.open()
    await whole.put(*[edit(number, title="T") for number in (1, 3)])
    await whole.run()
    assert by_id(await kit.events()) == by_id(await whole.events())


async def test_a_mapper_that_fails_is_reported_and_what_was_mapped_before_stays_redriven() -> None:
    switch = Switch()
    kit = await processed(stateless, switch)

    def fails(event: dict[str, Any]) -> Any:
        if event["number"] > 6:
            raise TypeError("not this one")
        return event

    with pytest.raises(JobInvalid, match=r"fails on the event of .*: TypeError: not this one"):
        await redrive(kit, mapper=fails)


async def test_who_redrove_what_when_and_how_is_in_the_log() -> None:
    switch = Switch()
    kit = await processed(stateless, switch)
    failed = await errors_of(kit)
    await redrive(kit, only=lambda error: error.event_id == "id-3")
    (entry,) = [one async for one in redrive_entries(kit.log)]
    assert entry["by"] == "somebody@here"
    assert entry["job"] == "stateless"
    assert entry["errors"] == [next(error.id for error in failed if error.event_id == "id-3")]
    assert entry["at"].endswith("Z")


async def test_what_fails_after_it_was_read_again_is_never_lost_even_if_the_step_is_gone() -> None:
    switch = Switch()
    kit = await processed(after_window, switch)
    failed = await errors_of(kit)
    switch.is_broken = False
    await redrive(kit)
    kit.runner = JobKit(
        Job("after_window", ("edits",), (Each("other", lambda event, context: None),), ToStream("out")), log=kit.log
    ).runner
    await kit.run()
    again = [error for error in await errors_of(kit) if error.id not in {one.id for one in failed}]
    assert len(again) == len(failed)
    assert all("no step 'function' any more" in error.message for error in again)


async def test_a_job_that_was_reset_processes_nothing_twice_and_its_errors_can_be_redriven_again() -> None:
    switch = Switch()
    kit = await processed(keyed, switch)
    switch.is_broken = False
    await redrive(kit)
    await kit.run()
    whole = await kit.events()
    assert len(whole) == 40
    control = JobControl(kit.log, kit.job, ["edits"])
    for broken, expected in ((True, 79), (False, 120)):
        switch.is_broken = broken
        kit.clock.advance(1)
        await kit.runner.reposition(await control.position(Move("again")))
        await kit.run()
        assert len(await kit.events()) == expected
        if broken:
            switch.is_broken = False
            kit.clock.advance(1)
            outcome = await redrive(kit)
            assert outcome.events == 1
            await kit.run()
    assert len({event["meta"]["id"] for event in await kit.events()}) == 40


async def test_processes_that_share_a_job_process_what_is_redriven_once() -> None:
    switch = Switch()
    brokers = OracleBrokers()
    made = stateless(switch)
    kits = [JobKit(made, log=OracleKafkaLog(brokers), partitions=4, schemas=SCHEMAS) for _ in range(2)]
    runners = []
    for kit in kits:
        await kit.open()
        gate = open_gate(kit.streams, schemas=SCHEMAS)
        runners.append(SharedRunner(made, kit.log, gate, settings=RunnerSettings(wait_seconds=0.02)))
    running = [asyncio.create_task(runner.run()) for runner in runners]

    async def outputs(number: int) -> bool:
        return len(await kits[0].events()) == number

    async def failures(number: int) -> bool:
        return len(await errors_of(kits[0])) == number

    try:
        await kits[0].put(*[edit(number) for number in range(30)])
        await eventually(lambda: failures(10))
        switch.is_broken = False
        await redrive(kits[1])
        await eventually(lambda: outputs(30))
        assert len({event["meta"]["id"] for event in await kits[0].events()}) == 30
    finally:
        for runner in runners:
            runner.stop()
        await asyncio.gather(*running)


async def test_a_timer_that_failed_says_that_it_cannot_be_redriven() -> None:
    def on_event(state: Any, event: dict[str, Any], context: Context) -> Transition:
        return Transition(1, timers={"due": Timer(context.event_time_ms + 1)})

    def on_timer(state: Any, name: str, context: Context) -> Transition:
        raise ValueError("unforeseen")

    by_number = PerKey("remind", lambda event, context: event["number"], on_event, on_timer)
    kit = JobKit(Job("reminded", ("edits",), (by_number,), ToStream("out")))
    await kit.open()
    await kit.put(edit(1))
    await kit.run()
    [error] = await kit.errors()
    assert error["message"].startswith("remind: unforeseen (a timer: it does not fire again")
    outcome = await redrive(kit)
    assert (outcome.redriven, outcome.impossible) == (0, 1)
    assert "a timer failed, not an event" in outcome.reasons[0][1]
