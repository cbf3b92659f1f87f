"""Sinks of a running platform while the schema changes, and what plan and apply say about their tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from end_to_end.edits import write_files
from headwater.cli.main import main
from headwater.config import load_config
from headwater.errors import SinkUnavailable
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually

STREAM = """
stream: shop.orders
schema_title: order
sinks:
  - {connector: duckdb, path: var/orders.duckdb, key: id}
  - {connector: sqlite, path: var/listed.db, table: listed, columns: {id: text}, key: id}
"""


def schema(version: str, **fields: str) -> dict[str, str]:
    properties = {
        "meta": {"type": "object", "properties": {name: {"type": "string"} for name in ("id", "stream", "dt")}},
        "id": {"type": "string"},
        **{name: {"type": kind} for name, kind in fields.items()},
    }
    document = {"title": "order", "$id": f"/order/{version}", "$schema": "http://json-schema.org/draft-07/schema#"}
    return {f"schemas/order/{version}.yaml": json.dumps({**document, "type": "object", "properties": properties})}


def order(number: int, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    meta = {"stream": "shop.orders", "id": f"m{number}", "dt": "2026-01-01T00:00:00Z"}
    return {"$schema": f"/order/{version}", "meta": meta, "id": f"o{number}", **more}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_files(
        tmp_path, {"headwater.yaml": "", "streams/shop.orders.yaml": STREAM, **schema("1.0.0", amount="integer")}
    )
    return tmp_path


@pytest.fixture
async def platform(project: Path) -> AsyncIterator[Platform]:
    platform = build(load_config(project, environment={}))
    await platform.start()
    yield platform
    await platform.stop()


def rows(platform: Platform, table: str, *columns: str) -> list[tuple[Any, ...]]:
    try:
        view = platform.tables[table].view(100, "id")
    except SinkUnavailable:
        return []
    return [tuple(row[view.columns.index(name)] for name in columns) for row in view.rows]


def state(platform: Platform, name: str) -> str:
    return platform.runners[f"sink.{name}"].report().state


async def test_a_table_follows_its_schema_while_the_platform_runs(project: Path, platform: Platform) -> None:
    await platform.intake.write([order(1, amount=3)])
    await eventually(lambda: rows(platform, "shop_orders", "id", "meta_id", "amount") == [("o1", "m1", 3)])
    write_files(project, schema("1.1.0", amount="number", note="string"))
    await platform.intake.write([order(2, "1.1.0", amount=0.5, note="new"), order(3)])
    expected = [("o1", 3, None), ("o2", 0.5, "new"), ("o3", None, None)]
    await eventually(lambda: len(rows(platform, "shop_orders", "id")) == len(expected))
    assert rows(platform, "shop_orders", "id", "amount", "note") == expected


async def test_an_incompatible_change_freezes_that_sink_only_and_repairing_it_continues(
    project: Path, platform: Platform
) -> None:
    await platform.intake.write([order(1, amount=3)])
    await eventually(lambda: len(rows(platform, "shop_orders", "id")) == len(rows(platform, "listed", "id")) == 1)
    write_files(project, schema("2.0.0", amount="array"))
    await platform.intake.write([order(2, "2.0.0", amount=[1]), order(3)])
    await eventually(lambda: state(platform, "shop_orders") == "frozen")
    report = platform.runners["sink.shop_orders"].report()
    assert report.trouble is not None
    assert "amount" in report.trouble
    assert "continues" in report.trouble
    assert report.errors == 0
    assert platform.telemetry.value("headwater_sink_frozen", {"job": "sink.shop_orders"}) == 1
    await eventually(lambda: rows(platform, "listed", "id") == [("o1",), ("o2",), ("o3",)])
    assert state(platform, "listed") == "running"
    assert rows(platform, "shop_orders", "id") == [("o1",)]
    write_files(project, schema("2.0.1", amounts="array"))
    await eventually(lambda: len(rows(platform, "shop_orders", "id")) == 3, seconds=20)
    await eventually(lambda: state(platform, "shop_orders") == "running")
    assert rows(platform, "shop_orders", "id", "amounts") == [("o1", None), ("o2", None), ("o3", None)]


async def test_what_the_contract_leaves_out_is_in_the_status(project: Path) -> None:
    file = project / "streams" / "shop.orders.yaml"
    file.write_text(STREAM.replace("key: id}", "key: id, contract: discard_row}", 1))
    platform = build(load_config(project, environment={}))
    await platform.start()
    try:
        await platform.intake.write([order(1, amount=3)])
        await eventually(lambda: rows(platform, "shop_orders", "id") == [("o1",)])
        write_files(project, schema("1.1.0", amount="integer", note="string"))
        await platform.intake.write([order(2, "1.1.0", note="new"), order(3), order(4, "1.1.0", note="new")])
        await eventually(lambda: rows(platform, "shop_orders", "id") == [("o1",), ("o3",)])

        def counted() -> tuple[int, int]:
            sink = platform.runners["sink.shop_orders"].report().sink
            assert sink is not None
            return sink.written, sink.discarded

        await eventually(lambda: counted() == (2, 2))
    finally:
        await platform.stop()


def run(project: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--project", str(project)])


def planned(project: Path) -> dict[str, dict[str, Any]]:
    return {table["name"]: table for table in json.loads(run(project, "plan", "--json").stdout)["tables"]}


def test_apply_makes_what_plan_shows(project: Path) -> None:
    shown = run(project, "plan")
    assert shown.exit_code == 2
    assert "+ create Table shop_orders: duckdb var/orders.duckdb, filled from shop.orders" in shown.output
    assert not (project / "var").exists()
    applied = run(project, "apply", "--yes")
    assert applied.exit_code == 0, applied.output
    assert {table["action"] for table in planned(project).values()} == {"none"}
    assert run(project, "plan").exit_code == 0
    write_files(project, schema("1.1.0", amount="number", note="string"))
    table = planned(project)["shop_orders"]
    assert table["action"] == "alter"
    assert table["statements"] == [
        'ALTER TABLE "shop_orders" ADD COLUMN "note" VARCHAR',
        'ALTER TABLE "shop_orders" ALTER COLUMN "amount" TYPE DOUBLE',
    ]
    assert run(project, "apply", "--yes").exit_code == 0
    with duckdb.connect(str(project / "var/orders.duckdb")) as connection:
        described = dict(row[:2] for row in connection.execute("DESCRIBE shop_orders").fetchall())
    assert (described["amount"], described["note"]) == ("DOUBLE", "VARCHAR")
    assert run(project, "plan").exit_code == 0


def test_a_change_that_cannot_be_made_is_shown_and_nothing_is_changed(project: Path) -> None:
    assert run(project, "apply", "--yes").exit_code == 0
    write_files(project, schema("2.0.0", amount="array", note="string"))
    shown = run(project, "plan")
    assert shown.exit_code == 2
    assert "! cannot Table shop_orders" in shown.output
    assert "the column amount is BIGINT in the table and json in the events (amount)" in shown.output
    applied = run(project, "apply", "--yes")
    assert applied.exit_code == 2
    assert "Nothing was changed" in applied.output
    with duckdb.connect(str(project / "var/orders.duckdb")) as connection:
        assert "note" not in [row[0] for row in connection.execute("DESCRIBE shop_orders").fetchall()]


def test_apply_agrees_to_what_a_frozen_sink_waits_for(project: Path) -> None:
    frozen = STREAM.replace("key: id}\n  - {conn", "key: id, contract: freeze}\n  - {conn")
    write_files(project, {"streams/shop.orders.yaml": frozen})
    assert run(project, "apply", "--yes").exit_code == 0
    write_files(project, schema("1.1.0", note="string", amount="integer"))
    shown = run(project, "plan")
    assert "the sink is frozen until `headwater apply` has changed the table" in shown.output
    assert run(project, "apply", "--yes").exit_code == 0
    assert planned(project)["shop_orders"]["action"] == "none"


def test_a_target_that_does_not_answer_is_said_and_a_new_table_is_shown(project: Path) -> None:
    (project / "var").mkdir()
    (project / "var/orders.duckdb").write_text("no database, hunter2")
    shown = run(project, "plan")
    assert "? away   Table shop_orders" in shown.output
    assert "cannot be reached" in shown.output
    assert 'CREATE TABLE IF NOT EXISTS "shop_orders" (' in shown.output
    assert planned(project)["shop_orders"]["action"] == "unreachable"
    assert planned(project)["listed"]["action"] == "create"
    # Everything else is done.
    assert run(project, "apply", "--yes").exit_code == 3
    with closing(sqlite3.connect(project / "var/listed.db")) as connection:
        assert connection.execute("SELECT count(*) FROM listed").fetchone() == (0,)
