"""The tokens of jobs that read another system: entries of a position whose topics are no topics of a log."""

from __future__ import annotations

from headwater.log.contract import Position

# The connector and its token; the offset is the number of its next delivery.
TOKEN_ENTRY = "source/"
# Begin at a time; the offset is the time.
TIME_ENTRY = "source-from/"


def from_time(timestamp_ms: int) -> Position:
    """The position of a source that is to begin at a time (epoch, UTC)."""
    return Position({(TIME_ENTRY, 0): timestamp_ms})
