"""Events as rows of Flink and back: every type, and what no column can hold is an error with its place."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from headwater.errors import EventMalformed
from headwater.event import decode_json, json_bytes
from headwater.processing.flink.sql.values import event_of, row_values
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.targets import map_types
from headwater.schemas.types.tree import Struct

TEXT = {"type": "string"}
MOMENT = {"type": "string", "format": "date-time"}
WHOLE = {"type": "integer"}


class Nested(tuple[Any, ...]):
    """Stands for a row of Flink: values without names, and with them on the way back."""

    names: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return dict(zip(self.names, self, strict=True))


def nested(*values: Any) -> Nested:
    return Nested(values)


def named(**values: Any) -> Nested:
    made = Nested(values.values())
    made.names = tuple(values)
    return made


def root_of(**properties: Any) -> Struct:
    schema = {"title": "odd", "$id": "/odd/1.0.0", "type": "object", "properties": properties}
    return map_types(read_types(schema), "flink", options=FitOptions(json_columns=True)).root


ODD = root_of(
    **{
        "$schema": TEXT,
        "a-b": WHOLE,
        "select": {"type": "number"},
        "flag": {"type": "boolean"},
        "at": MOMENT,
        "grid": {"type": "array", "items": {"type": "array", "items": WHOLE}},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"order": TEXT, "at": MOMENT}}},
        "by_name": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": WHOLE}}},
        "huge": {"type": "integer", "maximum": 10**30, "minimum": -(10**30)},
        "anything": {},
    }
)
EVENT = {
    "$schema": "/odd/1.0.0",
    "a-b": 3,
    "select": 2,
    "flag": False,
    "at": "2026-01-31T12:00:00.123456+02:00",
    "grid": [[1, 2], [], [3]],
    "rows": [{"order": "x"}, {"at": "1969-12-31T23:59:59.500Z"}],
    "by_name": {"$x": {"n": 1}, "y.z": {}},
    "huge": 10**29 + 1,
    "anything": {"a": [None, 1.5]},
}


def test_an_event_becomes_the_values_of_its_columns() -> None:
    clock = datetime.datetime
    assert row_values(EVENT, ODD, nested) == [
        "/odd/1.0.0",
        3,
        2.0,
        False,
        clock(2026, 1, 31, 10, 0, 0, 123_000),
        [[1, 2], [], [3]],
        # Flink's Python reads the second of a time before 1970 as the later one.
        [("x", None), (None, clock(1969, 12, 31, 23, 59, 58, 500_000))],
        {"$x": (1,), "y.z": (None,)},
        Decimal(10**29 + 1),
        '{"a":[null,1.5]}',
    ]


def test_fields_that_an_event_lacks_are_null() -> None:
    assert row_values({"select": None}, ODD, nested) == [None] * len(ODD.fields)
    assert row_values({"a-b": 2.0}, ODD, nested)[1] == 2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("$schema", 1, r"\$schema is 1, not string"),
        ("a-b", "3", 'a-b is "3", not integer'),
        ("a-b", True, "a-b is true, not integer"),
        ("a-b", 1.5, "a-b is 1.5, not integer"),
        ("a-b", 2**63, "beyond 64 bits"),
        ("huge", 10**31, "beyond integer of up to 31 digits"),
        ("select", "2", "not number"),
        ("flag", 0, "flag is 0, not boolean"),
        ("at", "yesterday", 'at is "yesterday", which is no date-time'),
        ("at", "9999-12-31T23:59:59-10:00", "no date-time"),
        ("grid", [[1], 2], r"grid\[\] is 2, not array of integer"),
        ("grid", [[1, "x"]], r'grid\[\]\[\] is "x", not integer'),
        ("rows", [{"order": 1}], r"rows\[\]\.order is 1"),
        ("rows", {"order": "x"}, "rows is"),
        ("by_name", {"x": {"n": "1"}}, r"by_name\.x\.n is"),
        ("by_name", [1], "not map of object"),
        ("anything-else", {}, None),
    ],
)
def test_what_a_column_cannot_hold_is_an_error_with_its_place(field: str, value: Any, message: str | None) -> None:
    if message is None:
        assert row_values({field: value}, ODD, nested) == [None] * len(ODD.fields)
        return
    with pytest.raises(EventMalformed, match=message):
        row_values({field: value}, ODD, nested)


def test_numbers_are_exact_beyond_64_bits() -> None:
    value = decode_json(json_bytes({"huge": 10**29 + 7}))
    assert row_values(value, ODD, nested)[8] == Decimal(10**29 + 7)


def test_a_row_becomes_an_event_without_nulls() -> None:
    row = {
        "$schema": None,
        "a-b": 3.0,
        "select": Decimal("2.50"),
        "flag": True,
        "at": "1969-12-31 23:59:59.500",
        "grid": [(1, 2), []],
        "rows": [named(order="x", at=None), named(order=None, at="2100-01-31 12:00:00.000")],
        "by_name": {"x": named(n=1)},
        "huge": Decimal(10**29 + 1),
        "anything": '{"a":[null,1.5]}',
    }
    assert event_of(row.items(), ODD) == {
        "a-b": 3,
        "select": 2.5,
        "flag": True,
        "at": "1969-12-31T23:59:59.500Z",
        "grid": [[1, 2], []],
        "rows": [{"order": "x"}, {"at": "2100-01-31T12:00:00Z"}],
        "by_name": {"x": {"n": 1}},
        "huge": 10**29 + 1,
        "anything": {"a": [None, 1.5]},
    }


def test_a_moment_is_one_only_where_the_schema_has_one() -> None:
    text = "2026-01-31 12:00:00.123"
    assert event_of([("at", text), ("$schema", text)], ODD) == {"at": "2026-01-31T12:00:00.123Z", "$schema": text}
    assert event_of([("at", "2026-01-31T12:00:00+02:00")], ODD) == {"at": "2026-01-31T12:00:00+02:00"}


def test_days_of_sql_are_those_of_iso() -> None:
    assert event_of([("$schema", datetime.date(2026, 1, 31))], ODD) == {"$schema": "2026-01-31"}


def test_a_fraction_stays_one_where_the_schema_has_an_integer() -> None:
    assert event_of([("a-b", 1.5)], ODD) == {"a-b": 1.5}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("a-b", b"x", "a-b is bytes, which JSON has not"), ("anything", "{", "which is no JSON")],
)
def test_what_json_has_not_is_an_error(name: str, value: Any, message: str) -> None:
    with pytest.raises(EventMalformed, match=message):
        event_of([(name, value)], ODD)
