"""The ClickHouse sink keeps what the contract of a Sink promises, on a real engine of ClickHouse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headwater.connectors.contract import Delivery, TableShape
from headwater.connectors.sinks.clickhouse import SPEC, ClickhouseOptions, ClickhouseSink, create_statement
from headwater.errors import SinkUnavailable
from headwater.testing.suites.sink import SinkSuite
from headwater.testing.suites.sink_delivery import PAGES, NewSink, Refuse, page
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite


def ask(url: str, statement: str) -> None:
    httpx.post(url, content=statement, timeout=60).raise_for_status()


@pytest.fixture
def url(clickhouse_url: str) -> Iterator[str]:
    """The address of a ClickHouse whose database `headwater_test` is empty."""
    ask(clickhouse_url, "CREATE DATABASE headwater_test")
    yield clickhouse_url
    ask(clickhouse_url, "DROP DATABASE headwater_test")


@pytest.fixture
def new_sink(url: str) -> NewSink:
    return lambda shape: ClickhouseSink(ClickhouseOptions(url, "headwater_test"), shape)


class TestClickhouseSink(SinkSuite):
    implementations = (ClickhouseSink,)

    @pytest.fixture
    def new_sink(self, url: str) -> NewSink:
        return lambda shape: ClickhouseSink(ClickhouseOptions(url, "headwater_test"), shape)

    @pytest.fixture
    async def refuse(self, url: str) -> Refuse:
        async def refuse(shape: TableShape, title: str) -> None:
            statement = create_statement(shape, "headwater_test")
            constraint = f", CONSTRAINT no CHECK title != '{title}') ENGINE"
            await asyncio.to_thread(ask, url, statement.replace(") ENGINE", constraint))

        return refuse


class TestClickhouseEvolution(EvolutionSuite):
    implementations = (ClickhouseSink,)

    @pytest.fixture
    def configured(self, url: str) -> Configured:
        return Configured(SPEC, ClickhouseOptions(url, "headwater_test"), Path())


async def test_an_insert_that_comes_again_is_not_executed_twice(new_sink: NewSink) -> None:
    sink = new_sink(TableShape("lines", PAGES.columns))
    await sink.open()
    for _ in range(2):
        await sink.write([Delivery(page("a", 1))], "token 1")
    assert sink.view(10).rows_total == 1
    await sink.write([Delivery(page("a", 1))], "token 2")
    assert sink.view(10).rows_total == 2
    await sink.close()


async def test_a_clickhouse_that_is_away_is_unavailable() -> None:
    with pytest.raises(SinkUnavailable, match="pages"):
        await ClickhouseSink(ClickhouseOptions("http://127.0.0.1:9"), PAGES).open()
