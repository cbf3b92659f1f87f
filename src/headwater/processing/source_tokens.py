"""The tokens of jobs that read another system: entries of a position whose topics are no topics of a log."""

from __future__ import annotations

from headwater.log.contract import Position

# The connector and its token; the offset is the number of its next delivery.
TOKEN_ENTRY = "source/"
# Begin at a time; the offset is the time.
TIME_ENTRY = "source-from/"
# Begin after a position of the upstream, which follows; the offset has no meaning.
POSITION_ENTRY = "source-after/"


def is_foreign(topic: str) -> bool:
    """Whether this is no topic of a log, but where a job is in another system."""
    return topic.startswith((TOKEN_ENTRY, TIME_ENTRY, POSITION_ENTRY))


def delivered(position: Position) -> int | None:
    """How many deliveries of another system were processed; None if it has processed none."""
    return next((number for (topic, _), number in position.offsets.items() if topic.startswith(TOKEN_ENTRY)), None)


def from_time(timestamp_ms: int) -> Position:
    """The position of a source that is to begin at a time (epoch, UTC)."""
    return Position({(TIME_ENTRY, 0): timestamp_ms})


def from_position(position: str) -> Position:
    """The position of a source that is to begin after a position of its upstream."""
    return Position({(f"{POSITION_ENTRY}{position}", 0): 0})
