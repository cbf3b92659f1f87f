"""Serves streams to clients: names become topics, limits are enforced, and equal requests share one live tail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater.config import ConsumptionConfig
from headwater.consumption.connection_limits import ConnectionLimits
from headwater.consumption.filter import Filter
from headwater.consumption.framing import Format, Framer, Render, Selection
from headwater.consumption.heartbeat import Heartbeat
from headwater.consumption.offset_ranges import OffsetRange, OffsetRanges
from headwater.consumption.reader import StreamReader
from headwater.consumption.redaction import redaction
from headwater.consumption.resume import Start, find_start
from headwater.consumption.subscription import topics_of
from headwater.consumption.tail import LiveTail
from headwater.errors import ConfigInvalid, KeyRequired, ScopeMissing, StreamUnknown
from headwater.log.contract import Log, TopicPartition
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight
from headwater.telemetry import Telemetry, bounded, closed

# A client that has received nothing for this many heartbeats is disconnected; a joined one gets less.
STALLED_HEARTBEATS_MAX = 4.0
BEHIND_HEARTBEATS_MAX = 1.0


def stall_seconds_max(heartbeat_seconds: float, *, is_behind: bool = False) -> float:
    """After this many seconds in which a client received nothing, its connection is dropped."""
    return heartbeat_seconds * (BEHIND_HEARTBEATS_MAX if is_behind else STALLED_HEARTBEATS_MAX)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What a client requests: which streams, in which form, from which position."""

    streams: tuple[Stream, ...]
    form: Format = "sse"
    filter: Filter | None = None
    canaries: bool = False
    last_event_id: str | None = None
    since: str | None = None
    render: Render | None = None
    # Whether ids are legacy arrays; None: as configured, and for clients that resume with one.
    legacy_ids: bool | None = None
    # Whether positions are sent in blocks without data, also if there is no event.
    positions: bool = False
    heartbeat_seconds: float | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        return topics_of(self.streams)


# Readers with equal keys are given the same bytes: topics, listed partitions, form, ids, filter, canaries, rendering.
TailKey = tuple[frozenset[str], frozenset[TopicPartition] | None, Format, bool, Filter | None, bool, Render | None]


@dataclass(slots=True, eq=False)
class Connection:
    """One client's reader and what has to be released when it disconnects."""

    reader: StreamReader
    wanted: StreamRequest
    key: TailKey
    # Drops the client's connection at once; set by its server.
    abort: Callable[[], None] | None = None
    is_aborted: bool = False
    # Whether the client may be given more; None: always. Asked before each piece that is sent.
    may_read: Callable[[], bool] | None = None


@dataclass(slots=True, eq=False)
class _Shared:
    tail: LiveTail
    readers: int = 0


