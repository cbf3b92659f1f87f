"""Finds the stream of a name: exact names first, then families in their order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.declaration import nearest
from headwater.errors import StreamUnknown
from headwater.streams import matching as legacy
from headwater.streams.files import read_layers
from headwater.streams.layers import Entry, Layer, Scope, StreamLayers
from headwater.streams.outside import OutsideEvents
from headwater.streams.stream import Stream
from headwater.streams.visibility import Access, Sight, Visibility

# Names come from producers: the cache of them is bounded.
MEMBERS_REMEMBERED_MAX = 4096
HINTS_REMEMBERED_MAX = 1024
EVERYBODY = Scope()


class StreamRegistry:
    """The declared streams as one scope sees them. Immutable: a change makes a new registry.

    `get` is on the intake's hot path: one dict lookup for a declared name.
    """

    def __init__(
        self,
        streams: Iterable[Stream] = (),
        *,
        layers: StreamLayers | None = None,
        scope: Scope = EVERYBODY,
        access: Access | None = None,
    ) -> None:
        """A registry of these streams, or of those `scope` sees in `layers`. Raises ConfigInvalid for a duplicate name.

        With `access`, hints name no hidden stream; without it they are for people who have the files.
        """
        self.layers = layers or StreamLayers.of_entries(Entry.of_stream(stream) for stream in streams)
        self.scope = scope
        self.access = access
        self._entries = tuple(self.layers.streams(scope))
        self._streams = {stream.name: stream for stream in self._entries if not stream.is_family}
        self._families = {stream.name: stream for stream in self._entries if stream.is_family}
        self._known = dict(self._streams)
        self._hint = functools.lru_cache(maxsize=HINTS_REMEMBERED_MAX)(self._make_hint)

    @classmethod
    def load(cls, path: Path, defaults: Mapping[str, Any] | None = None, scope: Scope = EVERYBODY) -> StreamRegistry:
        """Read a directory of stream files, or one file of many. Raises ConfigInvalid with file and line.

        `defaults` has the structure of a `defaults.yaml`, and the directory's own defaults override it.
        """
        return cls(layers=read_layers(path, defaults), scope=scope)

    def seen_from(self, scope: Scope) -> StreamRegistry:
        """The same declarations as another scope sees them: a site, a realm, a time. Raises ConfigInvalid.

        Streams that are hidden from this scope are hidden from the other one, too.
        """
        if scope == self.scope:
            return self
        access = dataclasses.replace(self.access or Access(), hidden=self.visibility.hidden)
        return StreamRegistry(layers=self.layers, scope=scope, access=access)

    def revised(self, revisions: Iterable[Layer]) -> StreamRegistry:
        """The same declarations with these revisions, for the same scope. Raises ConfigInvalid."""
        return StreamRegistry(layers=self.layers.with_revisions(revisions), scope=self.scope, access=self.access)

    def extended(self, streams: Iterable[Stream]) -> StreamRegistry:
        """The same with these implied streams added. Raises ConfigInvalid for a duplicate name."""
        added = self.layers.with_entries(Entry.of_stream(stream, implied=True) for stream in streams)
        return StreamRegistry(layers=added, scope=self.scope, access=self.access)

    def with_access(self, access: Access) -> StreamRegistry:
        """The same streams, with what is known in addition to their declarations about who may see them."""
        return StreamRegistry(layers=self.layers, scope=self.scope, access=access)

    @functools.cached_property
    def visibility(self) -> Visibility:
        """Who may see which of these streams."""
        return Visibility(self._entries, self.find, self.access or Access())

    @functools.cached_property
    def outside(self) -> OutsideEvents:
        """Which of these streams accept events from outside."""
        return OutsideEvents(self._entries, self.find, self.access or Access())

    def get(self, name: str) -> Stream:
        """The stream of this name: a declared one, else a member of the first family that matches. Raises
        StreamUnknown.
        """
        found = self._known.get(name)
        if found is None:
            found = self._member(name)
            if found is None:
                raise self.unknown(name)
        return found

    def find(self, name: str) -> Stream | None:
        """As `get`, but None if there is none."""
        return self._known.get(name) or self._member(name)

    def names(self) -> Sequence[str]:
        """The declared names, without families, in order of declaration."""
        return tuple(self._streams)

    def all(self) -> Sequence[Stream]:
        """The declared streams, without families, in order of declaration."""
        return tuple(self._streams.values())

    def entries(self) -> Sequence[Stream]:
        """Streams and families together, in order of declaration, without implied ones."""
        return tuple(stream for stream in self._entries if not self.layers.entries[stream.name].implied)

    def families(self) -> Sequence[Stream]:
        """The families, in the order in which they are tried."""
        return tuple(self._families.values())

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return self.find(name) is not None

    def __len__(self) -> int:
        return len(self._streams)

    @functools.cached_property
    def _hinted(self) -> Sequence[str]:
        if self.access is None:
            return self.names()
        if self.access.reads_with_key:
            return ()
        return [name for name, one in self._streams.items() if self.visibility.names(one, Sight.PUBLIC)]

    def _member(self, name: str) -> Stream | None:
        for pattern, family in self._families.items():
            # The expression of a family is not a stream: the legacy API finds it, but no event may be written to it.
            if not legacy.is_family(name) and legacy.matches(pattern, name):
                member = _member_of(family, name)
                if len(self._known) < len(self._streams) + MEMBERS_REMEMBERED_MAX:
                    self._known[name] = member
                return member
        return None

    def unknown(self, name: str) -> StreamUnknown:
        """The error about a name that no stream has."""
        # Hints are cached by name: one character more than the limit shows that the name is too long.
        hint = self._hint(name[: legacy.NAME_CHARS_MAX + 1])
        return StreamUnknown(f'The stream "{name[: legacy.NAME_CHARS_MAX]}" is not declared.', hint=hint)

    def _make_hint(self, name: str) -> str:
        near = nearest(name, self._hinted) if len(name) <= legacy.NAME_CHARS_MAX else None
        return (
            f'Did you mean "{near}"?'
            if near
            else "Declare it in a stream file, and restart a running server to load it."
        )


def _member_of(family: Stream, name: str) -> Stream:
    given = {"topics": family.settings.get("topics"), "topic_prefixes": family.topic_prefixes or None}
    topics = tuple(legacy.topics(family.name, given, name))
    return dataclasses.replace(family, name=name, family=family.name, topics=topics)
