"""Jobs whose sources change while they run or while they are stopped: what was added or made again is read."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import PositionLost
from headwater.jobs import Await, Job, ToStream, ToTable, job, table
from headwater.log.contract import Features, Position, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.processing.embedded import source_positions
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.embedded.source_positions import SourcePositions
from headwater.processing.status import RunnerStatus
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit
from headwater.testing.oracle_log import OracleLog, OraclePartition


class Separate(OracleLog):
    """As a cluster: it keeps no state of jobs, and a topic can be deleted and made again under the same name."""

    features = Features(transactional_commit=True, keyed_state=False, seek_by_time=True, compaction=True)

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, str] = {}

    async def topic_ids(self, topics: Any) -> dict[str, str]:
        return {name: self.ids.get(name, "first") for name in topics if name in self._settings}

    def make_again(self, topic: str, *, same_id: bool = False) -> None:
        for place in [place for place in self._partitions if place[0] == topic]:
            self._partitions[place] = OraclePartition()
        if not same_id:
            self.ids[topic] = f"after {self.ids.get(topic, 'first')}"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_positions, "LOOK_SECONDS", 0.05)


@job(source="edits", sink="copied")
def copied(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return {"$schema": "/copied/1.0.0", "n": event["n"]}


async def later(event: dict[str, Any], context: Any) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"$schema": "/copied/1.0.0", "n": event["n"]}


copied_later = Job("copied", ("edits",), (Await("later", later),), ToStream("copied"))
BOTH_LOOPS = pytest.mark.parametrize("made", [copied, copied_later], ids=["in batches", "ahead"])


def edit(number: int) -> dict[str, Any]:
    return {"$schema": "/edit/1.0.0", "meta": {"stream": "edits", "id": f"id-{number}"}, "n": number}


async def numbers(kit: JobKit) -> list[int]:
    return sorted(event["n"] for event in await kit.events())


@BOTH_LOOPS
async def test_partitions_that_are_added_while_a_job_runs_are_read_from_their_beginning(made: Job) -> None:
    kit = JobKit(made)
    await kit.open()
    await kit.put(edit(0))
    running = asyncio.create_task(kit.runner.run())
    await eventually(lambda: _equals(numbers(kit), [0]))
    await kit.log.ensure_topic("edits", TopicSettings(partitions=3))
    await kit.put(edit(1), partition=1)
    await kit.put(edit(2), partition=2)
    await eventually(lambda: _equals(numbers(kit), [0, 1, 2]))
    assert await kit.runner.lag() == 0
    kit.runner.stop()
    await running


async def _equals(asked: Any, expected: Any) -> bool:
    return bool(await asked == expected)


@pytest.mark.parametrize("new", [5, 40], ids=["shorter than before", "longer than before"])
@pytest.mark.parametrize("running", [True, False], ids=["while the job runs", "while it is stopped"])
@BOTH_LOOPS
async def test_of_a_topic_that_was_made_again_every_event_is_read(
    new: int, running: bool, made: Job, caplog: pytest.LogCaptureFixture
) -> None:
    log = Separate()
    kit = JobKit(made, log=log)
    await kit.open()
    await kit.put(*[edit(n) for n in range(20)])
    if running:
        task = asyncio.create_task(kit.runner.run())
        await eventually(lambda: _equals(numbers(kit), list(range(20))))
    else:
        await kit.run_live()
        kit = JobKit(made, log=log)
    log.make_again("edits")
    await kit.put(*[edit(n) for n in range(100, 100 + new)])
    if not running:
        task = asyncio.create_task(kit.runner.run())
    await eventually(lambda: _covers(numbers(kit), {*range(20), *range(100, 100 + new)}))
    kit.runner.stop()
    await task
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "copied" in said[0]
    assert "edits" in said[0]


async def _covers(asked: Any, expected: set[int]) -> bool:
    return set(await asked) == expected


@BOTH_LOOPS
async def test_a_partition_that_was_cut_short_is_read_from_its_beginning_and_the_others_go_on(
    made: Job, caplog: pytest.LogCaptureFixture
) -> None:
    log = Separate()
    kit = JobKit(made, log=log, partitions=2)
    await kit.open()
    for n in range(6):
        await kit.put(edit(n), partition=n % 2)
    await kit.run_live()
    log.replace_partition("edits", 0)
    await kit.put(edit(10), partition=0)
    await kit.put(edit(11), partition=1)
    await JobKit(made, log=log).run_live()
    assert await numbers(kit) == [0, 1, 2, 3, 4, 5, 10, 11]
    assert [one.getMessage().count("edits/0 at 0") for one in caplog.records] == [1]


async def test_calls_for_a_topic_that_was_made_again_meanwhile_are_forgotten_and_the_others_made_again() -> None:
    called: list[int] = []
    gate = asyncio.Event()

    async def waits(event: dict[str, Any], context: Any) -> dict[str, Any]:
        called.append(event["n"])
        await gate.wait()
        return {"$schema": "/copied/1.0.0", "n": event["n"]}

    log = Separate()
    kit = JobKit(Job("copied", ("edits", "other"), (Await("waits", waits),), ToStream("copied")), log=log)
    await kit.open()
    await kit.put(edit(0), edit(1))
    await kit.put(edit(10), stream="other")
    running = asyncio.create_task(kit.runner.run())
    await eventually(lambda: sorted(called) == [0, 1, 10])
    log.make_again("edits")
    await kit.put(edit(2))
    await eventually(lambda: called.count(10) == 2 and 2 in called)
    gate.set()
    await eventually(lambda: _equals(numbers(kit), [2, 10]))
    assert await kit.runner.lag() == 0
    kit.runner.stop()
    await running
    assert (called.count(0), called.count(1)) == (1, 1)


async def test_a_new_id_is_kept_only_with_the_position_that_belongs_to_it() -> None:
    """A process that ends in between finds the topic made again once more: an event twice, but none is left out."""
    log = Separate()
    kit = JobKit(copied, log=log)
    await kit.open()
    await kit.put(*[edit(n) for n in range(20)])
    await kit.run_live()
    log.make_again("edits")
    status = RunnerStatus(copied, Telemetry())
    for _ in range(2):
        sources = SourcePositions(log, "job.copied", status, "copied", ids_in_log=True)
        token = await log.committed("job.copied")
        assert (await sources.begin(token, ["edits"])).offsets == {("edits", 0): 0}
    await sources.committed()
    again = SourcePositions(log, "job.copied", status, "copied", ids_in_log=True)
    assert (await again.begin(token, ["edits"])).offsets == {("edits", 0): 20}


def rows_of(sink: SqliteSink) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in sink.view(1000).rows)


@pytest.mark.parametrize("new", [2, 30], ids=["shorter than before", "longer than before"])
async def test_a_table_is_filled_from_a_log_that_was_replaced(
    new: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled: Job = table("filled", source="edits", columns={"n": "integer"}, key="n")
    assert isinstance(filled.output, ToTable)
    for name, first, count in (("old", 0, 20), ("new", 100, new)):
        log = SqliteLog(tmp_path / f"{name}.db")
        sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)
        kit = JobKit(filled, log=log, sink=sink)
        await kit.open()
        await kit.put(*[edit(first + n) for n in range(count)])
        before = time.process_time()
        await kit.run_live(pause_seconds=1.0)
        assert time.process_time() - before < 0.7
        rows = rows_of(sink)
        await sink.close()
        await log.close()
    assert rows == [(n,) for n in range(100, 100 + new)]
    with sqlite3.connect(tmp_path / "tables.db") as tables:
        names = [name for (name,) in tables.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'filled_before_%'")]
        kept = sorted(tables.execute(f'SELECT n FROM "{names[0]}"'))
    tables.close()
    assert kept == [(n,) for n in range(20)]
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 2
    assert names[0] in said[1]


async def test_a_table_begins_again_where_its_log_is_an_older_copy(tmp_path: Path) -> None:
    filled: Job = table("filled", source="edits", columns={"n": "integer"}, key="n")
    assert isinstance(filled.output, ToTable)
    path = tmp_path / "events.db"

    async def run(*events: dict[str, Any]) -> list[tuple[Any, ...]]:
        sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)
        kit = JobKit(filled, log=SqliteLog(path), sink=sink)
        await kit.open()
        await kit.put(*events)
        await kit.run_live(pause_seconds=0.5)
        rows = rows_of(sink)
        await sink.close()
        await kit.log.close()
        return rows

    await run(edit(0), edit(1))
    copy = path.read_bytes()
    await run(*[edit(n) for n in range(2, 10)])
    for file in sorted(tmp_path.glob("events.db*")):  # noqa: ASYNC240 - a moment, in a test
        file.unlink()
    path.write_bytes(copy)
    assert await run(edit(99)) == [(0,), (1,), (99,)]


STOPS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01, stops_where_replaced=True)


@pytest.mark.parametrize("new", [2, 30], ids=["shorter than before", "longer than before"])
async def test_where_it_is_to_stop_a_table_of_a_log_that_was_replaced_is_left_as_it_is(
    new: int, tmp_path: Path
) -> None:
    filled: Job = table("filled", source="edits", columns={"n": "integer"}, key="n")
    assert isinstance(filled.output, ToTable)
    for name, count in (("old", 20), ("new", new)):
        log = SqliteLog(tmp_path / f"{name}.db")
        sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)
        kit = JobKit(filled, log=log, sink=sink, settings=STOPS)
        await kit.open()
        await kit.put(*[edit(n if name == "old" else 100 + n) for n in range(count)])
        if name == "old":
            await kit.run_live(pause_seconds=0.5)
        else:
            # As often as it is tried: it changes nothing.
            for _ in range(2):
                with pytest.raises(PositionLost, match="The log was replaced") as caught:
                    await asyncio.wait_for(kit.runner.run(), 5.0)
                assert "jobs.on_replaced_log: start_anew" in (caught.value.hint or "")
                assert not caught.value.retriable
        await sink.close()
        await log.close()
    with sqlite3.connect(tmp_path / "tables.db") as tables:
        assert sorted(tables.execute("SELECT n FROM filled")) == [(n,) for n in range(20)]
        assert not list(tables.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'filled_before_%'"))
    tables.close()


@pytest.mark.parametrize("new", [5, 40], ids=["shorter than before", "longer than before"])
async def test_with_stop_a_job_waits_at_a_recreated_topic(new: int) -> None:
    log = Separate()
    kit = JobKit(copied, log=log, settings=STOPS)
    await kit.open()
    await kit.put(*[edit(n) for n in range(20)])
    await kit.run_live()
    log.make_again("edits")
    await kit.put(*[edit(n) for n in range(100, 100 + new)])
    for _ in range(2):
        with pytest.raises(PositionLost, match="edits"):
            await asyncio.wait_for(JobKit(copied, log=log, settings=STOPS).runner.run(), 5.0)
    assert await numbers(kit) == list(range(20))
    # And goes on as soon as it may.
    await JobKit(copied, log=log).run_live()
    assert set(await numbers(kit)) == {*range(20), *range(100, 100 + new)}


async def test_a_token_with_ids_is_one_that_older_versions_read() -> None:
    sources = SourcePositions(OracleLog(), "g", RunnerStatus(copied, Telemetry()), "j", ids_in_token=True)
    sources._ids = {"a/b;c": "x-1", "plain": "y"}
    token = sources.with_ids(Position({("plain", 0): 7}).token())
    assert Position.parse(token).offsets["plain", 0] == 7
    assert source_positions._split(Position.parse(token), sources._ids) == ({("plain", 0): 7}, sources._ids)


@pytest.mark.parametrize(
    "one", ["AZaz09AZaz09AZaz09AZaz", "VUct/JAiYSl+SKxyhxhVmA", "/UctvJAiYSl+SKxyhxhVm/", "a//", "/"]
)
@pytest.mark.parametrize("new", [5, 40], ids=["shorter than before", "longer than before"])
async def test_a_table_misses_no_event_of_a_topic_that_was_made_again_whatever_its_ids_are(
    one: str, new: int, tmp_path: Path
) -> None:
    filled: Job = table("filled", source="edits", columns={"n": "integer"}, key="n")
    assert isinstance(filled.output, ToTable)
    log = Separate()
    for name, first, count in ((one, 0, 20), (f"{one}x", 100, new)):
        log.ids["edits"] = name
        sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)
        kit = JobKit(filled, log=log, sink=sink)
        await kit.open()
        await kit.put(*[edit(first + n) for n in range(count)])
        await kit.run_live()
        rows = rows_of(sink)
        await sink.close()
        log.make_again("edits", same_id=True)
    assert rows == [(n,) for n in (*range(20), *range(100, 100 + new))]


async def test_a_sink_that_begins_with_the_newest_stays_where_it_began(tmp_path: Path) -> None:
    filled: Job = dataclasses.replace(
        table("filled", source="edits", columns={"n": "integer"}, key="n"), start="newest"
    )
    assert isinstance(filled.output, ToTable)
    log = SqliteLog(tmp_path / "events.db")
    rows: list[tuple[Any, ...]] = []
    for events in ([edit(0), edit(1)], [edit(2)], [edit(3)]):
        sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)
        kit = JobKit(filled, log=log, sink=sink, partitions=2)
        await kit.open()
        # While it does not run.
        await kit.put(*events)
        await kit.run_live(pause_seconds=0.05)
        rows = rows_of(sink)
        await sink.close()
    await log.close()
    assert rows == [(2,), (3,)]