class StreamHub:
    """Connects clients to streams. All methods belong to one event loop."""

    def __init__(
        self,
        log: Log,
        streams: StreamRegistry,
        config: ConsumptionConfig,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.admission = ConnectionLimits(config.connections_max, config.connections_per_address_max)
        self._log = log
        self._streams = streams
        self._clock = clock
        self._extents = OffsetRanges(log)
        self._redact = redaction(config.redacted_pages)
        self._tails: dict[TailKey, _Shared] = {}
        self._turns = asyncio.Lock()
        self._pulse = Heartbeat(log, self._live_tails, config.heartbeat_seconds, clock)
        self._connections: set[Connection] = set()
        self._aliases = _aliases(streams, config)
        self._watch: asyncio.Task[None] | None = None
        self._is_closed = False
        # The names of the first two are a contract with existing dashboards.
        self._connected = telemetry.gauge(
            "eventstreams_connected_clients", "Clients reading a stream now.", [bounded("stream")]
        )
        self._counted = telemetry.counter("eventstreams_client_connections", "Connections made.", [bounded("stream")])
        self._cut = telemetry.counter(
            "headwater_stream_cut", "Connections ended by the server for cause.", [closed("reason")]
        )

    @property
    def tails(self) -> int:
        """How many different requests are being served live."""
        return len(self._tails)

    @property
    def connections(self) -> frozenset[Connection]:
        """The current readers."""
        return frozenset(self._connections)

    def use_streams(self, streams: StreamRegistry) -> None:
        """Connect by these declarations from now on; connections there are stay as they are."""
        self._streams = streams
        self._aliases = _aliases(streams, self.config)

    def resolve(self, names: Sequence[str], sight: Sight = Sight.PUBLIC) -> tuple[Stream, ...]:
        """The streams of these names or aliases, each once. Raises StreamUnknown naming all that cannot be read.

        Streams that a reader with this `sight` may not read are unknown to it; if it may know the name, ScopeMissing is
        raised, and KeyRequired if the stream file requires a key.
        """
        found: dict[str, Stream] = {}
        unknown: list[str] = []
        for name in names:
            stream = self._find(name, sight)
            if stream is None and sight is Sight.DECLARED and self._find(name, Sight.EVENTS) is not None:
                raise ScopeMissing(f"{name} is not public.", hint="Read it with a key that has events:read.")
            if stream is None and (named := self._asks_for_key(name, sight)):
                raise KeyRequired(
                    f"The events of {named} are read with an API key that has the scope events:read.",
                    hint="Send it as `Authorization: Bearer …`.",
                )
            if stream is None:
                unknown.append(name)
            else:
                found[stream.name] = stream
        if unknown:
            raise StreamUnknown(f"Invalid streams: {','.join(unknown)}")
        return tuple(found.values())

    def readable(self) -> Sequence[Stream]:
        """The declared streams that are public here, by name."""
        found = (stream for stream in self._streams.all() if self._find(stream.name, Sight.PUBLIC) is stream)
        return sorted(found, key=lambda stream: stream.name)

    def aliases(self) -> dict[str, str]:
        """Alias to stream name."""
        return dict(self._aliases)

    async def connect(self, wanted: StreamRequest) -> Connection:
        """A connection whose reader is at the requested position. Call `disconnect` when done.

        Raises TokenInvalid, PositionLost, TopicUnknown, TimestampInvalid, ConfigInvalid (no topic exists),
        LogUnavailable.
        """
        offset_range = await self.offset_range(wanted)
        start = await find_start(
            self._log,
            offset_range,
            last_event_id=wanted.last_event_id,
            since=wanted.since,
            growing=self._asks_for_legacy(wanted),
            stops=self.config.on_replaced_log == "stop",
        )
        selection = Selection(wanted.filter, wanted.canaries, self._redact, wanted.render)
        listed = frozenset(start.position.offsets) if start.listed else None
        # Our token cannot distinguish partitions that were left out from those created later.
        legacy = start.listed or self._asks_for_legacy(wanted) or (wanted.legacy_ids is None and start.legacy)
        key: TailKey = (
            frozenset(wanted.topics),
            listed,
            wanted.form,
            legacy,
            wanted.filter,
            wanted.canaries,
            wanted.render,
        )
        shared = self._tails.get(key)
        if shared is None or shared.tail.failure is not None:
            shared = self._tails[key] = _Shared(self._new_tail(wanted, selection, offset_range, start, legacy=legacy))
            self._pulse.start()
        shared.readers += 1
        limit = self.config.connection_seconds_max
        heartbeat = self._heartbeat(wanted)
        self._pulse.beat_within(heartbeat)
        reader = StreamReader(
            self._log,
            shared.tail,
            Framer(wanted.form, selection, start.position, legacy=legacy, marks=self._extents.marks),
            start,
            look=lambda: self._extents.of(wanted.topics),
            heartbeat_seconds=heartbeat,
            positions=wanted.positions,
            ends_at=None if limit is None else self._clock() + limit,
            clock=self._clock,
        )
        return self._enter(Connection(reader, wanted, key))

    def _asks_for_legacy(self, wanted: StreamRequest) -> bool:
        return self.config.event_ids == "legacy" if wanted.legacy_ids is None else wanted.legacy_ids

    def _heartbeat(self, wanted: StreamRequest) -> float:
        """The requested heartbeat, within the configured limits."""
        if wanted.heartbeat_seconds is None:
            return self.config.heartbeat_seconds
        least, most = self.config.heartbeat_seconds_min, self.config.heartbeat_seconds_max
        return max(least, min(most, wanted.heartbeat_seconds))

    async def offset_range(self, wanted: StreamRequest) -> OffsetRange:
        """The requested topics that exist. Raises ConfigInvalid, or StreamUnknown for undeclared family members."""
        try:
            return await self._extents.of(wanted.topics)
        except ConfigInvalid:
            # A client can invent a name that a family matches; a missing topic is then not the operator's mistake.
            made_up = [stream.name for stream in wanted.streams if stream.family is not None]
            if made_up:
                raise StreamUnknown(f"Invalid streams: {','.join(made_up)}") from None
            raise

    async def disconnect(self, connection: Connection) -> None:
        """Give back what the connection held; idempotent."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        for stream in connection.wanted.streams:
            self._connected.labels(stream.name).dec()
        if connection.reader.error is not None:
            self._cut.labels(connection.reader.error.code).inc()
        connection.reader.finish()
        shared = self._tails.get(connection.key)
        if shared is not None and shared.tail is connection.reader.tail:
            shared.readers -= 1
            if shared.readers == 0:
                del self._tails[connection.key]
                await shared.tail.stop()

    async def close(self, *, grace_seconds: float = 1.0) -> None:
        """Accept no more, and end all connections with a last token; those that do not receive it are dropped."""
        self._is_closed = True
        for connection in self._connections:
            connection.reader.end()
        waited = 0.0
        while self._connections and waited < grace_seconds:
            await asyncio.sleep(0.02)
            waited += 0.02
        for connection in list(self._connections):
            self._abort(connection, "closing")
            await self.disconnect(connection)
        for shared in list(self._tails.values()):
            await shared.tail.stop()
        self._tails.clear()
        await self._pulse.stop()
        await self._extents.close()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _asks_for_key(self, name: str, sight: Sight) -> str | None:
        """The name of a stream whose file requires a key and which this reader may know of; None for others."""
        stream = self._find(name, Sight.EVENTS)
        if stream is None or stream.consumer_keys != "required" or not self._streams.visibility.names(stream, sight):
            return None
        return stream.name

    def _find(self, name: str, sight: Sight) -> Stream | None:
        # Not `get`, which looks for the nearest name: a request may name thousands.
        stream = self._streams.find(self._aliases.get(name, name))
        if stream is None:
            return None
        if not self._streams.visibility.reads(stream, sight):
            return None
        if sight >= Sight.EVENTS:
            return stream if stream.topics else None
        allowed = self.config.allowed_streams
        names = {stream.name, *(alias for alias, target in self._aliases.items() if target == stream.name)}
        return stream if stream.topics and (allowed is None or names & set(allowed)) else None

    def _new_tail(
        self, wanted: StreamRequest, selection: Selection, offset_range: OffsetRange, start: Start, *, legacy: bool
    ) -> LiveTail:
        end = {key: offset_range.next[key] for key in (start.position.offsets if start.listed else offset_range.next)}
        tail = LiveTail(
            self._log,
            Framer(wanted.form, selection, type(start.position)(end), legacy=legacy, marks=self._extents.marks),
            look=lambda: self._extents.of(wanted.topics),
            topics=() if start.listed else wanted.topics,
            ring_bytes_max=self.config.buffer_bytes_max,
            turns=self._turns,
        )
        tail.start()
        return tail

    def _live_tails(self) -> list[LiveTail]:
        return [shared.tail for shared in self._tails.values()]

    def _enter(self, connection: Connection) -> Connection:
        self._connections.add(connection)
        for stream in connection.wanted.streams:
            self._connected.labels(stream.name).inc()
            self._counted.labels(stream.name).inc()
        if self._is_closed:
            connection.reader.end()
        elif self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._abort_stalled(), name="stalled stream clients")
        return connection

    async def _abort_stalled(self) -> None:
        """Drop clients that receive nothing at all, as long as there are clients: no closing frame would arrive."""
        usual = self.config.heartbeat_seconds
        while self._connections:
            await asyncio.sleep(usual / 4)
            now = self._clock()
            for connection in list(self._connections):
                silent = now - connection.reader.given_at
                heartbeat = max(usual, connection.reader.heartbeat_seconds)
                if silent > stall_seconds_max(heartbeat, is_behind=connection.reader.is_behind):
                    self._abort(connection, "stalled")

    def _abort(self, connection: Connection, reason: str) -> None:
        if connection.abort is not None and not connection.is_aborted:
            connection.is_aborted = True
            self._cut.labels(reason).inc()
            connection.abort()


def _aliases(streams: StreamRegistry, config: ConsumptionConfig) -> dict[str, str]:
    """Aliases of the configuration, over those of the stream declarations."""
    declared: dict[str, str] = {}
    for stream in streams.all():
        names = stream.settings.get("stream_aliases") or ()
        declared.update({name: stream.name for name in names if isinstance(name, str)})
    return {**declared, **config.stream_aliases}
