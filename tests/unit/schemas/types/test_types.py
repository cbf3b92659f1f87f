"""A JSON Schema's types become those of each target by the one table of contracts/schemas.md §5."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import ConfigInvalid, TypeUnmappable
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.targets import TARGETS, map_types
from headwater.schemas.types.tree import Choice, Nullable, Struct

TEXT = {"type": "string"}
WHOLE_NUMBER = {"type": "integer"}
DATE_TIME = {"type": "string", "format": "date-time"}
SQL = ("postgres", "mysql", "duckdb", "iceberg")

# Target → the type of an optional field, for each kind of schema.
TABLE: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (
        "boolean",
        {"type": "boolean"},
        {
            "flink": "BOOLEAN",
            "spark": "BOOLEAN",
            "hive": "BOOLEAN",
            "arrow": "bool",
            "avro": '"boolean"',
            "postgres": "BOOLEAN",
            "mysql": "BOOLEAN",
            "duckdb": "BOOLEAN",
            "iceberg": "BOOLEAN",
        },
    ),
    (
        "integer",
        WHOLE_NUMBER,
        {
            "flink": "BIGINT",
            "spark": "BIGINT",
            "hive": "BIGINT",
            "arrow": "int64",
            "avro": '"long"',
            "postgres": "BIGINT",
            "mysql": "BIGINT",
            "duckdb": "BIGINT",
            "iceberg": "BIGINT",
        },
    ),
    (
        "number",
        {"type": "number"},
        {
            "flink": "DOUBLE",
            "spark": "DOUBLE",
            "hive": "DOUBLE",
            "arrow": "float64",
            "avro": '"double"',
            "postgres": "DOUBLE PRECISION",
            "mysql": "DOUBLE",
            "duckdb": "DOUBLE",
            "iceberg": "DOUBLE",
        },
    ),
    (
        "string",
        TEXT,
        {
            "flink": "STRING",
            "spark": "STRING",
            "hive": "STRING",
            "arrow": "utf8",
            "avro": '"string"',
            "postgres": "TEXT",
            "mysql": "LONGTEXT",
            "duckdb": "VARCHAR",
            "iceberg": "STRING",
        },
    ),
    (
        "date-time",
        DATE_TIME,
        {
            "flink": "TIMESTAMP_LTZ(3)",
            "spark": "TIMESTAMP",
            "hive": "STRING",
            "arrow": "timestamp[us, UTC]",
            "avro": '{"type":"long","logicalType":"timestamp-micros"}',
            "postgres": "TIMESTAMP WITH TIME ZONE",
            "mysql": "DATETIME(6)",
            "duckdb": "TIMESTAMP WITH TIME ZONE",
            "iceberg": "TIMESTAMP",
        },
    ),
    (
        "other formats and enums",
        {"type": "string", "format": "uri-reference", "enum": ["a", "b"]},
        {"flink": "STRING", "spark": "STRING", "arrow": "utf8", "avro": '"string"', "duckdb": "VARCHAR"},
    ),
    (
        "array",
        {"type": "array", "items": WHOLE_NUMBER},
        {
            "flink": "ARRAY<BIGINT>",
            "spark": "ARRAY<BIGINT>",
            "hive": "ARRAY<BIGINT>",
            "arrow": "list<int64>",
            "avro": '{"type":"array","items":"long"}',
            "postgres": "BIGINT[]",
            "mysql": "JSON",
            "duckdb": "BIGINT[]",
            "iceberg": "ARRAY<BIGINT>",
        },
    ),
    (
        "object with properties",
        {"type": "object", "properties": {"a": TEXT, "b": WHOLE_NUMBER}, "required": ["a"]},
        {
            "flink": "ROW<`a` STRING, `b` BIGINT>",
            "spark": "STRUCT<`a`: STRING, `b`: BIGINT>",
            "hive": "STRUCT<`a`: STRING, `b`: BIGINT>",
            "arrow": "struct<a: utf8 not null, b: int64>",
            "postgres": "JSONB",
            "mysql": "JSON",
            "duckdb": 'STRUCT("a" VARCHAR, "b" BIGINT)',
            "iceberg": "STRUCT<`a`: STRING NOT NULL, `b`: BIGINT>",
        },
    ),
    (
        "map",
        {"type": "object", "additionalProperties": WHOLE_NUMBER},
        {
            "flink": "MAP<STRING, BIGINT>",
            "spark": "MAP<STRING, BIGINT>",
            "hive": "MAP<STRING, BIGINT>",
            "arrow": "map<utf8, int64>",
            "avro": '{"type":"map","values":"long"}',
            "postgres": "JSONB",
            "mysql": "JSON",
            "duckdb": "MAP(VARCHAR, BIGINT)",
            "iceberg": "MAP<STRING, BIGINT>",
        },
    ),
    (
        "map with properties of its type",
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": TEXT},
        {
            "flink": "MAP<STRING, STRING>",
            "spark": "STRUCT<`a`: STRING>",
            "hive": "STRUCT<`a`: STRING>",
            "arrow": "map<utf8, utf8>",
            "avro": '{"type":"map","values":"string"}',
            "duckdb": "MAP(VARCHAR, VARCHAR)",
            "iceberg": "MAP<STRING, STRING>",
        },
    ),
    (
        "map with properties of another type",
        {"type": "object", "properties": {"a": WHOLE_NUMBER}, "additionalProperties": TEXT},
        {"flink": "MAP<STRING, STRING>", "spark": "STRUCT<`a`: BIGINT>", "hive": "STRUCT<`a`: BIGINT>"},
    ),
    (
        "open object with properties",
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": True},
        {"flink": "ROW<`a` STRING>", "spark": "STRUCT<`a`: STRING>", "arrow": "struct<a: utf8>"},
    ),
    (
        "closed object with properties",
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False},
        {"flink": "ROW<`a` STRING>", "spark": "STRUCT<`a`: STRING>", "arrow": "struct<a: utf8>"},
    ),
    (
        "a type or null",
        {"type": ["integer", "null"]},
        {
            "arrow": "int64",
            "avro": '"long"',
            "postgres": "BIGINT",
            "mysql": "BIGINT",
            "duckdb": "BIGINT",
            "iceberg": "BIGINT",
        },
    ),
    (
        "oneOf of one type",
        {
            "type": "object",
            "properties": {"a": TEXT},
            "oneOf": [{"properties": {"b": TEXT}}, {"properties": {"c": WHOLE_NUMBER}}],
        },
        {
            "flink": "ROW<`a` STRING>",
            "spark": "STRUCT<`a`: STRING>",
            "arrow": "struct<a: utf8, b: utf8, c: int64>",
            "duckdb": 'STRUCT("a" VARCHAR, "b" VARCHAR, "c" BIGINT)',
        },
    ),
    ("null", {"type": "null"}, {"flink": "NULL", "spark": "VOID", "arrow": "null", "avro": '"null"'}),
]

EVERY = tuple(TARGETS)
REFUSED: list[tuple[str, dict[str, Any], tuple[str, ...], str]] = [
    ("an object of anything", {"type": "object"}, EVERY, "neither its properties"),
    ("an open object", {"type": "object", "additionalProperties": True}, EVERY, "neither its properties"),
    ("an array of anything", {"type": "array"}, EVERY, "does not declare its items"),
    ("a tuple", {"type": "array", "items": [TEXT, WHOLE_NUMBER]}, EVERY, "is a tuple"),
    ("a tuple of 2020-12", {"type": "array", "prefixItems": [TEXT]}, EVERY, "is a tuple"),
    ("several types", {"type": ["integer", "string"]}, EVERY, r"several types \(integer, string\)"),
    ("several types and null", {"type": ["integer", "string", "null"]}, EVERY, "several types"),
    ("a type or null", {"type": ["integer", "null"]}, ("flink", "spark", "hive"), "list of types"),
    ("oneOf of several types", {"oneOf": [TEXT, WHOLE_NUMBER]}, EVERY, "no `type`|string or integer"),
    ("null alone", {"type": "null"}, SQL, "always null"),
    ("no type", {"description": "anything"}, EVERY, "no `type`"),
    ("an unknown type", {"type": "decimal"}, EVERY, "'decimal'"),
    (
        "a map that lists another type",
        {"type": "object", "properties": {"a": WHOLE_NUMBER}, "additionalProperties": TEXT},
        ("arrow", "avro", *SQL),
        "is a map of string, but lists a as integer",
    ),
    (
        "an array of anything in a map",
        {"type": "object", "additionalProperties": {"type": "array"}},
        EVERY,
        r"x\{\} is",
    ),
]


def _schema(field: Any, **root: Any) -> dict[str, Any]:
    return {"title": "t/e", "$id": "/t/e/1.0.0", "type": "object", "properties": {"x": field}, **root}


@pytest.mark.parametrize(("schema", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_field_has_the_type_of_the_table(schema: dict[str, Any], expected: dict[str, str]) -> None:
    typed = read_types(_schema(schema))
    assert {target: map_types(typed, target).columns[0].type for target in expected} == expected


@pytest.mark.parametrize(("schema", "targets", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_has_no_one_type_is_refused_with_its_reason(
    schema: dict[str, Any], targets: tuple[str, ...], reason: str
) -> None:
    typed = read_types(_schema(schema))
    for target in targets:
        with pytest.raises(TypeUnmappable, match=reason):
            map_types(typed, target)


@pytest.mark.parametrize("target", EVERY)
def test_what_has_no_one_type_is_text_where_the_user_says_so(target: str) -> None:
    schema = _schema({"type": "object"})
    schema["properties"]["y"] = {"type": ["integer", "string"]}
    mapping = map_types(read_types(schema), target, options=FitOptions(json_columns=True))
    text = {"postgres": "JSONB", "mysql": "JSON", "duckdb": "JSON", "arrow": "utf8", "avro": '"string"'}
    assert [column.type for column in mapping.columns] == [text.get(target, "STRING")] * 2
    assert [note.path for note in mapping.notes] == ["x", "y"]


@pytest.mark.parametrize("target", EVERY)
def test_every_refusal_of_a_schema_is_reported_at_once(target: str) -> None:
    schema = _schema({"type": "object"})
    schema["properties"]["y"] = {"type": "object", "properties": {"z": {"type": "array"}}}
    with pytest.raises(TypeUnmappable) as refused:
        map_types(read_types(schema), target)
    assert [path for path, _ in refused.value.refusals] == ["x", "y.z"]


def test_required_fields_are_not_null_where_the_target_can_say_it() -> None:
    typed = read_types(_schema(TEXT, required=["x"]))
    nullable = {target: map_types(typed, target).columns[0].nullable for target in TARGETS}
    assert {target for target, may in nullable.items() if may} == {"flink", "hive"}
    for target in SQL:
        assert "NOT NULL" in map_types(typed, target).text
        assert "NOT NULL" not in map_types(typed, target, options=FitOptions(all_nullable=True)).text
    assert "NOT NULL" not in map_types(typed, "spark").text
    assert map_types(typed, "spark").document["fields"][0]["nullable"] is False


def test_a_required_field_that_may_be_null_is_nullable() -> None:
    typed = read_types(_schema({"type": ["string", "null"]}, required=["x"]))
    assert map_types(typed, "duckdb").columns[0].nullable is True
    assert map_types(typed, "avro").document["fields"][0] == {"name": "x", "type": ["null", "string"]}


def test_avro_makes_optional_fields_a_union_with_null_and_names_records_by_their_path() -> None:
    schema = {
        "title": "shop/order",
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": WHOLE_NUMBER,
            "$schema": TEXT,
            "lines": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
        },
    }
    document = map_types(read_types(schema), "avro").document
    assert document == {
        "type": "record",
        "name": "order",
        "namespace": "shop",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "_schema", "json_name": "$schema", "type": ["null", "string"], "default": None},
            {
                "name": "lines",
                "type": [
                    "null",
                    {
                        "type": "array",
                        "items": {
                            "type": "record",
                            "name": "lines",
                            "namespace": "shop.order",
                            "fields": [{"name": "price", "type": ["null", "double"], "default": None}],
                        },
                    },
                ],
                "default": None,
            },
        ],
    }


def test_spark_has_its_own_document_where_items_are_never_null() -> None:
    field = {"type": "array", "description": "Tags.", "items": {"type": "object", "additionalProperties": TEXT}}
    kind = map_types(read_types(_schema(field)), "spark").document["fields"][0]
    assert kind == {
        "name": "x",
        "type": {
            "type": "array",
            "elementType": {"type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": False},
            "containsNull": False,
        },
        "nullable": True,
        "metadata": {"comment": "Tags."},
    }


def test_date_times_are_text_or_timestamps_as_the_user_says() -> None:
    typed = read_types(_schema(DATE_TIME))
    types = {
        (target, text): map_types(typed, target, options=FitOptions(dates_as_text=text)).columns[0].type
        for target in ("hive", "duckdb")
        for text in (True, False)
    }
    assert types == {
        ("hive", True): "STRING",
        ("hive", False): "TIMESTAMP",
        ("duckdb", True): "VARCHAR",
        ("duckdb", False): "TIMESTAMP WITH TIME ZONE",
    }


@pytest.mark.parametrize(
    ("source", "hive", "avro"),
    [
        ("$schema", "_schema", "_schema"),
        ("1st", "_st", "_st"),
        ("a-b.c", "a_b_c", "a_b_c"),
        ("camelCase", "camelcase", "camelCase"),
        ("ü", "_", "_"),
    ],
)
def test_names_are_made_fit_for_hive_and_avro(source: str, hive: str, avro: str) -> None:
    typed = read_types({"type": "object", "properties": {source: TEXT}})
    assert (map_types(typed, "hive").columns[0].name, map_types(typed, "avro").columns[0].name) == (hive, avro)
    assert map_types(typed, "duckdb").columns[0].name == source
    assert any(note.path == source for note in map_types(typed, "hive").notes)


def test_nested_names_keep_their_case_in_hive() -> None:
    schema = _schema({"type": "object", "properties": {"camelCase": TEXT}})
    assert map_types(read_types(schema), "hive").columns[0].type == "STRUCT<`camelCase`: STRING>"


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("a", "A"), {"mysql", "duckdb", "iceberg", "spark", "hive"}),
        (("$a", "_a"), {"hive", "avro"}),
        (("a.b", "a_b"), {"hive", "avro"}),
        (("n" * 64, "m"), {"postgres"}),
        (("n" * 65, "m"), {"postgres", "mysql"}),
        (("ü" * 32, "m"), {"postgres"}),
        (("", "m"), set(TARGETS)),
    ],
)
def test_names_that_would_be_one_column_or_none_are_refused(names: tuple[str, str], refused: set[str]) -> None:
    typed = read_types({"type": "object", "properties": dict.fromkeys(names, TEXT)})
    found = set()
    for target in TARGETS:
        try:
            map_types(typed, target)
        except TypeUnmappable:
            found.add(target)
    # An empty name is made `` for Hive and Avro too, which is none.
    assert found == refused


def test_names_in_json_columns_are_not_the_databases() -> None:
    typed = read_types(_schema({"type": "object", "properties": {"a": TEXT, "A": TEXT}}))
    assert map_types(typed, "mysql").columns[0].type == "JSON"
    with pytest.raises(TypeUnmappable, match="case is ignored"):
        map_types(typed, "duckdb")


@pytest.mark.parametrize(
    ("name", "sentence"), [("order", "reserved word"), ("a.b", "has a dot"), ("Order", "reserved word")]
)
def test_names_that_need_quotes_are_reported(name: str, sentence: str) -> None:
    mapping = map_types(read_types({"type": "object", "properties": {name: TEXT}}), "postgres")
    assert [note for note in mapping.notes if sentence in note.sentence]
    assert f'"{name}" TEXT' in mapping.text


def test_quotes_and_backslashes_of_a_schema_stay_inside_the_text_they_are_in() -> None:
    nasty = 'it\'s a \\ `test` "now"'
    typed = read_types({"type": "object", "properties": {'a"`b': {**TEXT, "description": nasty, "default": nasty}}})
    assert '"a""`b" TEXT DEFAULT \'it\'\'s a \\ `test` "now"\'' in map_types(typed, "postgres").text
    assert "`a\"``b` LONGTEXT DEFAULT ('it\\'s a \\\\ `test` \"now\"')" in map_types(typed, "mysql").text


def test_defaults_of_scalars_become_those_of_columns() -> None:
    fields = {
        "a": {"type": "boolean", "default": True},
        "b": {"type": "integer", "default": 3},
        "c": {"type": "number", "default": 0.5},
        "d": {"type": "integer", "default": "no number"},
        "e": {"type": "string", "default": None},
        "f": {**DATE_TIME, "default": "2024-01-01T00:00:00Z"},
        "g": {"type": "array", "items": TEXT, "default": []},
    }
    lines = map_types(read_types({"type": "object", "properties": fields}), "duckdb").text.splitlines()[1:8]
    assert [line.partition(" DEFAULT ")[2].rstrip(",") for line in lines] == ["TRUE", "3", "0.5", "", "", "", ""]


def test_columns_stand_in_the_order_of_the_schema_and_branches_of_all_of_are_one() -> None:
    schema = {
        "title": "a/b",
        "type": "object",
        "allOf": [
            {"$ref": "/fragment/common/1.0.0#"},
            {"properties": {"c": TEXT, "a": {"maxLength": 3}}, "required": ["c"]},
        ],
        "properties": {"z": TEXT, "a": {"$ref": "#/definitions/name", "description": "Mine."}},
        "definitions": {"name": {"type": "string", "description": "Theirs."}},
    }
    common = {"properties": {"meta": {"$ref": "#/definitions/m"}}, "definitions": {"m": DATE_TIME}}
    mapping = map_types(read_types(schema, lambda path: {"/fragment/common/1.0.0": common}[path]), "duckdb")
    assert [(column.name, column.nullable) for column in mapping.columns] == [
        ("z", True),
        ("a", True),
        ("meta", True),
        ("c", False),
    ]
    assert mapping.columns[1].description == "Mine."
    assert mapping.columns[2].type == "TIMESTAMP WITH TIME ZONE"


@pytest.mark.parametrize(
    "node",
    [
        {"$ref": "#/definitions/node"},
        {"type": "array", "items": {"$ref": "#/definitions/node"}},
        {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/node"}]},
    ],
)
def test_a_schema_that_contains_itself_is_refused_not_followed_for_ever(node: dict[str, Any]) -> None:
    definition = {"type": "object", "properties": {"name": TEXT, "below": node}}
    schema = _schema({"$ref": "#/definitions/node"}, definitions={"node": definition})
    with pytest.raises(TypeUnmappable, match="contains itself"):
        map_types(read_types(schema), "duckdb")
    options = FitOptions(json_columns=True)
    assert "JSON" in map_types(read_types(schema), "duckdb", options=options).columns[0].type


def test_references_that_multiply_without_end_are_refused() -> None:
    definitions = {
        f"d{level}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/definitions/d{level + 1}"} for name in "abcdefgh"},
        }
        for level in range(8)
    }
    definitions["d8"] = TEXT
    with pytest.raises(TypeUnmappable, match="more than"):
        read_types(_schema({"$ref": "#/definitions/d0"}, definitions=definitions))


@pytest.mark.parametrize("reference", ["#/definitions/none", "/elsewhere/1.0.0", "https://example.org/a"])
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(TypeUnmappable, match="refers to"):
        read_types(_schema({"$ref": reference}))


def test_alternatives_of_the_whole_event_are_columns_but_for_those_who_do_not_look_at_them() -> None:
    schema = _schema(TEXT, required=["x"], oneOf=[{"properties": {"y": TEXT}, "required": ["y"]}, {"required": ["x"]}])
    typed = read_types(schema)
    assert isinstance(typed.root, Choice)
    assert [(column.name, column.nullable) for column in map_types(typed, "arrow").columns] == [
        ("x", False),
        ("y", True),
    ]
    assert [column.name for column in map_types(typed, "flink").columns] == ["x"]


def test_one_of_with_null_is_nullable() -> None:
    typed = read_types(_schema({"oneOf": [{"type": "null"}, WHOLE_NUMBER]}, required=["x"]))
    assert isinstance(typed.root, Struct)
    kind = typed.root.fields[0].type
    assert isinstance(kind, Choice)
    assert isinstance(kind.united, Nullable)
    assert map_types(typed, "avro").document["fields"][0]["type"] == ["null", "long"]


def test_a_schema_that_is_a_map_is_one_column() -> None:
    schema = {"title": "fragment/slots", "type": "object", "additionalProperties": WHOLE_NUMBER}
    mapping = map_types(read_types(schema), "duckdb")
    assert [(column.name, column.type) for column in mapping.columns] == [("slots", "MAP(VARCHAR, BIGINT)")]


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": ["object", "string"]}, {}])
def test_a_schema_without_fields_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(TypeUnmappable, match="no columns"):
        read_types(schema)


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigInvalid, match="postgres, mysql"):
        map_types(read_types(_schema(TEXT)), "oracle")


@pytest.mark.parametrize("target", EVERY)
def test_descriptions_are_comments_unless_the_user_wants_none(target: str) -> None:
    typed = read_types(_schema({**TEXT, "description": "Of a field."}, description="Of the whole."))
    told = map_types(typed, target)
    assert "Of a field." in f"{told.text}{told.document}"
    quiet = map_types(typed, target, options=FitOptions(comments=False))
    assert "Of " not in f"{quiet.text}{quiet.document}"
