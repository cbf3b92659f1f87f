"""SQL over a project: its streams, typed by their schemas, and the tables of its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

import headwater
from headwater.cli.main import main
from headwater.errors import QueryInvalid
from headwater.log.contract import Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.queries.project import ProjectTables, QueryLimits, querying

SCHEMA = """
title: shop/order
$id: /shop/order/1.0.0
$schema: https://json-schema.org/draft-07/schema#
type: object
required: [$schema, meta]
properties:
  $schema: { type: string }
  meta:
    type: object
    required: [stream]
    properties: { stream: { type: string }, dt: { type: string, format: date-time } }
  dt: { type: string, format: date-time }
  item: { type: string }
  pieces: { type: integer, maximum: 9007199254740991, minimum: -9007199254740991 }
  lines: { type: array, items: { type: object, properties: { sku: { type: string } } } }
"""
JOBS = """
from headwater.jobs import table

totals = table(
    "totals",
    source="shop.order",
    columns={"item": "text", "pieces": "integer", "lines": "json", "dt": "timestamp"},
    key="item",
)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "headwater.yaml": "{}\n",
        "schemas/shop/order/1.0.0.yaml": SCHEMA,
        "schemas/shop/order/latest.yaml": SCHEMA,
        "streams/shop.order.yaml": "stream: shop.order\nschema_title: shop/order\n",
        "jobs/totals.py": JOBS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def order(number: int, **fields: Any) -> bytes:
    dt = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
    event = {"$schema": "/shop/order/1.0.0", "meta": {"stream": "shop.order", "dt": dt}, "dt": dt, **fields}
    return orjson.dumps(event)


def store(project: Path, values: Sequence[bytes], *, topic: str = "shop.order") -> None:
    async def run() -> None:
        path = ProjectTables(project).config.log_path
        path.parent.mkdir(exist_ok=True)
        log = SqliteLog(path)
        await log.open()
        await log.ensure_topic(topic, TopicSettings())
        records = [Record(topic, value, timestamp_ms=1_767_225_600_000 + n * 1000) for n, value in enumerate(values)]
        await log.append(records)
        await log.close()

    asyncio.run(run())


