"""The rows of one key: JSON values by text, which a step changes one by one and a runner stores one by one.

How this works: values are kept encoded and each access decodes one, so that a function which changes a value that it
read, without assigning it, changes nothing. Each change is noted with the value before, so that the changes of a
failing function can be undone, and those since the last commit can be listed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from headwater.errors import JobInvalid
from headwater.event import decode_kept, encode_kept
from headwater.jobs.steps import Element

ROW_NAME_CHARS_MAX = 1_000
ROW_BYTES_MAX = 16_777_216


class KeyRows(MutableMapping[str, Any]):
    """A mapping of text to JSON values, in order of the text (by code point). Values read are copies.

    `size_bytes`: of all names and encoded values; `committed_bytes`: the same at the last commit. `element`: what the
    current function is called for. `until_ms`: up to when timers fire now, of which the current one may be the first.
    """

    __slots__ = ("_before", "_encoded", "_names", "_undo", "committed_bytes", "element", "size_bytes", "until_ms")

    element: Element
    until_ms: int

    def __init__(self, stored: Iterable[tuple[str, bytes]] = ()) -> None:
        self._encoded: dict[str, bytes] = dict(stored)
        self._names = sorted(self._encoded)
        # What to restore if the current function fails, in order.
        self._undo: list[tuple[str, bytes | None]] = []
        # What was stored at the last commit, of all rows changed since.
        self._before: dict[str, bytes | None] = {}
        self.size_bytes = sum(len(name) + len(value) for name, value in self._encoded.items())
        self.committed_bytes = self.size_bytes

    def __getitem__(self, name: str) -> Any:
        return decode_kept(self._encoded[name])

    def __setitem__(self, name: str, value: Any) -> None:
        """Raises JobInvalid for a name that is not text or is too long, and for a value that is too large."""
        _check_name(name)
        encoded = encode_kept(value)
        if len(encoded) > ROW_BYTES_MAX:
            raise JobInvalid(f"The row {name[:100]!r} has {len(encoded)} bytes; at most {ROW_BYTES_MAX} are kept.")
        self._put(name, encoded)

    def __delitem__(self, name: str) -> None:
        if name not in self._encoded:
            raise KeyError(name)
        self._put(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._encoded

    def __repr__(self) -> str:
        return f"KeyRows({dict(self)!r})"

    def clear(self) -> None:
        """Delete all rows."""
        for name in tuple(self._names):
            self._put(name, None)

    def between(self, start: str, end: str) -> list[str]:
        """The names from `start` to before `end`, in order."""
        return self._names[bisect_left(self._names, start) : bisect_left(self._names, end)]

    def first(self, prefix: str) -> str | None:
        """The first name that starts with `prefix`; None without one."""
        index = bisect_left(self._names, prefix)
        if index < len(self._names) and self._names[index].startswith(prefix):
            return self._names[index]
        return None

    def count(self, prefix: str) -> int:
        """How many names start with `prefix`, which is ASCII."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return bisect_left(self._names, end) - bisect_left(self._names, prefix)

    def after(self, start: str, end: str) -> Iterator[str]:
        """As `between`, one by one; nothing may be changed meanwhile."""
        index = bisect_left(self._names, start)
        while index < len(self._names) and self._names[index] < end:
            yield self._names[index]
            index += 1

    def last_before(self, prefix: str, end: str) -> str | None:
        """The last name before `end`, if it starts with `prefix`."""
        index = bisect_left(self._names, end) - 1
        return self._names[index] if index >= 0 and self._names[index].startswith(prefix) else None

    def keep(self) -> None:
        """The current function succeeded."""
        self._undo.clear()

    def undo(self) -> None:
        """Undo what was changed since the last `keep`."""
        undo, self._undo = self._undo, []
        for name, encoded in reversed(undo):
            self._put(name, encoded)
        self._undo.clear()

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """The rows that differ from the last commit, encoded; None for a deleted one."""
        for name, before in self._before.items():
            now = self._encoded.get(name)
            if now != before:
                yield name, now

    def committed(self) -> None:
        """The changes were committed."""
        self._before.clear()
        self.committed_bytes = self.size_bytes

    def _put(self, name: str, encoded: bytes | None) -> None:
        before = self._encoded.get(name)
        if encoded == before:
            return
        self._undo.append((name, before))
        self._before.setdefault(name, before)
        if before is None:
            insort(self._names, name)
            self.size_bytes += len(name)
        else:
            self.size_bytes -= len(before)
        if encoded is None:
            del self._encoded[name]
            del self._names[bisect_left(self._names, name)]
            self.size_bytes -= len(name)
        else:
            self._encoded[name] = encoded
            self.size_bytes += len(encoded)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or len(name) > ROW_NAME_CHARS_MAX:
        raise JobInvalid(f"A row is named by text of at most {ROW_NAME_CHARS_MAX} characters, not by {name!r:.100}.")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise JobInvalid(f"The row name {name!r:.100} is not Unicode text.") from None
