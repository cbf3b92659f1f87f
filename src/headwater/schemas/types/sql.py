"""A fitted field tree as SQL: CREATE TABLE for PostgreSQL, MySQL, DuckDB, Iceberg, Flink, Spark and Hive.

How this works: a `Dialect` is data (names of the scalar types, how names and text are quoted, where comments go) and
two functions; the same code writes all of them. PostgreSQL and MySQL have no struct or map type that can gain fields,
so those columns are JSON there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.schemas.json_value import is_number, is_whole
from headwater.schemas.types.tree import DataType, Field, ListOf, MapOf, Scalar, Struct
from headwater.schemas.types.words import back_quoted, double_quoted, escaped_text, shortened, sql_text

Nested = Literal["typed", "arrays", "json"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How tables are written for one database. `nested`: structs, maps and arrays as types, only arrays, or all as
    JSON.

    `words` has a type for each kind of Scalar, and `decimal` for integers beyond 64 bits, of so many digits. `struct`
    writes one field of a struct type from its name and type; `list_of` and `map_of` take the inner type.
    `comment_characters_max` 0 is no limit. `not_null`: required columns are NOT NULL. `defaults`: a `default` of the
    schema becomes the column's; `default_in_brackets` for MySQL's text. `head` is a remark on the types used, `tail`
    what follows the columns, before the table's comment if that is last.
    """

    name: str
    words: Mapping[str, str]
    quote: Callable[[str], str]
    text: Callable[[str], str]
    nested: Nested
    struct_name: str = "STRUCT"
    struct_open: str = "<"
    struct_between: str = ": "
    nested_not_null: bool = False
    list_form: str = "ARRAY<{}>"
    map_form: str = "MAP<STRING, {}>"
    comments: Literal["column", "statement"] = "column"
    comment_characters_max: int = 0
    not_null: bool = True
    defaults: bool = True
    default_in_brackets: bool = False
    head: str = ""
    tail: str = ""
    comment_last: bool = False


def column_type(kind: DataType, dialect: Dialect) -> str:
    """The type of a column as the dialect writes it, such as `STRUCT<`a`: BIGINT>`."""
    if isinstance(kind, Scalar):
        return dialect.words["decimal"].format(kind.digits) if kind.digits else dialect.words[kind.kind]
    if isinstance(kind, ListOf) and (dialect.nested == "typed" or _is_plain_array(kind, dialect)):
        return dialect.list_form.format(column_type(kind.item, dialect))
    if dialect.nested != "typed":
        return dialect.words["json"]
    if isinstance(kind, MapOf):
        return dialect.map_form.format(column_type(kind.value, dialect))
    assert isinstance(kind, Struct)
    parts = []
    for field in kind.fields:
        required = " NOT NULL" if dialect.nested_not_null and not field.nullable else ""
        parts.append(dialect.quote(field.name) + dialect.struct_between + column_type(field.type, dialect) + required)
    close = ">" if dialect.struct_open == "<" else ")"
    return f"{dialect.struct_name}{dialect.struct_open}{', '.join(parts)}{close}"


def is_json_column(kind: DataType, dialect: Dialect) -> bool:
    """Whether the dialect stores a value of this type as JSON, so that it has no columns inside."""
    return not isinstance(kind, Scalar) and column_type(kind, dialect) == dialect.words["json"]


def create_table(root: Struct, table: str, dialect: Dialect, description: str | None = None) -> str:
    """The statements that create the table, each ending in a semicolon and a line break."""
    name = table_name(table, dialect)
    lines = [column_definition(field, dialect) for field in root.fields]
    tail = dialect.tail
    if description and dialect.comments == "column":
        comment = f" COMMENT {_comment(description, dialect)}"
        tail = tail + comment if dialect.comment_last else comment + tail
    head = f"-- {dialect.head}\n" if dialect.head else ""
    text = f"{head}CREATE TABLE {name} (\n  " + ",\n  ".join(lines) + f"\n){tail};\n"
    if dialect.comments == "statement":
        text += "".join(comment_statements(root, table, dialect, description))
    return text


def column_definition(field: Field, dialect: Dialect, *, added: bool = False) -> str:
    """One line of CREATE TABLE. `added`: to a table with rows, which have no value for it and so no NOT NULL."""
    words = [dialect.quote(field.name), column_type(field.type, dialect)]
    if dialect.not_null and not field.nullable and not added:
        words.append("NOT NULL")
    default = None if added else default_text(field, dialect)
    if default is not None:
        words.append(f"DEFAULT {default}")
    if field.description and dialect.comments == "column":
        words.append(f"COMMENT {_comment(field.description, dialect)}")
    return " ".join(words)


def comment_statements(root: Struct, table: str, dialect: Dialect, description: str | None = None) -> list[str]:
    """COMMENT ON for the table and its columns, for dialects with comments as statements."""
    name = table_name(table, dialect)
    texts = [f"COMMENT ON TABLE {name} IS {_comment(description, dialect)};\n"] if description else []
    texts += [
        f"COMMENT ON COLUMN {name}.{dialect.quote(field.name)} IS {_comment(field.description, dialect)};\n"
        for field in root.fields
        if field.description
    ]
    return texts


