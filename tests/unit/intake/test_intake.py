"""The Intake: what becomes of each event of a request when things go well, and when they do not."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.config import IntakeConfig
from headwater.errors import EventMalformed, LogFull, LogUnavailable, StreamClosed
from headwater.intake import Accepted, Failed, Gate, GateSettings, Intake, Refused
from headwater.log.contract import Log, TopicSettings
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually, let_others_run
from headwater.testing.faulty_log import FaultyLog
from headwater.testing.notes import write_notes
from headwater.testing.oracle_log import OracleLog
from headwater.web.eventgate import legacy_answer

ERRORS = "headwater-intake.error.validation"


def note(text: Any = "hello", event_id: str | None = None, stream: str = "notes") -> dict[str, Any]:
    meta = {"stream": stream} | ({"id": event_id} if event_id else {})
    return {"$schema": "/note/1.0.0", "meta": meta, "text": text}


def made_intake(directory: Path, log: Log, streams: tuple[Stream, ...] = (), **config: Any) -> Intake:
    schemas = write_notes(directory)
    declared = streams or (Stream("notes", schema_title="note"), Stream("others", schema_title="note"))
    settings = GateSettings(enforce_streams=config.pop("enforce_streams", True))
    gate = Gate(StreamRegistry(declared), Validator(LocalRepository(schemas)), settings)
    return Intake(gate, log, dataclasses.replace(IntakeConfig(), **config), Telemetry())


@pytest.fixture
async def intake(tmp_path: Path, log: FaultyLog) -> Intake:
    intake = made_intake(tmp_path, log)
    await intake.start()
    return intake


async def stored(log: OracleLog, topic: str = "notes") -> list[Any]:
    return [orjson.loads(record.value) for record in await log.read(await log.first([topic]))]


async def texts(log: OracleLog) -> list[str]:
    return [value["text"] for value in await stored(log)]


async def test_outcomes_come_in_the_order_of_the_events(intake: Intake, log: FaultyLog) -> None:
    outcomes = await intake.write([note("a"), note(1), note("b"), note("c", stream="nope")])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted, Refused]
    assert await texts(log) == ["a", "b"]
    first, third = outcomes[0], outcomes[2]
    assert isinstance(first, Accepted)
    assert isinstance(third, Accepted)
    assert (first.placement.offset, third.placement.offset) == (0, 1)  # type: ignore[union-attr]
    assert first.event.value["text"] == "a"


async def test_one_request_is_one_append_error_events_included(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("a"), note(1), note("b")])
    assert log.appends == 1
    assert len(await stored(log, ERRORS)) == 1


async def test_every_refusal_leaves_an_error_event_with_the_bytes_received(intake: Intake, log: FaultyLog) -> None:
    refusals = [
        note(1, event_id="i"),
        note(stream="nope"),
        {"meta": {"stream": "notes"}},
        5,
        note() | {"$schema": "/x"},
    ]
    await intake.write(refusals)
    errors = await stored(log, ERRORS)
    assert [error["error_type"] for error in errors] == [
        "EventInvalid",
        "StreamUnknown",
        "EventMalformed",
        "EventMalformed",
        "SchemaNotFound",
    ]
    assert [orjson.loads(error["raw_event"]) for error in errors] == refusals
    assert errors[0]["message"] == "'.text' should be string"
    assert (errors[0]["errored_stream_name"], errors[0]["errored_schema_uri"]) == ("notes", "/note/1.0.0")
    assert (errors[3]["errored_stream_name"], errors[3]["errored_schema_uri"]) == ("unknown", "unknown")
    assert errors[0]["meta"]["stream"] == ERRORS
    assert errors[0]["meta"]["id"]


async def test_the_raw_event_of_an_error_event_is_bounded(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note(["x" * 1_000_000])])
    (error,) = await stored(log, ERRORS)
    assert len(error["raw_event"]) < 70_000
    assert "1000" in error["raw_event"][-40:]


async def test_a_refused_error_event_makes_no_error_event(intake: Intake, log: FaultyLog) -> None:
    outcomes = await intake.write([{"$schema": "/error/1.0.0", "meta": {"stream": ERRORS}, "nonsense": 1}])
    assert isinstance(outcomes[0], Refused)
    assert await stored(log, ERRORS) == []


async def test_an_error_event_cannot_be_posted_and_makes_no_other_one(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note(1)])
    (error,) = await stored(log, ERRORS)
    (outcome,) = await intake.write([error | {"meta": {"stream": ERRORS}}])
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.reason, StreamClosed)
    assert await stored(log, ERRORS) == [error]


async def test_a_full_log_fails_every_event_and_nothing_is_swallowed_later(intake: Intake, log: FaultyLog) -> None:
    log.failure = LogFull("no space")
    outcomes = await intake.write([note("a", event_id="1"), note("b")])
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]
    log.failure = None
    assert [type(outcome) for outcome in await intake.write([note("a", event_id="1")])] == [Accepted]
    assert await texts(log) == ["a"]


async def test_the_same_id_is_accepted_twice_and_stored_once(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("a", event_id="1")])
    (again,) = await intake.write([note("a", event_id="1")])
    assert isinstance(again, Accepted)
    assert again.duplicate
    assert again.placement is None
    assert await texts(log) == ["a"]


async def test_a_repeat_within_one_request_is_stored_once(intake: Intake, log: FaultyLog) -> None:
    outcomes = await intake.write([note("a", event_id="1"), note("b", event_id="1"), note("c", event_id="2")])
    assert [outcome.duplicate for outcome in outcomes if isinstance(outcome, Accepted)] == [False, True, False]
    assert await texts(log) == ["a", "c"]


async def test_the_same_id_in_another_stream_is_another_event(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("a", event_id="1"), note("a", event_id="1", stream="others")])
    assert len(await stored(log, "others")) == 1


async def test_a_repeat_waits_for_the_first_attempt_and_shares_its_success(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("warm up")])
    log.gate.clear()
    first = asyncio.create_task(intake.write([note("a", event_id="1")]))
    await eventually(lambda: log.appends == 2)
    second = asyncio.create_task(intake.write([note("a", event_id="1")]))
    await let_others_run()
    assert not second.done()
    log.gate.set()
    (outcome,) = await first
    (repeat,) = await second
    assert isinstance(outcome, Accepted)
    assert isinstance(repeat, Accepted)
    assert (outcome.duplicate, repeat.duplicate) == (False, True)
    assert await texts(log) == ["warm up", "a"]


async def test_a_repeat_takes_over_when_the_first_attempt_fails(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("warm up")])
    log.gate.clear()
    log.failure = LogUnavailable("away")
    first = asyncio.create_task(intake.write([note("a", event_id="1")]))
    await eventually(lambda: log.appends == 2)
    second = asyncio.create_task(intake.write([note("b", event_id="1")]))
    await let_others_run()
    log.failure = None
    log.gate.set()
    assert isinstance((await first)[0], Failed)
    (repeat,) = await second
    assert isinstance(repeat, Accepted)
    assert not repeat.duplicate
    assert await texts(log) == ["warm up", "b"]


async def test_two_requests_with_each_others_ids_do_not_wait_for_ever(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("warm up")])
    log.gate.clear()
    one = asyncio.create_task(intake.write([note("a", event_id="1"), note("b", event_id="2")]))
    two = asyncio.create_task(intake.write([note("b", event_id="2"), note("a", event_id="1")]))
    three = asyncio.create_task(intake.write([note("c", event_id="3"), note("a", event_id="1")]))
    await let_others_run()
    log.gate.set()
    async with asyncio.timeout(5):
        await asyncio.gather(one, two, three)
    assert sorted(await texts(log)) == ["a", "b", "c", "warm up"]


async def test_an_append_that_outlasts_its_request_still_counts(intake: Intake, log: FaultyLog) -> None:
    await intake.write([note("warm up")])
    log.gate.clear()
    first = asyncio.create_task(intake.write([note("a", event_id="1")]))
    await eventually(lambda: log.appends == 2)
    first.cancel()
    await asyncio.wait([first])
    log.gate.set()
    async with asyncio.timeout(5):
        (again,) = await intake.write([note("a", event_id="1")])
    assert isinstance(again, Accepted)
    assert again.duplicate
    assert await texts(log) == ["warm up", "a"]


async def test_streams_may_switch_deduplication_off(tmp_path: Path, log: FaultyLog) -> None:
    intake = made_intake(tmp_path, log, (Stream("notes", schema_title="note", deduplicate=False),))
    await intake.start()
    await intake.write([note("a", event_id="1"), note("a", event_id="1")])
    assert await texts(log) == ["a", "a"]


async def test_remembered_ids_are_bounded_and_expire(tmp_path: Path, log: FaultyLog) -> None:
    intake = made_intake(tmp_path, log, dedupe_ids_max=2)
    await intake.start()
    for event_id in ("1", "2", "3", "1"):
        await intake.write([note(event_id, event_id=event_id)])
    assert await texts(log) == ["1", "2", "3", "1"]
    short = made_intake(tmp_path, log, dedupe_window_seconds=0.02)
    await short.start()
    await short.write([note("x", event_id="9")])
    await asyncio.sleep(0.03)
    await short.write([note("y", event_id="9")])
    assert (await texts(log))[-2:] == ["x", "y"]


async def test_a_restart_remembers_the_ids_in_the_log(tmp_path: Path, log: FaultyLog, intake: Intake) -> None:
    await intake.write([note("a", event_id="1")])
    after_restart = made_intake(tmp_path, log)
    await after_restart.start()
    (again,) = await after_restart.write([note("a", event_id="1")])
    assert isinstance(again, Accepted)
    assert again.duplicate


async def test_hasty_events_are_stored_before_the_stop(intake: Intake, log: FaultyLog) -> None:
    log.gate.clear()
    intake.write_hasty([orjson.dumps(note("a")), orjson.dumps(note(1))])
    await eventually(lambda: log.appends == 1)
    assert await texts(log) == []
    log.gate.set()
    await intake.stop()
    assert await texts(log) == ["a"]
    assert len(await stored(log, ERRORS)) == 1


async def test_the_hasty_backlog_is_bounded(tmp_path: Path, log: FaultyLog) -> None:
    intake = made_intake(tmp_path, log, hasty_backlog_bytes_max=200)
    await intake.start()
    log.gate.clear()
    one = orjson.dumps(note("a" * 100))
    intake.write_hasty([one])
    with pytest.raises(LogUnavailable):
        intake.write_hasty([one])
    log.gate.set()
    await intake.stop()
    intake.write_hasty([one])
    await intake.stop()
    assert len(await texts(log)) == 2


async def test_a_log_that_does_not_answer_is_a_failure_in_time(tmp_path: Path, log: FaultyLog) -> None:
    intake = made_intake(tmp_path, log, append_timeout_seconds=0.05)
    await intake.start()
    log.gate.clear()
    one = note("a", event_id="1")
    (outcome,) = await intake.write([one])
    assert isinstance(outcome, Failed)
    assert outcome.reason.retriable
    receipt = await intake.write_slices([orjson.dumps(note("b"))])
    assert receipt.failed[0][1].reason.retriable
    # While nobody knows what becomes of the first attempt, a repeat of it is not stored a second time.
    assert isinstance((await intake.write([one]))[0], Failed)
    log.gate.set()

    async def is_known() -> bool:
        return isinstance((await intake.write([one]))[0], Accepted)

    await eventually(is_known)
    assert sorted(await texts(log)) == ["a", "b"]


async def test_a_text_that_is_not_json_is_refused_and_its_neighbours_are_stored(intake: Intake, log: FaultyLog) -> None:
    received = b'{"meta": {"stream": "notes"}, nonsense'
    receipt = await intake.write_slices([orjson.dumps(note("a")), received, orjson.dumps(note("b"))])
    assert (receipt.accepted, [index for index, _ in receipt.refused]) == (2, [1])
    assert isinstance(receipt.refused[0][1].reason, EventMalformed)
    assert await texts(log) == ["a", "b"]
    assert [error["raw_event"] for error in await stored(log, ERRORS)] == [received.decode()]


async def test_a_dry_run_says_where_events_would_go_and_stores_nothing(intake: Intake, log: FaultyLog) -> None:
    good, bad = await intake.explain([note("a"), note(1)])
    assert (good.verdict, good.topic, good.stream) == ("accepted", "notes", "notes")
    assert set(good.filled or {}) == {"meta.id", "meta.dt"}
    assert (bad.verdict, bad.reason.code) == ("refused", "event_invalid")  # type: ignore[union-attr]
    assert log.appends == 0
    assert intake.recent.number == 0


async def test_many_requests_for_one_new_schema_fetch_it_once(tmp_path: Path, log: FaultyLog) -> None:
    intake = made_intake(tmp_path, log)
    await intake.start()
    compiled: list[str] = []
    compile_schema = intake.gate.compile
    intake.gate.compile = lambda uri: (compiled.append(uri), compile_schema(uri))[1]  # type: ignore[method-assign]
    await asyncio.gather(*(intake.write([note("a")]) for _ in range(20)))
    assert compiled == ["/note/1.0.0"]


async def test_topics_of_families_and_undeclared_streams_are_made_when_needed(tmp_path: Path, log: FaultyLog) -> None:
    family = Stream(r"/^job\..+/", schema_title="note", partitions=3)
    intake = made_intake(tmp_path, log, (family,))
    await intake.start()
    assert isinstance((await intake.write([note(stream="job.one")]))[0], Accepted)
    settings = {info.name: info.settings for info in await log.topics()}
    assert settings["job.one"] == TopicSettings(partitions=3)
    loose = made_intake(tmp_path, log, enforce_streams=False)
    await loose.start()
    assert isinstance((await loose.write([note(stream="anything")]))[0], Accepted)


async def test_the_last_outcomes_can_be_watched(intake: Intake) -> None:
    await intake.write([note("a"), note(1)])
    accepted, refused = sorted(intake.recent.since(0), key=lambda outcome: not outcome.accepted)
    assert (accepted.stream, accepted.code) == ("notes", None)
    assert (refused.code, refused.stream) == ("event_invalid", "notes")
    assert intake.recent.since(intake.recent.number) == []
    assert intake.recent.refused_total == 1
    await intake.write([note(str(number)) for number in range(1000)])
    assert intake.recent.number == 1002
    assert len(intake.recent.since(0)) <= 201


async def test_outcomes_are_counted_by_stream(intake: Intake, log: FaultyLog) -> None:
    telemetry = Telemetry()
    counted = Intake(intake.gate, log, IntakeConfig(), telemetry)
    await counted.start()
    await counted.write([note("a", event_id="1"), note("a", event_id="1"), note(1), note(stream="x" * 50)])

    def count(stream: str, outcome: str) -> float | None:
        return telemetry.value("headwater_intake_events_total", {"stream": stream, "outcome": outcome})

    assert count("notes", "accepted") == 1
    assert count("notes", "duplicate") == 1
    assert count("notes", "event_invalid") == 1
    # A name that anybody can make up is no label.
    assert count("", "stream_unknown") == 1


async def test_the_legacy_answer_follows_the_table(intake: Intake, log: FaultyLog) -> None:
    async def status(*values: Any) -> int:
        return legacy_answer(await intake.write_slices([orjson.dumps(value) for value in values]), 1).status

    assert await status(note()) == 201
    assert await status(note(1)) == 400
    assert await status(note(), note(1)) == 207
    assert await status(note(stream="nope")) == 400
    assert await status(note(), note(stream="nope")) == 207
    log.failure = LogUnavailable("away")
    assert await status(note()) == 503
    assert await status(note(), note(1)) == 503
    assert await status(note(1)) == 400
    log.failure = LogFull("no space")
    assert await status(note()) == 507
