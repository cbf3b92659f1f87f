"""Batches of sinks are committed by rows, bytes or time, and what is collected is lost by nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.contract import Column, TableShape
from headwater.errors import HeadwaterError
from headwater.jobs.job import Job, ToTable
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.processing.embedded.reading.batch_reader import BatchReader
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.eventually import eventually
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.job_kit import JobKit
from headwater.testing.memory_sink import WITH_TOKEN, WITHOUT_TOKEN, MemorySink, MemoryTarget

SHAPE = TableShape("numbers", (Column("n", "integer", "n"),), ("n",))
JOB = Job("table.numbers", ("numbers",), (), ToTable(SHAPE))
# Longer than any test takes.
LONG_SECONDS = 600.0
PART = ("numbers", 0)


def numbers(*wanted: int, **more: Any) -> list[dict[str, Any]]:
    return [{"meta": {"id": f"id-{one}"}, "n": one, **more} for one in wanted]


class Kit:
    """A job that fills a table in memory, and the batches that it wrote."""

    def __init__(self, *, has_token: bool = False, **settings: Any) -> None:
        self.faults = Faults()
        self.target = MemoryTarget(WITH_TOKEN if has_token else WITHOUT_TOKEN)
        sink = FaultySink(MemorySink(self.target, SHAPE), self.faults)
        made = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01, **settings)
        self.job = JobKit(JOB, sink=sink, settings=made)

    @property
    def sizes(self) -> list[int]:
        return [len(some) for _, some in self.faults.attempts if some]

    async def written(self, count: int) -> None:
        await eventually(lambda: len(self.target.tables.get("numbers", {})) == count)


async def running(kit: Kit) -> asyncio.Task[None]:
    await kit.job.open()
    return asyncio.create_task(kit.job.runner.run())


async def stopped(kit: Kit, task: asyncio.Task[None]) -> None:
    kit.job.runner.stop()
    await asyncio.wait_for(task, 10)


async def test_a_batch_is_committed_as_soon_as_it_has_its_rows() -> None:
    kit = Kit(batch_records_max=5, batch_seconds_max=LONG_SECONDS)
    task = await running(kit)
    for number in range(0, 12, 3):
        await kit.job.put(*numbers(number, number + 1, number + 2))
    await kit.written(10)
    assert kit.sizes == [5, 5]
    assert await kit.job.runner.lag() == 2
    await stopped(kit, task)
    # What was collected is still in the log.
    assert kit.sizes == [5, 5]
    await kit.job.run()
    assert kit.sizes == [5, 5, 2]


async def test_a_batch_is_committed_as_soon_as_it_has_its_bytes() -> None:
    kit = Kit(batch_bytes_max=10_000, batch_seconds_max=LONG_SECONDS)
    task = await running(kit)
    for number in range(9):
        await kit.job.put(*numbers(number, text="x" * 2_500))
    await kit.written(8)
    assert kit.sizes == [4, 4]
    await stopped(kit, task)


@pytest.mark.parametrize("has_token", [True, False])
async def test_few_events_are_committed_in_time_together_with_those_that_come_meanwhile(has_token: bool) -> None:
    kit = Kit(has_token=has_token, batch_seconds_max=0.4)
    task = await running(kit)
    began = time.monotonic()
    await kit.job.put(*numbers(1))
    await asyncio.sleep(0.05)
    await kit.job.put(*numbers(2, 3))
    await kit.written(3)
    assert time.monotonic() - began >= 0.4
    assert kit.sizes == [3]
    # The next batch waits from its own first event.
    await kit.job.put(*numbers(4))
    await kit.written(4)
    assert kit.sizes == [3, 1]
    await stopped(kit, task)


async def test_events_that_have_waited_long_enough_in_the_log_wait_no_longer() -> None:
    kit = Kit(batch_records_max=4, batch_seconds_max=LONG_SECONDS)
    await kit.job.open()
    await kit.job.put(*numbers(*range(6)))
    kit.job.clock.advance(LONG_SECONDS + 1)
    task = asyncio.create_task(kit.job.runner.run())
    await kit.written(6)
    assert kit.sizes == [4, 2]
    await stopped(kit, task)


async def test_without_a_time_nothing_waits() -> None:
    kit = Kit(batch_records_max=1_000)
    task = await running(kit)
    await kit.job.put(*numbers(1))
    await kit.written(1)
    await stopped(kit, task)


async def test_a_run_to_the_end_of_the_input_waits_for_nothing_more() -> None:
    kit = Kit(batch_records_max=4, batch_seconds_max=LONG_SECONDS)
    await kit.job.open()
    await kit.job.put(*numbers(*range(10)))
    await asyncio.wait_for(kit.job.run(), 10)
    assert kit.sizes == [4, 4, 2]


async def test_a_batch_that_failed_is_collected_again() -> None:
    kit = Kit(batch_records_max=4, batch_seconds_max=0.1)
    kit.faults.breaks = lambda deliveries: RuntimeError("once") if len(kit.faults.attempts) == 1 else None
    await kit.job.open()
    await kit.job.put(*numbers(*range(6)))
    with pytest.raises(RuntimeError):
        await kit.job.runner.run()
    task = asyncio.create_task(kit.job.runner.run())
    await kit.written(6)
    await stopped(kit, task)
    assert await kit.job.errors() == []


class Partition:
    """A source of one partition, which a test changes between reads."""

    def __init__(self, values: Sequence[int]) -> None:
        self.position = self.processed = Position({PART: 0})
        self.values = list(values)
        self.on_refresh: list[Callable[[], None]] = []

    async def begin(self, token: str | None, topics: Collection[str]) -> None:
        raise NotImplementedError

    async def refresh(self) -> None:
        if self.on_refresh:
            self.on_refresh.pop(0)()

    async def read(
        self, *, records_max: int, bytes_max: int, wait_seconds: float, stopping: asyncio.Event
    ) -> Sequence[StoredRecord]:
        at = self.position.offsets[PART]
        return [self._record(offset) for offset in range(at, len(self.values))][:records_max]

    def refused(self, records: Sequence[StoredRecord]) -> Mapping[int, HeadwaterError]:
        return {}

    def after(self, records: Sequence[StoredRecord]) -> Position:
        return self.position.after_all(records)

    async def move(self, position: Position) -> None:
        self.position = self.processed = position

    async def committed(self, position: Position) -> None:
        self.processed = position

    def token(self, position: Position) -> str:
        return position.token()

    async def end(self) -> Position:
        return Position({PART: len(self.values)})

    async def lag(self) -> int:
        return len(self.values) - self.processed.offsets[PART]

    async def with_backlog(self, position: Position, read: Collection[TopicPartition] = ()) -> set[TopicPartition]:
        return {PART}

    def was_replaced(self) -> bool:
        return False

    def _record(self, offset: int) -> StoredRecord:
        return StoredRecord("numbers", 0, offset, 0, None, (), str(self.values[offset]).encode())


def reader_of(source: Partition, **settings: Any) -> BatchReader:
    return BatchReader(source, RunnerSettings(**settings), asyncio.Event(), lambda: 0.0)


async def values_of(reader: BatchReader, records_max: int = 100) -> list[int]:
    return [int(one.value) for one in await reader.read(records_max=records_max, wait_seconds=0.0, waits=True)]


async def test_a_source_that_moves_back_while_a_batch_waits_is_read_again_from_there() -> None:
    source = Partition([1, 2, 3])

    def recreated() -> None:
        source.values = [7, 8]
        source.position = Position({PART: 0})

    source.on_refresh.append(recreated)
    reader = reader_of(source, batch_seconds_max=0.1)
    assert await values_of(reader) == []
    assert (source.position, source.processed) == (Position({PART: 0}), Position({PART: 0}))
    assert await values_of(reader) == [7, 8]


async def test_a_source_that_skips_something_ends_the_batch_before_it() -> None:
    source = Partition([1, 2])

    def lost() -> None:
        source.position = Position({PART: 4})

    source.on_refresh.append(lost)
    reader = reader_of(source, batch_seconds_max=LONG_SECONDS)
    assert await values_of(reader) == [1, 2]
    assert source.position == Position({PART: 0})


@given(st.lists(st.integers(0, 10**6), max_size=40), st.integers(1, 9), st.integers(1, 40), st.booleans())
async def test_every_record_is_in_one_batch_and_no_batch_is_larger_than_it_may_be(
    values: list[int], records_max: int, bytes_max: int, waits: bool
) -> None:
    source = Partition(values)
    reader = reader_of(source, batch_bytes_max=bytes_max, batch_seconds_max=0.000_1 if waits else 0.0)
    found: list[int] = []
    while len(found) < len(values):
        before = source.position
        batch = await reader.read(records_max=records_max, wait_seconds=0.0, waits=waits)
        assert source.position == before
        assert 0 < len(batch) <= records_max
        found += [int(one.value) for one in batch]
        await source.move(source.after(batch))
    assert found == values
