"""A table as a directory of files that change together: what a commit adds and removes, and the token it belongs to.

How this works: new files are written under hidden names. The commit is one small file, `_headwater/head-N.json`, made
only if it does not exist: it holds the token and the list of what is to be renamed and removed. Then that list is
carried out, which may be repeated after a crash: old files are removed before new ones appear, so that a reader that
lists the directory never sees a row twice, and last the partition's `_manifest.json` is replaced. Readers that use the
manifests see each partition before or after a commit, never in between.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headwater.connectors.lake.file_system import FileSystem, joined
from headwater.errors import SinkUnavailable
from headwater.times import ms_of, utc_text

HEADS = "_headwater"
MANIFEST = "_manifest.json"
# Marks a partition as complete, as Hadoop's tools do.
MARKER = "_SUCCESS"
PENDING_SUFFIX = ".pending"
# The hidden name of a file of the commit with this number.
_HIDDEN = re.compile(rf"\.(?:merged-)?([0-9]+)[-.].*{re.escape(PENDING_SUFFIX)}")
HEADS_KEPT = 3
HEAD_BYTES_MAX = 67_108_864
# How long a reader waits for the files of a manifest that is being replaced.
SETTLE_SECONDS_MAX = 10.0
_PAUSE_SECONDS = 0.05


class Part(msgspec.Struct, frozen=True):
    """One file: its number of rows, its size, and when the newest and the oldest of them were written (epoch
    milliseconds); 0: that is not known."""

    rows: int
    bytes: int
    written_ms: int
    oldest_ms: int = 0


class Manifest(msgspec.Struct):
    """The files of one partition, by name. `revision` grows with every change of them.

    `complete`: all events of its time have arrived, as far as canaries prove; an event that is late opens it again and
    gives it the next revision.
    """

    commit: int = 0
    revision: int = 0
    complete: bool = False
    files: dict[str, Part] = {}

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.files.values())


class Change(msgspec.Struct):
    """What a commit does in one partition: `add` is final name → hidden name, `manifest` the result.

    `reopens`: the partition was complete before.
    """

    place: str
    manifest: Manifest
    reopens: bool = False
    add: dict[str, str] = {}
    remove: list[str] = []


class Head(msgspec.Struct):
    """One commit. `facts` belong to who writes the table."""

    number: int
    token: str | None
    facts: dict[str, Any]
    changes: list[Change] = []


class TableDirectory:
    """One table below `path` of a file system. Calls block. Raises SinkUnavailable as the file system does."""

    def __init__(self, files: FileSystem, path: str) -> None:
        self.files = files
        self.path = path
        self._writer = uuid.uuid4().hex[:8]

    def probe(self) -> None:
        """Try whether commits are safe from other processes here. Raises StoreUnsuitable."""
        self.files.probe(joined(self.path, HEADS))

    def newest(self) -> Head | None:
        """The last commit; None if there is none."""
        while True:
            numbers = self._numbers()
            if not numbers:
                return None
            content = self.files.read(self._head(numbers[-1]), bytes_max=HEAD_BYTES_MAX)
            # Another process may have removed it, after commits of its own.
            if content is not None:
                head: Head = _decoded(content, Head, self._head(numbers[-1]))
                return head

    def write_hidden(self, place: str, name: str, content: bytes) -> str:
        """Write a file of the next commit under a hidden name, which is returned."""
        hidden = f".{name}.{self._writer}{PENDING_SUFFIX}"
        self.files.write(joined(self.path, place, hidden), content)
        return hidden

    def discard(self, place: str, hidden: str) -> None:
        """Delete a hidden file of a commit that is not made."""
        self.files.delete(joined(self.path, place, hidden))

    def commit(self, head: Head) -> bool:
        """Make a commit; False if there is one of its number. `carry_out` follows."""
        return self.files.create(self._head(head.number), msgspec.json.encode(head))

    def carry_out(self, head: Head, *, is_new: bool = False) -> None:
        """Rename and remove what the commit says; nothing happens where that was done before.

        `is_new`: the commit was made just now.
        """
        for change in head.changes:
            if is_new or (self.manifest(change.place).commit < head.number and not self._was_removed(change)):
                self._carry_out(change)
        if is_new:
            self.files.delete(self._head(head.number - HEADS_KEPT))
        else:
            for number in self._numbers()[:-HEADS_KEPT]:
                self.files.delete(self._head(number))

    def manifest(self, place: str) -> Manifest:
        """The files of a partition; an empty manifest if it has none."""
        path = joined(self.path, place, MANIFEST)
        content = self.files.read(path, bytes_max=HEAD_BYTES_MAX)
        return Manifest() if content is None else _decoded(content, Manifest, path)

    def places(self, wanted: Callable[[str], bool] = lambda place: True) -> Iterator[str]:
        """The partitions that have a manifest, in order; directories that are not `wanted` are not looked into."""
        yield from self._places("", wanted)

    def read(self, place: str, name: str) -> bytes | None:
        return self.files.read(joined(self.path, place, name))

    def contents(self, place: str) -> tuple[Manifest, Mapping[str, bytes]]:
        """The manifest of a partition and the content of all of its files, of one moment."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while True:
            manifest = self.manifest(place)
            found = {name: content for name in manifest.files if (content := self.read(place, name)) is not None}
            if len(found) == len(manifest.files):
                return manifest, found
            if time.monotonic() > deadline:
                missing = sorted(manifest.files.keys() - found.keys())
                raise SinkUnavailable(
                    f"{joined(self.path, place)} lacks {missing[0]}, which its manifest names.",
                    hint="Files of a table must not be deleted or renamed by others.",
                )
            time.sleep(_PAUSE_SECONDS)

    def delete_hidden(self, place: str, number_max: int) -> None:
        """Delete the hidden files of commits that were never made, up to this number, which was carried out.

        Those of a later commit stay: another process may be about to make it, or have made it just now.
        """
        for entry in self.files.entries(joined(self.path, place)):
            numbered = _HIDDEN.fullmatch(entry.name)
            if numbered is not None and int(numbered[1]) <= number_max:
                self.files.delete(joined(self.path, place, entry.name))

    def _was_removed(self, change: Change) -> bool:
        """Whether somebody has deleted a partition, with what a commit added to it."""
        names = {entry.name for entry in self.files.entries(joined(self.path, change.place))}
        return bool(change.add) and names.isdisjoint({MANIFEST, *change.add, *change.add.values()})

    def _carry_out(self, change: Change) -> None:
        at = joined(self.path, change.place)
        if change.reopens:
            self.files.delete(joined(at, MARKER))
        for name in change.remove:
            self.files.delete(joined(at, name))
        for name, hidden in change.add.items():
            self.files.rename(joined(at, hidden), joined(at, name))
        self.files.write(joined(at, MANIFEST), msgspec.json.encode(change.manifest))
        if change.manifest.complete:
            self.files.write(joined(at, MARKER), _marker(change.manifest))

    def _places(self, above: str, wanted: Callable[[str], bool]) -> Iterator[str]:
        entries = self.files.entries(joined(self.path, above))
        if any(entry.name == MANIFEST for entry in entries):
            yield above
        for entry in entries:
            place = joined(above, entry.name)
            if entry.is_directory and not entry.name.startswith(("_", ".")) and wanted(place):
                yield from self._places(place, wanted)

    def _numbers(self) -> Sequence[int]:
        names = [entry.name for entry in self.files.entries(joined(self.path, HEADS))]
        return sorted(int(name[5:-5]) for name in names if name.startswith("head-") and name[5:-5].isdigit())

    def _head(self, number: int) -> str:
        return joined(self.path, HEADS, f"head-{number:012d}.json")


def _marker(manifest: Manifest) -> bytes:
    now_ms = ms_of(time.time())
    about = {
        "rows": manifest.rows,
        "files": len(manifest.files),
        "revision": manifest.revision,
        "complete_at": utc_text(now_ms),
    }
    return msgspec.json.encode(about) + b"\n"


def _decoded(content: bytes, kind: Any, path: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise SinkUnavailable(
            f"{path} cannot be read: {error}.", hint="Restore the file, or set the table's directory aside."
        ) from error
