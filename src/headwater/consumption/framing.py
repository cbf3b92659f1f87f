"""How one stored record becomes bytes on the wire, made once for all clients with equal requests."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import orjson

from headwater.consumption.filter import Filter
from headwater.consumption.large_record import LARGE_BYTES, NotPlain, text_of
from headwater.consumption.redaction import Redact
from headwater.errors import LogCorrupt
from headwater.event import CANARY_DOMAIN, decode_stored, encode_json
from headwater.log.contract import TOKEN_PREFIX, Position, StoredRecord, TopicPartition
from headwater.log.token_marks import marked

Format = Literal["sse", "json"]
Notice = Literal["error", "position-lost"]
# How long frames are made before other tasks run, and after how many events the clock is read.
SLICE_SECONDS = 0.003
LOOKED_AT_CLOCK = 4
# No stream file declares names that begin so.
NOTICE_STREAM = "headwater.notice"
# Where an entry of a legacy array names the log.
LEGACY_MARK = "log"
Keys = tuple[TopicPartition, ...]
# Makes another document of an event that is to be delivered; hashable, since equal ones share their frames.
Render = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events of its topics a subscription wants, and what is withheld from them."""

    filter: Filter | None = None
    canaries: bool = False
    redact: Redact | None = None
    render: Render | None = None

    def value_of(self, record: StoredRecord) -> Any:
        """The event as its reader sees it, or None if the reader does not get it.

        Adds `meta.topic`, `meta.partition`, `meta.offset` and, for keyed records, `meta.key` (contract intake §5).
        Redaction comes before the filter, or the filter would reveal what redaction withholds.
        """
        try:
            value = decode_stored(record.value, record.headers)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(value, dict):
            return value if isinstance(value, list) and self.filter is None else None
        meta = value.get("meta")
        if not isinstance(meta, dict):
            meta = value["meta"] = {}
        if not self.canaries and meta.get("domain") == CANARY_DOMAIN:
            return None
        if self.redact is not None:
            self.redact(value)
        meta["topic"] = record.topic
        meta["partition"] = record.partition
        meta["offset"] = record.offset
        if record.key is not None:
            meta["key"] = record.key.decode("utf-8", "replace")
        if self.filter is not None and not self.filter.matches(value):
            return None
        return value if self.render is None else self.render(value)

    def text_of(self, record: StoredRecord) -> bytes | None:
        """`value_of` as JSON text."""
        # What is withheld or rendered may be anywhere in the event.
        if len(record.value) > LARGE_BYTES and self.redact is None and self.render is None:
            with contextlib.suppress(NotPlain):
                return text_of(record, self.filter, canaries=self.canaries)
        value = self.value_of(record)
        return None if value is None else _encoded(value)


class TokenWriter:
    """Writes the token after each record, changing only the one number that changed.

    Gives exactly `Position.token()`, or with `legacy` the JSON array of topics, partitions and offsets that clients of
    EventStreams read. `marks` name the log of each topic (`headwater.log.token_marks`).
    """

    def __init__(self, position: Position, *, legacy: bool = False, marks: Mapping[str, str] | None = None) -> None:
        keys = sorted(position.offsets)
        self._parts: list[bytes] = []
        self._slots: dict[TopicPartition, int] = {}
        previous: str | None = None
        for topic, partition in keys:
            mark = (marks or {}).get(topic)
            self._parts.append(_lead(topic, partition, previous, mark, legacy=legacy))
            self._slots[topic, partition] = len(self._parts)
            self._parts.append(b"%d" % position.offsets[topic, partition])
            previous = topic
        self._parts.append(b"}]" if legacy else b"")
        if not keys:
            self._parts = [b"[]" if legacy else TOKEN_PREFIX.encode()]

    def token(self) -> bytes:
        return b"".join(self._parts)

    def after(self, record: StoredRecord) -> bytes:
        """Move past `record`; the token of the new position."""
        self._parts[self._slots[record.topic, record.partition]] = b"%d" % (record.offset + 1)
        return b"".join(self._parts)


def _lead(topic: str, partition: int, previous: str | None, mark: str | None, *, legacy: bool) -> bytes:
    if legacy:
        opening = b"[{" if previous is None else b"},{"
        log = b'"%b":"%b",' % (LEGACY_MARK.encode(), mark.encode()) if mark else b""
        return opening + b'"topic":%b,"partition":%d,%b"offset":' % (orjson.dumps(topic), partition, log)
    if topic == previous:
        return b",%d=" % partition
    start = marked(Position({(topic, 0): 0}).token(), {topic: mark} if mark else {}).rpartition("0=0")[0].encode()
    return (start if previous is None else start.removeprefix(TOKEN_PREFIX.encode())) + b"%d=" % partition


