"""What the functions of typed tables do where they run: columns or an error of a record, records of a row."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.config import load_config
from headwater.errors import JobStopped
from headwater.jobs.job import Job, OnError, ToStream
from headwater.log.contract import StoredRecord
from headwater.processing.declarations import declarations
from headwater.processing.flink.limits import TopicLimit
from headwater.processing.flink.sql.columns import typed_stream
from headwater.processing.flink.sql.pieces import Piece, Working
from headwater.schemas.configured import project_schemas

PROJECT = Path(__file__).parents[4] / "flink" / "typed"
EVENT: dict[str, Any] = {
    "$schema": "/typed/reading/1.0.0",
    "meta": {"id": "00000000-0000-4000-8000-000000000001", "stream": "readings", "domain": "here"},
    "dt": "2026-01-31T12:00:00Z",
    "sensor": "a",
}


def working(
    on_error: OnError = "error_event", *, of: str = "readings", limit: int = 1_000_000
) -> tuple[Working, Counter[str]]:
    config = load_config(PROJECT)
    streams, _ = declarations(config)
    job = Job("copying", ("readings",), output=ToStream("copies", "1.0.0"), on_error=on_error, project=PROJECT)
    limits = {"copies": TopicLimit(limit), "copying.error": TopicLimit(1_000_000)}
    typed = typed_stream(streams, project_schemas(config), of, "1.0.0")
    piece = pickle.loads(pickle.dumps(Piece(str(PROJECT), "now", job, "wiki.", limits, typed)))
    counted: Counter[str] = Counter()
    return Working(piece, lambda name, number: counted.update({name: number})), counted


def record(value: bytes, topic: str = "readings") -> StoredRecord:
    return StoredRecord(topic, 1, 7, 1_769_860_000_000, b"key", (), value)


def row(*values: Any) -> tuple[Any, ...]:
    return values


def test_a_record_becomes_the_columns_of_its_stream() -> None:
    made, counted = working()
    values, errors = made.read(record(orjson.dumps({**EVENT, "value": 2})), row)
    assert values is not None
    assert (values[0], values[3], values[4], errors) == ("/typed/reading/1.0.0", "a", 2.0, [])
    assert (counted["read"], counted["errors"]) == (1, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"{", "decode: "),
        (b"[]", "decode: The record is not a JSON object."),
        (orjson.dumps({**EVENT, "value": "2"}), 'input: value is "2", not number.'),
    ],
)
def test_a_record_that_is_no_such_event_becomes_an_error_event(value: bytes, message: str) -> None:
    made, counted = working()
    values, [(topic, _key, content, headers, _at)] = made.read(record(value), row)
    error = orjson.loads(content)
    assert values is None
    assert topic == "wiki.copying.error"
    assert "dt" in headers
    assert error["message"].startswith(message)
    assert (error["error_type"], error["errored_stream_name"]) == ("INVALID_INPUT", "readings")
    assert (error["raw_event"], error["meta"]["failure"]["offset"]) == (value.decode(), 7)
    assert counted["errors"] == 1


def test_what_is_left_out_is_neither_read_nor_an_error() -> None:
    made, _ = working()
    assert made.read(record(b""), row) == (None, [])
    canary = {**EVENT, "meta": {**EVENT["meta"], "domain": "canary"}}
    assert made.read(record(orjson.dumps(canary)), row) == (None, [])


def test_errors_stop_the_program_or_are_counted_if_it_says_so() -> None:
    made, counted = working("skip")
    assert made.read(record(b"{"), row) == (None, [])
    assert counted["errors"] == 1
    stopping, _ = working("stop")
    with pytest.raises(JobStopped):
        stopping.read(record(b"{"), row)


def test_a_row_becomes_a_record_as_the_platform_writes_it() -> None:
    made, _ = working(of="copies")
    columns = ("meta", "dt", "sensor", "_offset")
    given = ({"id": "mine", "dt": "2020-01-01T00:00:00Z", "domain": "here"}, EVENT["dt"], "a", 7)
    [(topic, key, content, headers, at)] = made.write(columns, given)
    event = orjson.loads(content)
    assert (topic, key, at) == ("wiki.copies", b'{"sensor":"a"}', None)
    assert headers == {"dt": b"2026-01-31T12:00:00Z"}
    assert event["$schema"] == "/typed/reading/1.0.0"
    assert (event["meta"]["stream"], event["meta"]["domain"]) == ("copies", "here")
    assert event["meta"]["dt"] > "2026"
    assert event["meta"]["id"] != "mine"
    assert "_offset" not in event


def test_ids_are_derived_from_the_row() -> None:
    made, _ = working(of="copies")
    columns = ("dt", "sensor", "_offset")

    def id_of(*values: Any) -> str:
        [(_, _, content, _, _)] = made.write(columns, values)
        return str(orjson.loads(content)["meta"]["id"])

    first = id_of(EVENT["dt"], "a", 7)
    assert first == id_of(EVENT["dt"], "a", 7)
    assert len({first, id_of(EVENT["dt"], "a", 8), id_of(EVENT["dt"], "b", 7)}) == 3


@pytest.mark.parametrize(
    ("columns", "values", "kind"),
    [
        (("sensor",), ("a",), "INVALID_OUTPUT"),
        (("dt", "sensor"), (EVENT["dt"], b"bytes"), "INVALID_OUTPUT"),
        (("dt", "sensor"), (EVENT["dt"], "a" * 400_000), "MESSAGE_TOO_LARGE"),
    ],
)
def test_a_row_that_is_no_event_of_the_stream_becomes_an_error_event(
    columns: tuple[str, ...], values: tuple[Any, ...], kind: str
) -> None:
    made, counted = working(of="copies", limit=300_000)
    *_, (topic, _, content, _, _) = made.write(columns, values)
    error = orjson.loads(content)
    assert (topic, error["error_type"], error["emitter_id"]) == ("wiki.copying.error", kind, "copying")
    assert error["errored_stream_name"] == "copies"
    assert "sensor" in error["raw_event"]
    assert (counted["written"], counted["errors"]) == (1, 1)
    made.close()
