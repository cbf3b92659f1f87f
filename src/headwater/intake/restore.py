"""Reads back from the log which events were accepted just before a restart, so that a repeat is still recognised."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from headwater.log.contract import LogReader, Position


class _Meta(msgspec.Struct):
    id: Any = None


class _Identified(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)


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
            if isinstance(event_id, str):
                keys.append(f"{record.topic} {event_id}")
        yield keys
