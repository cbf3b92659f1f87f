"""The table sinks keep what the contract of a Sink promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.connectors.contained import ContainedSink
from headwater.connectors.contract import Column, TableShape
from headwater.connectors.registry import table_sink
from headwater.connectors.sinks.duckdb import DuckdbSink
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import ConfigInvalid, ExtraMissing, JobInvalid
from headwater.testing.suites.sink import EDITS, NewSink, SinkSuite


class TestSqliteSink(SinkSuite):
    implementations = (SqliteSink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: SqliteSink(tmp_path / "var" / "tables.db", shape)


class TestDuckdbSink(SinkSuite):
    implementations = (DuckdbSink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: DuckdbSink(tmp_path / "var" / "tables.duckdb", shape)


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
