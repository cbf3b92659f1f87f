"""The targets for which a schema's types can be written, and the two operations on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import ConfigInvalid
from headwater.event import json_bytes
from headwater.schemas.types import sql as types_sql
from headwater.schemas.types.alter import (
    AlterOptions,
    AlterPlan,
    Change,
    alter_statements,
    changes_between,
)
from headwater.schemas.types.arrow import arrow_text, arrow_type
from headwater.schemas.types.avro import avro_schema
from headwater.schemas.types.fit import FitOptions, NameRules, Policy, fit, plain_name
from headwater.schemas.types.spark import spark_schema
from headwater.schemas.types.sql import Dialect, column_type, create_table
from headwater.schemas.types.tree import Note, Struct, TypedSchema

_HIVE_NAMES = NameRules(sanitise=plain_name, lower_top=True, ignores_case=True)


@dataclass(frozen=True, slots=True)
class Target:
    """One format or database. `dialect` if its tables are created by SQL."""

    policy: Policy
    dialect: Dialect | None = None


TARGETS: Mapping[str, Target] = {
    "postgres": Target(
        Policy(
            "postgres",
            holds_null=False,
            digits_max=1000,
            names=NameRules(nested=False, length_max=63, length_unit="bytes"),
        ),
        types_sql.POSTGRES,
    ),
    "mysql": Target(
        Policy(
            "mysql", holds_null=False, digits_max=65, names=NameRules(nested=False, ignores_case=True, length_max=64)
        ),
        types_sql.MYSQL,
    ),
    "duckdb": Target(Policy("duckdb", holds_null=False, names=NameRules(ignores_case=True)), types_sql.DUCKDB),
    "iceberg": Target(Policy("iceberg", holds_null=False, names=NameRules(ignores_case=True)), types_sql.ICEBERG),
    "arrow": Target(Policy("arrow", digits_max=76, names=NameRules(quotes=False))),
    "avro": Target(Policy("avro", digits_max=1000, names=NameRules(sanitise=plain_name, quotes=False))),
    "flink": Target(Policy("flink", map_with_properties="map", unites=False, all_nullable=True), types_sql.FLINK),
    "spark": Target(
        Policy("spark", map_with_properties="struct", unites=False, names=NameRules(ignores_case=True)),
        types_sql.SPARK,
    ),
    "hive": Target(
        Policy(
            "hive",
            map_with_properties="struct",
            unites=False,
            dates_as_text=True,
            all_nullable=True,
            names=_HIVE_NAMES,
        ),
        types_sql.HIVE,
    ),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One top-level column: `type` in the target's terms, `source` the event's name of it."""

    name: str
    source: str
    type: str
    nullable: bool
    description: str | None


@dataclass(frozen=True, slots=True)
class TypeMapping:
    """A schema's types for one target.

    `text` is what a person or a database reads (DDL, an Avro schema, Arrow's fields); `document` the schema as plain
    values if the target has such a form, else None; `root` the fitted tree, for rows and Arrow objects.
    """

    target: str
    title: str | None
    version: str | None
    table: str
    columns: tuple[Column, ...]
    notes: tuple[Note, ...]
    text: str
    document: Any
    root: Struct


def map_types(
    schema: TypedSchema, target: str, *, table: str | None = None, options: FitOptions | None = None
) -> TypeMapping:
    """A schema's types for `target`, one of TARGETS. Raises TypeUnmappable with every field that does not fit."""
    chosen = target_named(target)
    fitted = fit(schema, chosen.policy, options)
    root, table = fitted.root, table or table_for(schema.title)
    document: Any = None
    if target == "avro":
        document = avro_schema(root, schema.title, fitted.schema.description)
        text = json_bytes(document, indented=True).decode() + "\n"
    elif chosen.dialect is None:
        document, text = [_arrow_column(field) for field in root.fields], arrow_text(root)
    else:
        text = create_table(root, table, chosen.dialect, fitted.schema.description)
        document = spark_schema(root) if target == "spark" else None
    columns = tuple(
        Column(field.name, field.source, _type_words(field.type, chosen), field.nullable, field.description)
        for field in root.fields
    )
    return TypeMapping(target, schema.title, schema.version, table, columns, fitted.notes, text, document, root)


def plan_alter(
    old: TypedSchema,
    new: TypedSchema,
    target: str,
    *,
    table: str | None = None,
    options: FitOptions | None = None,
    allow: AlterOptions | None = None,
) -> AlterPlan:
    """What a table of `old` needs to hold `new`. Raises TypeUnmappable if one of them does not fit the target."""
    chosen = target_named(target)
    before = fit(old, chosen.policy, options).root
    after = fit(new, chosen.policy, options).root
    changes = changes_between(before, after, allow)
    if allow is not None and allow.widen and target in ("iceberg", "spark"):
        changes = tuple(_no_widening(change, target) for change in changes)
    table = table or table_for(new.title)
    statements: tuple[str, ...] = ()
    if chosen.dialect is not None and not any(change.kind == "refuse" for change in changes):
        statements = alter_statements(changes, before, after, table, chosen.dialect)
    return AlterPlan(target, table, old.version, new.version, changes, statements)


def target_named(name: str) -> Target:
    """Raises ConfigInvalid for a name that is not in TARGETS."""
    if name not in TARGETS:
        raise ConfigInvalid(f"There is no target {name!r}.", hint=f"Choose one of {', '.join(TARGETS)}.")
    return TARGETS[name]


def table_for(title: str | None) -> str:
    """`mediawiki/page-change` → `mediawiki_page_change`."""
    return re.sub(r"[^a-z0-9_]+", "_", (title or "events").lower()).strip("_") or "events"


def _type_words(kind: Any, target: Target) -> str:
    if target.dialect is not None:
        return column_type(kind, target.dialect)
    if target.policy.target == "arrow":
        return arrow_type(kind)
    record = avro_schema(Struct((_probe(kind),)), None)
    return json_bytes(record["fields"][0]["type"]).decode()


def _probe(kind: Any) -> Any:
    from headwater.schemas.types.tree import Field

    return Field(name="value", source="value", type=kind, required=True, nullable=False, path="value")


def _arrow_column(field: Any) -> dict[str, Any]:
    return {
        "name": field.name,
        "type": arrow_type(field.type),
        "nullable": field.nullable,
        "metadata": {"description": field.description} if field.description else {},
    }


def _no_widening(change: Change, target: str) -> Change:
    if change.kind != "widen":
        return change
    return Change("refuse", change.path, f"needs a wider type, and {target} cannot widen to it", change.place)
