"""A log that stores each record on its own may store some of a request: exactly the others are reported as failed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.config import IntakeConfig
from headwater.errors import AppendIncomplete, EventTooLarge, HeadwaterError, LogUnavailable
from headwater.intake import Accepted, Failed, Gate, GateSettings, Intake
from headwater.log.contract import Commit, Log, Placement, Record
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually, let_others_run
from headwater.testing.notes import write_notes
from headwater.testing.oracle_log import OracleLog
from headwater.web.eventgate import legacy_answer


class EachOnItsOwn(OracleLog):
    """Refuses the records whose value has one of the words in `refused`, and stores the others.

    Words of letters up to f would be found in some of the ids, which are hexadecimal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[bytes] = set()
        self.appends = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        self.appends += 1
        refused = set(self.refused)
        await self.gate.wait()
        failures: dict[int, HeadwaterError] = {}
        placements: dict[int, Placement] = {}
        for index, record in enumerate(records):
            if any(word in record.value for word in refused):
                failures[index] = LogUnavailable("The broker did not take it.")
            else:
                (placements[index],) = await super().append([record])
        if failures:
            raise AppendIncomplete(failures, placements)
        return list(placements.values())


@pytest.fixture
async def log() -> EachOnItsOwn:
    log = EachOnItsOwn()
    await log.open()
    return log


def made_intake(directory: Path, log: Log) -> Intake:
    schemas = write_notes(directory)
    streams = StreamRegistry((Stream("notes", schema_title="note"),))
    gate = Gate(streams, Validator(LocalRepository(schemas)), GateSettings())
    return Intake(gate, log, dataclasses.replace(IntakeConfig(), append_timeout_seconds=2.0), Telemetry())


@pytest.fixture
async def intake(tmp_path: Path, log: EachOnItsOwn) -> Intake:
    intake = made_intake(tmp_path, log)
    await intake.start()
    await intake.write_slices([note("warm up")])
    return intake


def note(text: Any, event_id: str | None = None) -> bytes:
    meta = {"stream": "notes"} | ({"id": event_id} if event_id else {})
    return orjson.dumps({"$schema": "/note/1.0.0", "meta": meta, "text": text})


async def texts(log: OracleLog) -> list[str]:
    return [orjson.loads(record.value)["text"] for record in await log.read(await log.first(["notes"]))]


async def test_a_request_stored_in_part_is_a_207_with_exactly_the_others(intake: Intake, log: EachOnItsOwn) -> None:
    log.refused = {b"wrong"}
    receipt = await intake.write_slices([note("a"), note("wrong b"), note("c"), note("wrong d")])
    assert [index for index, _ in receipt.failed] == [1, 3]
    assert receipt.accepted == 2
    answer = legacy_answer(receipt, 1)
    assert (answer.status, answer.retry_after_seconds) == (207, 1)
    assert [entry["event"]["text"] for entry in orjson.loads(answer.body)["error"]] == ["wrong b", "wrong d"]
    assert await texts(log) == ["warm up", "a", "c"]


async def test_requests_of_one_turn_each_get_what_became_of_their_own(intake: Intake, log: EachOnItsOwn) -> None:
    log.refused = {b"wrong"}
    before = log.appends
    receipts = await asyncio.gather(
        intake.write_slices([note("a"), note("wrong")]),
        intake.write_slices([note("b")]),
        intake.write_slices([note("wrong"), note("wrong")]),
    )
    assert [[index for index, _ in receipt.failed] for receipt in receipts] == [[1], [], [0, 1]]
    assert [receipt.accepted for receipt in receipts] == [1, 1, 0]
    assert legacy_answer(receipts[2], 1).status == 503
    # Nothing is appended anew: what was stored would be there twice.
    assert log.appends == before + 1
    assert await texts(log) == ["warm up", "a", "b"]


async def test_only_the_ids_of_what_was_stored_are_remembered(intake: Intake, log: EachOnItsOwn) -> None:
    events = [note("a", "1"), note("wrong", "2"), note("c", "3")]
    log.refused = {b"wrong"}
    assert (await intake.write_slices(events)).accepted == 2
    log.refused = set()
    again = await intake.write_slices(events)
    assert (again.accepted, again.duplicates) == (3, [0, 2])
    assert await texts(log) == ["warm up", "a", "c", "wrong"]


async def test_a_repeat_in_flight_is_stored_by_itself_where_the_first_one_failed(
    intake: Intake, log: EachOnItsOwn
) -> None:
    log.refused = {b"wrong"}
    log.gate.clear()
    first = asyncio.create_task(intake.write_slices([note("a", "1"), note("wrong", "2")]))
    await eventually(lambda: log.appends == 2)
    log.refused = set()
    second = asyncio.create_task(intake.write_slices([note("a", "1"), note("wrong", "2")]))
    await let_others_run()
    log.gate.set()
    assert [index for index, _ in (await first).failed] == [1]
    assert (await second).accepted == 2
    assert await texts(log) == ["warm up", "a", "wrong"]


async def test_a_request_with_something_unusual_is_told_exactly_too(intake: Intake, log: EachOnItsOwn) -> None:
    log.refused = {b"wrong"}
    events = [orjson.loads(one) for one in (note("a"), note(1), note("wrong"), note("c"))]
    outcomes = await intake.write(events)
    assert [type(one).__name__ for one in outcomes] == ["Accepted", "Refused", "Failed", "Accepted"]
    last = outcomes[3]
    assert isinstance(last, Accepted)
    assert last.placement is not None
    assert last.placement.offset == 2
    assert isinstance(outcomes[2], Failed)
    assert str(outcomes[2].reason) == "The broker did not take it."
    assert len(await log.read(await log.first([intake.gate.built_in.stream.name]))) == 1


class NarrowLog(OracleLog):
    """Takes no append that has a record over the limit, and nothing of it, as a log whose client checks first."""

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        if any(len(record.value) > 500 for record in records):
            raise EventTooLarge("A record of more than 500 bytes is over the limit of the topic.")
        return await super().append(records, commit=commit)


async def test_an_event_the_log_will_never_take_is_refused_and_holds_nobody_back(tmp_path: Path) -> None:
    log = NarrowLog()
    await log.open()
    intake = made_intake(tmp_path, log)
    await intake.start()
    for events in ([note("warm up")], [note("a"), note("x" * 500, "9"), note("b")]):
        receipts = await asyncio.gather(intake.write_slices(events), intake.write_slices([note("other")]))
    receipt = receipts[0]
    assert ([index for index, _ in receipt.refused], receipt.failed, receipt.accepted) == ([1], [], 2)
    answer = legacy_answer(receipt, 1)
    # The producer's fault: the same request will not succeed later.
    assert (answer.status, answer.retry_after_seconds) == (207, None)
    assert "limit of the topic" in answer.body.decode()
    alone = await intake.write_slices([note("x" * 500)])
    assert legacy_answer(alone, 1).status == 400
    assert await texts(log) == ["warm up", "other", "other", "a", "b"]


async def test_so_it_is_for_a_request_that_takes_the_long_way(tmp_path: Path) -> None:
    log = NarrowLog()
    await log.open()
    intake = made_intake(tmp_path, log)
    await intake.start()
    outcomes = await intake.write([orjson.loads(one) for one in (note(1), note("a"), note("x" * 500))])
    assert [type(one).__name__ for one in outcomes] == ["Refused", "Accepted", "Refused"]
