"""How an element travels between two operators of a Flink job: as bytes, which give the same element again.

How this works: an element may hold anything that a function of the job returned: tuples, windows, numbers with more
digits than a double, objects of the job's own classes. It is therefore pickled, not written as JSON; the event and its
source are pickled together, so that a value which *is* the source still is after the exchange. Both ends run the same
code of the same job, which is loaded before anything is decoded. Nothing encoded here is kept in a savepoint.
"""

from __future__ import annotations

import pickle
from typing import NamedTuple

from headwater.errors import JobInvalid
from headwater.foreign import contain, described
from headwater.jobs.steps import Element
from headwater.log.contract import StoredRecord

_PROTOCOL = 5


class Travelling(NamedTuple):
    """An element on its way. `resume`: the step with which it continues, if it failed there before and is redriven."""

    element: Element
    resume: str | None = None


def encode_element(element: Element, resume: str | None = None) -> bytes:
    """The element as bytes. Raises JobInvalid for a value that no other process could be given."""
    record = element.record
    place = (
        None
        if record is None
        else (
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
            record.key,
            record.headers,
            record.value,
        )
    )
    parts = (
        element.value,
        element.event_time_ms,
        element.lineage_id,
        element.stream,
        place,
        element.source,
        element.to,
        resume,
    )
    try:
        return pickle.dumps(parts, _PROTOCOL)
    except BaseException as error:  # an object of the job's own class runs its code
        contain(error)
        raise JobInvalid(
            f"On Flink, what a function returns may be processed elsewhere, and {type(element.value).__name__} cannot"
            f" be passed on: {described(error)}",
            hint="Return JSON values, or objects that pickle takes.",
        ) from error


def decode_element(data: bytes) -> Travelling:
    """What `encode_element` gave these bytes of. Only for bytes of the same job: unpickling runs code."""
    value, event_time_ms, lineage_id, stream, place, source, to, resume = pickle.loads(data)
    record = None if place is None else StoredRecord(*place)
    return Travelling(Element(value, event_time_ms, lineage_id, stream, record, source, to), resume)
