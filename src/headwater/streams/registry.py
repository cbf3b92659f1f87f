"""Which stream a name means: exact names first, then families in their order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, StreamUnknown
from headwater.streams import legacy
from headwater.streams.files import read_streams
from headwater.streams.stream import Stream

# Names come from producers: what is remembered about them is bounded.
MEMBERS_REMEMBERED_MAX = 4096
HINTS_REMEMBERED_MAX = 1024


class StreamRegistry:
    """The declared streams. Immutable: a change of the files makes another registry.

    `get` is on the intake's hot path: one dict lookup for a declared name.
    """

    def __init__(self, streams: Iterable[Stream] = ()) -> None:
        """Raises ConfigInvalid where two streams have one name."""
        self._streams: dict[str, Stream] = {}
        self._families: dict[str, Stream] = {}
        for stream in streams:
            group = self._families if stream.is_family else self._streams
            if stream.name in group:
                raise _declared_twice(group[stream.name], stream)
            group[stream.name] = stream
        self._known = dict(self._streams)
        self._hint = functools.lru_cache(maxsize=HINTS_REMEMBERED_MAX)(self._make_hint)

    @classmethod
    def load(cls, path: Path, defaults: Mapping[str, Any] | None = None) -> StreamRegistry:
        """Read a directory of stream files, or one file of many. Raises ConfigInvalid with file and line.

        `defaults` has the shape of a `defaults.yaml` and lies under the directory's own.
        """
        return cls(read_streams(path, defaults))

    def get(self, name: str) -> Stream:
        """The stream of this name: declared so, else a member of the first family found in it. Raises StreamUnknown."""
        found = self._known.get(name)
        if found is None:
            found = self._member(name)
        return found

    def names(self) -> Sequence[str]:
        """The declared names, without families, in order of declaration."""
        return tuple(self._streams)

    def all(self) -> Sequence[Stream]:
        """The declared streams, without families, in order of declaration."""
        return tuple(self._streams.values())

    def families(self) -> Sequence[Stream]:
        """The families, in the order in which they are tried."""
        return tuple(self._families.values())

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self.get(name)
        except StreamUnknown:
            return False
        return True

    def __len__(self) -> int:
        return len(self._streams)

    def _member(self, name: str) -> Stream:
        for pattern, family in self._families.items():
            # The text of a family is no stream: the legacy API finds it, but nothing may be written to it.
            if not legacy.is_family(name) and legacy.matches(pattern, name):
                member = _member_of(family, name)
                if len(self._known) < len(self._streams) + MEMBERS_REMEMBERED_MAX:
                    self._known[name] = member
                return member
        raise StreamUnknown(f'The stream "{name[: legacy.NAME_CHARS_MAX]}" is not declared.', hint=self._hint(name))

    def _make_hint(self, name: str) -> str:
        near = nearest(name, self._streams) if len(name) <= legacy.NAME_CHARS_MAX else None
        return f'Did you mean "{near}"?' if near else "Declare it in a stream file."


def _member_of(family: Stream, name: str) -> Stream:
    given = {"topics": family.settings.get("topics"), "topic_prefixes": family.topic_prefixes or None}
    topics = tuple(legacy.topics(family.name, given, name))
    return dataclasses.replace(family, name=name, family=family.name, topics=topics)


def _declared_twice(first: Stream, second: Stream) -> ConfigInvalid:
    where = f" in {first.file}" if first.file else ""
    return ConfigInvalid(
        f'the stream "{second.name}" is already declared{where}{f":{first.line}" if first.line else ""}.',
        file=second.file,
        line=second.line,
        hint="Remove one of the two.",
    )
