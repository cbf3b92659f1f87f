"""A column holds what the schema's bounds allow: integers beyond 64 bits are decimals, or refused with the reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import TypeUnmappable
from headwater.schemas.types.alter import AlterOptions
from headwater.schemas.types.arrow import arrow_schema
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.rows import row_of
from headwater.schemas.types.targets import TARGETS, map_types, plan_alter

LONG = {
    "postgres": "BIGINT",
    "mysql": "BIGINT",
    "duckdb": "BIGINT",
    "iceberg": "BIGINT",
    "arrow": "int64",
    "avro": '"long"',
    "flink": "BIGINT",
    "spark": "BIGINT",
    "hive": "BIGINT",
}
UINT64 = {
    **dict.fromkeys(("mysql", "duckdb", "iceberg", "flink", "spark", "hive"), "DECIMAL(20, 0)"),
    "postgres": "NUMERIC(20, 0)",
    "arrow": "decimal128(20, 0)",
    "avro": '{"type":"bytes","logicalType":"decimal","precision":20,"scale":0}',
}
DIGITS_MAX = {"postgres": 1000, "mysql": 65, "arrow": 76, "avro": 1000}


def schema(**field: Any) -> Any:
    return read_types({"title": "t", "$id": "/t/1.0.0", "properties": {"a": field}, "required": ["a"]})


def type_of(target: str, **field: Any) -> str:
    return map_types(schema(**field), target).columns[0].type


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"minimum": 0},
        {"maximum": 2**63 - 1, "minimum": -(2**63)},
        {"exclusiveMaximum": 2**63},
        {"maximum": 2**64, "allOf": [{"maximum": 5}]},
        {"maximum": 2**64, "enum": [1, 2]},
        {"default": 7, "maximum": 9},
    ],
)
def test_what_fits_64_bits_is_a_long(target: str, bounds: dict[str, Any]) -> None:
    assert type_of(target, type="integer", **bounds) == LONG[target]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "bounds",
    [
        {"maximum": 2**64 - 1},
        {"maximum": 1.8446744073709552e19},
        {"exclusiveMaximum": 2**64},
        {"minimum": -(2**64)},
        {"default": 2**64},
        {"default": 2**64, "maximum": 5},
        {"enum": [1, 2**64]},
        {"const": -(2**64)},
        {"allOf": [{"maximum": 2**64}]},
    ],
)
def test_bounds_values_and_defaults_beyond_64_bits_need_a_decimal(target: str, bounds: dict[str, Any]) -> None:
    mapping = map_types(schema(type="integer", **bounds), target)
    assert mapping.columns[0].type == UINT64[target]
    assert "decimal of 20 digits" in mapping.notes[0].sentence


@pytest.mark.parametrize("target", TARGETS)
def test_what_no_decimal_holds_is_refused_or_json_where_that_is_asked_for(target: str) -> None:
    most = DIGITS_MAX.get(target, 38)
    assert str(most) in type_of(target, type="integer", maximum=10**most - 1)
    too_large = schema(type="integer", maximum=10 ** (most if most < 300 else 1000))
    with pytest.raises(TypeUnmappable, match=rf"up to {most + 1} digits, and {target} holds at most {most}"):
        map_types(too_large, target)
    assert map_types(too_large, target, options=FitOptions(json_columns=True)).text


@pytest.mark.parametrize("target", ["postgres", "mysql", "duckdb"])
def test_a_column_has_no_default_that_it_does_not_hold(target: str) -> None:
    assert f"DEFAULT {2**63}" in map_types(schema(type="integer", default=2**63), target).text
    assert "DEFAULT 1e+30" in map_types(schema(type="number", default=10**30), target).text
    assert "DEFAULT 5" in map_types(schema(type="number", default=5), target).text
    assert "DEFAULT" not in map_types(schema(type="integer", default=1.5), target).text.replace("DEFAULT CHARACTER", "")


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_duckdb_takes_every_value_within_the_bounds_and_the_default(one: int, other: int) -> None:
    low, high = sorted((one, other))
    mapping = map_types(schema(type="integer", minimum=low, maximum=high, default=low), "duckdb")
    with duckdb.connect() as connection:
        connection.execute(mapping.text)
        connection.execute("INSERT INTO t DEFAULT VALUES")
        connection.execute(
            "INSERT INTO t VALUES (?), (?)", [row_of({"a": end}, mapping.root)["a"] for end in (low, high)]
        )
        found = [int(row[0]) for row in connection.execute('SELECT "a" FROM t').fetchall()]
    assert found == [low, low, high]


def test_arrow_holds_a_row_of_any_width() -> None:
    for value in (2**64, 10**38 - 1, 10**76 - 1):
        mapping = map_types(schema(type="integer", maximum=value), "arrow")
        row = row_of({"a": value}, mapping.root)
        assert row == {"a": Decimal(value)}
        assert pyarrow.Table.from_pylist([row], schema=arrow_schema(mapping.root)).to_pylist() == [row]


def test_alternatives_and_maps_of_integers_take_the_wider_one() -> None:
    either = {"oneOf": [{"type": "integer", "maximum": 2**64}, {"type": "integer", "maximum": 5}]}
    assert type_of("postgres", **either) == "NUMERIC(20, 0)"
    values = {"type": "integer", "maximum": 2**64}
    both = {"type": "object", "additionalProperties": values, "properties": {"b": {"type": "integer"}}}
    assert type_of("duckdb", **both) == "MAP(VARCHAR, DECIMAL(20, 0))"


def plan(target: str, old: dict[str, Any], new: dict[str, Any], **allow: bool) -> Any:
    before, after = (schema(type="integer", **bounds) for bounds in (old, new))
    return plan_alter(before, after, target, allow=AlterOptions(**allow))


@pytest.mark.parametrize("target", TARGETS)
def test_a_wider_integer_needs_a_wider_column_and_a_narrower_one_nothing(target: str) -> None:
    refused = plan(target, {}, {"maximum": 2**64})
    assert "allow a wider one with --widen" in refused.refused[0].sentence
    assert not refused.statements
    back = plan(target, {"maximum": 2**64}, {})
    assert back.possible
    assert not back.statements
    assert plan(target, {"maximum": 2**64}, {"maximum": 2**64 + 5}).changes == ()


@pytest.mark.parametrize(
    ("target", "statement"),
    [
        ("postgres", 'ALTER TABLE "t" ALTER COLUMN "a" TYPE NUMERIC(20, 0);\n'),
        ("duckdb", 'ALTER TABLE "t" ALTER COLUMN "a" TYPE DECIMAL(20, 0);\n'),
        ("mysql", "ALTER TABLE `t` MODIFY COLUMN `a` DECIMAL(20, 0) NOT NULL;\n"),
        ("hive", "ALTER TABLE `t` CHANGE COLUMN `a` `a` DECIMAL(20, 0);\n"),
        ("flink", "ALTER TABLE `t` MODIFY (`a` DECIMAL(20, 0));\n"),
    ],
)
def test_widening_is_a_statement_where_it_is_allowed(target: str, statement: str) -> None:
    assert plan(target, {}, {"maximum": 2**64}, widen=True).statements == (statement,)


@pytest.mark.parametrize("target", ["iceberg", "spark"])
def test_a_target_without_such_a_widening_refuses(target: str) -> None:
    assert not plan(target, {}, {"maximum": 2**64}, widen=True).possible
