"""Materialized tables on both kinds of logs: kept by one job, read by another, through restarts and rebuilds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import StateUnavailable
from headwater.event import decode_json, encode_event
from headwater.jobs import Context, Job, job, table
from headwater.jobs.tables.reader import Tables
from headwater.log.contract import Log, Position, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.runner import runner_on
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.stores.outbox import OutboxStore, state_file
from headwater.processing.tables import materialized_tables, tables_of
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import open_gate, streams_of
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog

SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01)
PARTITIONS = 3
Event = dict[str, Any]


@table(source="changes", key=("wiki", "page"), version="rev", delete=lambda event: event["kind"] == "delete")
def pages(event: Event) -> Event:
    return {"title": event["title"], "rev": event["rev"]}


@job(source="questions", sink="answers")
def answering(event: Event, context: Context) -> Event:
    row = context.table("pages").get((event["wiki"], event["page"]))
    return {"$schema": "/answers/1.0.0", "page": event["page"], "row": row}


@job(source="questions", sink="answers")
async def awaiting(event: Event, context: Context) -> Event:
    await asyncio.sleep(0)
    return answering.steps[0].apply(event, context)  # type: ignore[union-attr,no-any-return]


@job(source="questions", sink="answers", key="page", state=int)
def counting(event: Event, context: Context) -> Event:
    context.state += 1
    return answering.steps[0].apply(event, context)  # type: ignore[union-attr,no-any-return]


def changes(count: int = 400, *, seed: int = 7) -> list[Event]:
    """Changes of pages out of order, some of them twice."""
    chance = random.Random(seed)
    made = [
        {
            "wiki": chance.choice(("enwiki", "dewiki")),
            "page": chance.randrange(20),
            "rev": number,
            "kind": chance.choice(("edit", "edit", "edit", "delete")),
            "title": f"t{number}",
            "meta": {"dt": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z"},
        }
        for number in range(count)
    ]
    made += chance.sample(made, count // 4)
    chance.shuffle(made)
    return made


def expected(events: Sequence[Event]) -> dict[tuple[str, int], Event]:
    newest: dict[tuple[str, int], Event] = {}
    for event in events:
        key = (event["wiki"], event["page"])
        if key not in newest or newest[key]["rev"] < event["rev"]:
            newest[key] = event
    return {key: {"title": e["title"], "rev": e["rev"]} for key, e in newest.items() if e["kind"] != "delete"}


@dataclass
class Place:
    """A log, and what jobs on it need: as one process has it. `restarted`: the same as another process has it."""

    log: Log
    directory: Path
    restart: Callable[[], Awaitable[Log]]

    def runner(self, made: Job, tables: Tables | None = None) -> EmbeddedRunner:
        store = None
        if not self.log.features.keyed_state:
            store = OutboxStore(self.log, made.group, state_file(self.directory, made.name), durability="os")
        return runner_on(
            self.log, made, open_gate(streams_of(made)), store=store, settings=SETTINGS, tables=tables or self.tables()
        )

    def tables(self) -> Tables:
        return tables_of(materialized_tables([pages]), self.log, self.directory)

    async def restarted(self) -> Place:
        return Place(await self.restart(), self.directory, self.restart)

    async def put(self, topic: str, events: Sequence[Event]) -> None:
        await self.log.append(
            [
                Record(topic, encode_event(event)[0], partition=number % PARTITIONS)
                for number, event in enumerate(events)
            ]
        )

    def rows(self) -> dict[tuple[Any, ...], Any]:
        try:
            return dict(iter(self.tables()("pages")))
        except StateUnavailable:
            # On a log that keeps no state, until the job has begun.
            return {}


@pytest.fixture(params=["sqlite", "brokers"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    made: list[Log] = []
    brokers = OracleBrokers()

    async def new() -> Log:
        # Another process opens the log again when this one is gone.
        for log in made:
            await log.close()
        log: Log = (
            SqliteLog(tmp_path / "log.db", durability="os") if request.param == "sqlite" else OracleKafkaLog(brokers)
        )
        await log.open()
        made.append(log)
        return log

    log = await new()
    for topic in ("changes", "questions", "answers", "pages.error", *(f"{name}.error" for name in JOBS)):
        await log.ensure_topic(topic, TopicSettings(partitions=PARTITIONS))
    yield Place(log, tmp_path / "state", new)
    for log in made:
        await log.close()


JOBS = {one.name: one for one in (answering, awaiting, counting)}


async def test_shuffled_and_repeated_changes_give_the_newest_rows(place: Place) -> None:
    events = changes()
    await place.put("changes", events)
    await place.runner(pages).run(drain=True)
    assert place.rows() == expected(events)
    assert len(place.rows()) > 10


async def test_a_table_that_is_interrupted_anywhere_and_resumed_is_the_same(place: Place) -> None:
    events = changes()
    for start in range(0, len(events), 100):
        await place.put("changes", events[start : start + 100])
        runner = place.runner(pages)
        task = asyncio.create_task(runner.run())
        await eventually(lambda runner=runner: runner.status.report().read > 0)
        # As a process that is killed: nothing is closed in order.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        place = await place.restarted()
    await place.runner(pages).run(drain=True)
    assert place.rows() == expected(events)


async def test_a_rebuilt_table_is_the_same(place: Place) -> None:
    events = changes(100)
    await place.put("changes", events)
    await place.runner(pages).run(drain=True)
    before = place.rows()
    runner = place.runner(pages)
    await runner.reposition(Position())
    assert place.rows() == {}
    await runner.run(drain=True)
    assert place.rows() == before == expected(events)


async def answers(place: Place) -> dict[int, Any]:
    position = await place.log.first(["answers"])
    found: dict[int, Any] = {}
    while records := await place.log.read(position):
        for record in records:
            event = decode_json(record.value)
            found[event["page"]] = event["row"]
            position = position.after(record)
    return found


@pytest.mark.parametrize("name", JOBS)
async def test_every_kind_of_job_reads_the_last_committed_rows(name: str, place: Place) -> None:
    events = changes(100)
    await place.put("changes", events)
    await place.runner(pages).run(drain=True)
    await place.put("questions", [{"wiki": "enwiki", "page": page, "meta": {}} for page in range(25)])
    await place.runner(JOBS[name]).run(drain=True)
    rows = expected(events)
    assert await answers(place) == {page: rows.get(("enwiki", page)) for page in range(25)}


async def test_a_job_reads_a_table_while_it_grows(place: Place) -> None:
    await place.put("changes", [{"wiki": "enwiki", "page": 1, "rev": 1, "kind": "edit", "title": "a", "meta": {}}])
    keeper, reader = place.runner(pages), place.runner(answering)
    tasks = [asyncio.create_task(one.run()) for one in (keeper, reader)]
    await eventually(lambda: place.rows() != {})
    await place.put("questions", [{"wiki": "enwiki", "page": 1, "meta": {}}])
    await eventually(lambda: reader.status.report().written == 1)
    await place.put("changes", [{"wiki": "enwiki", "page": 1, "rev": 2, "kind": "edit", "title": "b", "meta": {}}])
    await eventually(lambda: place.rows()["enwiki", 1]["rev"] == 2)
    await place.put("questions", [{"wiki": "enwiki", "page": 1, "meta": {}}])
    await eventually(lambda: reader.status.report().written == 2)
    for one in (keeper, reader):
        one.stop()
    await asyncio.gather(*tasks)
    assert await answers(place) == {1: {"title": "b", "rev": 2}}


async def test_a_table_whose_state_is_on_another_machine_is_not_an_empty_one(place: Place) -> None:
    reader = place.tables()("pages")
    if place.log.features.keyed_state:
        assert reader.get(("enwiki", 1)) is None
        return
    with pytest.raises(StateUnavailable, match="The table pages is not on this machine"):
        reader.get(("enwiki", 1))
    await place.put("changes", changes(10))
    await place.runner(pages).run(drain=True)
    assert dict(iter(reader)) == place.rows() != {}


async def test_a_failing_event_leaves_the_row_as_it_is(place: Place) -> None:
    good = {"wiki": "enwiki", "page": 1, "rev": 1, "kind": "edit", "title": "a", "meta": {}}
    await place.put("changes", [good, {**good, "rev": 2, "title": "b"}, {"meta": {}}])
    runner = place.runner(pages)
    await runner.run(drain=True)
    assert runner.status.report().errors == 1
    assert place.rows() == {("enwiki", 1): {"title": "b", "rev": 2}}
