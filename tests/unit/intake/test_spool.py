"""The spool of hasty events: a queue on disk that survives its process, and the intake that fills and drains it."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import IntakeConfig
from headwater.errors import ConfigInvalid, LogFull, LogUnavailable
from headwater.intake import Gate, GateSettings, Intake, hasty
from headwater.intake.spool import SEGMENT_BYTES_MAX, Spool
from headwater.log.contract import Log
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.faulty_log import FaultyLog
from headwater.testing.notes import write_notes

BYTES_MAX = 1_000_000


def opened(directory: Path, bytes_max: int = BYTES_MAX) -> Spool:
    spool = Spool(directory, bytes_max)
    spool.open()
    return spool


def drained(spool: Spool, events_max: int = 3) -> list[bytes]:
    found = []
    while (batch := spool.peek(events_max, 1_000_000)) is not None:
        found += batch.events
        spool.advance(batch.mark)
    return found


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/*.spool"))


def test_events_come_out_in_the_order_they_went_in(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append([b"a", b"b"])
    spool.append([b"c"])
    assert drained(spool) == [b"a", b"b", b"c"]
    assert spool.is_empty
    assert segments(tmp_path) == []


def test_what_was_spooled_is_there_after_a_process_that_never_closed_it(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        spool = opened(tmp_path)
        spool.append([b"a", b"b"])
        batch = spool.peek(1, 1)
        spool.append([b"c"])
        assert batch is not None
        spool.advance(batch.mark)
        os._exit(0)
    os.waitpid(child, 0)
    assert drained(opened(tmp_path)) == [b"c"]


@given(
    st.lists(
        st.one_of(
            st.lists(st.binary(max_size=3000), min_size=1, max_size=4).map(lambda events: ("append", events)),
            st.integers(1, 5).map(lambda count: ("deliver", count)),
            st.just(("reopen", None)),
        ),
        max_size=25,
    )
)
def test_a_spool_is_a_queue_whatever_is_done_to_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = opened(directory, 40_000)
    expected: list[bytes] = []
    for action, argument in steps:
        if action == "append":
            try:
                spool.append(argument)
                expected += argument
            except LogUnavailable:
                assert spool.bytes_stored > 0
        elif action == "deliver":
            batch = spool.peek(argument, 10_000)
            assert (batch is None) == (not expected)
            if batch is not None:
                assert batch.events == expected[: len(batch.events)]
                expected = expected[len(batch.events) :]
                spool.advance(batch.mark)
        else:
            spool.close()
            spool = opened(directory, 40_000)
        assert spool.bytes_stored == sum(path.stat().st_size for path in segments(directory)) <= 40_000
    assert drained(spool) == expected
    spool.close()


def test_a_torn_tail_costs_only_what_was_torn_wherever_it_is_torn(tmp_path: Path) -> None:
    spool = opened(tmp_path / "whole")
    spool.append([b"first event"])
    (segment,) = segments(tmp_path / "whole")
    whole = segment.stat().st_size
    spool.append([b"second event, torn"])
    data = segment.read_bytes()
    for size in range(whole, len(data)):
        torn = tmp_path / str(size) / "0" / segment.name
        torn.parent.mkdir(parents=True)
        torn.write_bytes(data[:size])
        again = opened(tmp_path / str(size))
        assert drained(again) == [b"first event"]
        assert again.bytes_damaged == size - whole
        again.append([b"third event"])
        assert drained(again) == [b"third event"]
        again.close()


def test_damage_is_counted_and_what_stands_in_other_segments_is_delivered(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append([b"x" * 100])
    spool.close()
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[-5] ^= 1
    segment.write_bytes(data)
    again = opened(tmp_path)
    again.append([b"after the damage"])
    assert drained(again) == [b"after the damage"]
    assert again.bytes_damaged > 100


def test_a_segment_whose_first_bytes_are_lost_is_delivered_from_its_beginning(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append([b"a"])
    spool.append([b"b"])
    batch = spool.peek(1, 1)
    assert batch is not None
    spool.advance(batch.mark)
    spool.close()
    (segment,) = segments(tmp_path)
    with segment.open("r+b") as file:
        file.write(b"\0" * 20)
    assert drained(opened(tmp_path)) == [b"a", b"b"]


def test_a_spool_is_bounded_and_takes_more_once_some_is_delivered(tmp_path: Path) -> None:
    spool = opened(tmp_path, 10_000)
    for _ in range(10):
        spool.append([b"x" * 900])
    with pytest.raises(LogUnavailable, match="10000 bytes"):
        spool.append([b"x" * 900])
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 10_000
    assert len(drained(spool)) == 10
    spool.append([b"x" * 900])


def test_large_requests_are_cut_into_frames_so_that_delivering_them_takes_little_memory(tmp_path: Path) -> None:
    spool = opened(tmp_path, 2 * SEGMENT_BYTES_MAX)
    events = [b"%07d" % number + b"x" * 100_000 for number in range(60)]
    spool.append(events)
    batch = spool.peek(500, 1_000_000)
    assert batch is not None
    assert sum(map(len, batch.events)) < 2_200_000
    assert drained(spool) == events


def test_two_processes_have_a_spool_each_and_a_left_one_is_taken_over(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    first.append([b"of the first"])
    second.append([b"of the second"])
    assert drained(first) == [b"of the first"]
    second.close()
    third = opened(tmp_path)
    assert drained(third) == [b"of the second"]
    third.append([b"of the third"])
    first.close()
    third.close()
    # Whoever comes next owns the first directory, and takes over the other's.
    assert drained(opened(tmp_path)) == [b"of the third"]


def test_a_full_disk_is_a_full_log_and_leaves_nothing_of_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(tmp_path)
    spool.append([b"before"])
    write = os.pwrite

    def half_then_full(descriptor: int, data: memoryview, offset: int) -> int:
        monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        return write(descriptor, data[: len(data) // 2], offset)

    monkeypatch.setattr(os, "pwrite", half_then_full)
    with pytest.raises(LogFull, match="No space left"):
        spool.append([b"y" * 500])
    monkeypatch.undo()
    spool.append([b"after"])
    assert drained(spool) == [b"before", b"after"]


def test_a_directory_that_cannot_be_used_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="hasty_spool_path"):
        opened(tmp_path / "file")


# The intake with a spool


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hasty, "PAUSE_SECONDS_MAX", 0.01)
    monkeypatch.setattr(hasty, "SYNC_SECONDS", 0.01)


def made_intake(directory: Path, log: Log, bytes_max: int = BYTES_MAX, **config: Any) -> tuple[Intake, Telemetry]:
    schemas = write_notes(directory)
    streams = StreamRegistry((Stream("notes", schema_title="note"),))
    gate = Gate(streams, Validator(LocalRepository(schemas)), GateSettings())
    telemetry = Telemetry()
    settings = dataclasses.replace(IntakeConfig(), **config)
    return Intake(gate, log, settings, telemetry, spool=Spool(directory / "spool", bytes_max)), telemetry


def note(text: Any) -> bytes:
    return orjson.dumps({"$schema": "/note/1.0.0", "meta": {"stream": "notes"}, "text": text})


async def texts(log: FaultyLog) -> list[str]:
    return [orjson.loads(record.value)["text"] for record in await log.read(await log.first(["notes"]))]


@pytest.mark.usefixtures("quick")
async def test_hasty_events_survive_a_log_that_is_away_and_are_stored_in_order(tmp_path: Path, log: FaultyLog) -> None:
    intake, telemetry = made_intake(tmp_path, log)
    await intake.start()
    await intake.write_slices([note("warm up")])
    log.failure = LogUnavailable("away")
    for number in range(20):
        intake.write_hasty([note(f"{number}a"), note(f"{number}b")])
        await asyncio.sleep(0.001)
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spooled_events_total") == 40)
    assert await texts(log) == ["warm up"]
    log.failure = None
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spool_bytes") == 0)
    assert await texts(log) == ["warm up", *(f"{number}{letter}" for number in range(20) for letter in "ab")]
    assert telemetry.value("headwater_intake_hasty_lost_events_total") == 0
    await intake.stop()


@pytest.mark.usefixtures("quick")
async def test_spooled_events_survive_a_restart_with_the_time_and_id_they_were_received_with(
    tmp_path: Path, log: FaultyLog
) -> None:
    intake, before = made_intake(tmp_path, log)
    await intake.start()
    await intake.write_slices([note("warm up")])
    log.failure = LogUnavailable("away")
    intake.write_hasty([note("one")])
    await eventually(lambda: before.value("headwater_intake_hasty_spooled_events_total") == 1)
    intake.write_hasty([note("two")])
    await intake.stop()
    (segment,) = segments(tmp_path / "spool")
    assert b'"id"' in segment.read_bytes()
    log.failure = None
    again, telemetry = made_intake(tmp_path, log)
    await again.start()
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spool_bytes") == 0)
    assert await texts(log) == ["warm up", "one", "two"]
    await again.stop()


@pytest.mark.usefixtures("quick")
async def test_a_log_that_hangs_sends_new_hasty_events_to_the_spool_at_once(
    tmp_path: Path, log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hasty, "SPOOL_AFTER_SECONDS", 0.02)
    intake, telemetry = made_intake(tmp_path, log)
    await intake.start()
    await intake.write_slices([note("warm up")])
    log.gate.clear()
    intake.write_hasty([note("in memory")])
    await eventually(lambda: log.appends == 2)
    await asyncio.sleep(2 * hasty.SPOOL_AFTER_SECONDS)
    intake.write_hasty([note("on disk")])
    assert telemetry.value("headwater_intake_hasty_spooled_events_total") == 1
    log.gate.set()
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spool_bytes") == 0)
    assert await texts(log) == ["warm up", "in memory", "on disk"]
    await intake.stop()


@pytest.mark.usefixtures("quick")
async def test_what_does_not_fit_into_the_spool_is_refused_and_not_counted_as_received(
    tmp_path: Path, log: FaultyLog
) -> None:
    intake, telemetry = made_intake(tmp_path, log, bytes_max=65_536, retry_after_seconds=7)
    await intake.start()
    await intake.write_slices([note("warm up")])
    log.failure = LogUnavailable("away")
    intake.write_hasty([note("x")])
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spooled_events_total") == 1)
    for _ in range(50):
        intake.write_hasty([note("x" * 1000)])
    with pytest.raises(LogUnavailable) as refused:
        intake.write_hasty([note("x" * 20_000)])
    assert refused.value.retry_after_seconds == 7
    log.failure = None
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spool_bytes") == 0)
    assert len(await texts(log)) == 52
    assert telemetry.value("headwater_intake_hasty_events_total") == 51
    assert telemetry.value("headwater_intake_hasty_refused_events_total") == 1
    await intake.stop()


@pytest.mark.usefixtures("quick")
async def test_a_spooled_event_that_is_invalid_makes_its_error_event_and_holds_nobody_up(
    tmp_path: Path, log: FaultyLog
) -> None:
    intake, telemetry = made_intake(tmp_path, log)
    await intake.start()
    await intake.write_slices([note("warm up")])
    log.failure = LogUnavailable("away")
    intake.write_hasty([note("x")])
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spooled_events_total") == 1)
    intake.write_hasty([note(1), note("y")])
    log.failure = None
    await eventually(lambda: telemetry.value("headwater_intake_hasty_spool_bytes") == 0)
    assert await texts(log) == ["warm up", "x", "y"]
    errors = await log.read(await log.first(["headwater-intake.error.validation"]))
    assert len(errors) == 1
    await intake.stop()


async def test_without_a_spool_what_the_log_does_not_take_is_lost_and_counted(tmp_path: Path, log: FaultyLog) -> None:
    intake, telemetry = made_intake(tmp_path, log)
    plain = Intake(intake.gate, log, IntakeConfig(), telemetry)
    await plain.start()
    log.failure = LogUnavailable("away")
    plain.write_hasty([note("x"), note("y")])
    await plain.stop()
    assert telemetry.value("headwater_intake_hasty_lost_events_total") == 2
