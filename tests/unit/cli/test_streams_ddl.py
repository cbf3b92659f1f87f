"""`headwater streams ddl` prints the table of a stream, with the topics and brokers of the project."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.main import main

PROJECT = Path(__file__).parents[2] / "flink" / "project"


def ddl(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["streams", "ddl", "--project", str(PROJECT), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_source_reads_the_topics_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_LOG_URL", "kafka://broker:9092/wiki.")
    text = ddl("edits:1.0.0", "--group", "counts")
    assert text.startswith("CREATE TABLE `edits` (\n")
    for line in (
        "'topic' = 'wiki.edits'",
        "'properties.bootstrap.servers' = 'broker:9092'",
        "'properties.group.id' = 'counts'",
    ):
        assert f"  {line},\n" in text


def test_a_sink_writes_one_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_LOG_URL", "kafka://broker:9092")
    text = ddl("counted", "--sink")
    assert "CREATE TABLE `counted.sink` (\n" in text
    assert "  'topic' = 'counted',\n" in text
    assert "KEY 'page' VALUE `page`" in text


def test_a_log_on_sqlite_is_remarked_on() -> None:
    done = CliRunner().invoke(main, ["streams", "ddl", "--project", str(PROJECT), "edits"])
    assert "'properties.bootstrap.servers' = 'kafka:9092'" in done.stdout
    assert "on SQLite, which Flink cannot read" in done.stderr


def test_an_error_stream_has_a_table() -> None:
    assert "`raw_event` STRING" in ddl("counted.error")
