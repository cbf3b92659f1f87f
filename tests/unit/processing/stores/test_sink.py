"""A table as the store of a job: what is repeated after a failure, and what is never written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.contract import Column, Delivery, SinkFeatures
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import EventMalformed, JobStopped, SinkUnavailable, WriteGivenUp, WriteIncomplete
from headwater.jobs import Job, ToTable, table
from headwater.jobs.job import OnError
from headwater.log.contract import Log, Record, TopicSettings
from headwater.processing.stores.attempts import KeyOrder
from headwater.processing.stores.sink import SinkStore
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.job_kit import JobKit
from headwater.testing.memory_sink import WITH_TOKEN, WITHOUT_TOKEN, MemorySink, MemoryTarget
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.job_store import token
from headwater.testing.suites.log import read_all, records, values

FILLED: Job = table("filled", source="edits", columns={"n": "integer"}, key="n")
assert isinstance(FILLED.output, ToTable)
SHAPE = FILLED.output.shape


class FailingSink(SqliteSink):
    """Fails the next `failures` writes, and with a `poison` number each; keeps the tokens that it was given."""

    failures = 0
    poison: int | None = None

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "tables.db", SHAPE)
        self.tokens: list[str] = []

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        self.tokens.append(token)
        if self.failures:
            self.failures -= 1
            raise SinkUnavailable("not now")
        if self.poison in [delivery.value["n"] for delivery in deliveries]:
            raise RuntimeError("this number, never")
        await super().write(deliveries, token)

    def numbers(self) -> list[int]:
        return sorted(row[0] for row in self.view(1000).rows)


def edit(number: int, **more: Any) -> dict[str, Any]:
    return {"$schema": "/edit/1.0.0", "meta": {"stream": "edits", "id": f"id-{number}"}, "n": number, **more}


async def opened(log: Log) -> Log:
    await log.open()
    await log.ensure_topic("out", TopicSettings())
    return log


async def test_rows_that_are_written_at_the_second_attempt_repeat_no_error_event(tmp_path: Path) -> None:
    log, sink = await opened(OracleLog()), FailingSink(tmp_path)
    store = SinkStore(sink, log, FILLED.group)
    await store.open()
    for number in range(2):
        sink.failures = 2
        commit = (records("out", 1, start=number), token(number), (), [Delivery({"n": number})])
        for _ in range(2):
            with pytest.raises(SinkUnavailable):
                await store.commit(*commit)
        await store.commit(*commit)
    assert values(await read_all(log, ["out"])) == [record.value for record in records("out", 2)]
    assert sink.numbers() == [0, 1]
    await sink.close()


async def test_a_row_and_its_token_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    log, sink = await opened(OracleLog()), FailingSink(tmp_path)
    store = SinkStore(sink, log, FILLED.group)
    assert await store.open() is None
    await store.commit([], token(1), (), [Delivery({"n": 1})])
    sink.failures = 1
    with pytest.raises(SinkUnavailable):
        await store.commit([], token(2), (), [Delivery({"n": 2})])
    assert await store.open() == token(1)
    assert sink.numbers() == [1]
    assert store.rows is not None
    with pytest.raises(EventMalformed):
        store.rows.check(Delivery({"n": "a text"}))
    await store.rows.ready(token(1))
    assert await store.open() == token(1)
    kept_as = await store.rows.set_aside()
    assert kept_as is not None
    assert await store.open() is None
    assert sink.numbers() == []
    await sink.close()


@pytest.mark.parametrize("features", [WITH_TOKEN, WITHOUT_TOKEN])
@pytest.mark.parametrize(
    "error",
    [
        WriteIncomplete(rejected={7: ValueError("whose?")}),
        WriteIncomplete(retry=[-1]),
        WriteIncomplete(),
        WriteIncomplete(rejected={0: ValueError("no"), 2: ValueError("whose?")}),
    ],
)
async def test_a_sink_that_names_no_event_it_was_given_loses_none(
    features: SinkFeatures, error: WriteIncomplete
) -> None:
    class OddSink(MemorySink):
        errors = 1

        async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
            if self.errors:
                self.errors -= 1
                raise error
            await super().write(deliveries, token)

    log, sink = await opened(OracleLog()), OddSink(MemoryTarget(features), SHAPE)
    store = SinkStore(sink, log, FILLED.group)
    await store.open()
    commit = ([], token(1), (), [Delivery({"n": 1}), Delivery({"n": 2})])
    with pytest.raises(SinkUnavailable):
        await store.commit(*commit)
    await store.commit(*commit)
    assert [row[0] for row in sink.view(10).rows] == [1, 2]
    assert await store.open() == token(1)


async def test_a_write_that_was_not_finished_is_forgotten_when_the_job_begins_again() -> None:
    log, target = await opened(OracleLog()), MemoryTarget(WITHOUT_TOKEN)
    faults = Faults(postpones=lambda delivery: delivery.value["n"] == 1)
    store = SinkStore(FaultySink(MemorySink(target, SHAPE), faults), log, FILLED.group)
    await store.open()
    rows = [Delivery({"n": 1}), Delivery({"n": 2})]
    with pytest.raises(WriteIncomplete):
        await store.commit([], token(1), (), rows)
    assert await store.open() is None
    faults.postpones = lambda delivery: False
    await store.commit([], token(1), (), rows)
    assert [len(some) for _, some in faults.attempts] == [2, 2]


async def opened_store(*, attempts_max: int = 3) -> tuple[SinkStore, Faults]:
    """A store on a target without a token, and what goes wrong there."""
    faults = Faults()
    sink = FaultySink(MemorySink(MemoryTarget(WITHOUT_TOKEN), SHAPE), faults)
    store = SinkStore(sink, await opened(OracleLog()), FILLED.group, attempts_max=attempts_max)
    await store.open()
    return store, faults


@pytest.mark.parametrize(
    ("postponed", "asks_seconds", "counted"),
    [
        ([1], 0.0, True),  # others were taken
        ([1], 0.1, True),
        ([1, 2, 3], 0.0, True),
        (range(10), 0.0, False),  # it may be the target
        (range(10), 0.1, False),
    ],
)
async def test_an_attempt_counts_if_something_shows_that_the_target_works(
    postponed: Collection[int], asks_seconds: float, counted: bool
) -> None:
    store, faults = await opened_store(attempts_max=2)
    given_up: list[tuple[int, Exception]] = []

    async def rejected(index: int, error: Exception) -> Sequence[Record]:
        given_up.append((index, error))
        return []

    store.on_rejected = rejected
    faults.postpones = lambda delivery: delivery.value["n"] in postponed
    faults.asks_seconds = asks_seconds
    rows = [Delivery({"n": number}, f"id-{number}") for number in range(10)]
    for _ in range(2):
        # As after a restart: everything is given to it again.
        await store.open()
        with contextlib.suppress(WriteIncomplete):
            await store.commit([], token(1), (), rows)
    assert [index for index, _ in given_up] == (list(postponed) if counted else [])
    assert {error.attempts for _, error in given_up if isinstance(error, WriteGivenUp)} == ({2} if counted else set())


@pytest.mark.parametrize(("asks_seconds", "counted"), [(0.0, True), (0.1, False)])
async def test_an_event_alone_is_given_up_unless_the_target_asks_for_time(asks_seconds: float, counted: bool) -> None:
    store, faults = await opened_store()
    faults.postpones, faults.asks_seconds = lambda delivery: True, asks_seconds
    for attempt in range(1, 4):
        if counted and attempt == 3:
            await store.commit([], token(1), (), [Delivery({"n": 1})])
            break
        with pytest.raises(WriteIncomplete):
            await store.commit([], token(1), (), [Delivery({"n": 1})])


async def test_the_few_that_a_target_has_left_are_given_up_although_it_asks_for_time() -> None:
    store, faults = await opened_store()
    faults.postpones, faults.asks_seconds = lambda delivery: delivery.value["n"] == 7, 0.1
    rows = [Delivery({"n": number}) for number in range(10)]
    for _ in range(3):
        # The last time it is given up, and the target is left alone all the same.
        with pytest.raises(WriteIncomplete):
            await store.commit([], token(1), (), rows)
    await store.commit([], token(1), (), rows)
    assert [len(some) for _, some in faults.attempts] == [10, 1, 1]


async def test_what_was_taken_at_last_begins_to_count_anew() -> None:
    store, faults = await opened_store()
    for number in range(4):
        faults.postpones = lambda delivery: delivery.value["n"] == 7
        for _ in range(2):
            with pytest.raises(WriteIncomplete):
                await store.commit([], token(number), (), [Delivery({"n": one}) for one in (6, 7)])
        faults.postpones = lambda delivery: False
        await store.commit([], token(number), (), [Delivery({"n": one}) for one in (6, 7)])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_after_whatever_is_written_again_the_last_event_of_each_key_remains(events: list[tuple[str, bool]]) -> None:
    """`events`: the key of each, and whether it has to be written again."""
    order = KeyOrder.of(dataclasses.replace(SHAPE, columns=(Column("n", "text", "of.n"),)))
    written = {index: Delivery({"of": {"n": key}}) for index, (key, _) in enumerate(events)}
    again = {index for index, (_, is_again) in enumerate(events) if is_again}
    rows = {events[index][0]: index for index in written if index not in again}
    for index in sorted(order.with_followers(again, written)):
        rows[events[index][0]] = index
    assert rows == {key: index for index, (key, _) in enumerate(events)}


async def test_an_error_event_that_the_log_would_refuse_is_shortened(tmp_path: Path) -> None:
    brokers, sink = OracleBrokers(), FailingSink(tmp_path)
    kit = JobKit(FILLED, log=OracleKafkaLog(brokers), sink=sink)
    await kit.open()
    errors = FILLED.writes().errors
    brokers.limits[errors] = 200_000
    await kit.put(edit(1), {**edit(2), "n": "a text", "long": "x" * 400_000}, edit(3))
    await kit.run()
    assert sink.numbers() == [1, 3]
    found = await kit.events(errors)
    assert [event["error_type"] for event in found] == ["INVALID_OUTPUT"]
    assert len(found[0]["raw_event"]) < 200_000
    await sink.close()
    await kit.log.close()


async def test_the_ids_of_topics_stay_in_the_token_while_a_record_is_found_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    sink = FailingSink(tmp_path)
    sink.poison = 2
    kit = JobKit(FILLED, sink=sink)
    await kit.open()
    await kit.put(*map(edit, range(5)))
    for _ in range(FILLED.writes().attempts_max + 5):
        with contextlib.suppress(RuntimeError):
            await kit.run()
    assert len(await kit.events(FILLED.writes().errors)) == 1
    assert sink.numbers() == [0, 1, 3, 4]
    assert [one for one in sink.tokens if "id%2F" not in one] == []
    await sink.close()


@pytest.mark.parametrize("features", [WITH_TOKEN, WITHOUT_TOKEN])
@pytest.mark.parametrize("is_found_early", [True, False])
async def test_a_row_that_is_rejected_stops_the_job_in_front_of_its_event_or_is_skipped(
    features: SinkFeatures, is_found_early: bool
) -> None:
    target, faults = MemoryTarget(features), Faults()
    bad: Any = "no number" if is_found_early else 3
    faults.rejects = lambda delivery: ValueError("too odd") if delivery.value["n"] == 3 else None

    def filled(on_error: OnError) -> JobKit:
        made = table("filled", source="edits", columns={"n": "integer"}, key="n", on_error=on_error)
        return JobKit(made, sink=FaultySink(MemorySink(target, SHAPE), faults), log=log)

    log = OracleLog()
    kit = filled("stop")
    await kit.open()
    await kit.put(edit(1), edit(2), {**edit(9), "n": bad}, edit(4))
    for _ in range(2):
        with pytest.raises(JobStopped, match=r"table: .*edits/0/2, event id-9"):
            await kit.runner.run(drain=True)
        assert (await kit.runner.lag(), await kit.errors()) == (2, [])
    kit = filled("skip")
    await kit.runner.run(drain=True)
    report = kit.runner.status.report()
    assert (report.skipped, report.errors, await kit.errors(), await kit.runner.lag()) == (1, 0, [], 0)
    sink = MemorySink(target, SHAPE)
    await sink.open()
    assert sorted(row[0] for row in sink.view(10).rows) == [1, 2, 4]
