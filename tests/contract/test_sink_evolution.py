"""Tables follow the schemas of their events, and the sink that does so keeps the contract of a Sink."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.connectors.evolving import EvolvingSink, ReadableEvolvingSink, Target
from headwater.connectors.schema_columns import SchemaTypes
from headwater.connectors.sinks import duckdb, sqlite
from headwater.connectors.spec import ConfiguredSink
from headwater.schemas.repository import open_repositories
from headwater.testing.suites.sink import SinkSuite
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from headwater.testing.suites.sink_filling import NewSink


class TestSqliteEvolution(EvolutionSuite):
    implementations = (sqlite.SqliteSink,)

    @pytest.fixture
    def configured(self, tmp_path: Path) -> Configured:
        return Configured(sqlite.SPEC, sqlite.SqliteOptions("tables.db"), tmp_path)


class TestDuckdbEvolution(EvolutionSuite):
    implementations = (duckdb.DuckdbSink,)

    @pytest.fixture
    def configured(self, tmp_path: Path) -> Configured:
        return Configured(duckdb.SPEC, duckdb.DuckdbOptions("tables.duckdb"), tmp_path)


class TestEvolvingSink(SinkSuite):
    """With columns that are listed, it is the sink of its connector."""

    implementations = (ReadableEvolvingSink, EvolvingSink)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        configured = ConfiguredSink(sqlite.SPEC, sqlite.SqliteOptions("tables.db"))
        target = Target(configured, {}, tmp_path, SchemaTypes(lambda: open_repositories([])))
        return lambda shape: ReadableEvolvingSink(target, shape)
