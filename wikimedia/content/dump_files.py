"""A file of a dump: compressed in many streams, each of some pages, with an index that says where a page begins.

How this works: a file of bzip2 may have any number of streams one behind the other, and programs read them as one. A
reader that has looked up a page in the index reads its stream only. The file is written under another name and takes
its own when it is complete, the index before it: where there is a file, it is whole.
"""

from __future__ import annotations

import bz2
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


@dataclass
class DumpFile:
    """One file, and what it has so far. `bytes_written`: compressed; `xml_bytes`: of the pages, before that."""

    folder: Path
    header: str
    footer: str
    pages_per_stream: int
    bytes_per_stream: int
    pages: int = 0
    revisions: int = 0
    xml_bytes: int = 0
    bytes_written: int = 0
    # Pages of the stream that is not written yet: number, title and XML.
    _held: list[tuple[int, str, str]] = field(default_factory=list)
    _held_bytes: int = 0
    _index: list[str] = field(default_factory=list)
    _file: BinaryIO | None = None

    def add(self, page_id: int, title: str, xml: str, revisions: int) -> None:
        """Add the next page, or the next part of one."""
        size = len(xml)
        self._held.append((page_id, title, xml))
        self._held_bytes += size
        self.pages, self.revisions, self.xml_bytes = self.pages + 1, self.revisions + revisions, self.xml_bytes + size
        if len(self._held) >= self.pages_per_stream or self._held_bytes >= self.bytes_per_stream:
            self._write_stream()

    def finish(self, name: str) -> None:
        """Complete the file, which is `name`.xml.bz2 from now on, and its index `name`.index.txt.bz2."""
        self._write_stream()
        file = self._opened()
        self._write(self.footer)
        _close(file)
        index = self.folder / f"{name}.index.txt.bz2"
        with self._unfinished("index").open("wb") as written:
            written.write(bz2.compress("".join(self._index).encode("utf-8", "replace")))
            written.flush()
            os.fsync(written.fileno())
        self._unfinished("index").replace(index)
        self._unfinished("xml").replace(self.folder / f"{name}.xml.bz2")

    def abandon(self) -> None:
        """Leave an unfinished file to the next attempt, which replaces it."""
        if self._file is not None and not self._file.closed:
            self._file.close()

    def _write_stream(self) -> None:
        if not self._held:
            return
        self._opened()
        self._index += [f"{self.bytes_written}:{page_id}:{title}\n" for page_id, title, _ in self._held]
        self._write("".join(xml for _, _, xml in self._held))
        self._held, self._held_bytes = [], 0

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished("xml").open("wb")
            self._write(self.header)
        return self._file

    def _write(self, text: str) -> None:
        assert self._file is not None
        compressed = bz2.compress(text.encode())
        self._file.write(compressed)
        self.bytes_written += len(compressed)

    def _unfinished(self, what: str) -> Path:
        return self.folder / f".unfinished.{what}"


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def file_name(wiki: str, date: str, first: tuple[int, int], last: tuple[int, int], *, is_part: bool) -> str:
    """`first` and `last`: page and revision. `is_part`: it has some revisions of one page only."""
    start = f"{wiki}-{date}-p{first[0]}"
    if is_part:
        return f"{start}r{first[1]}r{last[1]}"
    return start if first[0] == last[0] else f"{start}p{last[0]}"
