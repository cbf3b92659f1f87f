"""The job minute_activity: a real day as rows of a table for analysis, also in any order, twice, and late."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.registry import table_sink
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, read, run_files

DAY = "derived/recentchange_2016-06-27.jsonl.gz"
FACTS = "golden/recentchange_2016.facts.json"
SHAPE = TableShape(
    "activity",
    (
        Column("minute", "text", "minute"),
        Column("events", "integer", "events"),
        Column("added", "integer", "added"),
        Column("deleted", "integer", "deleted"),
    ),
    ("minute",),
    version="events",
)


async def totals(rows: list[Event], file: Path) -> tuple[Any, ...]:
    """Minutes, mean of edits, and growth in bytes, of a table that is filled with the rows."""
    sink = table_sink(file, SHAPE)
    await sink.open()
    for start in range(0, len(rows), 500):
        await sink.write([Delivery(row) for row in rows[start : start + 500]], f"after {start}")
    await sink.close()
    with duckdb.connect(str(file)) as connection:
        query = "SELECT count(*), round(avg(events), 3), sum(added - deleted) FROM activity"
        return tuple(connection.execute(query).fetchall()[0])


def edit(second: int, number: int, **sizes: Any) -> Event:
    """An edit so many seconds after noon."""
    at = f"2026-01-31T{12 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
    meta = {"stream": "mediawiki.recentchange", "id": f"id-{number}", "dt": at, "domain": "en.wiki.example"}
    return {"$schema": "/mediawiki/recentchange/1.0.0", "meta": meta, "type": "edit", "wiki": "enwiki", **sizes}


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("order", ["event-time", "arrival"])
def test_the_minutes_of_a_real_day(order: str, tmp_path: Path) -> None:
    events = at_least_one(read(DAY))
    facts = dict(read(FACTS))["edits_per_minute"]  # type: ignore[arg-type]
    growth = sum(event["x_added"] - event["x_deleted"] for event in events)
    ran = run_files("minute_activity", events, tmp_path, "--order", order)
    assert ran.errors == []
    expected = (facts["minutes"], facts["mean"], growth)
    assert asyncio.run(totals(ran.outputs, tmp_path / "once.duckdb")) == expected
    again = [*ran.outputs, *ran.outputs]
    random.Random(order).shuffle(again)
    assert asyncio.run(totals(again, tmp_path / "again.duckdb")) == expected


def test_a_late_edit_is_counted_in_its_minute_which_is_passed_on_again(tmp_path: Path) -> None:
    events = [
        edit(1, 1, x_added=5, x_deleted=1),
        edit(2, 2, length={"old": 10, "new": 4}),
        edit(600, 3, length={"new": 7}),
        edit(3, 4, x_added=2),
        edit(3, 4, x_added=2),
        edit(1200, 5),
    ]
    ran = run_files("minute_activity", events, tmp_path, "--order", "arrival")
    rows = [tuple(row[name] for name in ("minute", "events", "added", "deleted")) for row in ran.outputs]
    first = [row for row in rows if row[0] == "2026-01-31T12:00:00Z"]
    assert first[-1] == ("2026-01-31T12:00:00Z", 3, 7, 7)
    assert [row[1:] for row in rows if row not in first] == [(1, 7, 0), (1, 0, 0)]


def test_sizes_that_are_none_are_errors(tmp_path: Path) -> None:
    ran = run_files("minute_activity", [edit(1, 1, x_added="many"), edit(2, 2, length={"new": "x"})], tmp_path)
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"] * 2
