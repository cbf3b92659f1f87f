"""A stream file sinks into an Iceberg table: what plan shows is made, it follows its schema, and SQL reads it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyiceberg.catalog import load_catalog

from end_to_end.edits import write_files
from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually

STREAM = """
stream: shop.orders
schema_title: order
sinks:
  - connector: iceberg
    catalog: {type: sql, uri: "sqlite:///var/lake/catalog.db", warehouse: var/lake}
    namespace: shop
    partition_column: at
    key: id
    batch: {seconds_max: 0.2}
"""
TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def schema(version: str, **fields: dict[str, str]) -> dict[str, str]:
    known = {"id": TEXT, "at": {**TEXT, "format": "date-time", "maxLength": 64}, **fields}
    meta = {"type": "object", "properties": dict.fromkeys(("id", "stream", "dt"), TEXT)}
    document = {"title": "order", "$id": f"/order/{version}", "$schema": "http://json-schema.org/draft-07/schema#"}
    return {
        f"schemas/order/{version}.yaml": json.dumps(
            {**document, "type": "object", "properties": {"meta": meta, **known}}
        )
    }


def order(number: int, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    meta = {"stream": "shop.orders", "id": f"m{number}-{version}", "dt": "2026-01-01T00:00:00Z"}
    return {"$schema": f"/order/{version}", "meta": meta, "id": f"o{number}", "at": "2026-01-02T03:04:05Z", **more}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_files(tmp_path, {"headwater.yaml": "", "streams/shop.orders.yaml": STREAM, **schema("1.0.0", amount=INTEGER)})
    return tmp_path


@pytest.fixture
async def platform(project: Path) -> AsyncIterator[Platform]:
    platform = build(load_config(project, environment={}))
    await platform.start()
    yield platform
    await platform.stop()


def run(project: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--project", str(project)])


def planned(project: Path) -> dict[str, Any]:
    (table,) = json.loads(run(project, "plan", "--json").stdout)["tables"]
    return dict(table)


def test_apply_makes_what_plan_shows(project: Path) -> None:
    shown = planned(project)
    assert shown["action"] == "create"
    (statement,) = shown["statements"]
    assert "id string NOT NULL" in statement
    assert statement.endswith("USING iceberg PARTITIONED BY (days(at))")
    assert not (project / "var").exists()
    assert run(project, "apply", "--yes").exit_code == 0
    assert planned(project)["action"] == "none"
    write_files(project, schema("1.1.0", amount=NUMBER, note=TEXT))
    assert planned(project)["action"] == "alter"
    assert run(project, "apply", "--yes").exit_code == 0
    assert planned(project)["action"] == "none"
    lake = project / "var/lake"
    with closing(load_catalog("default", type="sql", uri=f"sqlite:///{lake}/catalog.db", warehouse=str(lake))) as other:
        table = other.load_table("shop.shop_orders")
    assert {field.name: str(field.field_type) for field in table.schema().fields}["amount"] == "double"
    assert [field.name for field in table.spec().fields] == ["at_day"]


async def test_a_table_follows_its_schema_and_is_read_by_sql(project: Path, platform: Platform) -> None:
    def rows() -> list[tuple[Any, ...]]:
        view = platform.tables["shop_orders"].view(10, "id")
        at = [view.columns.index(name) for name in ("id", "amount", "note") if name in view.columns]
        return [tuple(row[one] for one in at) for row in view.rows]

    await platform.intake.write([order(1, amount=3), order(2, amount=4)])
    await eventually(lambda: platform.runners["sink.shop_orders"].report().written == 2)
    write_files(project, schema("1.1.0", amount=NUMBER, note=TEXT))
    await platform.intake.write([order(2, "1.1.0", amount=0.5, note="new")])
    await eventually(lambda: rows() == [("o1", 3, None), ("o2", 0.5, "new")])
    query = 'SELECT count(*) AS c, max("at") AS last, sum(amount) AS sum FROM shop_orders'
    asked = run(project, "sql", query, "--json")
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.output) == {"c": 2, "last": "2026-01-02T03:04:05Z", "sum": 3.5}