def ask(project: Path, query: str, **named: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = headwater.sql(query, project=project, to="rows", **named)
    return rows


def test_events_have_the_types_of_their_schema_and_their_place(project: Path) -> None:
    store(project, [order(1, item="tea", pieces=3, lines=[{"sku": "a"}]), order(61, item="rice")])
    rows = ask(
        project, 'select item, pieces, lines[1].sku as sku, dt, _offset, _received from "shop.order" order by dt'
    )
    assert [(row["item"], row["pieces"], row["sku"], row["_offset"]) for row in rows] == [
        ("tea", 3, "a", 0),
        ("rice", None, None, 1),
    ]
    assert rows[0]["dt"].isoformat() == "2026-01-01T00:00:01+00:00"
    assert rows[1]["_received"].isoformat() == "2026-01-01T00:00:01+00:00"
    windows = ask(project, "select tumble(dt, '1 minute') as start, count(*) as n from shop.order group by start")
    assert sorted(row["n"] for row in windows) == [1, 1]


def test_a_stream_without_events_or_a_topic_has_no_rows_and_all_columns(project: Path) -> None:
    store(project, [])
    assert ask(project, 'select pieces from "shop.order"') == []
    assert ask(project, 'select count(*) as n from "table.totals.error"', typed=True) == [{"n": 0}]


def test_times_of_receipt_limit_what_is_read(project: Path) -> None:
    store(project, [order(n, pieces=n) for n in range(10)])
    limits = {"since": "2026-01-01T00:00:03Z", "until": "2026-01-01T00:00:06Z"}
    assert [row["pieces"] for row in ask(project, 'select pieces from "shop.order" order by 1', **limits)] == [3, 4, 5]


def test_records_that_are_not_json_objects_are_left_out_and_counted(project: Path) -> None:
    store(project, [order(1, item="tea"), b"not json", b"[1]", b"", b'{\n"item": "two lines"}', b"{}"])
    with querying('select item from "shop.order" order by _offset', ProjectTables(project)) as query:
        assert [row[0] for row in query.run().rows()] == ["tea", "two lines", None]
        assert [note for note in query.notes if "2 records" in note]


def test_the_table_of_a_job_can_be_joined_with_its_stream(project: Path) -> None:
    store(project, [order(1, item="tea", pieces=3, lines=[{"sku": "a"}]), order(2, item="tea", pieces=5)])

    async def fill() -> None:
        from headwater.config import load_config
        from headwater.platform import Platform
        from headwater.processing.declarations import declarations

        config = load_config(project)
        platform = Platform(config, *declarations(config))
        await platform.start(run_jobs=False)
        try:
            await platform.finish_jobs()
        finally:
            await platform.stop()

    asyncio.run(fill())
    rows = ask(
        project,
        "select t.item, t.pieces, t.dt = max(o.dt) as is_last, count(*) as orders"
        ' from totals t join "shop.order" o using (item) group by t.item, t.pieces, t.dt',
    )
    assert rows == [{"item": "tea", "pieces": 5, "is_last": True, "orders": 2}]


def test_a_table_that_was_never_filled_is_not_created_by_a_query(project: Path) -> None:
    store(project, [])
    before = sorted(project.rglob("*"))
    with pytest.raises(QueryInvalid, match="not there yet"):
        ask(project, "select * from totals")
    assert sorted(project.rglob("*")) == before


def test_reading_more_than_allowed_is_refused(project: Path) -> None:
    store(project, [order(n) for n in range(50)])
    with (
        pytest.raises(QueryInvalid, match="more than 1,000 bytes"),
        querying('select * from "shop.order"', ProjectTables(project), limits=QueryLimits(spool_bytes_max=1000)),
    ):
        pass


def test_the_verb_prints_tables_and_lines_and_writes_files(project: Path, tmp_path: Path) -> None:
    store(project, [order(1, item="tea", pieces=3), order(2, item="rice", pieces=2**53 - 1)])
    runner = CliRunner()

    def run(*arguments: str) -> str:
        result = runner.invoke(main, ["sql", *arguments, "--project", str(project)])
        assert result.exit_code == 0, result.output
        return result.stdout

    query = 'select item, pieces, dt from "shop.order" order by dt'
    assert "tea" in run(query)
    assert [orjson.loads(line) for line in run(query, "--json").splitlines()] == [
        {"item": "tea", "pieces": 3, "dt": "2026-01-01T00:00:01Z"},
        {"item": "rice", "pieces": 2**53 - 1, "dt": "2026-01-01T00:00:02Z"},
    ]
    assert '"shop.order"\tstream' in run("--tables")
    for suffix in ("parquet", "csv", "jsonl"):
        file = tmp_path / f"out.{suffix}"
        run(query, "--to", str(file))
        assert '"n":2' in run(f"select count(*) as n from '{file}'", "--json")
    refused = runner.invoke(main, ["sql", 'select * from "shop.ordr"', "--project", str(project)])
    assert refused.exit_code == 2
    assert 'Did you mean "shop.order"?' in refused.output


def test_a_query_runs_inside_a_running_event_loop_and_as_an_arrow_table(project: Path) -> None:
    store(project, [order(1, item="tea")])

    async def in_a_loop() -> Any:
        return headwater.sql('select item from "shop.order"', project=project)

    assert asyncio.run(in_a_loop()).to_pylist() == [{"item": "tea"}]


# DuckDB itself uses what pandas 3.1 announces to remove.
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
def test_a_stream_is_read_as_a_data_frame(project: Path) -> None:
    store(project, [order(1, item="tea"), order(2, item="cup")])
    frame = headwater.read("shop.order", project=project)
    assert (type(frame).__module__.partition(".")[0], list(frame["item"])) == ("pandas", ["tea", "cup"])
    chosen = headwater.read("shop.order", project=project, where="item = 'cup'", to="polars")
    assert (type(chosen).__module__.partition(".")[0], chosen["item"].to_list()) == ("polars", ["cup"])
    assert headwater.read("shop.order", project=project, to="arrow")["item"].to_pylist() == ["tea", "cup"]
    with pytest.raises(QueryInvalid, match=r"shop\.ordr"):
        headwater.read("shop.ordr", project=project)


def test_files_can_be_queried_without_a_project(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    rows = headwater.sql(f"select sum(n) as n from '{tmp_path}/a.csv'", project=tmp_path / "none", to="rows")
    assert rows == [{"n": 3}]
