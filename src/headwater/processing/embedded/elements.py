"""Decodes records of a log into the elements that steps process, with their event time and lineage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson

from headwater.connectors.contract import Delivery
from headwater.errors import EventMalformed
from headwater.event import CANARY_DOMAIN, decode_stored, get_path
from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import StoredRecord
from headwater.log.event_time import event_time_of
from headwater.processing.embedded.watermark import Seen
from headwater.streams.stream import Stream


def place_of(record: StoredRecord) -> str:
    """Where a record is in the log: `topic/partition/offset`."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def undecoded(record: StoredRecord, stream: Stream) -> Element:
    """An element for a record of which only the bytes are known."""
    return Element(None, record.timestamp_ms, place_of(record), stream.name, record.value)


def delivery_of(element: Element) -> Delivery:
    """What a sink is given of an element."""
    event_id = get_path(element.value, "meta.id")
    return Delivery(element.value, event_id if isinstance(event_id, str) else None, element.stream)


def elements_of(
    records: Sequence[StoredRecord],
    streams: Mapping[str, Stream],
    saw: Callable[[Seen], None],
    results: Results,
    *,
    now_ms: int,
    canaries: bool,
) -> list[Element]:
    """The elements of `records`; `saw` is called with the partition, time and bytes of each event. `streams` by topic.

    Tombstones are left out, and canaries unless the job wants them; bytes that are not an event are failures.
    """
    elements = []
    for record in records:
        if not record.value:
            # A tombstone of another tool, to delete its key; events are never empty.
            continue
        stream = streams[record.topic]
        try:
            value = decode_stored(record.value, record.headers)
            if not isinstance(value, dict):
                raise EventMalformed("The record is not a JSON object.")
        except (orjson.JSONDecodeError, EventMalformed) as error:
            results.failures.append(Failure(undecoded(record, stream), "decode", error))
            continue
        if not canaries and get_path(value, "meta.domain") == CANARY_DOMAIN:
            continue
        at = event_time_of(record, stream.event_time_field, value, now_ms=now_ms)
        saw(((record.topic, record.partition), at, record.value))
        event_id = get_path(value, "meta.id")
        lineage_id = event_id if isinstance(event_id, str) else place_of(record)
        elements.append(Element(value, at, lineage_id, stream.name, record.value, value))
    return elements
