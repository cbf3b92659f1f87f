"""What a connector has read as elements: its bytes decoded as those of producers are, and identified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.errors import EventMalformed
from headwater.event import CANARY_DOMAIN, decode_event, get_path
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import StoredRecord
from headwater.processing.embedded.connected.deliveries import STREAM_HEADER, input_topic
from headwater.processing.embedded.elements import redriven_elements, undecoded
from headwater.processing.failures.causes import DECODE
from headwater.processing.failures.recording import place_of
from headwater.processing.failures.redriven import redriven_of
from headwater.streams.stream import Stream


def arrivals(
    records: Sequence[StoredRecord],
    streams: Mapping[str, Stream],
    results: Results,
    *,
    now_ms: int,
    job: Job,
) -> list[Element]:
    """The elements of `records`, each for one of `streams`, by name; bytes that are not an event are failures.

    Canaries are left out unless the job wants them. A record of another topic is a redriven event.
    """
    elements: list[Element] = []
    topic = input_topic(job)
    for record in records:
        if not record.value:
            # It carries the position of an upstream that has no events.
            continue
        if record.topic != topic:
            again = redriven_of(record)
            for element in redriven_elements(record, streams, job, results, now_ms=now_ms):
                # The id of an event without one is derived from what identified it at first.
                element.lineage_id = (again and again.lineage_id) or element.lineage_id
                elements.append(element)
            continue
        stream = streams[stream_of(record)]
        try:
            value, _, _ = decode_event(record.value)
            if not isinstance(value, dict):
                raise EventMalformed("It is not a JSON object.")
        except EventMalformed as error:
            results.failures.append(Failure(arrived(record, stream), DECODE, error))
            continue
        if not job.canaries and get_path(value, "meta.domain") == CANARY_DOMAIN:
            continue
        item = arrived(record, stream)
        item.value = item.source = value
        elements.append(item)
    return elements


def arrived(record: StoredRecord, stream: Stream) -> Element:
    """An element for a delivery of which only the bytes are known."""
    element = undecoded(record, stream)
    element.lineage_id = record.key.decode() if record.key is not None else place_of(record)
    return element


def stream_of(record: StoredRecord) -> str:
    """The stream that a delivery is for."""
    return next(content for name, content in record.headers if name == STREAM_HEADER).decode()
