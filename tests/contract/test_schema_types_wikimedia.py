"""Every recorded schema becomes a table, an Avro record and a Parquet file that give its examples back."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow
import pytest

from headwater.errors import TypeUnmappable
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.types.alter import AlterOptions
from headwater.schemas.types.arrow import arrow_schema
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.rows import moment_of, row_of
from headwater.schemas.types.targets import TARGETS, TypeMapping, map_types, plan_alter
from headwater.schemas.types.tree import DataType, ListOf, MapOf, Scalar, Struct
from headwater.schemas.uri import version_of
from requirements import fixtures_folder, requires_fixtures
from servers.mariadb import MariadbServer
from servers.postgres import PostgresServer

FIXTURES = fixtures_folder() / "schemas"
JSON_COLUMNS = FitOptions(json_columns=True)

pytestmark = requires_fixtures(FIXTURES)


def _repositories() -> list[Path]:
    return sorted(path for path in FIXTURES.glob("*/jsonschema") if path.is_dir()) if FIXTURES.exists() else []


def _versions() -> dict[str, dict[str, Any]]:
    """`repository/title/1.0.0` → the document, every version of every repository, in order of version."""
    files = [
        (base, file) for base in _repositories() for file in base.rglob("*.yaml") if version_of(file.stem) is not None
    ]
    files.sort(key=lambda one: (one[1].parent, version_of(one[1].stem)))
    return {
        (base.parent.name + "/" + str(file.relative_to(base).with_suffix(""))): parse_document(
            file.read_bytes(), file.name, ValidationLimits()
        )
        for base, file in files
    }


VERSIONS = _versions()
STEPS = [
    (old, new)
    for _, names in itertools.groupby(VERSIONS, lambda name: name.rsplit("/", 1)[0])
    for old, new in itertools.pairwise(names)
]


def _map(name: str, target: str) -> TypeMapping:
    return map_types(read_types(VERSIONS[name]), target, options=JSON_COLUMNS)


def _examples(name: str) -> list[Any]:
    examples = VERSIONS[name].get("examples")
    return examples if isinstance(examples, list) else []


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _given_back(value: Any, kind: DataType) -> Any:
    """A value as the example has it, without what the tree does not declare and without absent fields."""
    if isinstance(kind, Scalar):
        return moment_of(value) if kind.kind == "timestamp" else value
    if isinstance(kind, ListOf):
        return [_given_back(item, kind.item) for item in value]
    if isinstance(kind, MapOf):
        return {key: _given_back(item, kind.value) for key, item in value.items()}
    assert isinstance(kind, Struct)
    return {
        field.name: _given_back(value if field.source == "" else value[field.source], field.type)
        for field in kind.fields
        if field.source == "" or value.get(field.source) is not None
    }


def _present(value: Any, kind: DataType) -> Any:
    """A value read back, without nulls, with JSON columns parsed and Arrow's lists of pairs as maps."""
    if isinstance(kind, Scalar):
        if kind.kind == "timestamp" and isinstance(value, str):
            return moment_of(value)
        return json.loads(value) if kind.kind == "json" and isinstance(value, str) else value
    if isinstance(kind, ListOf):
        return [_present(item, kind.item) for item in value]
    if isinstance(kind, MapOf):
        pairs = value.items() if isinstance(value, Mapping) else value
        return {key: _present(item, kind.value) for key, item in pairs}
    assert isinstance(kind, Struct)
    return {
        field.name: _present(value[field.name], field.type)
        for field in kind.fields
        if value.get(field.name) is not None
    }


def test_there_are_schemas_and_steps_to_look_at() -> None:
    assert VERSIONS
    assert STEPS


@pytest.mark.parametrize("name", VERSIONS)
def test_a_schema_converts_to_every_target(name: str) -> None:
    for target in TARGETS:
        mapping = _map(name, target)
        assert mapping.text
        assert mapping.columns


@pytest.mark.parametrize("name", VERSIONS)
def test_a_schema_is_refused_only_if_the_original_tool_was_set_to_skip_it(name: str) -> None:
    """What has no one type breaks the rule of deterministic types, unless it is a map with properties."""
    skipped = [text.split("/jsonschema")[0] for text in _skips(name.split("/", 1)[0])]
    known = any(part.strip("/") in name for part in skipped)
    refusals = [why for target in TARGETS for why in _refusals(name, target)]
    assert known or [why for why in refusals if "is a map of" not in why] == []


