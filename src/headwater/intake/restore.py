"""Reads back from the log what was accepted and refused just before a restart: ids of events, and the last outcomes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import msgspec

from headwater.intake.error_event import UNKNOWN
from headwater.intake.recent import Recalled
from headwater.log.contract import LogReader, Position

RECALLED_MAX = 20_000


class _Meta(msgspec.Struct):
    id: Any = None


class _Identified(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Refusal(msgspec.Struct):
    errored_stream_name: str = UNKNOWN
    message: str = ""
    raw_event: str = ""


async def duplicate_keys(
    log: LogReader, topics: Sequence[str], since_ms: int, seconds_max: float
) -> AsyncIterator[list[str]]:
    """The keys (see `Admitted.duplicate_key`) of what was received since, oldest first, for `seconds_max` at most."""
    position: Position = await log.at(topics, since_ms)
    decoder = msgspec.json.Decoder(_Identified)
    give_up = time.monotonic() + seconds_max
    while time.monotonic() < give_up:
        records = await log.read(position)
        if not records:
            return
        keys = []
        for record in records:
            position = position.after(record)
            try:
                event_id = decoder.decode(record.value).meta.id
            except msgspec.DecodeError:
                continue
            if isinstance(event_id, str) and event_id.strip():
                keys.append(f"{record.topic} {event_id}")
        yield keys


async def recent_outcomes(
    log: LogReader, streams: Mapping[str, str], error_topics: Collection[str], since_ms: int, seconds_max: float
) -> list[Recalled]:
    """What was accepted into these topics (topic → stream) and refused since, oldest first.

    At most `RECALLED_MAX` of the newest, and as many as can be read in `seconds_max`. Raises LogUnavailable.
    """
    topics = [*streams, *error_topics]
    start, end = (await log.at(topics, since_ms)).offsets, (await log.last(topics)).offsets
    behind = {place: end[place] - offset for place, offset in start.items() if end.get(place, 0) > offset}
    share = RECALLED_MAX // max(1, len(behind))
    position = Position({place: end[place] - min(count, share) for place, count in behind.items()})
    give_up = time.monotonic() + seconds_max
    found: list[Recalled] = []
    while position.offsets and time.monotonic() < give_up:
        records = await log.read(position)
        if not records:
            break
        for record in records:
            position = position.after(record)
            at = record.timestamp_ms / 1000
            if record.topic in error_topics:
                found.append(_refused(at, record.value))
            else:
                found.append(Recalled(at, streams[record.topic], record.value))
    return sorted(found, key=lambda one: one.at)


def _refused(at: float, value: bytes) -> Recalled:
    """The refusal that an error event tells of."""
    try:
        event = msgspec.json.decode(value, type=_Refusal)
    except msgspec.DecodeError:
        event = _Refusal()
    stream = None if event.errored_stream_name == UNKNOWN else event.errored_stream_name
    return Recalled(at, stream, event.raw_event.encode("utf-8", "replace"), event.message)