def default_text(field: Field, dialect: Dialect) -> str | None:
    """The schema's default as a literal, if it fits the column; None for no default, for dates and for nested
    values.
    """
    value: Any = field.default
    if not dialect.defaults or not isinstance(field.type, Scalar):
        return None
    kind = field.type.kind
    if kind == "boolean" and isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if kind in ("integer", "number") and is_number(value):
        return _number_default(value, field.type)
    if kind == "string" and isinstance(value, str) and "\x00" not in value:
        text = dialect.text(value)
        return f"({text})" if dialect.default_in_brackets else text
    return None


def _number_default(value: float, kind: Scalar) -> str | None:
    """A number as a literal of the column's type; None if the column cannot hold it."""
    if not is_whole(value):
        return repr(value) if kind.kind == "number" else None
    number = int(value)
    if kind.kind == "number":
        return repr(number) if abs(number) <= 2**53 else repr(float(number))
    fits = len(str(abs(number))) <= kind.digits if kind.digits else -(2**63) <= number < 2**63
    return repr(number) if fits else None


def table_name(table: str, dialect: Dialect) -> str:
    """A table's name, quoted; dots separate catalog, schema and table."""
    return ".".join(dialect.quote(part) for part in table.split("."))


def _comment(text: str, dialect: Dialect) -> str:
    text = " ".join(text.replace("\x00", "").split())
    return dialect.text(shortened(text, dialect.comment_characters_max) if dialect.comment_characters_max else text)


def _is_plain_array(kind: ListOf, dialect: Dialect) -> bool:
    # PostgreSQL's arrays of arrays must be rectangular; those in events need not be.
    return dialect.nested == "arrays" and isinstance(kind.item, Scalar) and kind.item.kind not in ("json", "null")


POSTGRES = Dialect(
    "postgres",
    {
        "boolean": "BOOLEAN",
        "integer": "BIGINT",
        "decimal": "NUMERIC({}, 0)",
        "number": "DOUBLE PRECISION",
        "string": "TEXT",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "json": "JSONB",
    },
    double_quoted,
    sql_text,
    nested="arrays",
    list_form="{}[]",
    comments="statement",
)

MYSQL = Dialect(
    "mysql",
    {
        "boolean": "BOOLEAN",
        "integer": "BIGINT",
        "decimal": "DECIMAL({}, 0)",
        "number": "DOUBLE",
        "string": "LONGTEXT",
        "timestamp": "DATETIME(6)",
        "json": "JSON",
    },
    back_quoted,
    escaped_text,
    nested="json",
    comment_characters_max=1024,
    default_in_brackets=True,
    head="Date-times are stored in UTC: MySQL's DATETIME has no time zone.",
    tail=" DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
)

DUCKDB = Dialect(
    "duckdb",
    {
        "boolean": "BOOLEAN",
        "integer": "BIGINT",
        "decimal": "DECIMAL({}, 0)",
        "number": "DOUBLE",
        "string": "VARCHAR",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "json": "JSON",
    },
    double_quoted,
    sql_text,
    nested="typed",
    struct_open="(",
    struct_between=" ",
    list_form="{}[]",
    map_form="MAP(VARCHAR, {})",
    comments="statement",
)

_SPARK_WORDS = {
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "decimal": "DECIMAL({}, 0)",
    "number": "DOUBLE",
    "string": "STRING",
    "timestamp": "TIMESTAMP",
    "null": "VOID",
    "json": "STRING",
}

ICEBERG = Dialect(
    "iceberg",
    _SPARK_WORDS,
    back_quoted,
    escaped_text,
    nested="typed",
    nested_not_null=True,
    # Column defaults need version 3 of the table format and an engine that writes it.
    defaults=False,
    head="Iceberg in the words of Spark SQL: BIGINT is long, TIMESTAMP is timestamptz.",
    tail=" USING iceberg",
    comment_last=True,
)

SPARK = Dialect(
    "spark",
    _SPARK_WORDS,
    back_quoted,
    escaped_text,
    nested="typed",
    not_null=False,
    defaults=False,
    tail=" USING parquet",
    comment_last=True,
)

HIVE = Dialect(
    "hive",
    _SPARK_WORDS,
    back_quoted,
    escaped_text,
    nested="typed",
    comment_characters_max=256,
    not_null=False,
    defaults=False,
    tail=" STORED AS PARQUET",
)

FLINK = Dialect(
    "flink",
    {
        "boolean": "BOOLEAN",
        "integer": "BIGINT",
        "decimal": "DECIMAL({}, 0)",
        "number": "DOUBLE",
        "string": "STRING",
        "timestamp": "TIMESTAMP_LTZ(3)",
        "null": "NULL",
        "json": "STRING",
    },
    back_quoted,
    sql_text,
    nested="typed",
    struct_name="ROW",
    struct_between=" ",
    not_null=False,
    defaults=False,
    head="Add WITH ('connector' = …) for the source of the events.",
)
