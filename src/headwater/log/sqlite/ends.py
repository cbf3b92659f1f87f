"""What is known of the ends of partitions, and who waits for them to grow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from headwater.log.tail_cache import AppendSignal, Followed


@dataclasses.dataclass(slots=True)
class ReadCounts:
    """The cost of reading since the log was opened, for measurements and tests."""

    looks: int = 0  # in memory, by one reader
    waits: int = 0  # started, by one reader that found nothing
    searches: int = 0  # of the file, for new records of every followed partition


class Ends:
    """The next offset of partitions, by slot, and the signal that they have grown. Belongs to one event loop.

    What is known may be old where other processes write: the file is authoritative. `generation` changes whenever
    what was read before may be older than what is known now.
    """

    def __init__(self) -> None:
        self.next: dict[int, int] = {}
        self.bell = AppendSignal()
        self.generation = 0

    def grown(self, slot: int, end: int) -> None:
        """Note an end, and wake those who wait for the slot if it is news."""
        if end > self.next.get(slot, -1):
            self.next[slot] = end
            self.bell.ring(slot)

    def note_read(self, followed: Sequence[Followed], generation: int) -> None:
        """A reader has come to these ends, with what was known in `generation`."""
        if generation != self.generation:
            return
        for one in followed:
            if one.at_end and one.offset > self.next.get(one.slot, -1):
                self.next[one.slot] = one.offset

    def forget_but(self, slots: Iterable[int]) -> None:
        """The file has changed: only those that are about to be looked at are kept."""
        # A read in progress may have seen an earlier state of the file.
        self.generation += 1
        self.next = {slot: self.next[slot] for slot in slots if slot in self.next}

    def note_found(self, ends: Mapping[int, int | None]) -> None:
        """What the file has. None: it could not be read; who waits reads it, and gets the error of its partition."""
        for slot, end in ends.items():
            if end is None:
                self.bell.ring(slot)
            else:
                self.grown(slot, end)

    def clear(self) -> None:
        """Wake everybody: the log is closed."""
        for slot in self.bell.slots():
            self.bell.ring(slot)
        self.next.clear()
