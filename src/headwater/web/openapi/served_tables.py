"""The OpenAPI description of served tables: of all, and of each with the types of its parameters and rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from headwater.served_tables.asked import BOUNDS, FORMATS, PLACE_CHARS_MAX, VALUE_CHARS_MAX, TypeOf
from headwater.served_tables.declared import PATH, ServedTable
from headwater.served_tables.kinds import FieldType, Kind
from headwater.web.openapi.parts import (
    API_KEY,
    JSON,
    ONE_LINE,
    answer,
    operation,
    path,
    problems,
    query,
)
from headwater.web.openapi.value_schemas import (
    Node,
    anything,
    array_of,
    boolean,
    integer,
    map_of,
    number,
    one_of,
    record,
    ref,
    text,
)

TAG = "Served tables"
NDJSON = "application/x-ndjson"
_ANY: Node = {"description": "Any JSON value.", "nullable": True}
_NEXT: Node = {**text("The `after` of the next page; null at the end."), "nullable": True}
_SCHEMAS: Mapping[Kind, Node] = {
    "text": text(),
    "integer": integer(),
    "number": number(),
    "boolean": boolean(),
    "time": text(format="date-time"),
    "list": {"type": "array", "items": _ANY},
    "mapping": map_of(_ANY),
    "any": _ANY,
}
# How a value is written in a parameter.
_WRITTEN: Mapping[Kind, Node] = {
    **_SCHEMAS,
    "integer": integer(minimum=-(10**18) + 1, maximum=10**18 - 1),
    "any": text(),
}
_BOUNDS_IN_WORDS = {"gt": "greater than", "gte": "at least", "lt": "less than", "lte": "at most"}
_HEADERS = {"etag": "Changes with the content; for `If-None-Match`."}
_LINKED = {**_HEADERS, "link": 'The next page, as `rel="next"`; absent at the end.'}
_REFUSED = "A parameter is invalid, or more rows would have to be read than one request may"
_AWAY = {"503": "The state of the table cannot be read now, or is on another machine"}
_UNKNOWN = "There is no such table, or the client may not know of it"
_HELD = {"304": answer("The content is that of `If-None-Match`", None, _HEADERS)}


class Typed(NamedTuple):
    """A served table, and the types of its fields."""

    served: ServedTable
    type_of: TypeOf


def schemas(typed: Iterable[Typed] = ()) -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    listed = {
        "name": text(),
        "summary": text(),
        "url": text("Where its rows are."),
        "row_url": text("Where the row of a key is."),
        "key": array_of(text(), "The names of the parts of its keys."),
        "equals": array_of(text(), "The fields of which a request may ask for a value."),
        "ranges": array_of(text(), "The fields that a request may bound."),
        "required": array_of(text(), "The parameters that every request needs."),
        "order": {**text("What rows are sorted by; null: the order of their keys."), "nullable": True},
        "rows_max": integer("The largest `limit`."),
        "roles": array_of(text(), "Who may read it; none: clients that may read its streams."),
    }
    return {
        "served_table": record(listed),
        "served_tables": record({"tables": array_of(ref("served_table"))}),
        "served_rows": record({"rows": array_of(ref("served_row")), "next": _NEXT}),
        "served_row": {**anything("The fields of a row, with those of its key."), "minProperties": 1},
        "served_counts": map_of(integer(minimum=0)),
        **{_row_name(one.served): _row(one) for one in typed},
    }


def paths(typed: Sequence[Typed] = ()) -> dict[str, Node]:
    """Path → operations: those of any table, and those of each of `typed`."""
    name = path("name", "The name of the table.")
    common = {**problems({"400": _REFUSED, "404": _UNKNOWN, **_refusals(), **_AWAY}), **_HELD}
    listed = {"200": answer("The tables", {JSON: ref("served_tables")})}
    some = {JSON: ref("served_rows"), NDJSON: text("A row in each line.")}
    key = path("key", "The parts of the key, divided by slashes; those within a part are written %2F.")
    found: dict[str, Node] = {
        PATH: {"get": operation("listServedTables", TAG, "List the served tables that the client may know of", listed)},
        f"{PATH}/{{name}}": {
            "get": operation(
                "readServedTable",
                TAG,
                "Rows of a served table",
                {"200": answer("Some rows", some, _LINKED), **common},
                parameters=[name, *_page(1_000, 100)],
            )
        },
        f"{PATH}/{{name}}/counts": {
            "get": operation(
                "countServedTable",
                TAG,
                "How many rows of a served table there are",
                {"200": answer("The numbers", {JSON: ref("served_counts")}, _HEADERS), **common},
                parameters=[name],
            )
        },
        f"{PATH}/{{name}}/rows/{{key}}": {
            "get": operation(
                "readServedRow",
                TAG,
                "The row of a key of a served table",
                {"200": answer("The row", {JSON: ref("served_row")}, _HEADERS), **common},
                parameters=[name, key],
            )
        },
    }
    for one in typed:
        found |= _paths_of(one)
    return found


def _paths_of(typed: Typed) -> dict[str, Node]:
    served, row = typed.served, ref(_row_name(typed.served))
    identity = re.sub(r"[^A-Za-z0-9]", "_", served.name)
    common = {
        **problems({"400": _REFUSED, "404": "There is no such row", **_refusals(), **_AWAY}),
        **_HELD,
    }
    filters = list(_filters(typed))
    options = served.options
    fields = query("fields", "Only these fields: names, divided by commas.", text(maxLength=VALUE_CHARS_MAX))
    made = {
        served.path: _operation(
            typed,
            f"read_{identity}",
            served.summary,
            {
                "200": answer(
                    "Some rows",
                    {JSON: record({"rows": array_of(row), "next": _NEXT}), NDJSON: text("A row in each line.")},
                    _LINKED,
                ),
                **common,
            },
            [*filters, *_page(options.rows_max, served.rows_default), fields],
        ),
        f"{served.path}/counts": _operation(
            typed,
            f"count_{identity}",
            f"How many rows there are: {served.summary}",
            {
                "200": answer(
                    "The numbers",
                    {JSON: record({name: integer(minimum=0) for name in ("rows", *options.distinct)})},
                    _HEADERS,
                ),
                **common,
            },
            filters,
        ),
        f"{served.path}/rows/{'/'.join(f'{{{name}}}' for name in served.key)}": _operation(
            typed,
            f"row_of_{identity}",
            f"The row of a key: {served.summary}",
            {"200": answer("The row", {JSON: row}, _HEADERS), **common},
            [path(name, _described(typed, name), _written(typed.type_of(name), in_path=True)) for name in served.key],
        ),
    }
    return {address: {"get": described} for address, described in made.items()}


def _operation(typed: Typed, identity: str, summary: str, answers: Mapping[str, Node], parameters: list[Node]) -> Node:
    described = operation(identity, TAG, summary, answers, parameters=parameters)
    if not typed.served.is_restricted:
        return described
    wanted = " or ".join(typed.served.scopes)
    return {**described, "security": [{API_KEY: []}], "x-scope": wanted}


def _filters(typed: Typed) -> Iterable[Node]:
    served = typed.served
    for field in served.equals:
        required = {"required": True} if field in served.options.required else {}
        yield query(field, _described(typed, field), _written(typed.type_of(field)), **required)
    for field in served.options.ranges:
        for which in BOUNDS:
            words = f"`{field}` {_BOUNDS_IN_WORDS[which]} this."
            yield query(f"{field}.{which}", words, _written(typed.type_of(field)))


def _page(rows_max: int, rows_default: int) -> list[Node]:
    return [
        query("limit", "How many rows at most.", integer(minimum=1, maximum=rows_max, default=rows_default)),
        query("after", "The `next` of the page before.", text(maxLength=PLACE_CHARS_MAX)),
        query("format", "`jsonl`: a row in each line, as with `Accept: application/x-ndjson`.", one_of(FORMATS)),
    ]


def _refusals() -> dict[str, str]:
    return {
        "401": "The table needs an API key, or `Authorization` has one that is unknown, revoked or expired",
        "403": "The API key has none of the roles of the table",
        "429": "Too many keys that are not good, from this address; retry after `Retry-After`",
    }


def _row_name(served: ServedTable) -> str:
    return f"served_{served.name}_row"


def _row(typed: Typed) -> Node:
    """The schema of a row. Parts of the key are always there; other fields may be absent, or null."""
    served = typed.served
    if served.fields is None:
        key = {name: _value(typed.type_of(name)) for name in served.key}
        return {**record(key), "additionalProperties": _ANY}
    properties = {
        name: _value(typed.type_of(name)) if name in served.key else {**_value(typed.type_of(name)), "nullable": True}
        for name in served.fields
    }
    return record(properties, optional=[name for name in served.fields if name not in served.key], closed=True)


def _value(kind: FieldType) -> Node:
    described = {"description": kind.description} if kind.description and kind.kind != "any" else {}
    return {**_SCHEMAS[kind.kind], **described}


def _written(kind: FieldType, *, in_path: bool = False) -> Node:
    written = _WRITTEN[kind.kind]
    if written.get("type") != "string":
        return written
    return {**written, "maxLength": VALUE_CHARS_MAX, **({"minLength": 1, "pattern": ONE_LINE} if in_path else {})}


def _described(typed: Typed, field: str) -> str:
    return typed.type_of(field).description or f"The value of `{field}`."
