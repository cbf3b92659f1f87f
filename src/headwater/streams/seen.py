"""The streams of a registry as one reader sees them: a hidden stream gives the same error as an unknown one."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight, Visibility


class SeenStreams:
    """The streams of one registry as one reader sees them: hidden streams are unknown."""

    def __init__(self, registry: StreamRegistry, sight: Sight) -> None:
        self._registry = registry
        self.sight = sight

    @property
    def visibility(self) -> Visibility:
        return self._registry.visibility

    @property
    def sees_all(self) -> bool:
        """Whether no stream can be hidden from the reader."""
        return self.sight >= Sight.DECLARED or not (self.visibility.has_hidden or self._registry.families())

    def names(self, stream: Stream) -> bool:
        return self.visibility.names(stream, self.sight)

    def reads(self, stream: Stream) -> bool:
        return self.visibility.reads(stream, self.sight)

    def get(self, name: str) -> Stream:
        """The stream of this name. Raises StreamUnknown, with the same message for a hidden stream."""
        stream = self._registry.get(name)
        if not self.names(stream):
            raise self._registry.unknown(name)
        return stream

    def find(self, name: str) -> Stream | None:
        """As `get`, but None if there is none; it does not search for the nearest name, which is slow."""
        stream = self._registry.find(name)
        return stream if stream is not None and self.names(stream) else None

    def all(self) -> Sequence[Stream]:
        """The declared streams, without families, in order of declaration."""
        return [stream for stream in self._registry.all() if self.names(stream)]

    def families(self) -> Sequence[Stream]:
        """The families, in the order in which they are tried."""
        return [stream for stream in self._registry.families() if self.names(stream)]

    def entries(self) -> Sequence[Stream]:
        """Streams and families together, in order of declaration, without implied ones."""
        return [stream for stream in self._registry.entries() if self.names(stream)]

    def titles_hidden(self) -> frozenset[str]:
        """The titles of schemas that only hidden streams have."""
        streams = [*self._registry.all(), *self._registry.families()]
        known = {stream.schema_title for stream in streams if self.names(stream)}
        return frozenset(stream.schema_title for stream in streams if stream.schema_title) - known

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None
