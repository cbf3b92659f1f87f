"""The embedded runner: what it commits, what becomes of failures, and how it recovers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import JobInvalid, LogUnavailable
from headwater.jobs import Context, Each, Job, PerKey, Timer, ToStream, ToTable, Transition, job, table
from headwater.log.contract import Commit, Placement, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.supervisor import Supervisor
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit, without_envelope
from headwater.testing.oracle_log import OracleLog


def edit(number: int, **more: Any) -> dict[str, Any]:
    return {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edits", "id": f"id-{number}", "domain": "en.wiki.example", "request_id": "r"},
        "number": number,
        **more,
    }


@job(source="edits", sink="doubled")
def doubled(event: dict[str, Any], context: Context) -> list[dict[str, Any]] | None:
    if event["number"] == 3:
        raise ValueError("three is not for me")
    if event["number"] == 4:
        return None
    return [{"$schema": "/doubled/1.0.0", "number": event["number"], "copy": copy} for copy in range(2)]


async def test_derived_events_get_the_envelope_of_their_stream_and_repeatable_ids() -> None:
    ids = []
    for _ in range(2):
        kit = JobKit(doubled)
        await kit.open()
        await kit.put(edit(1))
        await kit.run()
        first, second = await kit.events()
        assert without_envelope([first, second]) == [{"number": 1, "copy": 0}, {"number": 1, "copy": 1}]
        assert first["meta"]["stream"] == "doubled"
        assert first["meta"]["domain"] == "en.wiki.example"
        assert first["meta"]["request_id"] == "r"
        assert first["meta"]["dt"].endswith("Z")
        ids.append([first["meta"]["id"], second["meta"]["id"]])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    assert "id-1" not in ids[0]


async def test_a_failing_function_makes_an_error_event_that_can_be_replayed_and_the_job_continues() -> None:
    kit = JobKit(doubled)
    await kit.open()
    await kit.put(*[edit(number) for number in range(6)])
    await kit.run()
    assert [event["number"] for event in await kit.events()] == [0, 0, 1, 1, 2, 2, 5, 5]
    (error,) = await kit.errors()
    assert orjson.loads(error["raw_event"]) == edit(3)
    assert error["error_type"] == "HANDLER_ERROR"
    assert error["meta"]["failure"]["exception"] == "ValueError"
    assert error["emitter_id"] == "doubled"
    assert error["errored_stream_name"] == "edits"
    assert error["errored_schema_uri"] == "/edit/1.0.0"
    assert error["meta"]["stream"] == "doubled.error"
    assert "three is not for me" in error["message"]
    assert Path(__file__).name in error["message"] + error.get("stack", "")
    assert kit.runner.status.report().errors == 1


async def test_what_the_gate_refuses_and_what_is_no_event_become_error_events_too() -> None:
    @job(source="edits", sink="strict")
    def strict(event: dict[str, Any], context: Context) -> Any:
        return {
            1: {"$schema": "/strict/1.0.0", "number": "one"},
            2: "a text",
            3: {"$schema": "/strict/1.0.0", "x": object()},
        }[event["number"]]

    schemas = {"/strict/1.0.0": {"properties": {"number": {"type": "integer"}}}}
    kit = JobKit(strict, schemas=schemas)
    await kit.open()
    await kit.put(edit(1), edit(2), edit(3))
    await kit.log.append([Record("edits", b"not json"), Record("edits", b"[]")])
    await kit.run()
    assert await kit.events() == []
    errors = await kit.errors()
    assert [
        (error["error_type"], error["meta"]["failure"]["exception"], error["raw_event"][:3]) for error in errors
    ] == [
        ("INVALID_INPUT", "JSONDecodeError", "not"),
        ("INVALID_INPUT", "EventMalformed", "[]"),
        ("INVALID_OUTPUT", "EventInvalid", '{"$'),
        ("INVALID_OUTPUT", "JobInvalid", '{"$'),
        ("INVALID_OUTPUT", "EventMalformed", '{"$'),
    ]


async def test_canary_events_are_left_out_unless_asked_for() -> None:
    canary = edit(1)
    canary["meta"]["domain"] = "canary"
    for wanted in (False, True):
        kit = JobKit(
            Job("j", ("edits",), (Each("same", lambda event, context: event),), ToStream("out"), canaries=wanted)
        )
        await kit.open()
        await kit.put(canary, edit(2))
        await kit.run()
        assert [event["number"] for event in await kit.events()] == ([1, 2] if wanted else [2])


async def test_state_is_kept_per_key_and_a_failure_leaves_it_as_it_was() -> None:
    @dataclass
    class Page:
        edits: int = 0

    @job(source="edits", sink="totals", key="title", state=Page)
    def totals(event: dict[str, Any], context: Context) -> dict[str, Any]:
        context.state.edits += event["number"]
        if event["number"] == 100:
            raise ValueError("too much")
        return {"$schema": "/totals/1.0.0", "title": context.key, "edits": context.state.edits}

    kit = JobKit(totals, settings=RunnerSettings(batch_records_max=2))
    await kit.open()
    await kit.put(*[edit(number, title=title) for number, title in ((1, "a"), (2, "b"), (100, "a"), (3, "a"))])
    await kit.put(edit(9))
    await kit.run()
    assert without_envelope(await kit.events()) == [
        {"title": "a", "edits": 1},
        {"title": "b", "edits": 2},
        {"title": "a", "edits": 4},
    ]
    assert [error["meta"]["failure"]["exception"] for error in await kit.errors()] == ["ValueError", "Reject"]
    assert "title is absent" in (await kit.errors())[1]["message"]


async def test_timers_fire_once_in_order_and_can_be_replaced_and_cancelled() -> None:
    def on_event(state: Any, event: Any, context: Context) -> Transition:
        if event.get("cancel"):
            return Transition(state, timers={})
        return Transition((state or 0) + 1, timers={"after": Timer(context.event_time_ms + 10_000)})

    def on_timer(state: Any, name: str, context: Context) -> Transition:
        return Transition(
            None, events=[{"$schema": "/s/1.0.0", "key": context.key, "seen": state, "at": context.event_time_ms}]
        )

    step = PerKey("session", lambda event, context: event["key"], on_event, on_timer)
    kit = JobKit(Job("sessions", ("edits",), (step,), ToStream("sessions")))
    await kit.open()

    def event(key: str, second: int, **more: Any) -> dict[str, Any]:
        return {"meta": {"dt": f"1970-01-01T00:01:{second:02}Z"}, "key": key, **more}

    await kit.put(event("a", 0), event("b", 1), event("c", 2), event("a", 5), event("c", 6, cancel=True))
    await kit.run_live()
    await kit.put(event("d", 50))
    await kit.run_live()
    assert [(e["key"], e["seen"], e["at"]) for e in without_envelope(await kit.events())] == [
        ("b", 1, 71_000),
        ("a", 2, 75_000),
    ]


class UnwillingLog(OracleLog):
    """Refuses the first few commits."""

    refusals = 0

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        if commit is not None and self.refusals > 0:
            self.refusals -= 1
            raise LogUnavailable("not now")
        return await super().append(records, commit=commit)


async def test_a_log_that_is_away_for_a_moment_costs_nothing_but_time() -> None:
    log = UnwillingLog()
    kit = JobKit(doubled, log=log)
    await kit.open()
    await kit.put(edit(1))
    log.refusals = 3
    await kit.run()
    assert len(await kit.events()) == 2


async def test_a_log_that_stays_away_ends_the_run_and_a_supervisor_begins_again_from_what_is_committed() -> None:
    log = UnwillingLog()
    kit = JobKit(doubled, log=log, settings=RunnerSettings(wait_seconds=0.02, retry_seconds=0.001, retries_max=2))
    await kit.open()
    await kit.put(edit(1))
    log.refusals = 3
    with pytest.raises(LogUnavailable):
        await kit.run()
    assert await kit.events() == []
    log.refusals = 7
    supervisor = Supervisor(kit.runner, pause_seconds=0.01)
    supervisor.start()
    await eventually(lambda: (supervisor.report().restarts, supervisor.report().state) == (2, "running"))
    await eventually(lambda: supervisor.report().written == 2)
    await supervisor.stop()
    assert supervisor.report().state == "stopped"
    assert len(await kit.events()) == 2
    assert await kit.runner.lag() == 0


async def test_a_job_whose_position_was_deleted_resumes_with_what_is_left_and_reports_it(tmp_path: Path) -> None:
    kit = JobKit(doubled)
    await kit.open()
    await kit.put(edit(1), edit(2))
    await kit.run()
    await kit.put(edit(5))
    await kit.log.ensure_topic("edits", TopicSettings(retention_seconds=1))
    kit.clock.advance(60)
    await kit.put(edit(6))
    await kit.log.trim()
    await kit.run()
    await kit.run()
    assert [event["number"] for event in await kit.events()] == [1, 1, 2, 2, 6, 6]
    assert kit.telemetry.value("headwater_job_positions_lost_total", {"job": "doubled"}) == 1


async def test_a_table_resumes_from_the_token_in_its_file_and_sets_aside_what_does_not_fit(tmp_path: Path) -> None:
    numbers = table("numbers", source="edits", key="number", columns={"number": "integer", "who": ("text", "meta.id")})
    assert isinstance(numbers.output, ToTable)
    log = OracleLog()
    for start in (0, 3):
        sink = SqliteSink(tmp_path / "tables.db", numbers.output.shape)
        kit = JobKit(numbers, log=log, sink=sink)
        await kit.open()
        await kit.put(*[edit(number) for number in range(start, start + 3)], {**edit(9), "number": "nine"})
        await kit.run()
        assert len(await kit.errors()) == (1 if start == 0 else 2)
        assert kit.runner.status.report().read == 4
        assert [row[0] for row in sink.view(10, "number").rows] == list(range(start + 3))
        await sink.close()


def test_what_the_runner_cannot_run_it_says_before_it_starts() -> None:
    keyed = PerKey("k", lambda event, context: 1, lambda state, event, context: Transition(None))
    shape = table("t", source="s", columns={"a": "text"}).output
    with pytest.raises(JobInvalid, match="fills a table"):
        JobKit(Job("j", ("s",), (keyed,), shape))


async def test_restarts_on_a_real_log_neither_lose_nor_repeat(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "events.db")
    kit = JobKit(doubled, log=log, settings=RunnerSettings(batch_records_max=7, wait_seconds=0.01))
    await kit.open()
    await kit.put(*[edit(number) for number in range(10, 110)])
    for _ in range(20):
        task = asyncio.create_task(kit.runner.run())
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await kit.run()
    assert [event["number"] for event in await kit.events()] == [n for n in range(10, 110) for _ in range(2)]
    await log.close()


@pytest.mark.parametrize(
    "timers",
    [
        {"t": Timer("soon")},  # type: ignore[arg-type]
        {"t": Timer(1.5)},  # type: ignore[arg-type]
        {"t": Timer(True)},
        {"t": Timer(2**63)},
        {"t\0": Timer(1)},
        {1: Timer(1)},
        {"t": 5},
        ["t"],
    ],
    ids=repr,
)
async def test_a_timer_that_cannot_be_kept_is_an_error_event_of_its_event(timers: Any) -> None:
    def on_event(state: Any, event: Any, context: Context) -> Transition:
        return Transition(
            1, timers=timers if event["n"] == 1 else None, events=[{"$schema": "/out/1.0.0", "n": event["n"]}]
        )

    kit = JobKit(Job("timed", ("in",), (PerKey("k", lambda event, context: 1, on_event),), ToStream("out")))
    await kit.open()
    await kit.put({"n": 0}, {"n": 1}, {"n": 2})
    await kit.run()
    assert len(await kit.errors()) == 1
