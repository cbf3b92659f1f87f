"""The table of a stream as Flink's SQL, for programs in Java, Scala or SQL, which need nothing of Headwater.

How this works: Kafka's connector and Flink's own JSON format read the events. The event time is the header `dt`, else
the stream's field for it, else the time of receipt, and never later than that, as it is for jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.log.event_time import HEADER
from headwater.processing.flink.sql.columns import EVENT_TIME, PLACE_COLUMNS, TypedStream
from headwater.processing.flink.tables import interval
from headwater.schemas.types.tree import Scalar, Struct
from headwater.schemas.types.words import back_quoted, sql_text

# Times in headers, in UTC, with any number of digits of the second. The zone that a table is shown in has no influence.
_TIME_FORMAT = "yyyy-MM-dd'T'HH:mm:ss[.SSSSSSSSS][.SSSSSS][.SSS][.SS][.S][X]"
# Where Kafka's connector has what is a column here.
_METADATA = {
    "_topic": "topic",
    "_partition": "partition",
    "_offset": "offset",
    "_received": "timestamp",
    "_headers": "headers",
}
_JSON = {
    "value.format": "json",
    "value.fields-include": "EXCEPT_KEY",
    "value.json.timestamp-format.standard": "ISO-8601",
}


def source_ddl(typed: TypedStream, topics: Sequence[str], servers: str, *, group: str, out_of_order_ms: int = 0) -> str:
    """The statement that makes a table that reads the stream. `topics`: by their full names."""
    place = [
        f"{back_quoted(name)} {kind}"
        + (f" METADATA FROM {sql_text(_METADATA[name])} VIRTUAL" if name in _METADATA else "")
        for name, kind in PLACE_COLUMNS.items()
    ]
    time = back_quoted(EVENT_TIME)
    columns = [
        *_fields(typed),
        *place,
        f"{time} AS {_event_time(typed)}",
        f"WATERMARK FOR {time} AS {time} - {interval(out_of_order_ms)}",
    ]
    options = {
        **_common(topics, servers),
        "properties.group.id": group,
        "properties.isolation.level": "read_committed",
        "properties.auto.offset.reset": "earliest",
        "scan.startup.mode": "group-offsets",
        "scan.watermark.idle-timeout": "10 s",
        # Of a record that is no such event, the fields that cannot be read are NULL.
        "value.json.ignore-parse-errors": "true",
    }
    return _table(typed.stream.name, columns, options)


def sink_ddl(typed: TypedStream, topic: str, servers: str) -> str:
    """The statement that makes a table that writes the stream. `topic`: by its full name."""
    columns = [
        *_fields(typed),
        "`_received` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'",
        "`_key` BYTES",
        "`_headers` MAP<STRING, BYTES> METADATA FROM 'headers'",
    ]
    options = {
        **_common((topic,), servers),
        "value.json.encode.decimal-as-plain-number": "true",
        "value.json.encode.ignore-null-fields": "true",
        "sink.delivery-guarantee": "at-least-once",
        "properties.compression.type": "snappy",
        "properties.acks": "all",
    }
    head = f"-- Nothing validates what is written here. {_key_remark(typed)}\n"
    return head + _table(f"{typed.stream.name}.sink", columns, options)


def _key_remark(typed: TypedStream) -> str:
    parts = sorted((typed.stream.message_key_fields or {}).items())
    if not parts:
        return "The stream has no message key: `_key` is NULL."
    pairs = ", ".join(
        f"KEY {sql_text(name)} VALUE {'.'.join(map(back_quoted, path.split('.')))}" for name, path in parts
    )
    return f"`_key` is ENCODE(JSON_OBJECT({pairs}), 'UTF-8')."


def _fields(typed: TypedStream) -> list[str]:
    return [f"{back_quoted(name)} {kind}" for name, kind in typed.columns]


def _event_time(typed: TypedStream) -> str:
    header = f"CAST(`_headers`[{sql_text(HEADER)}] AS STRING)"
    times = [f"TO_TIMESTAMP_LTZ({header}, {sql_text(_TIME_FORMAT)}, 'UTC')"]
    times += [
        ".".join(map(back_quoted, path.split(".")))
        for path in dict.fromkeys((typed.stream.event_time_field, "meta.dt"))
        if _is_time(typed.root, path)
    ]
    return f"LEAST(COALESCE({', '.join([*times, '`_received`'])}), `_received`)"


def _is_time(root: Struct, path: str) -> bool:
    """Whether the columns have a date-time at this path."""
    name, _, rest = path.partition(".")
    kind = next((field.type for field in root.fields if field.name == name), None)
    if rest:
        return isinstance(kind, Struct) and _is_time(kind, rest)
    return isinstance(kind, Scalar) and kind.kind == "timestamp"


def _common(topics: Sequence[str], servers: str) -> dict[str, str]:
    return {
        "connector": "kafka",
        "topic": ";".join(topics),
        "properties.bootstrap.servers": servers,
        "key.format": "raw",
        "key.fields": "_key",
        **_JSON,
    }


def _table(name: str, columns: Sequence[str], options: dict[str, str]) -> str:
    listed = ",\n  ".join(columns)
    written = ",\n".join(f"  {sql_text(name)} = {sql_text(value)}" for name, value in options.items())
    return f"CREATE TABLE {back_quoted(name)} (\n  {listed}\n) WITH (\n{written}\n);\n"
