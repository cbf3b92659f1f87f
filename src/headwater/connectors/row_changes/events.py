"""Turns row changes into events of the streams that a project declares, field by field or from an outbox table."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.connectors.contract import Delivery
from headwater.connectors.row_changes.change import OPERATIONS, Operation, RowChange
from headwater.connectors.row_changes.sanitizing import RULE_KEYS, Report, Sanitizer, TableRules, read_rules
from headwater.declaration import Declaration, KeyPath, dotted, suggestion
from headwater.errors import ConfigInvalid
from headwater.event import get_path, uuid_text
from headwater.times import utc_text

TABLE_KEYS = ("stream", "schema", "fields", "key", "kinds", "outbox", *RULE_KEYS)
OUTBOX_KEYS = ("payload", "id", "type", "streams")
# What a field can be filled with besides columns.
ABOUT = ("$kind", "$version", "$position", "$transaction", "$committed_at", "$table", "$is_snapshot")
KINDS: Mapping[Operation, str | None] = {"insert": "insert", "update": "update", "delete": "delete", "truncate": None}
# The fields of an event whose table has none: its columns, and these where no column has the name.
DEFAULT_ABOUT = {"changelog_kind": "$kind", "version": "$version", "dt": "$committed_at"}
_PART = re.compile(r"\{([^{}]*)\}")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Field:
    """How one field of the event is filled: a constant, a column or what is known about the change, or a template.

    `parts` are, in turn, text and the name of what is inserted.
    """

    path: tuple[str, ...]
    name: str = ""
    parts: tuple[str, ...] = ()
    constant: Any = _ABSENT

    @property
    def names(self) -> tuple[str, ...]:
        """What it is filled with."""
        return self.parts[1::2] if self.parts else (self.name,) if self.name else ()

    def value(self, change: RowChange, kind: str) -> Any:
        """The value, or `_ABSENT` if a column is not in the row."""
        if self.parts:
            inserted = [_value(name, change, kind) for name in self.parts[1::2]]
            if any(one is _ABSENT or one is None for one in inserted):
                return _ABSENT
            texts = [one if isinstance(one, str) else str(one) for one in inserted]
            return "".join(text + value for text, value in zip(self.parts[::2], [*texts, ""], strict=True))
        return _value(self.name, change, kind) if self.name else self.constant


@dataclass(frozen=True, slots=True)
class Outbox:
    """The columns of an outbox table: the whole event, its id, and its type, which `streams` maps to streams."""

    payload: str
    id: str = ""
    type: str = ""
    streams: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TableEvents:
    """How the changes of one table become events. No `fields`: all columns and `DEFAULT_ABOUT`."""

    table: str
    stream: str
    rules: TableRules
    schema: str | None = None
    fields: tuple[Field, ...] = ()
    key: tuple[str, ...] = ()
    kinds: Mapping[Operation, str | None] | None = None
    outbox: Outbox | None = None


class RowEvents:
    """Makes events of the changes of the tables of one source. `report` and `counts` are those of Sanitizer."""

    def __init__(
        self,
        source: str,
        tables: Sequence[TableEvents],
        report: Report,
        counts: Counter[tuple[str, str]] | None = None,
    ) -> None:
        self._tables = {table.table: table for table in tables}
        self._sanitizer = Sanitizer({table.table: table.rules for table in tables}, report, counts)
        self._id_begun = hashlib.sha1(f"headwater source {source}\n".encode(), usedforsecurity=False)

    def delivery(self, change: RowChange) -> Delivery | None:
        """The event, with its stream; None if nothing is to be made of this change."""
        table = self._tables.get(change.table)
        if table is not None and table.key:
            change = change._replace(key=table.key)
        is_outbox = table is not None and table.outbox is not None
        # Nothing is made of the key of an outbox, which may be left out of what is shown.
        shown = self._sanitizer.sanitized(change._replace(key=()) if is_outbox else change)
        if shown is None or table is None:
            return None
        if table.outbox is not None:
            return self._from_outbox(shown, table, table.outbox, self._id(change))
        kind = (table.kinds or KINDS)[shown.operation]
        if kind is None:
            if shown.operation == "truncate":
                self._sanitizer.note(shown.table, "*", "TRUNCATE removed all rows, and `kinds` has no event for that")
            return None
        event: dict[str, Any] = {"$schema": table.schema} if table.schema else {}
        event_id = self._id(change)
        event["meta"] = {"stream": table.stream, "id": event_id}
        if not table.fields:
            about = {name: _value(what, shown, kind) for name, what in DEFAULT_ABOUT.items()}
            event |= {**about, **shown.row}
        for field in table.fields:
            if (value := field.value(shown, kind)) is not _ABSENT:
                _put(event, field.path, value)
        return Delivery(event, event_id, table.stream, change.timestamp_ms)

    def _from_outbox(self, change: RowChange, table: TableEvents, outbox: Outbox, derived_id: str) -> Delivery | None:
        # Rows of an outbox are removed once they are read; that says nothing.
        if change.operation != "insert":
            return None
        payload = change.row.get(outbox.payload)
        event: dict[str, Any] = dict(payload) if isinstance(payload, Mapping) else {outbox.payload: payload}
        stream = table.stream
        if outbox.type:
            kind = str(change.row.get(outbox.type))
            # A type without a stream goes to a stream that does not exist: the event is refused and kept as an error.
            stream = (outbox.streams or {}).get(kind, f"{table.stream}{kind}")
        event_id = get_path(event, "meta.id")
        if not isinstance(event_id, str):
            written = change.row.get(outbox.id) if outbox.id else None
            event_id = derived_id if written is None else str(written)
            meta = event.get("meta")
            event["meta"] = {**(meta if isinstance(meta, Mapping) else {}), "id": event_id}
        if table.schema and "$schema" not in event:
            event["$schema"] = table.schema
        return Delivery(event, event_id, stream, change.timestamp_ms)

    def _id(self, change: RowChange) -> str:
        """The same each time the change is read."""
        row = "\n".join(f"{name}={change.row.get(name)}" for name in change.key) if change.is_snapshot else ""
        digest = self._id_begun.copy()
        digest.update(f"{change.table}\n{change.position}\n{change.number}\n{row}".encode())
        return uuid_text(digest.hexdigest(), 5)


def read_tables(written: Any, source: Declaration, path: KeyPath) -> tuple[TableEvents, ...]:
    """What is written at `path`: a mapping of `schema.table` to how its changes become events. Raises ConfigInvalid."""
    if not isinstance(written, Mapping) or not written:
        hint = "Such as `public.orders: {stream: shop.order_changes, columns: [id, total]}`."
        raise source.refusal(path, f"{dotted(path)} must be a mapping of tables.", hint=hint)
    return tuple(_read_table(name, table, source, (*path, name)) for name, table in written.items())


def _read_table(name: str, written: Any, source: Declaration, path: KeyPath) -> TableEvents:
    schema_name, dot, table_name = name.partition(".")
    if not (schema_name and dot and table_name):
        raise source.refusal(
            path, f"{name!r} does not name a table.", hint="Write SCHEMA.TABLE, such as public.orders."
        )
    if not isinstance(written, Mapping):
        raise source.refusal(path, f"{dotted(path)} must be a mapping.", hint=f"Its keys: {', '.join(TABLE_KEYS)}.")
    source.refuse_unknown_keys(path, written, TABLE_KEYS)
    outbox = _outbox(written["outbox"], source, (*path, "outbox")) if "outbox" in written else None
    stream = written.get("stream", "")
    if not isinstance(stream, str) or not (stream or (outbox and outbox.streams)):
        raise source.refusal(path, f"{dotted(path)} needs `stream`, the stream that its events go to.")
    schema = written.get("schema")
    if schema is not None and not isinstance(schema, str):
        raise source.refusal((*path, "schema"), f"{dotted((*path, 'schema'))} must be text such as /shop/order/1.0.0.")
    fields = tuple(_fields(written.get("fields") or {}, source, (*path, "fields")))
    key = written.get("key", ())
    key = (key,) if isinstance(key, str) else tuple(key)
    used = {column for field in fields for column in map(_column, field.names) if column} | set(key)
    if outbox is not None:
        used |= {outbox.payload, outbox.id, outbox.type} - {""}
    if not fields and outbox is None and "columns" not in written:
        hint = "What is not listed is withheld."
        raise source.refusal(path, f"{dotted(path)} needs `columns` or `fields`: which columns are read.", hint=hint)
    rules = read_rules(written, source, path, used=used)
    if (taken := sorted(rules.columns.intersection(("meta", "$schema")))) and not fields and outbox is None:
        hint = f"Name the fields with `fields`, such as `fields: {{{taken[0].strip('$')}_column: {taken[0]}}}`."
        message = f"{dotted(path)} lists the column {taken[0]}, which has the name of a field that every event has."
        raise source.refusal((*path, "columns"), message, hint=hint)
    if unlisted := sorted(used - rules.columns):
        hint = f"Listed are: {', '.join(sorted(rules.columns))}."
        message = f"{dotted(path)} uses the column {unlisted[0]}, which is not listed in `columns`."
        raise source.refusal(path, message, hint=suggestion(unlisted[0], rules.columns) or hint)
    if hidden := {name for rule in rules.withhold for name in rule.columns}.intersection(key):
        raise source.refusal(path, f"{dotted(path)} withholds {min(hidden)}, which is part of the key.")
    kinds = _kinds(written.get("kinds"), source, (*path, "kinds"))
    return TableEvents(name, stream, rules, schema, fields, key, kinds, outbox)


def with_key(table: TableEvents, key: tuple[str, ...]) -> TableEvents:
    """The table with the key that its database declares, if the project declares none. The key of a table may be shown
    as soon as `fields` says what is; a list of `columns` must have it. Raises ConfigInvalid."""
    if table.key or not key:
        return table
    if missing := [name for name in key if name not in table.rules.columns]:
        if table.rules.reports_columns:
            raise ConfigInvalid(
                f"The table {table.table} is identified by {', '.join(key)}, but {missing[0]} is not listed in "
                "`columns`.",
                hint="List it, or declare another `key`.",
            )
        rules = TableRules(
            table.rules.columns | set(key), table.rules.withhold, table.rules.drop_when, reports_columns=False
        )
        return TableEvents(table.table, table.stream, rules, table.schema, table.fields, key, table.kinds, table.outbox)
    return table


def _fields(written: Any, source: Declaration, path: KeyPath) -> list[Field]:
    if not isinstance(written, Mapping):
        raise source.refusal(path, f"{dotted(path)} must be a mapping of fields of the event.")
    return [_field(name, value, source, (*path, name)) for name, value in written.items()]


def _field(name: str, written: Any, source: Declaration, path: KeyPath) -> Field:
    at = tuple(name.split("."))
    if not all(at) or at[0] in ("meta", "$schema"):
        hint = "Write a dotted path, such as customer.name; `meta` and `$schema` are filled in."
        raise source.refusal(path, f"{name!r} is not a field of the event.", hint=hint)
    if isinstance(written, Mapping) and set(written) == {"value"}:
        return Field(at, constant=written["value"])
    if not isinstance(written, str) or not written:
        hint = "Write a column, a template such as `{first} {last}`, `$kind`, or `{value: CONSTANT}`."
        raise source.refusal(path, f"{dotted(path)} does not say how the field is filled.", hint=hint)
    parts = tuple(_PART.split(written)) if "{" in written else ()
    field = Field(at, parts=parts) if parts else Field(at, name=written)
    for what in field.names:
        if what.startswith("$") and what not in ABOUT:
            hint = suggestion(what, ABOUT) or f"Known: {', '.join(ABOUT)}."
            raise source.refusal(path, f"{dotted(path)} has the unknown {what}.", hint=hint)
        if not what:
            raise source.refusal(path, f"{dotted(path)} has an empty name in its template.")
    return field


def _outbox(written: Any, source: Declaration, path: KeyPath) -> Outbox:
    if not isinstance(written, Mapping) or not isinstance(written.get("payload"), str):
        raise source.refusal(path, f"{dotted(path)} needs `payload`, the column that has the event.")
    source.refuse_unknown_keys(path, written, OUTBOX_KEYS)
    streams = written.get("streams")
    if streams is not None and (not isinstance(streams, Mapping) or "type" not in written):
        raise source.refusal(path, f"{dotted(path)} needs `type`, the column by which `streams` are chosen.")
    return Outbox(written["payload"], written.get("id", ""), written.get("type", ""), streams)


def _kinds(written: Any, source: Declaration, path: KeyPath) -> Mapping[Operation, str | None] | None:
    if written is None:
        return None
    if not isinstance(written, Mapping) or not all(
        value is None or isinstance(value, str) for value in written.values()
    ):
        hint = "Such as `{insert: create, update: edit, delete: delete}`; null leaves them out."
        raise source.refusal(path, f"{dotted(path)} must map operations to texts.", hint=hint)
    source.refuse_unknown_keys(path, written, OPERATIONS)
    return {**KINDS, **written}


def _column(name: str) -> str | None:
    return None if name.startswith("$") else name.partition(".")[0]


def _value(name: str, change: RowChange, kind: str) -> Any:
    if not name.startswith("$"):
        column, dot, rest = name.partition(".")
        value = change.row.get(column, _ABSENT)
        return get_path(value, rest) if dot and value is not _ABSENT else value
    match name:
        case "$kind":
            return kind
        case "$version":
            return change.version
        case "$position":
            return change.position
        case "$transaction":
            return change.transaction
        case "$committed_at":
            return utc_text(change.timestamp_ms)
        case "$table":
            return change.table
        case _:
            return change.is_snapshot


def _put(event: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        inner = event.get(part)
        if not isinstance(inner, dict):
            inner = event[part] = {}
        event = inner
    event[path[-1]] = value


def fields_of_tables(tables: Sequence[TableEvents]) -> Sequence[tuple[str, str]]:
    """The streams that tables go to, each with the dotted path of a field that is filled."""
    return [(table.stream, ".".join(field.path)) for table in tables if table.stream for field in table.fields]


def streams_of_tables(tables: Sequence[TableEvents]) -> Sequence[str]:
    """The streams that tables go to, each once."""
    found: dict[str, None] = {}
    for table in tables:
        if table.outbox is not None and table.outbox.streams:
            found |= dict.fromkeys(table.outbox.streams.values())
        elif table.stream:
            found[table.stream] = None
    return tuple(found)
