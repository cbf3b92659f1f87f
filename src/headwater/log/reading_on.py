"""Reading that skips damaged and removed records, for callers that want what is left rather than everything."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.errors import LogCorrupt, PositionLost
from headwater.log.contract import LogReader, Position, StoredRecord


async def read_on(
    log: LogReader, position: Position, *, records_max: int = 1000, bytes_max: int = 4_194_304
) -> tuple[Sequence[StoredRecord], Position]:
    """The next records that can be read, and the position after them; [] at the end.

    Damaged records, and those removed in the meantime, are skipped: the log itself reports damage. Raises
    LogUnavailable, and LogCorrupt if the log does not know how far the damage extends.
    """
    while True:
        try:
            records = await log.read(position, records_max=records_max, bytes_max=bytes_max)
        except (LogCorrupt, PositionLost) as error:
            position = passed(position, error)
            continue
        offsets = dict(position.offsets)
        for record in records:
            offsets[record.topic, record.partition] = record.offset + 1
        return records, Position(offsets)


def passed(position: Position, error: LogCorrupt | PositionLost) -> Position:
    """Where to resume after `error`. Raises it if that is unknown, or would be further back."""
    if isinstance(error, LogCorrupt):
        found = error.damaged
        later = {} if found is None else {(found.topic, found.partition): found.last_offset + 1}
    else:
        later = dict(Position.parse(error.earliest).offsets) if error.earliest else {}
    moved = {place: at for place, at in later.items() if at > position.offsets.get(place, at)}
    if not moved:
        raise error
    return Position({**position.offsets, **moved})
