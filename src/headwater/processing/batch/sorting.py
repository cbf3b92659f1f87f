"""Sorts more entries than fit into memory: by time, and those of one time in the order of the input.

How this works: entries are collected until a bound in number or bytes, sorted, and written to a *run*, a file of
compressed blocks. A part that begins after the end of the last run continues it, so that input that is in order already
gives one run, which is only read back. Runs are merged while they are read; when there are many, some are merged into
a longer one first. Input within the bounds never touches the disk.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import zstandard

# What an entry takes in memory besides its bytes.
ENTRY_BYTES = 600
BLOCK_ENTRIES_MAX = 1_000
BLOCK_BYTES_MAX = 262_144
RUNS_MERGED = 32


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the input: an event as the log would store it, or why it is none.

    `number` is its place in the input; entries are sorted by (`time_ms`, `number`). `refused`: the reason why it is
    not an event of the job; `value` is then the line as it was. `duplicate_key` as the intake forms it.
    """

    time_ms: int
    number: int
    topic: str
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    duplicate_key: str | None = None
    refused: str | None = None
    # The code of that reason.
    refused_code: str = ""


@dataclass(frozen=True, slots=True)
class SortLimits:
    """How much of the input is in memory at a time while it is sorted."""

    entries_max: int = 200_000
    bytes_max: int = 134_217_728


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


def order_of(entry: Entry) -> tuple[int, int]:
    """What entries are sorted by."""
    return entry.time_ms, entry.number


class EntrySort:
    """Collects entries, and yields them in order, any number of times. Blocks on disk."""

    def __init__(self, directory: Path, limits: SortLimits) -> None:
        """`directory`, which exists, is for the runs."""
        self._directory = directory
        self._limits = limits
        self._entries: list[Entry] = []
        self._bytes = 0
        self._runs: list[_Run] = []
        self._made = 0
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Collect one more. Raises OSError if it cannot be written."""
        self._entries.append(entry)
        self._bytes += len(entry.value) + ENTRY_BYTES
        self.count += 1
        if self._bytes >= self._limits.bytes_max or len(self._entries) >= self._limits.entries_max:
            self._spill()

    def finish(self) -> None:
        """There are no more entries."""
        if self._runs:
            self._spill()
        else:
            self._entries.sort(key=order_of)

    def __iter__(self) -> Iterator[Entry]:
        if not self._runs:
            return iter(self._entries)
        return _merged(self._runs)

    def _spill(self) -> None:
        entries, self._entries, self._bytes = self._entries, [], 0
        if not entries:
            return
        entries.sort(key=order_of)
        last = self._runs[-1] if self._runs else None
        if last is None or last.end > order_of(entries[0]):
            self._merge_runs()
            last = self._new_run(0)
        last.write(entries)

    def _new_run(self, level: int) -> _Run:
        self._made += 1
        run = _Run(self._directory / f"run-{self._made}", level)
        self._runs.append(run)
        return run

    def _merge_runs(self) -> None:
        """Merge the newest runs while there are many that were merged equally often."""
        while len(self._runs) >= RUNS_MERGED and len({run.level for run in self._runs[-RUNS_MERGED:]}) == 1:
            some, self._runs = self._runs[-RUNS_MERGED:], self._runs[:-RUNS_MERGED]
            self._new_run(some[0].level + 1).write(_merged(some))
            for run in some:
                run.path.unlink()


class _Run:
    """A file of sorted entries: compressed blocks, each after its length in four bytes."""

    def __init__(self, path: Path, level: int) -> None:
        self.path = path
        self.level = level
        self.end = (-(2**63), -1)
        self._compressor = zstandard.ZstdCompressor(level=1)
        path.unlink(missing_ok=True)

    def write(self, entries: Iterable[Entry]) -> None:
        """Append entries, which come after all those written before."""
        with self.path.open("ab") as file:
            for block in _blocks(entries):
                packed = self._compressor.compress(_encode(block))
                file.write(len(packed).to_bytes(4, "big"))
                file.write(packed)
                self.end = order_of(block[-1])

    def __iter__(self) -> Iterator[Entry]:
        decompressor = zstandard.ZstdDecompressor()
        with self.path.open("rb") as file:
            while length := file.read(4):
                yield from _decode(decompressor.decompress(file.read(int.from_bytes(length, "big"))))


def _blocks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    remaining = iter(entries)
    block: list[Entry] = []
    size = 0
    for entry in remaining:
        block.append(entry)
        size += len(entry.value)
        if size >= BLOCK_BYTES_MAX or len(block) >= BLOCK_ENTRIES_MAX:
            yield block
            block, size = [], 0
    if block:
        yield block


def _merged(runs: Iterable[_Run]) -> Iterator[Entry]:
    several = list(runs)
    return iter(several[0]) if len(several) == 1 else heapq.merge(*several, key=order_of)


def skip(entries: Iterator[Entry], count: int) -> Iterator[Entry]:
    """The entries after the first `count`."""
    next(islice(entries, count, count), None)
    return entries