def _refusals(name: str, target: str) -> list[str]:
    try:
        map_types(read_types(VERSIONS[name]), target)
    except TypeUnmappable as refused:
        return [why for _, why in refused.refusals]
    return []


def _skips(repository: str) -> list[str]:
    settings = parse_document(
        (FIXTURES / repository / "jsonschema-tools.yaml").read_bytes(), "settings", ValidationLimits()
    )
    skips = settings.get("skipSchemaTestCases", {})
    return [key.removesuffix(".*") for key, cases in skips.items() if "schema-deterministic-types" in cases]


@pytest.fixture(scope="module")
def duckdb_connection() -> Iterator[Any]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _insert(connection: Any, table: str, row: Mapping[str, Any]) -> None:
    names = ", ".join(_column(name) for name in row)
    connection.execute(
        f"INSERT INTO {_column(table)} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )


def _rows(connection: Any, table: str) -> list[dict[str, Any]]:
    """Read as JSON: DuckDB's Python driver needs another package for dates with a time zone."""
    found = connection.execute(f"SELECT to_json(r) FROM {_column(table)} AS r").fetchall()
    return [json.loads(row) for (row,) in found]


@pytest.mark.parametrize("name", VERSIONS)
def test_duckdb_makes_the_table_and_gives_the_examples_back(name: str, duckdb_connection: Any) -> None:
    mapping = _map(name, "duckdb")
    duckdb_connection.execute(f"DROP TABLE IF EXISTS {_column(mapping.table)}")
    duckdb_connection.execute(mapping.text)
    for example in _examples(name):
        _insert(duckdb_connection, mapping.table, row_of(example, mapping.root))
    rows = [_present(row, mapping.root) for row in _rows(duckdb_connection, mapping.table)]
    assert rows == [_given_back(example, mapping.root) for example in _examples(name)]
    duckdb_connection.execute(f"DROP TABLE {_column(mapping.table)}")


@pytest.mark.parametrize("name", VERSIONS)
def test_parquet_gives_the_examples_back(name: str) -> None:
    from pyarrow import parquet

    mapping = _map(name, "arrow")
    rows = [_with_pairs(row_of(example, mapping.root), mapping.root) for example in _examples(name)]
    table = pyarrow.Table.from_pylist(rows, schema=arrow_schema(mapping.root, read_types(VERSIONS[name])))
    table.validate(full=True)
    file = io.BytesIO()
    parquet.write_table(table, file)
    read = parquet.read_table(io.BytesIO(file.getvalue()))
    assert read.schema.equals(table.schema, check_metadata=False)
    given = [_given_back(example, mapping.root) for example in _examples(name)]
    assert [_present(row, mapping.root) for row in read.to_pylist()] == given


def _with_pairs(value: Any, kind: DataType) -> Any:
    if value is None or isinstance(kind, Scalar):
        return value
    if isinstance(kind, ListOf):
        return [_with_pairs(item, kind.item) for item in value]
    if isinstance(kind, MapOf):
        return [(key, _with_pairs(item, kind.value)) for key, item in value.items()]
    assert isinstance(kind, Struct)
    return {field.name: _with_pairs(value[field.name], field.type) for field in kind.fields}


@pytest.mark.parametrize("name", VERSIONS)
def test_avro_reads_the_schema_and_gives_the_examples_back(name: str) -> None:
    mapping = _map(name, "avro")
    schema = fastavro.parse_schema(mapping.document)
    file = io.BytesIO()
    fastavro.writer(
        file, schema, [row_of(example, mapping.root) for example in _examples(name)], strict=True, validator=True
    )
    file.seek(0)
    given = [_given_back(example, mapping.root) for example in _examples(name)]
    assert [_present(row, mapping.root) for row in fastavro.reader(file)] == given


@pytest.mark.parametrize(("old", "new"), STEPS)
def test_a_table_altered_from_one_version_to_the_next_keeps_its_rows_and_takes_new_ones(
    old: str, new: str, duckdb_connection: Any
) -> None:
    before, after = _map(old, "duckdb"), _map(new, "duckdb")
    allow = AlterOptions(keep_removed=True, widen=True)
    typed = read_types(VERSIONS[old]), read_types(VERSIONS[new])
    plan = plan_alter(*typed, "duckdb", options=JSON_COLUMNS, allow=allow)
    if not plan.possible and _major(old) != _major(new):
        return  # A new major version may be another table.
    assert plan.possible, plan.refused
    duckdb_connection.execute(f"DROP TABLE IF EXISTS {_column(before.table)}")
    duckdb_connection.execute(before.text)
    for example in _examples(old):
        _insert(duckdb_connection, before.table, row_of(example, before.root))
    for statement in plan.statements:
        duckdb_connection.execute(statement)
    kept = [_present(row, before.root) for row in _rows(duckdb_connection, before.table)]
    assert kept == [_given_back(example, before.root) for example in _examples(old)]
    for example in _examples(new):
        _insert(duckdb_connection, before.table, row_of(example, after.root))
    rows = [_present(row, after.root) for row in _rows(duckdb_connection, before.table)[len(kept) :]]
    assert rows == [_given_back(example, after.root) for example in _examples(new)]


def _major(name: str) -> str:
    return name.rsplit("/", 1)[1].partition(".")[0]


def _compat_cases() -> list[dict[str, Any]]:
    file = FIXTURES / "compat_cases.json"
    return json.loads(file.read_bytes()) if file.exists() else []


@pytest.mark.parametrize("case", _compat_cases(), ids=lambda case: case["name"])
def test_a_plan_is_possible_where_the_recorded_storage_verdict_says_so(case: dict[str, Any]) -> None:
    if case["expected_storage"] == "n/a":
        return
    typed = read_types(case["old"]), read_types(case["new"])
    plan = plan_alter(*typed, "duckdb", options=JSON_COLUMNS)
    assert ("ok" if plan.possible else "break") == case["expected_storage"], case["reason"]


def test_postgres_makes_every_table_and_follows_every_history(postgres: PostgresServer) -> None:
    script = []
    for name in VERSIONS:
        script += [_map(name, "postgres").text, f"DROP TABLE {_column(_map(name, 'postgres').table)};\n"]
    for old, new in STEPS:
        before = _map(old, "postgres")
        typed = read_types(VERSIONS[old]), read_types(VERSIONS[new])
        plan = plan_alter(*typed, "postgres", options=JSON_COLUMNS, allow=AlterOptions(keep_removed=True, widen=True))
        script += [before.text, *plan.statements, f"DROP TABLE {_column(before.table)};\n"]
    postgres.run_sql("".join(script))


def test_postgres_takes_the_examples_and_gives_them_back(postgres: PostgresServer) -> None:
    script, given = ["SET TimeZone = 'UTC';\n"], []
    for name in VERSIONS:
        mapping = _map(name, "postgres")
        script.append(mapping.text)
        for example in _examples(name):
            value = {mapping.columns[0].name: example} if mapping.columns[0].source == "" else example
            text = json.dumps(value).replace("'", "''")
            names = ", ".join(_column(column.name) for column in mapping.columns)
            record = f"json_populate_record(NULL::{_column(mapping.table)}, '{text}')"
            script.append(f"INSERT INTO {_column(mapping.table)} SELECT * FROM {record};\n")
            script.append(f"SELECT row_to_json(r) FROM (SELECT {names} FROM {_column(mapping.table)}) r;\n")
            script.append(f"DELETE FROM {_column(mapping.table)};\n")
            given.append((name, value, mapping))
        script.append(f"DROP TABLE {_column(mapping.table)};\n")
    lines = [json.loads(line) for line in postgres.run_sql("".join(script)).splitlines()]
    assert len(lines) == len(given)
    for line, (name, example, mapping) in zip(lines, given, strict=True):
        for column in mapping.columns:
            expected = example.get(column.name)
            if column.type == "TIMESTAMP WITH TIME ZONE" and expected is not None:
                assert moment_of(line[column.name]) == moment_of(expected), name
            else:
                assert line[column.name] == expected, (name, column.name)


def test_mariadb_makes_every_table_and_follows_every_history(mariadb: MariadbServer) -> None:
    script = []
    for name in VERSIONS:
        mapping = _map(name, "mysql")
        script += [mapping.text, f"DROP TABLE `{mapping.table}`;\n"]
    for old, new in STEPS:
        before = _map(old, "mysql")
        typed = read_types(VERSIONS[old]), read_types(VERSIONS[new])
        plan = plan_alter(*typed, "mysql", options=JSON_COLUMNS, allow=AlterOptions(keep_removed=True, widen=True))
        script += [before.text, *plan.statements, f"DROP TABLE `{before.table}`;\n"]
    mariadb.run_sql("".join(script))
