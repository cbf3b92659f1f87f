"""The table sinks keep what the contract of a Sink promises."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from headwater.connectors.contained import ContainedSink
from headwater.connectors.contract import Column, TableShape
from headwater.connectors.isolated import IsolatedSink, IsolatedTable, isolated
from headwater.connectors.registry import table_sink
from headwater.connectors.secrets import Secrets
from headwater.connectors.sinks.duckdb import DuckdbDialect, DuckdbSink
from headwater.connectors.sinks.sqlite import SqliteDialect, SqliteSink
from headwater.connectors.spec import TableSink
from headwater.errors import ConfigInvalid, ExtraMissing, JobInvalid
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.memory_sink import WITH_TOKEN, WITHOUT_TOKEN, MemorySink, MemoryTarget
from headwater.testing.suites.sink import EDITS, SinkSuite
from headwater.testing.suites.sink_filling import NewSink, Refuse


class TestSqliteSink(SinkSuite):
    implementations = (SqliteSink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: SqliteSink(tmp_path / "var" / "tables.db", shape)

    @pytest.fixture
    async def refuse(self, tmp_path: Path) -> Refuse:
        async def refuse(shape: TableShape, title: str) -> None:
            (tmp_path / "var").mkdir()
            with closing(sqlite3.connect(tmp_path / "var" / "tables.db")) as connection:
                connection.execute(SqliteDialect(tmp_path).create_table(shape))
                connection.execute(
                    f"CREATE TRIGGER no BEFORE INSERT ON {shape.name} WHEN NEW.title = '{title}'"
                    " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
                )

        return refuse


class TestSinkOnItsOwnThread(SinkSuite):
    # What the one adds to the other is `view`.
    implementations = (IsolatedTable, IsolatedSink)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        def new_sink(shape: TableShape) -> TableSink:
            path = tmp_path / "tables.db"
            made = isolated(lambda: SqliteSink(path, shape), shape.name, seconds_max=60.0, secrets=Secrets([]))
            assert isinstance(made, IsolatedTable)
            return made

        return new_sink


class TestDuckdbSink(SinkSuite):
    implementations = (DuckdbSink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: DuckdbSink(tmp_path / "var" / "tables.duckdb", shape)

    @pytest.fixture
    async def refuse(self, tmp_path: Path) -> Refuse:
        async def refuse(shape: TableShape, title: str) -> None:
            (tmp_path / "var").mkdir()
            statement = DuckdbDialect(tmp_path).create_table(shape)
            with duckdb.connect(str(tmp_path / "var" / "tables.duckdb")) as connection:
                connection.execute(f"{statement.removesuffix(')')}, CHECK (title <> '{title}'))")

        return refuse


class TestMemorySinkWithToken(SinkSuite):
    implementations = (MemorySink,)
    features = WITH_TOKEN

    @pytest.fixture
    def new_sink(self) -> NewSink:
        target = MemoryTarget(self.features)
        return lambda shape: MemorySink(target, shape)


class TestMemorySinkWithoutToken(TestMemorySinkWithToken):
    features = WITHOUT_TOKEN


class TestFaultySinkWithoutFaults(SinkSuite):
    implementations = (FaultySink,)

    @pytest.fixture
    def new_sink(self) -> NewSink:
        target = MemoryTarget()
        return lambda shape: FaultySink(MemorySink(target, shape), Faults())


class ReadableContainedSink(ContainedSink):
    """What the suite looks at, too."""

    def __init__(self, sink: SqliteSink) -> None:
        super().__init__(sink)
        self.shape = sink.shape
        self.view = sink.view


class TestContainedSink(SinkSuite):
    implementations = (ReadableContainedSink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: ReadableContainedSink(SqliteSink(tmp_path / "var" / "tables.db", shape))


def test_the_file_of_a_table_says_which_database_it_is(tmp_path: Path) -> None:
    assert isinstance(table_sink(tmp_path / "tables.db", EDITS), SqliteSink)
    with pytest.raises(ConfigInvalid, match=r"\.db or"):
        table_sink(tmp_path / "tables.xlsx", EDITS)


def test_a_driver_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "headwater.connectors.sinks.duckdb", None)
    with pytest.raises(ExtraMissing, match=r"headwater\[duckdb\]"):
        table_sink(tmp_path / "tables.duckdb", EDITS)


@pytest.mark.parametrize(
    ("name", "columns", "key"),
    [
        ("drop table", {"a": "text"}, ()),
        ("_ours", {"a": "text"}, ()),
        ("fine", {'a"b': "text"}, ()),
        ("fine", {"a": "blob"}, ()),
        ("fine", {"a": "text"}, ("b",)),
        ("fine", {}, ()),
    ],
)
def test_a_table_that_cannot_be_is_refused(name: str, columns: dict[str, str], key: tuple[str, ...]) -> None:
    with pytest.raises(JobInvalid):
        TableShape(name, tuple(Column(column, kind, column) for column, kind in columns.items()), key)  # type: ignore[arg-type]