@dataclass(frozen=True, slots=True)
class Chunk:
    """Ready bytes: the frames of `events` events, and where a reader is once it has them.

    `last_token` is the token in the last of the frames: `token` is further where what came after it is not wanted here.
    """

    data: bytes
    events: int
    position: Position
    token: bytes
    last_token: bytes


class Framer:
    """Turns records into the frames of one format. Not shared between readers: it remembers their position."""

    def __init__(
        self,
        form: Format,
        selection: Selection,
        position: Position,
        *,
        legacy: bool = False,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        """`marks` may change; what they are counts when the framer is moved."""
        self.form = form
        self._chosen = selection
        self._legacy = legacy
        self._marks = marks
        self._offsets: dict[TopicPartition, int] = {}
        self.move(position)

    @property
    def token(self) -> bytes:
        return self._writer.token()

    @property
    def position(self) -> Position:
        return Position(dict(self._offsets))

    def move(self, position: Position) -> None:
        """Continue from `position`, which may follow other partitions than before."""
        self._offsets = dict(position.offsets)
        self._writer = TokenWriter(position, legacy=self._legacy, marks=self._marks)

    def frames(self, records: Sequence[StoredRecord]) -> Chunk:
        """The frames of those records this reader wants; the position passes all of them."""
        return self.some_frames(records, 0, math.inf)[0]

    def some_frames(
        self, records: Sequence[StoredRecord], start: int, seconds_max: float = SLICE_SECONDS
    ) -> tuple[Chunk, int]:
        """As `frames`, for the records from `start` on and for about this long; and where to continue."""
        offsets, after, text_of, sse = self._offsets, self._writer.after, self._chosen.text_of, self.form == "sse"
        parts: list[bytes] = []
        last_token, until, end = b"", time.perf_counter() + seconds_max, start
        for end, record in enumerate(islice(records, start, None), start + 1):
            offsets[record.topic, record.partition] = record.offset + 1
            token = after(record)
            text = text_of(record)
            if text is not None:
                last_token = token
                parts.append(b"event: message\nid: %b\ndata: %b\n\n" % (token, text) if sse else text + b"\n")
            if end % LOOKED_AT_CLOCK == 0 and time.perf_counter() > until:
                break
        return Chunk(b"".join(parts), len(parts), self.position, self._writer.token(), last_token), end

    def notice(self, kind: Notice, token: bytes, details: Mapping[str, Any]) -> bytes:
        """A notice that is not an event of a stream: an SSE event of another type, or a line in the form of an event.

        The line names a stream that cannot be declared, and the position to resume from.
        """
        if self.form == "sse":
            return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), token, orjson.dumps(details))
        position = token.decode()
        meta = {"stream": NOTICE_STREAM, "id": f"{kind} {position}"}
        value = {"meta": meta, "notice": kind, "last_event_id": position, **details}
        render = self._chosen.render
        return orjson.dumps(value if render is None else render(value)) + b"\n"

    def damaged(self, error: LogCorrupt) -> bytes:
        """The notice of records that cannot be read, and were skipped."""
        details: dict[str, Any] = {"code": error.code, "message": str(error), "retriable": error.retriable}
        if error.damaged is not None:
            details |= error.damaged._asdict()
        return self.notice("error", self.token, details)


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return encode_json(value)


def opening(form: Format, token: bytes, retry_ms: int, *, positions: bool = False) -> bytes:
    """The first bytes, sent at once. With `positions` they have a token, so that a client that is disconnected before
    its first event resumes where it began instead of at a later end.

    Without, no empty line follows: lenient readers treat every block that ends in one as a message.
    """
    if form != "sse":
        return b"\n"
    return b":ok\n\nretry: %d\nid: %b\n\n" % (retry_ms, token) if positions else b":ok\nretry: %d\n" % retry_ms


def heartbeat(form: Format, token: bytes | None) -> bytes:
    """Something to see that the connection lives: a comment, without an empty line for the same reason.

    With a token, it is a block that also passes what was filtered out: an SSE client takes an `id` without data as its
    last event id and dispatches nothing.
    """
    if form != "sse":
        return b"\n"
    return b":\nid: %b\n\n" % token if token is not None else b":\n"


def below(records: Sequence[StoredRecord], limit: Position) -> Iterator[StoredRecord]:
    """Those records that lie before `limit`."""
    offsets = limit.offsets
    return (record for record in records if record.offset < offsets.get((record.topic, record.partition), 0))
