"""The columns of a table that follow from a schema: their names, types and paths, and what cannot be a column."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.contract import Column, TableShape
from headwater.connectors.schema_columns import SchemaTypes, columns_of, named
from headwater.errors import ConfigInvalid, HeadwaterError, SchemaNotFound, TypeUnmappable
from headwater.event import get_path
from headwater.schemas.repository import open_repositories
from headwater.schemas.types.read import read_types

_DT = {"type": "string", "format": "date-time"}
TIME = columns_of(read_types({"properties": {"t": _DT}}), "t", "x").columns[0].type


def columns(properties: dict[str, Any], target: str = "sqlite") -> dict[str, tuple[str, str]]:
    """Name → (type, path)."""
    schema = read_types({"title": "t", "type": "object", "properties": properties})
    return {one.name: (one.type, one.path) for one in columns_of(schema, "t", target).columns}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, TIME),
        ({"type": "string", "format": "date"}, "text"),
        ({"enum": ["a", "b"], "type": "string"}, "text"),
        ({"type": "integer"}, "integer"),
        ({"type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991}, "integer"),
        ({"type": "integer", "maximum": 10**30}, "json"),
        ({"type": "number"}, "real"),
        ({"type": "boolean"}, "boolean"),
        ({"type": ["string", "null"]}, "text"),
        ({"type": ["string", "integer"]}, "json"),
        ({"type": "null"}, "json"),
        ({}, "json"),
        ({"type": "array", "items": {"type": "string"}}, "json"),
        ({"type": "array"}, "json"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "json"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "json"),
        ({"type": "object"}, "json"),
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["sqlite", "duckdb", "postgres", "mysql", "theirs"])
def test_each_kind_of_field_has_a_type(schema: dict[str, Any], kind: str, target: str) -> None:
    assert columns({"a": schema}, target) == {"a": (kind, "a")}


def test_meta_becomes_columns_of_its_own() -> None:
    meta = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "dt": {"type": "string", "format": "date-time"}, "more": {}},
    }
    assert columns({"$schema": {"type": "string"}, "meta": meta, "page": {"type": "object", "properties": meta}}) == {
        "schema_uri": ("text", "$schema"),
        "meta_id": ("text", "meta.id"),
        "meta_dt": (TIME, "meta.dt"),
        "meta_more": ("json", "meta.more"),
        "page": ("json", "page"),
    }
    assert columns({"meta": {"type": "string"}}) == {"meta": ("text", "meta")}


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("a-b", "a_b"),
        ("_id", "id"),
        ("2fa", "c_2fa"),
        ("é", "c_"),
        ("order", "order"),
        ("Wiki", "Wiki"),
        ("a b'\"", "a_b__"),
    ],
)
def test_names_are_made_of_letters_digits_and_underscores(field: str, name: str) -> None:
    assert columns({field: {"type": "string"}}) == {name: ("text", field)}


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        (["a_b", "a-b"], "a_b and a-b would be one column, a_b"),
        (["id", "_id"], "id and _id would be one column, id"),
        (["a.b"], "a.b has a dot in its name"),
        (["a" * 64], "longer than 63"),
        (["é", "è"], "would be one column"),
    ],
)
def test_what_cannot_be_a_column_is_named_with_what_to_do(properties: list[str], says: str) -> None:
    with pytest.raises(ConfigInvalid, match=re.escape(says)) as caught:
        columns({name: {"type": "string"} for name in properties}, "theirs")
    assert "columns" in str(caught.value.hint)


@pytest.mark.parametrize("document", [{"type": "object"}, {"type": "string"}, {"type": "array", "items": {}}])
def test_a_schema_without_fields_gives_no_columns(document: dict[str, Any]) -> None:
    with pytest.raises((ConfigInvalid, TypeUnmappable)):
        columns_of(read_types({"title": "t", **document}), "t", "sqlite")


def test_names_that_differ_in_case_are_refused() -> None:
    with pytest.raises(HeadwaterError, match="case"):
        columns({"id": {"type": "string"}, "ID": {"type": "string"}})


def test_the_newest_version_is_read_with_what_it_refers_to(tmp_path: Path) -> None:
    (tmp_path / "shop/order").mkdir(parents=True)
    (tmp_path / "common").mkdir()
    (tmp_path / "common/1.0.0.yaml").write_text(
        json.dumps({"title": "common", "$id": "/common/1.0.0", "properties": {"id": {"type": "string"}}})
    )
    for version, more in (("1.9.0", {}), ("1.10.0", {"n": {"type": "integer"}})):
        document = {"title": "shop/order", "$id": f"/shop/order/{version}", "allOf": [{"$ref": "/common/1.0.0"}]}
        (tmp_path / f"shop/order/{version}.yaml").write_text(json.dumps({**document, "properties": more}))
    types = SchemaTypes(lambda: open_repositories([str(tmp_path)]))
    found = types.columns("shop/order", "sqlite")
    assert found.version == "1.10.0"
    assert set(found.columns) == {Column("n", "integer", "n"), Column("id", "text", "id")}
    assert (named(found.columns, "id"), named(found.columns, "n"), named(found.columns, "x")) == ("id", "n", "x")
    assert types.columns("shop/order", "sqlite", "1.9.0").columns == (Column("id", "text", "id"),)
    with pytest.raises(SchemaNotFound):
        types.columns("shop/orders", "sqlite")


_SCHEMAS = st.recursive(
    st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": ["number", "null"]}]),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(
            lambda properties: {"type": "object", "properties": properties},
            st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
        )
    ),
    max_leaves=8,
)


_NAMES = st.sampled_from(["meta", "$schema", "id"]) | st.text(min_size=1, max_size=70)


@given(st.dictionaries(_NAMES, _SCHEMAS, max_size=6))
def test_columns_make_a_table_or_are_refused_and_every_path_is_reached(properties: dict[str, Any]) -> None:
    try:
        schema = read_types({"title": "t", "type": "object", "properties": properties})
        found = columns_of(schema, "t", "sqlite").columns
    except (ConfigInvalid, TypeUnmappable):
        return
    shape = TableShape("t", found)
    assert len({name.lower() for name in shape.column_names}) == len(found)
    fields = {name: {"id": 1} for name in properties}
    fields |= {"meta": dict.fromkeys(properties.get("meta", {}).get("properties", {}), 1) or 1}
    assert all(get_path(fields, column.path) is not None for column in found)
