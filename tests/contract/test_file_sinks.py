"""The sinks of files keep what the contract of sinks promises: parquet, jsonl and the lake, in every store."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.stored_files import (
    COLUMNS,
    Place,
    ReadableFiles,
    event_file_sink,
    jsonl_sink,
    lake_sink,
    parquet_sink,
    readable_lake_sink,
)
from headwater.connectors.contract import Delivery, TableShape
from headwater.connectors.lake.event_rows import arrow_columns
from headwater.connectors.lake.file_sink import FileSink
from headwater.connectors.lake.formats import json_lines, parquet
from headwater.connectors.lake.ingestion import LakeSink
from headwater.errors import SinkUnavailable
from headwater.log.contract import Log
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.event_sink import ANY, KEYED, EventSinkSuite, NewEventSink, Received
from headwater.testing.suites.sink import SinkSuite
from headwater.testing.suites.sink_delivery import DeliverySuite
from headwater.testing.suites.sink_filling import PAGES, NewSink, page
from headwater.times import ms_of, utc_seconds
from requirements import mount_small_disk
from servers.cutting_proxy import CuttingProxy
from servers.file_stores import LOCAL, REMOTE, new_store
from servers.moto import MotoServer

# The sinks of the suite of events.
EVENTS = (ANY.name, KEYED.name)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """The kind of store: the disk, unless a class says otherwise."""
    return getattr(request, "param", LOCAL)


@pytest.fixture
def place(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(new_store(store, request), tmp_path)


in_other_stores = pytest.mark.parametrize("store", REMOTE, indirect=True)


class TestParquetSink(SinkSuite):
    # What the one adds to the other is `view`.
    implementations = (ReadableFiles, FileSink)

    @pytest.fixture
    def new_sink(self, place: Place) -> NewSink:
        return lambda shape: parquet_sink(place, shape)


class TestJsonlSinkOfAJob(DeliverySuite):
    implementations = (ReadableFiles, FileSink)

    @pytest.fixture
    def new_sink(self, place: Place) -> NewSink:
        return lambda shape: jsonl_sink(place, shape)


class TestLakeSinkOfAJob(DeliverySuite):
    implementations = (ReadableFiles, LakeSink)

    @pytest.fixture
    def new_sink(self, place: Place) -> NewSink:
        return lambda shape: readable_lake_sink(place, shape)


class TestJsonlSink(EventSinkSuite):
    implementations = (FileSink,)

    @pytest.fixture
    def new_sink(self, place: Place) -> NewEventSink:
        return lambda shape: event_file_sink(place, shape)

    @pytest.fixture
    def received(self, place: Place) -> Received:
        return lambda: [dict(row) for table in EVENTS for row in place.rows(table, json_lines())]


class TestLakeSink(EventSinkSuite):
    implementations = (LakeSink,)

    @pytest.fixture
    def new_sink(self, place: Place) -> NewEventSink:
        return lambda shape: lake_sink(place, shape.name)

    @pytest.fixture
    def received(self, place: Place) -> Received:
        form = parquet(arrow_columns(COLUMNS))
        return lambda: [_as_event(row) for table in EVENTS for row in place.rows(table, form)]


@in_other_stores
class TestParquetSinkInOtherStores(TestParquetSink):
    """The same; the kind of log makes no difference to a store."""

    @pytest.fixture
    async def log(self) -> AsyncIterator[Log]:
        log = OracleLog()
        await log.open()
        yield log
        await log.close()


@in_other_stores
class TestJsonlSinkInOtherStores(TestJsonlSink):
    """The same."""


@in_other_stores
class TestLakeSinkInOtherStores(TestLakeSink):
    """The same."""


Makes = Callable[[Place, TableShape], ReadableFiles]
every_sink = pytest.mark.parametrize("make", [parquet_sink, jsonl_sink, readable_lake_sink])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount_small_disk(folder, 2)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def revisions(sink: ReadableFiles) -> list[int]:
    return [row[1] for row in sink.view(10_000, "rev").rows]


@every_sink
async def test_a_disk_that_is_full_stores_nothing_and_continues_when_there_is_room(
    small_disk: Path, tmp_path: Path, make: Makes
) -> None:
    sink = make(Place({"location": str(small_disk)}, tmp_path), PAGES)
    await sink.open()
    await sink.write([delivery(1)], "token 1")
    (small_disk / "filler").write_bytes(b"x" * 1_000_000)
    large = [delivery(number, text=random.Random(number).randbytes(150_000).hex()) for number in range(2, 12)]
    for _ in range(2):
        with pytest.raises(SinkUnavailable, match="No space left"):
            await sink.write(large, "token 2")
        assert await sink.open() == "token 1"
        assert revisions(sink) == [1]
    (small_disk / "filler").unlink()
    await sink.write(large, "token 2")
    await sink.write([delivery(12)], "token 3")
    assert revisions(sink) == list(range(1, 13))
    await sink.close()


@every_sink
async def test_a_store_that_is_away_is_written_to_again_when_it_is_back(
    moto: MotoServer, request: pytest.FixtureRequest, tmp_path: Path, make: Makes
) -> None:
    with CuttingProxy(int(moto.endpoint.rpartition(":")[2])) as proxy:
        how = {"endpoint": f"http://127.0.0.1:{proxy.port}", "connect_seconds_max": 1.0, "request_seconds_max": 2.0}
        sink = make(Place({**new_store("s3", request), **how}, tmp_path), PAGES)
        await sink.open()
        await sink.write([delivery(1)], "token 1")
        proxy.is_away = True
        proxy.cut()
        with pytest.raises(SinkUnavailable):
            await sink.write([delivery(2)], "token 2")
        proxy.is_away = False
        await sink.write([delivery(2)], "token 2")
        # The commit arrives, and its answer does not.
        proxy.cut_at(b"head-000000000003.json HTTP", forward=True)
        with pytest.raises(SinkUnavailable):
            await sink.write([delivery(3)], "token 3")
        await sink.write([delivery(3)], "token 3")
        await sink.write([delivery(4)], "token 4")
        assert revisions(sink) == [1, 2, 3, 4]
        await sink.close()


def delivery(rev: int, **more: Any) -> Delivery:
    event = page("a", rev, **more)
    return Delivery(event, event["meta"]["id"], "pages", 0, "pages/0")


def _as_event(row: Any) -> dict[str, Any]:
    """A row as the event that it was; in columns, absent and null are the same."""
    meta = {**row["meta"], "dt": utc_seconds(ms_of(row["meta"]["dt"].timestamp()))}
    event = {name: value for name, value in row.items() if value is not None} | {"meta": meta}
    return event if row["list"] is None else {**event, "list": json.loads(row["list"]), "none": None}
