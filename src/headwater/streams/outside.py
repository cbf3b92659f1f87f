"""Which streams take events from outside: all but those that the platform itself writes, unless their file allows it.

How this works: error streams and what jobs write (outputs, late events, errors) drive alarms, replays and tables, so a
producer that could post there would make them up. A stream that writes into a topic of such a stream, under whatever
name, is closed as well. `producers: {external: …}` of the stream file decides otherwise, both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.errors import StreamClosed
from headwater.streams.stream import Stream
from headwater.streams.visibility import Access, is_error_stream


class OutsideEvents:
    """Which streams of one registry take events of producers. `find` gives a stream by name."""

    def __init__(self, streams: Sequence[Stream], find: Callable[[str], Stream | None], access: Access) -> None:
        self._access = access
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

    def _is_own(self, stream: Stream) -> bool:
        return is_error_stream(stream, self._access) or bool(self._access.writers(stream.name))
