"""What every `JobSource` must do, as tests: an implementation's test is a subclass with fixtures for a log and sources.

class TestLogSource(JobSourceSuite):
    implementations = (LogSource,)

    @pytest.fixture
    async def log(self): ...   # yields an open, empty log

    @pytest.fixture
    def new_source(self, log):   # makes a source of partition 0 of the topic `in`, as another process would
        return lambda: LogSource(log, JOB, RunnerStatus(JOB, Telemetry()))

The suite makes the topic. `start_token` is the token of a job that has read nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from headwater.errors import TokenInvalid
from headwater.log.contract import Commit, Log, Position, StoredRecord, TopicSettings
from headwater.processing.embedded.source import JobSource
from headwater.testing.eventually import eventually
from headwater.testing.suites.contract_suite import ContractSuite
from headwater.testing.suites.log import records, values

NewJobSource = Callable[[], JobSource]
TOPICS = ["in"]
PARTITION = ("in", 0)
# Limits only a test that fails.
SECONDS_MAX = 60.0


async def read(source: JobSource, *, records_max: int = 1000, wait_seconds: float = 0.0) -> Sequence[StoredRecord]:
    """What there is after the source's position."""
    return await source.read(
        records_max=records_max, bytes_max=1_000_000, wait_seconds=wait_seconds, stopping=asyncio.Event()
    )


class JobSourceSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (JobSource,)

    @pytest.fixture
    async def source(self, log: Log, new_source: NewJobSource) -> JobSource:
        await log.ensure_topic("in", TopicSettings())
        return new_source()

    async def put(self, log: Log, count: int, *, start: int = 0) -> None:
        """Append records, each in a transaction of its own, so that there are gaps if the log makes them."""
        for record in records("in", count, start=start):
            await log.append([record], commit=Commit("somebody else", "t"))

    def test_the_suite_is_run_on_what_it_names(self, source: JobSource) -> None:
        self.check_implementation(source)

    async def test_without_a_token_it_starts_at_the_oldest_record(self, log: Log, source: JobSource) -> None:
        await self.put(log, 5)
        await source.begin(None, TOPICS)
        assert values(await read(source)) == values_of(5)
        assert [(record.topic, record.partition) for record in await read(source)] == [PARTITION] * 5

    async def test_reading_does_not_move_the_position_and_a_move_does(self, log: Log, source: JobSource) -> None:
        await self.put(log, 5)
        await source.begin(None, TOPICS)
        before = source.position
        found = await read(source, records_max=2)
        assert values(found) == values_of(2)
        after = source.after(found)
        assert source.position == before
        assert values(await read(source, records_max=2)) == values_of(2)
        await source.move(after)
        assert source.position == after
        assert values(await read(source)) == values_of(3, start=2)

    async def test_each_token_resumes_after_the_records_it_is_for(
        self, log: Log, source: JobSource, new_source: NewJobSource
    ) -> None:
        await self.put(log, 4)
        await source.begin(None, TOPICS)
        tokens = [source.token(source.position)]
        while found := await read(source, records_max=1):
            await source.move(source.after(found))
            tokens.append(source.token(source.position))
        for number, token in enumerate(tokens):
            for resumed in (new_source(), source):
                await resumed.begin(token, TOPICS)
                assert values(await read(resumed)) == values_of(4 - number, start=number), token

    async def test_a_token_that_cannot_be_read_is_refused(self, source: JobSource) -> None:
        with pytest.raises(TokenInvalid):
            await source.begin("no token", TOPICS)

    async def test_a_read_waits_for_records(self, log: Log, source: JobSource) -> None:
        await source.begin(None, TOPICS)
        assert await read(source, wait_seconds=0.01) == []
        waiting = asyncio.ensure_future(read(source, wait_seconds=SECONDS_MAX))
        await asyncio.sleep(0)
        await self.put(log, 1)
        async with asyncio.timeout(SECONDS_MAX / 2):
            assert values(await waiting) == values_of(1)

    async def test_a_read_that_waits_ends_when_the_runner_stops(self, source: JobSource) -> None:
        await source.begin(None, TOPICS)
        stopping = asyncio.Event()
        waiting = asyncio.ensure_future(
            source.read(records_max=1, bytes_max=1000, wait_seconds=SECONDS_MAX, stopping=stopping)
        )
        await asyncio.sleep(0)
        stopping.set()
        async with asyncio.timeout(SECONDS_MAX / 2):
            assert await waiting == []

    async def test_lag_end_and_backlog_count_what_is_not_processed(self, log: Log, source: JobSource) -> None:
        await source.begin(None, TOPICS)
        assert await source.lag() == 0
        assert await source.with_backlog(source.position) == set()
        await self.put(log, 3)
        assert (await source.lag() or 0) >= 3
        assert await source.with_backlog(source.position) == {PARTITION}
        end = await source.end()
        assert end.offsets.keys() == {PARTITION}
        await source.move(source.after(await read(source)))
        assert await source.lag() == 0
        assert await source.with_backlog(source.position) == set()
        assert await source.with_backlog(source.position, {PARTITION}) == {PARTITION}
        assert source.position.offsets[PARTITION] <= end.offsets[PARTITION]
        await self.put(log, 1, start=3)
        assert await source.end() != end

    async def test_looking_for_changes_of_an_unchanged_log_changes_nothing(self, log: Log, source: JobSource) -> None:
        await self.put(log, 2)
        await source.begin(None, TOPICS)
        before = source.position
        await source.refresh()
        assert source.position == before
        assert not source.was_replaced()

    async def test_a_position_after_the_end_is_corrected_and_reading_resumes(self, log: Log, source: JobSource) -> None:
        await self.put(log, 3)
        await source.begin(Position({PARTITION: 1000}).token(), TOPICS)
        # The log may first say that it does not have the record yet.
        found: list[bytes] = []

        async def has_read() -> bool:
            found.extend(values(await read(source)))
            return bool(found)

        await eventually(has_read)
        assert found == values_of(3)


def values_of(count: int, *, start: int = 0) -> list[bytes]:
    """The values of the suite's records."""
    return [record.value for record in records("in", count, start=start)]
