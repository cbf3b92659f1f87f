"""The OpenAPI description of materialized tables: which there are, their rows, and the row of a key."""

from __future__ import annotations

from headwater.web.openapi.parts import JSON, answer, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, array_of, integer, map_of, record, ref, text

TAG = "Tables"


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    any_value: Node = {"description": "Any JSON value.", "nullable": True}
    key = array_of(any_value, "The values of its parts.")
    row = map_of(any_value)
    position = {**text("The resume token of what the table has of its streams, once that is known."), "nullable": True}
    following = {**text("The `after` of the next page; null at the end."), "nullable": True}
    return {
        "table": record(
            {
                "name": text("The name of the table, and of the job that keeps it."),
                "summary": text(),
                "sources": array_of(text(), "The streams that it is made of."),
                "key": array_of(text(), "The names of the parts of its keys; none if a function makes the keys."),
                "state": text("That of the job."),
                "position": position,
                "keys": integer("How many keys it has, also those whose rows were deleted of late.", nullable=True),
                "bytes": integer("The size of its state.", nullable=True),
            }
        ),
        "tables": record({"tables": array_of(ref("table"))}),
        "table_row": record({"key": key, "row": row}),
        "table_found_row": record({"table": text(), "key": key, "row": row}),
        "table_rows": record({"table": text(), "rows": array_of(ref("table_row")), "next": following}),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    name = path("name", "The name of the table.")
    prefix = query("prefix", "Only keys that begin with these parts: a JSON list, or one part.")
    limit = query("limit", "How many rows at most.", integer(minimum=1, maximum=1000, default=100))
    after = query("after", "The `next` of the page before.")
    key = query("key", 'JSON, such as `["enwiki",7]`, or text as it is. Repeated, one part each.', required=True)
    away = {"503": "The state of the table cannot be read now, or is on another machine"}
    unknown = "There is no such table, or its streams are private"
    found = {"200": answer("The tables", {JSON: ref("tables")})}
    some = {"200": answer("Some rows; fewer than `limit`, even none, is not the end", {JSON: ref("table_rows")})}
    one = {"200": answer("The row", {JSON: ref("table_found_row")})}
    in_order = "Rows of a table, in order of the JSON of their keys"
    return {
        "/v1/tables": {"get": operation("listTables", TAG, "List the tables", found)},
        "/v1/tables/{name}": {
            "get": operation(
                "scanTable",
                TAG,
                in_order,
                {**some, **problems({"400": "A parameter is invalid", "404": unknown, **away})},
                parameters=[name, prefix, limit, after],
            )
        },
        "/v1/tables/{name}/rows": {
            "get": operation(
                "getTableRow",
                TAG,
                "The row of a key",
                {**one, **problems({"400": "The key is absent, or of another form", "404": "No such row", **away})},
                parameters=[name, key],
            )
        },
    }
