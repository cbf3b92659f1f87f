"""The circuit breaker: when it opens, what is tried while it is open, and that nothing is given up in an outage."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from headwater.jobs import NotYet, Retry
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Context
from headwater.processing.embedded.breaker import EVENTS, Breaker
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit

HALF = EVENTS // 2
ERROR = NotYet("the service is down")


class Signals:
    def __init__(self) -> None:
        self.changes = 0
        self.probes = 0

    def changed(self) -> None:
        self.changes += 1

    def probe(self) -> None:
        self.probes += 1

    def breaker(self) -> Breaker:
        return Breaker(self.changed, self.probe, pause_seconds=0.005, pause_seconds_max=0.02)


async def test_it_opens_when_half_of_the_last_events_failed_for_a_while() -> None:
    breaker = Signals().breaker()
    for event in range(HALF - 1):
        breaker.attempted(event, ERROR, is_probe=False)
        breaker.attempted(1000 + event, None, is_probe=False)
    assert not breaker.is_open
    breaker.attempted(500, ERROR, is_probe=False)
    assert breaker.is_open
    assert breaker.reason is ERROR
    breaker.close()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
async def test_a_smaller_share_never_opens_it(share: float) -> None:
    breaker = Signals().breaker()
    failed = 0
    for event in range(2000):
        fails = failed < share * (event + 1) - 1
        failed += fails
        breaker.attempted(event, ERROR if fails else None, is_probe=False)
        assert not breaker.is_open


async def test_one_event_that_fails_again_and_again_does_not_open_it() -> None:
    breaker = Signals().breaker()
    for _ in range(10 * EVENTS):
        breaker.attempted(1, ERROR, is_probe=False)
    assert not breaker.is_open


async def test_while_it_is_open_one_call_may_start_for_each_probe_and_a_success_closes_it() -> None:
    signals = Signals()
    breaker = signals.breaker()
    for event in range(HALF):
        breaker.attempted(event, ERROR, is_probe=False)
    assert not breaker.may_start()
    before = breaker.seconds()
    await eventually(lambda: signals.probes == 1)
    assert [breaker.may_start(), breaker.may_start()] == [True, False]
    breaker.attempted(1, ERROR, is_probe=True)
    await eventually(lambda: signals.probes == 2)
    assert breaker.seconds() == before
    # A call from before the outage tells nothing.
    breaker.attempted(2, None, is_probe=False)
    assert breaker.is_open
    assert breaker.may_start()
    breaker.attempted(3, None, is_probe=True)
    assert not breaker.is_open
    assert breaker.may_start()
    assert breaker.seconds() < before + 60
    assert signals.changes == 2


async def test_an_outage_makes_no_error_events_and_is_reported_until_it_is_over() -> None:
    is_down = True
    attempts: list[int] = []

    async def call(event: dict[str, Any], context: Context) -> dict[str, Any]:
        attempts.append(event["n"])
        await asyncio.sleep(0)
        if is_down:
            raise ConnectionRefusedError("down")
        return {"$schema": "/out/1.0.0", "n": event["n"]}

    settings = RunnerSettings(wait_seconds=0.02, in_flight_events_max=60, probe_seconds=0.02, probe_seconds_max=0.04)
    made = Job("calling", ("in",), (Await("call", call, 20, Retry("50ms", "5ms", "10ms")),), ToStream("out"))
    kit = JobKit(made, settings=settings)
    await kit.open()
    await kit.put(*({"n": n} for n in range(200)))
    running = asyncio.create_task(kit.runner.run())
    report = kit.runner.status.report
    await eventually(lambda: report().state == "circuit_open")
    tried = len(attempts)
    # Much longer than an event may be retried.
    await asyncio.sleep(0.3)
    assert await kit.errors() == []
    assert tried < len(attempts) < tried + 20
    assert len(set(attempts[tried:])) > 1
    assert report().calls.in_flight <= 60
    assert "ConnectionRefusedError: down" in (report().trouble or "")
    assert "circuit" in (report().trouble or "")
    is_down = False

    async def all_are_there() -> bool:
        return len(await kit.events()) == 200

    await eventually(all_are_there)
    assert report().trouble is None
    assert report().state == "running"
    assert [event["n"] for event in await kit.events()] == list(range(200))
    kit.runner.stop()
    await running
    assert kit.telemetry.value("headwater_job_circuit_open", {"job": "calling"}) == 0
    transient = kit.telemetry.value("headwater_job_attempts_total", {"job": "calling", "outcome": "transient"})
    assert transient is not None
    assert transient > EVENTS / 2


async def test_stopping_during_an_outage_leaves_the_events_to_the_next_run() -> None:
    is_down = True

    async def call(event: dict[str, Any], context: Context) -> dict[str, Any]:
        if is_down:
            raise TimeoutError
        return {"$schema": "/out/1.0.0", "n": event["n"]}

    made = Job("calling", ("in",), (Await("call", call, 20, Retry("30s", "5ms", "10ms")),), ToStream("out"))
    kit = JobKit(made, settings=dataclasses.replace(RunnerSettings(), wait_seconds=0.02, probe_seconds=0.02))
    await kit.open()
    await kit.put(*({"n": n} for n in range(100)))
    running = asyncio.create_task(kit.runner.run())
    await eventually(lambda: kit.runner.status.report().state == "circuit_open")
    kit.runner.stop()
    await running
    is_down = False
    await kit.run()
    assert [event["n"] for event in await kit.events()] == list(range(100))
    assert await kit.errors() == []


async def test_a_run_that_ends_does_so_during_an_outage_with_error_events() -> None:
    async def call(event: dict[str, Any], context: Context) -> dict[str, Any]:
        raise NotYet("the service is down")

    made = Job("calling", ("in",), (Await("call", call, 20, Retry("20ms", "5ms", "10ms")),), ToStream("out"))
    kit = JobKit(made)
    await kit.open()
    await kit.put(*({"n": n} for n in range(200)))
    async with asyncio.timeout(60):
        await kit.run()
    assert len(await kit.errors()) == 200
