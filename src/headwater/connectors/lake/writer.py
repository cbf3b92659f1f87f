"""Writes one table of files: a commit holds the rows of one write and the token, and small files are merged later."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.connectors.lake.commits import Change, Head, Manifest, Part, TableDirectory
from headwater.connectors.lake.file_system import joined
from headwater.connectors.lake.formats import Format, Rows
from headwater.connectors.rows import name_aside
from headwater.errors import SinkUnavailable, WriterFenced
from headwater.times import ms_of

# A partition is merged when it is complete, and afterwards when so many files have been added.
SMALL_FILES_MAX = 16
# At most so much is merged at once, in memory: larger files stay as they are.
MERGED_BYTES_MAX = 33_554_432
MANIFESTS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Commit:
    """What one write adds: rows by partition, the partitions that are complete now, and the writer's own facts."""

    token: str
    rows: Mapping[str, Rows]
    facts: dict[str, Any]
    complete: Collection[str] = ()


class TableWriter:
    """The one writer of a table. Calls block and raise SinkUnavailable; `open` before use."""

    def __init__(self, table: TableDirectory, form: Format) -> None:
        self.table = table
        self._format = form
        self._number = 0
        self._is_open = False
        # Until it is opened again.
        self._is_fenced = False
        # Whether the last commit is known to be carried out.
        self._settled = False
        self._manifests: dict[str, Manifest] = {}

    def open(self) -> Head | None:
        """The last commit, carried out; None if there is none. Raises StoreUnsuitable."""
        self.table.probe()
        newest = self.table.newest()
        if newest is not None:
            self.table.carry_out(newest)
        self._number = 0 if newest is None else newest.number
        self._is_open = True
        self._is_fenced = False
        self._settled = False
        self._manifests.clear()
        return newest

    def begin(self, token: str) -> Head | None:
        """The last commit, carried out, before another is made; None if there is none. If it has `token`, nothing is
        left to be written.

        Raises WriterFenced if it is neither that nor the one that this writer read or made last.
        """
        if not self._is_open:
            raise SinkUnavailable(f"The table {self.table.path} is not open.")
        if self._is_fenced:
            raise self._fenced()
        newest = self.table.newest()
        number = 0 if newest is None else newest.number
        if number != self._number and (newest is None or newest.token != token):
            raise self._fenced()
        if newest is not None and (not self._settled or number != self._number):
            self.table.carry_out(newest)
            self._manifests.clear()
        self._number = number
        self._settled = True
        return newest

    def commit(self, commit: Commit) -> None:
        """Make it, after `begin`. Raises WriterFenced; and what the format raises for rows that do not fit."""
        number = self._number + 1
        now_ms = ms_of(time.time())
        name = f"{number:08d}-{hashlib.sha256(commit.token.encode()).hexdigest()[:12]}{self._format.suffix}"
        encoded = {place: self._format.encoded(rows) for place, rows in commit.rows.items() if rows}
        changes = {place: self._changed(place, number) for place in {*encoded, *commit.complete}}
        for place, content in encoded.items():
            change = changes[place]
            change.add[name] = self.table.write_hidden(place, name, content)
            change.manifest.files[name] = Part(len(commit.rows[place]), len(content), now_ms, now_ms)
            change.manifest.complete = False
        for place in commit.complete:
            changes[place].manifest.complete = True
        self._make(Head(number, commit.token, commit.facts, list(changes.values())))
        self._merge(list(changes))

    def set_aside(self) -> str | None:
        """Keep the table under another name, which is returned, and continue without one; None if it has no rows.

        Raises WriterFenced.
        """
        newest = self.table.newest()
        if not self._is_open or self._is_fenced or (0 if newest is None else newest.number) != self._number:
            raise self._fenced()
        if newest is None:
            return None
        self.table.carry_out(newest)
        parent, _, name = self.table.path.rpartition("/")
        aside = name_aside(name)
        self.table.files.rename_directory(self.table.path, joined(parent, aside))
        self._number = 0
        self._settled = True
        self._manifests.clear()
        return aside

    @property
    def number(self) -> int:
        """The number of the last commit."""
        return self._number

    def close(self) -> None:
        self._is_open = False
        self.table.files.close()

    def manifest(self, place: str) -> Manifest:
        """The files of a partition; only this writer changes them. Called after `begin`."""
        found = self._manifests.get(place)
        if found is None:
            # What an unfinished write left is in the way of nobody, and is removed once.
            self.table.delete_hidden(place, self._number)
            if len(self._manifests) >= MANIFESTS_MAX:
                self._manifests.clear()
            found = self._manifests[place] = self.table.manifest(place)
        return found

    def _changed(self, place: str, number: int) -> Change:
        found = self.manifest(place)
        manifest = Manifest(number, found.revision + 1, found.complete, dict(found.files))
        return Change(place, manifest, found.complete)

    def _make(self, head: Head) -> None:
        self._manifests_forgotten(head)
        if not self.table.commit(head):
            for change in head.changes:
                for hidden in change.add.values():
                    self.table.discard(change.place, hidden)
            raise self._fenced()
        self._number, self._settled = head.number, False
        self.table.carry_out(head, is_new=True)
        self._settled = True
        self._manifests.update({change.place: change.manifest for change in head.changes})

    def _manifests_forgotten(self, head: Head) -> None:
        """Until the commit is carried out, it is not known which manifests are there."""
        for change in head.changes:
            self._manifests.pop(change.place, None)

    def _merge(self, places: Sequence[str]) -> None:
        """Replace the small files of these partitions by one each, where it is time for that."""
        number = self._number + 1
        changes = [change for place in places if (change := self._merged(place, number)) is not None]
        if changes:
            newest = self.table.newest()
            if newest is None or newest.number != self._number:
                raise self._fenced()
            self._make(Head(number, newest.token, newest.facts, changes))

    def _merged(self, place: str, number: int) -> Change | None:
        found = self.manifest(place)
        small = {name: part for name, part in found.files.items() if part.bytes <= MERGED_BYTES_MAX // 2}
        is_first = found.complete and all(not name.startswith("merged-") for name in found.files)
        if len(small) < (2 if is_first else SMALL_FILES_MAX):
            return None
        chosen: dict[str, Part] = {}
        for name, part in small.items():
            if sum(one.bytes for one in chosen.values()) + part.bytes > MERGED_BYTES_MAX:
                break
            chosen[name] = part
        contents = [self.table.read(place, name) for name in chosen]
        if len(chosen) < 2 or any(content is None for content in contents):
            return None
        content = self._format.merged([content for content in contents if content is not None])
        name = f"merged-{number:08d}{self._format.suffix}"
        change = self._changed(place, number)
        change.remove = list(chosen)
        change.manifest.files = {one: part for one, part in found.files.items() if one not in chosen}
        rows = sum(part.rows for part in chosen.values())
        written_ms = max(part.written_ms for part in chosen.values())
        oldest_ms = min(part.oldest_ms for part in chosen.values())
        change.manifest.files[name] = Part(rows, len(content), written_ms, oldest_ms)
        change.add[name] = self.table.write_hidden(place, name, content)
        return change

    def _fenced(self) -> WriterFenced:
        self._is_fenced = True
        self._manifests.clear()
        return WriterFenced(
            f"Another process writes the table {self.table.path}.",
            hint="Only one process may run a job; this one writes nothing more until it is started again.",
        )
