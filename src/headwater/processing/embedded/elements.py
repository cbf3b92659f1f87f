"""Decodes records of a log into the elements that steps process, with their event time and lineage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from headwater.connectors.contract import Delivery
from headwater.errors import EventMalformed, JobInvalid
from headwater.event import CANARY_DOMAIN, decode_stored, get_path
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import StoredRecord
from headwater.log.event_time import event_time_of
from headwater.processing.embedded.watermark import Seen
from headwater.processing.failures.causes import DECODE, OUTPUT
from headwater.processing.failures.recording import place_of
from headwater.processing.failures.redriven import decode_input, restored
from headwater.streams.stream import Stream


def undecoded(record: StoredRecord, stream: Stream | None) -> Element:
    """An element for a record of which only the bytes are known. `stream`: None for a redriven one."""
    if stream is None:
        found = restored(record)
        read = record if found is None else found.record
        return Element(None, read.timestamp_ms, place_of(read), found and found.redriven.stream, read)
    return Element(None, record.timestamp_ms, place_of(record), stream.name, record)


def delivery_of(element: Element) -> Delivery:
    """What a sink is given of an element."""
    event_id = get_path(element.value, "meta.id")
    record = element.record
    return Delivery(
        element.value,
        event_id if isinstance(event_id, str) else None,
        element.stream,
        element.event_time_ms,
        "" if record is None else f"{record.topic}/{record.partition}",
    )


def elements_of(
    records: Sequence[StoredRecord],
    streams: Mapping[str, Stream],
    saw: Callable[[Seen], None],
    results: Results,
    *,
    now_ms: int,
    job: Job,
) -> list[Element]:
    """The elements of `records`; `saw` is called with the partition, time and bytes of each event. `streams` by topic.

    Tombstones are left out, and canaries unless the job wants them; bytes that are not an event are failures. A record
    of another topic is a redriven event: it has no influence on the watermark, and if it continues with a later step
    it is added to the results as such.
    """
    elements: list[Element] = []
    takes_no_canaries = not job.canaries
    for record in records:
        if not record.value:
            # A tombstone of another tool, to delete its key; events are never empty.
            continue
        stream = streams.get(record.topic)
        if stream is None:
            elements += redriven_elements(record, streams, job, results, now_ms=now_ms)
            continue
        value = _decoded(record, stream, results)
        if value is None:
            continue
        if takes_no_canaries and _meta(value, "domain") == CANARY_DOMAIN:
            continue
        at = event_time_of(record, stream.event_time_field, value, now_ms=now_ms)
        saw(((record.topic, record.partition), at, record.value))
        elements.append(Element(value, at, _lineage_of(value, record), stream.name, record, value))
    return elements


def redriven_elements(
    record: StoredRecord, streams: Mapping[str, Stream], job: Job, results: Results, *, now_ms: int
) -> list[Element]:
    """The element of a redriven record, as when it was read first, if it starts with the first step.

    One that continues with a later step is added to the results instead. Bytes that are not an event, and an event
    whose step the job no longer has, are failures again.
    """
    found = restored(record)
    if found is None:
        return []
    results.redriven += 1
    redriven, read = found.redriven, found.record
    names = {stream.name: stream for stream in streams.values()}
    stream = names.get(redriven.stream or "", next(iter(names.values())))
    value, at = None, redriven.event_time_ms or record.timestamp_ms
    if read.topic:
        value = _decoded(read, stream, results)
        if value is None:
            return []
        at = event_time_of(read, stream.event_time_field, value, now_ms=now_ms)
    step = redriven.resume if redriven.resume in (OUTPUT, *(one.name for one in job.steps)) else None
    if read.topic and step is None:
        return [Element(value, at, _lineage_of(value, read), stream.name, read, value)]
    item = decode_input(found.input) if found.input is not None else value
    lineage_id = redriven.lineage_id or place_of(read)
    at = at if redriven.event_time_ms is None else redriven.event_time_ms
    element = Element(item, at, lineage_id, stream.name if read.topic else None, read, value)
    if step is None:
        error = JobInvalid(f"The job has no step {redriven.resume!r} any more, which would process it again.")
        results.failures.append(Failure(element, str(redriven.resume), error))
    else:
        results.resumed.append((step, element))
    return []


def _lineage_of(value: Any, record: StoredRecord) -> str:
    event_id = _meta(value, "id")
    return event_id if isinstance(event_id, str) else place_of(record)


def _meta(value: dict[str, Any], name: str) -> Any:
    """This field of the `meta` of a decoded event, or None."""
    meta = value.get("meta")
    return meta.get(name) if type(meta) is dict else None


def _decoded(record: StoredRecord, stream: Stream, results: Results) -> dict[str, Any] | None:
    """The event of a record; None, and a failure, if it is none."""
    try:
        value = decode_stored(record.value, record.headers)
        if not isinstance(value, dict):
            raise EventMalformed("The record is not a JSON object.")
    except (orjson.JSONDecodeError, EventMalformed) as error:
        results.failures.append(Failure(undecoded(record, stream), DECODE, error))
        return None
    return value
