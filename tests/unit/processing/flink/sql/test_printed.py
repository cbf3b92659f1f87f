"""The table of a stream as Flink's SQL: every type and name, its event time, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.errors import ConfigInvalid, SchemaNotFound
from headwater.processing.flink.sql.columns import TypedStream, typed_stream
from headwater.processing.flink.sql.printed import sink_ddl, source_ddl
from headwater.schemas.repository import open_repositories
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

TEXT = {"type": "string"}
MOMENT = {"type": "string", "format": "date-time"}
WHOLE = {"type": "integer"}
META = {"type": "object", "properties": {"id": TEXT, "dt": MOMENT, "stream": TEXT}}
ODD = {
    "$schema": TEXT,
    "meta": META,
    "select": TEXT,
    "a-b": WHOLE,
    "tick`ed": {"type": "number"},
    "grid": {"type": "array", "items": {"type": "array", "items": WHOLE}},
    "by_name": {"type": "object", "additionalProperties": {"type": "object", "properties": {"group": WHOLE}}},
    "huge": {"type": "integer", "maximum": 10**30},
    "nothing": {"type": "null"},
    "anything": {},
    "maybe": {"type": ["string", "null"]},
}


def typed(folder: Path, properties: dict[str, Any], version: str | None = None, **settings: Any) -> TypedStream:
    """The stream with a schema of these properties. `additionalProperties` among the settings is of the schema."""
    schema = {"additionalProperties": settings.pop("additionalProperties", True), "properties": properties}
    path = folder / "schemas" / "odd"
    path.mkdir(parents=True, exist_ok=True)
    document = {"$id": "/odd/1.0.0", "title": "odd", "type": "object", **schema}
    (path / "1.0.0.yaml").write_text(yaml.safe_dump(document))
    stream = Stream(name="odd.events", schema_title="odd", **settings)
    schemas = open_repositories([str(folder / "schemas")], extension=".yaml")
    return typed_stream(StreamRegistry().extended([stream]), schemas, "odd.events", version)


def test_columns_have_the_types_of_the_schema(tmp_path: Path) -> None:
    found = typed(tmp_path, ODD)
    assert found.uri == "/odd/1.0.0"
    assert dict(found.columns) == {
        "$schema": "STRING",
        "meta": "ROW<`dt` TIMESTAMP_LTZ(3), `id` STRING, `stream` STRING>",
        "select": "STRING",
        "a-b": "BIGINT",
        "tick`ed": "DOUBLE",
        "grid": "ARRAY<ARRAY<BIGINT>>",
        "by_name": "MAP<STRING, ROW<`group` BIGINT>>",
        "huge": "DECIMAL(31, 0)",
        # Tables have no type for null alone.
        "nothing": "STRING",
        # Places without one type are JSON text.
        "anything": "STRING",
        "maybe": "STRING",
    }


def test_a_source_quotes_names_and_reads_by_event_time(tmp_path: Path) -> None:
    text = source_ddl(typed(tmp_path, ODD), ["a.odd.events", "b.odd.events"], "kafka:9092", group="it's")
    assert text.startswith("CREATE TABLE `odd.events` (\n  `$schema` STRING,\n")
    assert "\n  `tick``ed` DOUBLE,\n" in text
    assert "\n  'topic' = 'a.odd.events;b.odd.events',\n" in text
    assert "\n  'properties.group.id' = 'it''s',\n" in text
    assert "\n  `_received` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,\n  `_key` BYTES,\n" in text
    assert "WATERMARK FOR `_event_time` AS `_event_time` - INTERVAL '0 00:00:00.000' DAY(3) TO SECOND(3)\n" in text
    # The schema has no `dt`: the time is that of the header, of `meta.dt`, or of the receipt.
    assert "'UTC'), `meta`.`dt`, `_received`), `_received`),\n" in text


def test_the_field_of_the_event_time_comes_before_that_of_the_intake(tmp_path: Path) -> None:
    found = typed(tmp_path, {"dt": MOMENT, "meta": META})
    text = source_ddl(found, ["odd.events"], "kafka:9092", group="g", out_of_order_ms=90_500)
    assert "'UTC'), `dt`, `meta`.`dt`, `_received`), `_received`),\n" in text
    assert "- INTERVAL '0 00:01:30.500' DAY(3) TO SECOND(3)\n" in text


def test_a_sink_says_how_the_key_is_made(tmp_path: Path) -> None:
    found = typed(tmp_path, ODD, message_key_fields={"z": "a-b", "id": "meta.id"})
    text = sink_ddl(found, "odd.events", "kafka:9092")
    key = "ENCODE(JSON_OBJECT(KEY 'id' VALUE `meta`.`id`, KEY 'z' VALUE `a-b`), 'UTF-8')"
    assert text.startswith(
        f"-- Nothing validates what is written here. `_key` is {key}.\nCREATE TABLE `odd.events.sink`"
    )
    assert "METADATA FROM 'headers'\n" in text
    assert "`_key` is NULL" in sink_ddl(typed(tmp_path, ODD), "odd.events", "kafka:9092")


def test_a_field_of_the_name_of_a_column_of_every_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="_offset, which is the name of a column of every table"):
        typed(tmp_path, {"_offset": WHOLE})


def test_events_without_fields_have_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"The events of odd\.events are no objects with fields"):
        typed(tmp_path, {}, additionalProperties=TEXT)


def test_a_version_that_there_is_not_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SchemaNotFound, match=r"odd\.events: ") as caught:
        typed(tmp_path, ODD, "1.0.1")
    assert caught.value.hint == "Did you mean 1.0.0?"


def test_a_stream_without_schema_has_no_columns() -> None:
    streams = StreamRegistry().extended([Stream(name="free")])
    with pytest.raises(ConfigInvalid, match="The stream free has no schema_title"):
        typed_stream(streams, open_repositories([], extension=".yaml"), "free", None)
