"""Which streams accept events from outside: all except those that the platform writes, unless their file allows it.

How this works: error streams and the streams that jobs write (outputs, late events, errors) drive alerts, replays and
tables, so a producer that could post there could forge them. A stream that shares a topic with such a stream is closed
as well, whatever its name. `producers: {external: …}` in the stream file overrides this, both ways. Whether a producer
needs an API key is set by `producers: {keys: …}`, or by the configuration.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from headwater.errors import KeyRequired, StreamClosed
from headwater.streams.stream import Stream
from headwater.streams.visibility import Access, is_error_stream


class KeysOfSenders(enum.Enum):
    """Which producers need an API key: none, those of some streams, or all."""

    NEVER = 0
    SOMETIMES = 1
    ALWAYS = 2


class OutsideEvents:
    """Which streams of one registry accept events of producers. `find` returns a stream by name."""

    def __init__(self, streams: Sequence[Stream], find: Callable[[str], Stream | None], access: Access) -> None:
        self._access = access
        self._find = find
        asked = {access.sends_with_key, *map(access.asks_sender, streams)}
        self.keys = (
            KeysOfSenders.SOMETIMES
            if len(asked) > 1
            else KeysOfSenders.ALWAYS
            if access.sends_with_key
            else KeysOfSenders.NEVER
        )
        known = {stream.name: stream for stream in streams if not stream.is_family}
        for name in (*access.error_streams, *(name for flow in access.flows for name in flow.written)):
            if name not in known and (found := find(name)) is not None:
                known[name] = found
        self._topics = frozenset(
            topic
            for stream in known.values()
            if stream.external is None and self._is_own(stream)
            for topic in stream.topics
        )

    def check(self, stream: Stream, topic: str) -> None:
        """Raise StreamClosed if an event from outside may not be written to `topic` as an event of `stream`."""
        if stream.external is True:
            return
        if stream.external is False:
            raise StreamClosed(
                f"{stream.name} accepts no events from outside.",
                hint="Its stream file has `producers: {external: false}`.",
            )
        if self._is_own(stream) or topic in self._topics:
            raise StreamClosed(
                f"{stream.name} accepts no events from outside: only the platform itself writes to it.",
                hint="Post to another stream, or allow this with `producers: {external: true}` in the stream file.",
            )

    def check_key(self, stream_name: object) -> None:
        """Raise KeyRequired if events for this stream, declared or not, need an API key and this one was sent without.

        The error is the same for all streams, so that it does not reveal which exist.
        """
        stream = self._find(stream_name) if isinstance(stream_name, str) else None
        if self._access.asks_sender(stream):
            raise KeyRequired(
                "An API key with the scope events:write is required to send events here.",
                hint="Send it as `Authorization: Bearer …`; `headwater keys create --scope events:write` makes one.",
            )

    def _is_own(self, stream: Stream) -> bool:
        writers = self._access.writers(stream.name)
        return is_error_stream(stream, self._access) or any(not flow.is_connector for flow in writers)
