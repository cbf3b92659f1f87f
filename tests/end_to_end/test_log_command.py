"""`headwater log` shows what is in a log, says where it is damaged, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.cli import main
from headwater.log.contract import Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.clock import ManualClock


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    async def fill(path: Path) -> None:
        clock = ManualClock(1_769_860_800.0)
        log = SqliteLog(path, clock=clock)
        await log.open()
        await log.ensure_topic("demo.edit", TopicSettings(partitions=2, retention_seconds=3600))
        await log.ensure_topic("other", TopicSettings())
        for number in range(10):
            await log.append(
                [Record("demo.edit", b'{"n": %d}' % number, b"k", (("dt", b"then"),), partition=number % 2)]
            )
            clock.advance(60)
        await log.append([Record("other", b"\xff\xfe")])
        await log.close()

    path = tmp_path / "events.db"
    asyncio.run(fill(path))
    return path


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["log", *arguments])
    assert result.exit_code == code, result.output
    return result


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_topics_are_listed_for_people_and_for_machines(log_path: Path) -> None:
    assert "demo.edit" in run("topics", "--log", str(log_path)).stdout
    listed = lines(run("topics", "--log", f"sqlite:///{log_path}", "--json"))
    assert [(row["name"], row["next"]) for row in listed] == [("demo.edit", [5, 5]), ("other", [1])]


def test_records_are_read_from_the_oldest_from_a_time_an_offset_or_a_token(log_path: Path) -> None:
    def numbers(*arguments: str) -> list[object]:
        return [
            row["value"]["n"] for row in lines(run("read", "demo.edit", "--log", str(log_path), "--json", *arguments))
        ]

    assert numbers() == list(range(10))
    assert numbers("--count", "3") == [0, 1, 2]
    assert numbers("--partition", "1", "--offset", "3") == [7, 9]
    assert numbers("--at", "2026-01-31T12:07:00Z") == [7, 8, 9]
    assert numbers("--at", "1769861220001") == [8, 9]
    assert numbers("--after", "hw1;demo.edit:0=4") == [8]


def test_bytes_that_are_no_text_are_shown_in_base64(log_path: Path) -> None:
    (row,) = lines(run("read", "other", "--log", str(log_path), "--json"))
    assert row["value_base64"] == "//4="
    assert "other/0@0" in run("read", "other", "--log", str(log_path)).stdout


def test_tail_prints_what_arrives(log_path: Path) -> None:
    printed = lines(run("tail", "demo.edit", "--log", str(log_path), "--at", "0", "--count", "10", "--json"))
    assert len(printed) == 10


def test_verify_says_where_the_damage_is(log_path: Path) -> None:
    assert lines(run("verify", "--log", str(log_path), "--json"))[0]["sound"] is True
    with sqlite3.connect(log_path) as connection:
        connection.execute("UPDATE batches SET data = zeroblob(length(data)) WHERE id & 0xff = 2")
    connection.close()
    result = run("verify", "--log", str(log_path), code=1)
    assert "topic 'demo.edit', partition 0, offsets 2 to 2" in result.stdout
    report = lines(run("verify", "--log", str(log_path), "--json", code=1))[0]
    assert report["sound"] is False


def test_stats_count_what_there_is(log_path: Path) -> None:
    assert lines(run("stats", "--log", str(log_path), "--json"))[0]["batches"] == 11
    assert "file bytes" in run("stats", "--log", str(log_path)).stdout


def test_a_log_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = run("stats", "--log", str(tmp_path / "none.db"), code=2)
    assert "There is no log at" in result.stderr
    assert list(tmp_path.iterdir()) == []
    run("stats", "--project", str(tmp_path), code=2)
    run("stats", "--log", "redis://broker:9092", code=2)


def test_an_invalid_time_is_refused(log_path: Path) -> None:
    assert "is not a time" in run("read", "demo.edit", "--log", str(log_path), "--at", "noon", code=1).stderr
