"""The Iceberg sink on a REST catalog: the same promises, also when answers are lost and processes are killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.connectors.contract import Delivery
from headwater.connectors.sinks.iceberg.options import IcebergOptions
from headwater.connectors.sinks.iceberg.sink import SPEC, IcebergSink
from headwater.errors import SinkUnavailable, WriterFenced
from headwater.testing.suites.sink import LINES, SinkSuite
from headwater.testing.suites.sink_deletes import NOTES, note, notes_of
from headwater.testing.suites.sink_delivery import NewSink
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from servers.cutting_proxy import CuttingProxy
from servers.iceberg_rest import IcebergRestServer

BATCHES = 8
# Writes batches of two numbers each, and merges and deletes files after each. An end of a connection ends it at once.
WRITER = f"""
import asyncio, os, signal, sys
from pathlib import Path

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.sinks.iceberg.options import IcebergOptions
from headwater.connectors.sinks.iceberg.sink import IcebergSink
from headwater.errors import SinkUnavailable

async def main() -> None:
    options = IcebergOptions(
        {{"type": "rest", "uri": sys.argv[1]}},
        namespace=sys.argv[2],
        maintenance_seconds=0.0,
        small_files_max=3,
        snapshots_seconds=0.0,
    )
    sink = IcebergSink(options, TableShape("lines", (Column("number", "integer", "number"),)), Path())
    try:
        last = int(await sink.open() or 0)
        for number in range(last + 1, {BATCHES} + 1):
            await sink.write([Delivery({{"number": 2 * number + one}}) for one in (0, 1)], str(number))
    except SinkUnavailable:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def options(iceberg_rest: IcebergRestServer) -> IcebergOptions:
    return IcebergOptions({"type": "rest", "uri": iceberg_rest.uri}, namespace=f"n{uuid.uuid4().hex}")


@pytest.fixture
def new_sink(options: IcebergOptions, tmp_path: Path) -> NewSink:
    return lambda shape: IcebergSink(options, shape, tmp_path)


@pytest.fixture
def through(options: IcebergOptions, tmp_path: Path) -> Callable[[CuttingProxy], NewSink]:
    """Makes closed sinks that reach the catalog through a proxy."""

    def made(proxy: CuttingProxy) -> NewSink:
        catalog = {"type": "rest", "uri": f"http://127.0.0.1:{proxy.port}"}
        return lambda shape: IcebergSink(IcebergOptions(catalog, namespace=options.namespace), shape, tmp_path)

    return made


class TestIcebergRestSink(SinkSuite):
    implementations = (IcebergSink,)

    @pytest.fixture
    def new_sink(self, options: IcebergOptions, tmp_path: Path) -> NewSink:
        return lambda shape: IcebergSink(options, shape, tmp_path)


class TestIcebergRestEvolution(EvolutionSuite):
    implementations = (IcebergSink,)

    @pytest.fixture
    def configured(self, options: IcebergOptions, tmp_path: Path) -> Configured:
        return Configured(SPEC, options, tmp_path)


def commit_of(token: str) -> bytes:
    """What the request has that commits this token."""
    return f'"headwater.token":"{token}"'.encode()


@pytest.mark.parametrize("forward", [False, True], ids=["before the commit", "before its answer"])
async def test_a_batch_is_there_once_if_its_connection_ends(
    iceberg_rest: IcebergRestServer, through: Callable[[CuttingProxy], NewSink], new_sink: NewSink, *, forward: bool
) -> None:
    with CuttingProxy(iceberg_rest.port) as proxy:
        sink = through(proxy)(NOTES)
        await sink.open()
        await sink.write([note(1, 1), note(2, 1), note(3, 1)], "token 1")
        proxy.cut_at(commit_of("token 2"), forward=forward)
        batch = [note(1, 2, "delete"), note(2, 2), note(4, 1)]
        with pytest.raises(SinkUnavailable):
            await sink.write(batch, "token 2")
        other = new_sink(NOTES)
        assert await other.open() == ("token 2" if forward else "token 1")
        await other.close()
        await sink.write(batch, "token 2")
        assert sorted(row[1:3] for row in notes_of(sink)) == [(2, 2), (3, 1), (4, 1)]
        await sink.write([note(1, 1)], "token 3")
        assert sorted(row[1:3] for row in notes_of(sink)) == [(2, 2), (3, 1), (4, 1)]
        await sink.close()


async def test_a_commit_that_arrives_after_another_process_took_over_changes_nothing(
    iceberg_rest: IcebergRestServer, through: Callable[[CuttingProxy], NewSink], new_sink: NewSink
) -> None:
    with CuttingProxy(iceberg_rest.port) as proxy:
        late = through(proxy)(LINES)
        await late.open()
        await late.write([Delivery({"number": 1})], "token 1")
        proxy.cut_at(commit_of("token 2"), forward=False)
        with pytest.raises(SinkUnavailable):
            await late.write([Delivery({"number": 2})], "token 2")
        sink = new_sink(LINES)
        assert await sink.open() == "token 1"
        await sink.write([Delivery({"number": 2}), Delivery({"number": 3})], "token 3")
        with pytest.raises(WriterFenced):
            await late.write([Delivery({"number": 2})], "token 2")
        assert sorted(row[0] for row in sink.view(10).rows) == [1, 2, 3]
        await sink.close()
        await late.close()


async def test_a_catalog_that_was_away_is_written_to_when_it_is_back(
    iceberg_rest: IcebergRestServer, new_sink: NewSink
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    await sink.write([Delivery({"number": 1})], "token 1")
    iceberg_rest.stop()
    try:
        with pytest.raises(SinkUnavailable):
            await sink.write([Delivery({"number": 2})], "token 2")
    finally:
        iceberg_rest.restart()
    await sink.write([Delivery({"number": 2})], "token 2")
    assert sorted(row[0] for row in sink.view(10).rows) == [1, 2]
    await sink.close()


@pytest.mark.slow
async def test_processes_that_are_killed_before_and_after_their_commits_write_each_row_once(
    iceberg_rest: IcebergRestServer, options: IcebergOptions, new_sink: NewSink
) -> None:
    ends = []
    with CuttingProxy(iceberg_rest.port) as proxy:
        # The same batch is cut off twice: once it is not there, once it is.
        for token, forward in (("1", False), ("1", True), ("5", True), ("7", False), ("", False)):
            if token:
                proxy.cut_at(commit_of(token), forward=forward)
            command = [sys.executable, "-c", WRITER, f"http://127.0.0.1:{proxy.port}", options.namespace]
            ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
            ends.append(ended.returncode)
            assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert ends == [-signal.SIGKILL] * 4 + [0]
    sink = new_sink(LINES)
    assert await sink.open() == str(BATCHES)
    assert sorted(row[0] for row in sink.view(100).rows) == list(range(2, 2 * BATCHES + 2))
    await sink.close()
