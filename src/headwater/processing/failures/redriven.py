"""The records of a job's redrive topic: failed events that it processes again, as if they were read where they were.

How this works: the topic is one more input of the job, which no other job reads, and no reader over HTTP. The value of
a record is the original event, followed by the input of the step with which the job continues, if it does not start
with the original; a header says what both are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from headwater.jobs.operators.windows import Window
from headwater.jobs.steps import Element, ReadRecord, Results
from headwater.log.contract import Record, StoredRecord, TopicSettings
from headwater.processing.failures.details import Details, restored_headers

TOPIC_PREFIX = "headwater.redrive."
HEADER = "headwater-redrive"
# A job that does not run for longer loses what it should have processed again.
SETTINGS = TopicSettings(retention_seconds=30 * 86_400.0)
_WINDOW = "$window"


def redrive_topic(job: str) -> str:
    """The topic of the events that a job processes again."""
    return f"{TOPIC_PREFIX}{job}"


class Redriven(msgspec.Struct, omit_defaults=True):
    """What the header of a redriven record says. `attempt` is the one that it makes; see `Details` for the rest."""

    error_id: str
    redrive: str
    stream: str | None = None
    topic: str | None = None
    partition: int = 0
    offset: int = 0
    received_ms: int = 0
    headers: dict[str, str] = {}
    attempt: int = 2
    first_failed_at: str = ""
    lineage_id: str | None = None
    event_time_ms: int | None = None
    resume: str | None = None
    input_bytes: int = 0
    written: list[str] = []


class Restored(NamedTuple):
    """A redriven event: `record` as the job read it first, with an empty topic if there is no original (of a timer).

    `input`: of the step `resume`; None: the event itself.
    """

    redriven: Redriven
    record: StoredRecord
    input: bytes | None


def redrive_record(job: str, made: Redriven, raw: bytes, step_input: bytes) -> Record:
    """The record with which `job` processes an event again; `raw` is empty if there is no original."""
    made.input_bytes = len(step_input)
    return Record(redrive_topic(job), raw + step_input, None, ((HEADER, msgspec.json.encode(made)),))


def next_attempt(details: Details, *, error_id: str, redrive: str, stream: str | None) -> Redriven:
    """The header with which the event of an error event is processed again."""
    return Redriven(
        error_id=error_id,
        redrive=redrive,
        stream=stream,
        topic=details.topic,
        partition=details.partition or 0,
        offset=details.offset or 0,
        received_ms=details.received_ms or 0,
        headers=details.headers,
        attempt=details.attempt + 1,
        first_failed_at=details.first_failed_at,
        lineage_id=details.lineage_id,
        event_time_ms=details.event_time_ms,
        resume=details.resume,
        written=details.written,
    )


def redriven_of(record: ReadRecord) -> Redriven | None:
    """What the header says; None if the record is not a redriven one."""
    for name, content in record.headers:
        if name == HEADER:
            try:
                return msgspec.json.decode(content, type=Redriven)
            except msgspec.MsgspecError:
                return None
    return None


def restored(record: StoredRecord) -> Restored | None:
    """The event of a record of a redrive topic; None if the record is of something else."""
    redriven = redriven_of(record)
    if redriven is None:
        return None
    end = len(record.value) - redriven.input_bytes
    raw, step_input = record.value[:end], record.value[end:]
    header = next(one for one in record.headers if one[0] == HEADER)
    read = StoredRecord(
        redriven.topic or "",
        redriven.partition,
        redriven.offset,
        redriven.received_ms,
        None,
        restored_headers(redriven.headers, [header]),
        raw,
    )
    return Restored(redriven, read, step_input or None)


def was_written(item: Element) -> bool:
    """Whether the job has written this output when it processed the event before, although another one failed."""
    redriven = redriven_of(item.record) if item.record is not None else None
    return redriven is not None and item.lineage_id in redriven.written


def written_of(results: Results) -> dict[int, list[str]]:
    """The outputs that did not fail, by lineage, of each event that has another one that did: by its record's id()."""
    failed = {failure.item.lineage_id for failure in results.failures}
    written: dict[int, list[str]] = {
        id(failure.item.record): [] for failure in results.failures if failure.item.record is not None
    }
    for item in (*results.items, *results.emitted):
        outputs = written.get(id(item.record))
        if outputs is not None and item.lineage_id not in failed:
            outputs.append(item.lineage_id)
    return written


def encode_input(value: Any) -> bytes:
    """The input of a step as JSON. Raises TypeError for what is not JSON, and no window."""
    return orjson.dumps(value, default=_windowed)


def decode_input(data: bytes) -> Any:
    """What `encode_input` has encoded."""
    value = orjson.loads(data)
    if isinstance(value, Mapping) and value.keys() == {_WINDOW}:
        return Window(*value[_WINDOW])
    return value


def _windowed(value: Any) -> Any:
    if isinstance(value, Window):
        return {_WINDOW: [value.key, value.start_ms, value.end_ms, dict(value.values)]}
    raise TypeError(f"{type(value).__name__} is not JSON")
