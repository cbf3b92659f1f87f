"""Which streams take events from outside: all but those that the platform itself writes, unless their file allows it.

How this works: error streams and what jobs write (outputs, late events, errors) drive alarms, replays and tables, so a
producer that could post there would make them up. A stream that writes into a topic of such a stream, under whatever
name, is closed as well. `producers: {external: …}` of the stream file decides otherwise, both ways. Whether a sender
needs an API key is said by `producers: {keys: …}`, or by the configuration.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from headwater.errors import KeyRequired, StreamClosed
from headwater.streams.stream import Stream
from headwater.streams.visibility import Access, is_error_stream


class KeysOfSenders(enum.Enum):
    """Whether those who send events need an API key: nobody, those to some streams, or everybody."""

    NEVER = 0
    SOMETIMES = 1
    ALWAYS = 2


class OutsideEvents:
    """Which streams of one registry take events of producers. `find` gives a stream by name."""

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
        """Raise StreamClosed where an event from outside may not be written to `topic` as one of `stream`."""
        if stream.external is True:
            return
        if stream.external is False:
            raise StreamClosed(
                f"{stream.name} takes no events from outside.",
                hint="Its stream file says so with `producers: {external: false}`.",
            )
        if self._is_own(stream) or topic in self._topics:
            raise StreamClosed(
                f"{stream.name} takes no events from outside: the platform itself writes what is stored there.",
                hint="Post to another stream; or allow it with `producers: {external: true}` in the stream file.",
            )

    def check_key(self, stream_name: object) -> None:
        """Raise KeyRequired where an event that was sent without a key may not be for this stream, declared or not.

        It says the same of all streams, so that nobody learns which there are.
        """
        stream = self._find(stream_name) if isinstance(stream_name, str) else None
        if self._access.asks_sender(stream):
            raise KeyRequired(
                "Events are sent here with an API key that has the scope events:write.",
                hint="Send it as `Authorization: Bearer …`; `headwater keys create --scope events:write` makes one.",
            )

    def _is_own(self, stream: Stream) -> bool:
        return is_error_stream(stream, self._access) or bool(self._access.writers(stream.name))
