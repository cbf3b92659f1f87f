"""What can become of an event at the door: admitted, then accepted; refused; or failed through no fault of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headwater.errors import Fault, HeadwaterError, LogUnavailable, TopicUnknown
from headwater.event import Event, decode_json
from headwater.log.contract import Placement, Record
from headwater.streams.stream import Stream

GONE_HINT = "`headwater apply` makes it again; then send the event again."


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """An event that the Gate admitted, ready to be appended; it holds bytes and no parsed tree.

    `duplicate_key` is set if a repeat can be recognised: the producer sent a `meta.id` and the stream deduplicates.
    `lead_ms`: how much later than its receipt the time in the event is.
    """

    record: Record
    stream: Stream
    event_id: str | None
    duplicate_key: str | None
    lead_ms: int = 0

    @property
    def encoded(self) -> bytes:
        return self.record.value

    @property
    def topic(self) -> str:
        return self.record.topic

    @property
    def key(self) -> bytes | None:
        return self.record.key

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        return self.record.headers


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event is durable. `placement` is None for a `duplicate`, which is already in the log."""

    admitted: Admitted
    placement: Placement | None
    duplicate: bool = False

    @property
    def event(self) -> Event:
        """The event as stored."""
        return Event.decode(self.admitted.encoded)

    @property
    def stream(self) -> Stream:
        return self.admitted.stream


@dataclass(frozen=True, slots=True)
class Refused:
    """The producer must repair the event. `event_value` is the event with automatic fields filled in.

    `legacy_errors` are the violations in EventGate's format; None unless `reason` is EventInvalid.
    """

    event_value: Any
    stream_name: str | None
    reason: HeadwaterError
    schema_uri: str | None = None
    legacy_errors: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        forget_where(self.reason)


@dataclass(frozen=True, slots=True)
class Failed:
    """The event is valid, or could not be validated, and was not stored; the same request may succeed later.

    `encoded` is the event as it would have been stored, or as it was received.
    """

    encoded: bytes
    stream_name: str | None
    reason: HeadwaterError

    def __post_init__(self) -> None:
        forget_where(self.reason)

    @property
    def event(self) -> Event:
        return Event.decode(self.encoded)


def forget_where(reason: HeadwaterError) -> None:
    """Remove from an error the frames it was raised in: they refer to the request, which refers to its outcomes."""
    reason.__traceback__ = reason.__context__ = reason.__cause__ = None


Outcome = Accepted | Refused | Failed
# The events of a request that were refused before they could be read, by their place in it.
Unreadable = Mapping[int, HeadwaterError]
NOTHING_UNREADABLE: Unreadable = {}


class Receipt(msgspec.Struct):
    """What became of one request: how many events, and those that are not in the log, by their place in the request."""

    count: int
    accepted: int = 0
    refused: list[tuple[int, Refused]] = []
    failed: list[tuple[int, Failed]] = []
    duplicates: list[int] = []

    def not_stored(self, index: int, one: Admitted, reason: HeadwaterError) -> None:
        """Note an event that the Gate admitted and the log did not store: for now, or because of the event itself."""
        if isinstance(reason, TopicUnknown):
            # The topic existed when the event was admitted, or was to be created: the producer cannot repair it.
            reason = LogUnavailable(reason.message, hint=GONE_HINT)
        if reason.fault is Fault.PRODUCER:
            self.refused.append((index, Refused(decode_json(one.encoded), one.stream.name, reason)))
        else:
            self.failed.append((index, Failed(one.encoded, one.stream.name, reason)))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the Gate would do with an event: `verdict` is `accepted` or `refused`; nothing was stored."""

    verdict: str
    event_value: Any
    stream: str | None
    topic: str | None = None
    key: str | None = None
    filled: Mapping[str, Any] | None = None
    reason: HeadwaterError | None = None
    legacy_errors: list[dict[str, Any]] | None = None


def outcomes(
    verdicts: Sequence[object], receipt: Receipt, placed: Sequence[tuple[list[int], Sequence[Placement]]]
) -> list[Outcome]:
    """One for each event of a request; `placed`: by place in the request, which of them each append placed where."""
    # The last placements of an append are those of its error events.
    placements = {index: where for indexes, append in placed for index, where in zip(indexes, append, strict=False)}
    found: dict[int, Outcome] = {**dict(receipt.refused), **dict(receipt.failed)}
    for index, verdict in enumerate(verdicts):
        if index not in found and isinstance(verdict, Admitted):
            placement = placements.get(index)
            found[index] = Accepted(verdict, placement, duplicate=placement is None)
    return [found[index] for index in range(len(verdicts))]
