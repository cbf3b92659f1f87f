"""Reads back from the log what was accepted and refused just before a restart: ids of events, and the last outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import msgspec

from headwater.intake.error_event import UNKNOWN
from headwater.intake.event_key import event_key, topic_mark
from headwater.intake.gate import RESERVED_PREFIX, Gate
from headwater.intake.recent import Recalled
from headwater.log.contract import LogReader, Position
from headwater.log.reading_on import read_on

RECALLED_MAX = 20_000
READ_RECORDS = 4_000
READ_BYTES = 8_388_608


class _Meta(msgspec.Struct):
    id: Any = None


class _Identified(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Refusal(msgspec.Struct):
    errored_stream_name: str = UNKNOWN
    message: str = ""
    raw_event: str = ""


async def topics_remembered(log: LogReader, gate: Gate) -> list[str]:
    """The topics in which repeats are recognised: those of streams, and of members of families that were met before."""
    declared = [*gate.streams.all(), gate.built_in.stream]
    names = {topic: stream.deduplicate for stream in declared for topic in stream.topics}
    prefix = gate.settings.topic_prefix
    for info in await log.topics():
        name = info.name.removeprefix(prefix)
        if info.name in names or not info.name.startswith(prefix) or name.startswith(RESERVED_PREFIX):
            continue
        stream = gate.streams.find(name)
        names[info.name] = not gate.settings.enforce_streams if stream is None else stream.deduplicate
    return [topic for topic, wanted in names.items() if wanted]


async def duplicate_keys(
    log: LogReader, topics: Sequence[str], since_ms: int, until_ms: int, ids_max: int
) -> AsyncIterator[list[str]]:
    """The keys (see `Admitted.duplicate_key`) of what was received since, oldest first; about the newest `ids_max`.

    All of them, even if that takes long: a client whose response was lost repeats the newest ones. Damaged records are
    skipped. Raises LogUnavailable.
    """
    end = await log.last(topics)
    position = await _newest(log, topics, (since_ms, until_ms), end, ids_max)
    decoder = msgspec.json.Decoder(_Identified)
    while behind := {place: at for place, at in position.offsets.items() if at < end.offsets.get(place, 0)}:
        records, position = await read_on(log, Position(behind), records_max=READ_RECORDS, bytes_max=READ_BYTES)
        if not records:
            return
        keys = []
        for record in records:
            try:
                event_id = decoder.decode(record.value).meta.id
            except msgspec.DecodeError:
                continue
            if isinstance(event_id, str) and event_id.strip():
                keys.append(event_key(topic_mark(record.topic), event_id))
        yield keys
        # On a log in this process a read may not yield to the event loop.
        await asyncio.sleep(0)


async def _newest(
    log: LogReader, topics: Sequence[str], times_ms: tuple[int, int], end: Position, records_max: int
) -> Position:
    """Where about the newest `records_max` records between these times begin; rather a few more than half of them."""
    early_ms, late_ms = times_ms
    position = await log.at(topics, early_ms)
    while _distance(position, end) > records_max and late_ms - early_ms > 1:
        middle_ms = (early_ms + late_ms) // 2
        looked = await log.at(topics, middle_ms)
        if _distance(looked, end) >= records_max // 2:
            early_ms, position = middle_ms, looked
        else:
            late_ms = middle_ms
    return position


def _distance(position: Position, end: Position) -> int:
    return sum(max(0, end.offsets.get(place, at) - at) for place, at in position.offsets.items())


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
        records, position = await read_on(log, position)
        if not records:
            break
        for record in records:
            at = record.timestamp_ms / 1000
            if record.topic in error_topics:
                found.append(_refused(at, record.value))
            else:
                found.append(Recalled(at, streams[record.topic], record.value))
    return sorted(found, key=lambda one: one.at)


def _refused(at: float, value: bytes) -> Recalled:
    """The refusal that an error event reports."""
    try:
        event = msgspec.json.decode(value, type=_Refusal)
    except msgspec.DecodeError:
        event = _Refusal()
    stream = None if event.errored_stream_name == UNKNOWN else event.errored_stream_name
    return Recalled(at, stream, event.raw_event.encode("utf-8", "replace"), event.message)
