"""What a connector brings passes the gate, is in the log exactly once, and is confirmed only when it is there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from headwater.connectors.contract import Delivery, Source, SourceBatch, SourceFeatures
from headwater.connectors.secrets import Secrets
from headwater.connectors.source_spec import ConfiguredSource, SourceSpec
from headwater.errors import JobStopped, SourceUnavailable
from headwater.intake.gate import Gate
from headwater.jobs.job import Job, OnError, ToStream
from headwater.log.contract import Commit, Log, Placement, Position, Record, TopicSettings
from headwater.processing.embedded.connected.source import ConnectorSource
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.runner import connector_runner_on
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.failures.redrive import Order, Redriver
from headwater.processing.failures.stored import stored_errors
from headwater.processing.source_tokens import TIME_ENTRY, from_position, from_time
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import LogStore
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.streams.visibility import Access, Flow
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import OPEN, open_gate
from headwater.testing.memory_source import MemoryPlace, MemorySource
from headwater.testing.oracle_log import OracleLog

NAME = "source.feed"
NUMBERED = {"properties": {"number": {"type": "integer"}, "meta": OPEN["properties"]["meta"]}, "required": ["number"]}
SETTINGS = RunnerSettings(wait_seconds=0.01, retry_seconds=0.01, batch_records_max=7)


def job(*, on_error: OnError = "error_event", schema: str | None = "/n/1.0.0", canaries: bool = False) -> Job:
    """A source that writes to `memory`, as its file declares it."""
    spec = SourceSpec("memory", "In memory.", object, lambda options, context: None)  # type: ignore[arg-type, return-value]
    configured = ConfiguredSource("feed", spec, None, "sources/feed.yaml:1", schema)
    return Job(NAME, (), input=configured, output=ToStream("memory"), on_error=on_error, canaries=canaries)


def gate(*streams: Stream, access: Access | None = None) -> Gate:
    known = streams or (Stream(name="memory"),)
    registry = StreamRegistry([*known, Stream(name=f"{NAME}.error")])
    return open_gate(registry if access is None else registry.with_access(access), schemas={"/n/1.0.0": NUMBERED})


class SlowLog(OracleLog):
    """Takes its time for a commit, in which its process may be killed: nothing of it is stored then."""

    is_killed = False

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        for _ in range(20):
            await asyncio.sleep(0)
            if self.is_killed:
                raise ConnectionAbortedError
        return await super().append(records, commit=commit)


async def opened_log(log: OracleLog | None = None) -> OracleLog:
    log = log or OracleLog()
    await log.open()
    for topic in ("memory", f"{NAME}.error"):
        await log.ensure_topic(topic, TopicSettings())
    return log


async def stored(log: Log, topic: str = "memory") -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in await log.read(await log.first([topic]), records_max=10_000)]


def event(number: int, **meta: Any) -> dict[str, Any]:
    return {"number": number, "meta": {"id": f"id-{number}", **meta}}


class ListSource:
    """Delivers what a list has; a token is an index. `raw` of a delivery that is bytes."""

    features = SourceFeatures()

    def __init__(self, events: list[Any], failures: list[Exception] | None = None) -> None:
        self.events = events
        self.failures = failures or []
        self.confirmed: list[str] = []
        self.at: int | None = None

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: object = None) -> None:
        self.at = int(token or 0)

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        assert self.at is not None
        if self.failures:
            raise self.failures.pop(0)
        before, some = self.at, self.events[self.at : self.at + deliveries_max]
        self.at += len(some)
        if not some:
            await asyncio.sleep(wait_seconds)
        found = [Delivery({}, raw=one) if isinstance(one, bytes) else Delivery(one) for one in some]
        return SourceBatch(found, lambda count: str(before + count))

    async def confirm(self, token: str) -> None:
        self.confirmed.append(token)

    async def close(self) -> None:
        self.at = None


async def drained(source: Source, log: Log, declared: Job | None = None, of: Gate | None = None) -> None:
    await connector_runner_on(log, declared or job(), of or gate(), source, settings=SETTINGS).run(drain=True)


async def test_events_pass_the_gate_and_get_what_they_lack() -> None:
    log = await opened_log()
    source = ListSource([{"number": 1}, event(2, stream="theirs"), {"number": 3, "meta": {"id": " "}}])
    await drained(source, log)
    found = await stored(log)
    assert [one["number"] for one in found] == [1, 2, 3]
    assert [one["meta"]["stream"] for one in found] == ["memory"] * 3
    assert [one["$schema"] for one in found] == ["/n/1.0.0"] * 3
    assert found[1]["meta"]["id"] == "id-2"
    assert all(one["meta"]["dt"] for one in found)
    assert source.confirmed[-1] == "3"
    # The same deliveries have the same ids, whoever reads them again.
    again = await opened_log()
    await drained(ListSource(list(source.events)), again)
    assert [one["meta"]["id"] for one in await stored(again)] == [one["meta"]["id"] for one in found]


@pytest.mark.parametrize(
    "raw",
    [
        b"not json",
        b"[1]",
        b'{"number": "no integer"}',
        b'{"number": 1, "meta": 5}',
        b'{"number": 1e999}',
        b"\xff\xfe",
    ],
)
async def test_what_is_refused_becomes_an_error_event_with_its_bytes_and_the_rest_flows(raw: bytes) -> None:
    log = await opened_log()
    await drained(ListSource([event(1), raw, event(2)]), log)
    assert [one["number"] for one in await stored(log)] == [1, 2]
    (error,) = await stored(log, f"{NAME}.error")
    assert error["errored_stream_name"] == "memory"
    assert error["message"]
    kept = error["raw_event"].encode()
    assert raw.decode("utf-8", "replace").encode() == kept


async def test_an_error_event_is_redriven_through_the_gate_with_the_same_id() -> None:
    log = await opened_log()
    closed = gate(Stream(name="memory", enabled=False))
    source = ListSource([{"number": 1}])
    await drained(source, log, of=closed)
    assert await stored(log) == []
    (error,) = await stored(log, f"{NAME}.error")
    redriver = Redriver(log, Order(NAME, "a test"))
    await redriver.open()
    async for failed in stored_errors(log, NAME, [f"{NAME}.error"]):
        await redriver.add(failed)
    await redriver.flush()
    await redriver.close()
    await drained(source, log)
    (found,) = await stored(log)
    again = await opened_log()
    await drained(ListSource([{"number": 1}]), again)
    assert [found["meta"]["id"]] == [one["meta"]["id"] for one in await stored(again)]
    assert error["meta"]["id"] != found["meta"]["id"]


@pytest.mark.parametrize(
    ("stream", "access"),
    [
        (Stream(name="memory", external=False), None),
        (Stream(name="memory", schema_title="error"), None),
        (Stream(name="memory"), Access(flows=(Flow("other", ("a",), output="memory"),))),
    ],
)
async def test_a_stream_that_accepts_nothing_from_outside_gets_nothing(stream: Stream, access: Access | None) -> None:
    log = await opened_log()
    await drained(ListSource([event(1)]), log, of=gate(stream, access=access))
    assert await stored(log) == []
    assert len(await stored(log, f"{NAME}.error")) == 1


async def test_a_stream_is_not_closed_to_producers_because_a_source_writes_it() -> None:
    log = await opened_log()
    mine = Access(flows=(Flow(NAME, (), output="memory", error=f"{NAME}.error", is_connector=True),))
    await drained(ListSource([event(1)]), log, of=gate(Stream(name="memory"), access=mine))
    assert len(await stored(log)) == 1


async def test_an_event_for_a_stream_that_is_not_declared_is_refused() -> None:
    log = await opened_log()

    class Routing(ListSource):
        async def read(self, **asked: Any) -> SourceBatch:
            batch = await super().read(**asked)
            return SourceBatch([one._replace(stream="other") for one in batch.deliveries], batch.token_after)

    await drained(Routing([event(1)]), log)
    (error,) = await stored(log, f"{NAME}.error")
    assert "other" in error["message"]


async def test_canaries_of_the_upstream_are_left_out_unless_they_are_wanted() -> None:
    for wanted in (False, True):
        log = await opened_log()
        await drained(ListSource([event(1, domain="canary"), event(2)]), log, job(canaries=wanted))
        assert [one["number"] for one in await stored(log)] == ([1, 2] if wanted else [2])


async def test_a_source_that_is_to_stop_stops_in_front_of_what_is_refused() -> None:
    log = await opened_log()
    source = ListSource([event(1), event(2), b"no", event(3)])
    with pytest.raises(JobStopped):
        await drained(source, log, job(on_error="stop"))
    assert [one["number"] for one in await stored(log)] == [1, 2]
    assert source.confirmed[-1] == "2"


async def test_an_upstream_that_is_away_is_asked_again_and_nothing_is_lost() -> None:
    log = await opened_log()
    source = ListSource([event(1)], [SourceUnavailable("It is away.")])
    runner = connector_runner_on(log, job(), gate(), source, settings=SETTINGS)
    with pytest.raises(SourceUnavailable):
        await runner.run(drain=True)
    await runner.run(drain=True)
    assert [one["number"] for one in await stored(log)] == [1]


@pytest.mark.parametrize("failing", ["open", "read", "confirm", "close", "upstream_lag"])
async def test_errors_of_a_connector_have_no_secrets(failing: str) -> None:
    password = "s3cret word"

    class Leaking(ListSource):
        def leak(self, call: str) -> None:
            if call == failing:
                try:
                    raise OSError(f"no route to user:{password}@db")
                except OSError as error:
                    raise SourceUnavailable(f"connecting to user:{quote(password)}@db: {error}") from error

        async def open(self, token: str | None, partitions: object = None) -> None:
            self.leak("open")
            await super().open(token)

        async def read(self, **asked: Any) -> SourceBatch:
            self.leak("read")
            return await super().read(**asked)

        async def confirm(self, token: str) -> None:
            self.leak("confirm")

        async def close(self) -> None:
            self.leak("close")

        async def upstream_lag(self) -> int | None:
            self.leak("upstream_lag")
            return 0

    log = await opened_log()
    secrets = Secrets([{"authorization": password}])
    runner = connector_runner_on(log, job(), gate(), Leaking([event(1)]), settings=SETTINGS, secrets=secrets)

    async def all_calls() -> None:
        await runner.run(drain=True)
        await runner.lag()

    with pytest.raises(SourceUnavailable) as raised:
        await all_calls()
    told = "".join(traceback.format_exception(raised.value))
    assert "connecting to user:***@db" in told
    assert password not in told
    assert quote(password) not in told


async def test_a_position_of_another_connector_stops_the_source() -> None:
    log = await opened_log()
    await log.commit(f"job.{NAME}", Position({("source/other/5", 0): 5}).token())
    with pytest.raises(JobStopped, match="other"):
        await drained(ListSource([event(1)]), log)


async def test_an_upstream_that_moves_without_events_has_its_position_committed() -> None:
    log = await opened_log()

    class Moving(ListSource):
        async def read(self, **asked: Any) -> SourceBatch:
            assert self.at is not None
            self.at += 1
            at = self.at
            await asyncio.sleep(0.001)
            return SourceBatch([], lambda count: str(at))

    source = Moving([])
    runner = connector_runner_on(log, job(), gate(), source, settings=SETTINGS)
    adapter = runner._source
    assert isinstance(adapter, ConnectorSource)
    adapter._progress_seconds = 0.0
    running = asyncio.create_task(runner.run())

    async def has_confirmed() -> bool:
        return bool(source.confirmed)

    await eventually(has_confirmed)
    runner.stop()
    await running
    assert "source%2Fmemory%2F" in str(await log.committed(f"job.{NAME}"))
    assert await stored(log) == []


async def test_where_a_source_begins_is_committed_before_its_first_event() -> None:
    log = await opened_log()

    class Newest(ListSource):
        async def open(self, token: str | None, partitions: object = None) -> None:
            self.at = len(self.events) if token is None else int(token)

    source = Newest([event(1), event(2)])
    running = asyncio.create_task(connector_runner_on(log, job(), gate(), source, settings=SETTINGS).run())

    async def is_committed() -> bool:
        return await log.committed(f"job.{NAME}") is not None

    await eventually(is_committed)
    # As a kill does, before anything came.
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    source.events.append(event(3))
    await drained(source, log)
    assert [one["number"] for one in await stored(log)] == [3]


async def test_a_source_begins_again_at_a_time_if_its_connector_can() -> None:
    class Timed(ListSource):
        async def token_at(self, timestamp_ms: int) -> str:
            return str(timestamp_ms)

    log = await opened_log()
    runner = connector_runner_on(log, job(), gate(), Timed([event(1), event(2), event(3)]), settings=SETTINGS)
    await runner.run(drain=True)
    await runner.reposition(from_time(1))
    assert TIME_ENTRY.rstrip("/") in str(await log.committed(f"job.{NAME}"))
    await runner.run(drain=True)
    assert [one["number"] for one in await stored(log)] == [1, 2, 3, 2, 3]
    await runner.reposition(Position())
    await runner.run(drain=True)
    assert len(await stored(log)) == 8


async def test_a_source_begins_again_after_a_position_if_its_connector_can() -> None:
    class Placed(ListSource):
        async def token_of(self, position: str) -> str:
            return position.removeprefix("place ")

    log = await opened_log()
    runner = connector_runner_on(log, job(), gate(), Placed([event(1), event(2), event(3)]), settings=SETTINGS)
    await runner.run(drain=True)
    await runner.reposition(from_position("place 2"))
    await runner.run(drain=True)
    assert [one["number"] for one in await stored(log)] == [1, 2, 3, 3]
    other = connector_runner_on(log, job(), gate(), ListSource([event(1)]), settings=SETTINGS)
    await other.reposition(from_position("place 2"))
    with pytest.raises(JobStopped, match="cannot begin after a position"):
        await other.run(drain=True)


class EarlySource(ConnectorSource):
    """Confirms what it has read, before it is committed: the fault that the test below is to find."""

    async def read(self, **asked: Any) -> Any:
        found = await super().read(**asked)
        if self._taken.last_token is not None:
            await self._connector.confirm(self._taken.last_token)
        return found


async def killed_often(seed: int, make: Callable[..., Any] = ConnectorSource) -> tuple[list[int], list[int]]:
    """What is in the log, and what should be, after kills at random points of a source whose upstream forgets."""
    chance = random.Random(seed)
    place = MemoryPlace(("a", "b"))
    log = SlowLog()
    await opened_log(log)
    expected: dict[str, list[int]] = {"a": [], "b": []}
    number = 0
    for life in range(15):
        for _ in range(chance.randrange(12)):
            part = chance.choice(["a", "b"])
            place.put(event(number), part)
            expected[part].append(number)
            number += 1
        source = MemorySource(place)
        status = RunnerStatus(job(), Telemetry())
        runner = EmbeddedRunner(
            job(),
            make(source, job(), log, status),
            LogStore(log, job().group),
            gate(),
            settings=SETTINGS,
            status=status,
            scope=job().scope(time.time),
        )
        task = asyncio.create_task(runner.run(drain=life == 14))
        for _ in range(chance.randrange(1, 120) if life < 14 else 0):
            await asyncio.sleep(0)
        if life < 14:
            log.is_killed = True
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, JobStopped):
            await task
        log.is_killed = False
    found = [one["number"] for one in await stored(log)]
    for part in expected.values():
        assert [one for one in found if one in part] == sorted(one for one in found if one in part)
    return sorted(found), list(range(number))


@pytest.mark.parametrize("seed", range(6))
async def test_killed_at_random_points_nothing_is_lost_or_doubled_although_the_upstream_forgets(seed: int) -> None:
    found, expected = await killed_often(seed)
    assert found == expected


class WatchedSource(MemorySource):
    """Reports when it is opened."""

    def __init__(self, place: MemoryPlace) -> None:
        super().__init__(place)
        self.opened = asyncio.Event()

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        await super().open(token, partitions)
        self.opened.set()


async def killed_at(step: int, make: Callable[..., Any]) -> list[int]:
    """What is in the log of three events after a kill at this step of the event loop, and a second life."""
    place, log = MemoryPlace(("a", "b")), SlowLog()
    await opened_log(log)
    for number in range(3):
        place.put(event(number), "a")
    for life in range(2):
        source, status = WatchedSource(place), RunnerStatus(job(), Telemetry())
        reader = make(source, job(), log, status)
        store, scope = LogStore(log, job().group), job().scope(time.time)
        runner = EmbeddedRunner(job(), reader, store, gate(), settings=SETTINGS, status=status, scope=scope)
        task = asyncio.create_task(runner.run(drain=True))
        if life == 0:
            await source.opened.wait()
            for _ in range(step):
                await asyncio.sleep(0)
            log.is_killed = True
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        log.is_killed = False
    return [one["number"] for one in await stored(log)]


async def test_killed_at_each_step_nothing_is_lost_and_a_confirmation_before_the_commit_would_be_found() -> None:
    steps = range(0, 60, 2)
    assert [await killed_at(step, ConnectorSource) for step in steps] == [[0, 1, 2]] * len(steps)
    assert any([await killed_at(step, EarlySource) != [0, 1, 2] for step in steps])


async def test_what_is_committed_is_confirmed_again_after_a_restart() -> None:
    log = await opened_log()
    await drained(ListSource([event(1), event(2)]), log)
    again = ListSource([event(1), event(2)])
    await drained(again, log)
    assert again.confirmed == ["2"]
    assert [one["number"] for one in await stored(log)] == [1, 2]


async def test_large_batches_are_divided_by_bytes() -> None:
    log = await opened_log()
    source = ListSource([{"number": number, "text": "x" * 1000} for number in range(20)])
    adapter = connector_runner_on(log, job(), gate(), source, settings=SETTINGS)._source
    await adapter.begin(None, ())
    found = await adapter.read(records_max=20, bytes_max=5_000, wait_seconds=0.0, stopping=asyncio.Event())
    assert len(found) == 4
    await adapter.move(adapter.after(found))
    assert source.confirmed == ["4"]
    assert isinstance(adapter, ConnectorSource)
