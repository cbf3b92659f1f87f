"""What is found in the shared memory after a process has ended, whatever its jobs were doing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Context, Each, PerKey, Timer, Transition
from headwater.log.contract import Position, StoredRecord
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.flight_recorder import (
    Flight,
    FlightRecorder,
    Flights,
    Suspicion,
    flights_in,
    memory_bytes,
)
from headwater.testing.job_kit import JobKit

JOBS = ("first", "second")


def record(offset: int, topic: str = "in") -> StoredRecord:
    return StoredRecord(topic, 0, offset, 0, None, (), b"{}")


def recorder(memory: bytearray, **suspicions: Suspicion) -> FlightRecorder:
    return FlightRecorder(memory, JOBS, suspicions)


def test_what_was_written_last_is_found() -> None:
    memory = bytearray(memory_bytes(len(JOBS)))
    assert flights_in(memory, JOBS) == Flights({"first": Flight({}, []), "second": Flight({}, [])}, None)
    writes = recorder(memory)
    first, other, second = writes.of("first"), writes.of("first"), writes.of("second")
    first.reads(Position({("in", 0): 5}))
    other.reads(Position({("in", 1): 1}))
    second.tries(record(7))
    first.tries(record(4))
    other.tries(StoredRecord("in", 1, 0, 0, None, (), b"{}"))
    with first.runs():
        found = flights_in(memory, JOBS)
    assert found.running == ("first", ("in", 0, 4))
    assert found.jobs["first"] == Flight({("in", 0): 4, ("in", 1): 0}, [("in", 0, 4), ("in", 1, 0)])
    first.tried()
    found = flights_in(memory, JOBS)
    assert (found.running, found.jobs["first"].tried, found.jobs["second"].tried) == (
        None,
        [("in", 1, 0)],
        [("in", 0, 7)],
    )
    with first.runs():
        assert flights_in(memory, JOBS).running is None
    writes.close()
    assert flights_in(memory, JOBS) == Flights({"first": Flight({}, []), "second": Flight({}, [])}, None)


def test_what_is_too_long_or_half_written_is_not_known() -> None:
    memory = bytearray(memory_bytes(len(JOBS)))
    flight = recorder(memory).of("first")
    flight.reads(Position({("in", 0): 5}))
    flight.reads(Position({(f"{'long' * 60}{number}", number): 5 for number in range(2_000)}))
    assert flights_in(memory, JOBS).jobs["first"].read == {}
    flight.tries(record(1, "x" * 50_000))
    with flight.runs():
        assert flights_in(memory, JOBS).running is None
    memory[:] = b"\xff" * len(memory)
    assert flights_in(memory, JOBS).running is None


async def test_code_is_marked_only_while_it_runs() -> None:
    memory = bytearray(memory_bytes(len(JOBS)))
    flight = recorder(memory).of("second")
    flight.tries(record(3))
    seen: list[Any] = []
    gate = asyncio.Event()

    async def work() -> str:
        seen.append(flights_in(memory, JOBS).running)
        await gate.wait()
        seen.append(flights_in(memory, JOBS).running)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append(flights_in(memory, JOBS).running)
            raise ValueError("cancelled") from None
        return "never"

    task = asyncio.create_task(flight.marked(work()))
    await asyncio.sleep(0)
    assert (len(seen), flights_in(memory, JOBS).running) == (1, None)
    gate.set()
    await asyncio.sleep(0.01)
    assert (len(seen), flights_in(memory, JOBS).running) == (2, None)
    task.cancel()
    with pytest.raises(ValueError, match="cancelled"):
        await task
    assert seen == [("second", ("in", 0, 3))] * 3
    assert flights_in(memory, JOBS).running is None


def job(seen: list[Any], memory: bytearray, kind: str) -> Job:
    """A job of a kind that notes what the memory says while its code runs."""

    def look(what: str, number: int) -> None:
        flights = flights_in(memory, ["seen"])
        seen.append((what, number, flights.running, list(flights.jobs["seen"].tried)))

    def each(event: dict[str, Any], context: Context) -> dict[str, Any]:
        look("event", event["n"])
        return {"$schema": "/out/1.0.0", "n": event["n"]}

    async def asks(event: dict[str, Any], context: Context) -> dict[str, Any]:
        look("before", event["n"])
        await asyncio.sleep(0)
        return each(event, context)

    def on_event(state: Any, event: dict[str, Any], context: Context) -> Transition:
        timers = {"soon": Timer(context.event_time_ms)}
        return Transition((state or 0) + 1, [each(event, context)], timers)

    def on_timer(state: Any, timer: Any, context: Context) -> Transition:
        look("timer", -1)
        return Transition(state)

    steps: Any = {
        "each": (Each("each", each),),
        "key": (PerKey("key", lambda event, context: event["n"], on_event, on_timer),),
        "await": (Each("first", each), Await("await", asks)),
    }[kind]
    return Job("seen", ("in",), steps, ToStream("out"))


@pytest.mark.parametrize("kind", ["each", "key", "await"])
async def test_records_of_an_ended_process_are_processed_alone_and_named_while_code_runs(kind: str) -> None:
    memory, seen = bytearray(memory_bytes(1)), []
    suspicion = Suspicion({("in", 0): 2})
    writes = FlightRecorder(memory, ["seen"], {"seen": suspicion})
    kit = JobKit(
        job(seen, memory, kind), settings=RunnerSettings(wait_seconds=0.02, commit_seconds=0.005, recorder=writes)
    )
    await kit.open()
    await kit.put(*({"n": number, "dt": f"2026-01-01T00:00:0{number}Z"} for number in range(6)))
    await kit.run()
    events = [one for one in seen if one[0] != "timer"]
    for _, number, running, tried in events:
        place = ("in", 0, number)
        assert (running, tried) == ((("seen", place), [place]) if number <= 2 else (None, []))
    assert {number for _, number, _, _ in events} == set(range(6))
    # A timer fires because of an event, but is not what the event is about.
    assert all((running, tried) == (None, []) for what, _, running, tried in seen if what == "timer")
    assert [one["n"] for one in await kit.events()] == list(range(6))
    assert flights_in(memory, ["seen"]).jobs["seen"] == Flight({("in", 0): 5}, [])


@pytest.mark.parametrize("kind", ["each", "key", "await"])
async def test_a_record_that_has_ended_too_many_processes_becomes_an_error_event_and_is_not_tried(kind: str) -> None:
    memory, seen = bytearray(memory_bytes(1)), []
    suspicion = Suspicion({("in", 0): 4}, {("in", 0, 1): "it has ended its process 3 times; the last time by SIGSEGV"})
    writes = FlightRecorder(memory, ["seen"], {"seen": suspicion})
    kit = JobKit(job(seen, memory, kind), settings=RunnerSettings(wait_seconds=0.02, recorder=writes))
    await kit.open()
    await kit.put(*({"n": number, "dt": f"2026-01-01T00:00:0{number}Z"} for number in range(6)))
    await kit.run()
    assert 1 not in {number for _, number, _, _ in seen}
    assert [one["n"] for one in await kit.events()] == [0, 2, 3, 4, 5]
    (error,) = await kit.events("seen.error")
    assert error["error_type"] == "PROCESS_ENDED"
    assert error["message"] == "process: it has ended its process 3 times; the last time by SIGSEGV"
