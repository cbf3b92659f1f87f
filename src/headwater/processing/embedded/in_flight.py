"""The events of a job that were read and are not committed yet, in the order they were read.

How this works: an event is in flight from when it is read until its results are committed. In whatever order the calls
for them end, events leave in the order they came in: those before which nothing is running are `completed`, and only
they can be committed. How many are in flight, and how many bytes, is bounded: at the bound nothing more is read, and no
call is started except for the event that all others wait for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from headwater.jobs.steps import Results
from headwater.log.contract import Position, StateChange, StoredRecord
from headwater.processing.embedded.watermark import Seen


class InFlight:
    """One event. `record`: as it was read; `results`: those of its steps so far; `group`: see `InFlightWindow.take`.

    `was_parked`: it was read long ago, and its position is committed; `row` is the number of its row then.
    """

    __slots__ = ("bytes", "changes", "group", "is_done", "number", "record", "results", "row", "seen", "was_parked")

    def __init__(self, number: int, record: StoredRecord, size: int, group: int) -> None:
        self.number = number
        self.record = record
        self.group = group
        self.results = Results()
        self.is_done = False
        self.was_parked = False
        self.row: int | None = None
        # For the watermark; None for what is not an event.
        self.seen: Seen | None = None
        # Changes of the state that are committed with it.
        self.changes: list[StateChange] = []
        self.bytes = size


class InFlightWindow:
    """The events in flight. `advanced` is called when more of them are completed."""

    def __init__(self, events_max: int, bytes_max: int, advanced: Callable[[], None]) -> None:
        self.completed: deque[InFlight] = deque()
        self.bytes = 0
        self._running: deque[InFlight] = deque()
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._advanced = advanced
        self._number = 0

    def __len__(self) -> int:
        return len(self._running) + len(self.completed)

    @property
    def running(self) -> int:
        """How many events have calls that have not ended, or wait for one that has not."""
        return len(self._running)

    @property
    def room(self) -> int:
        """How many more events may be read."""
        return 0 if self.bytes >= self._bytes_max else max(0, self._events_max - len(self))

    @property
    def room_bytes(self) -> int:
        """How many more bytes may be read."""
        return max(0, self._bytes_max - self.bytes)

    def add(self, record: StoredRecord, size: int, group: int = 0) -> InFlight:
        """An event that was read; `size` in bytes."""
        self._number += 1
        event = InFlight(self._number, record, size, group)
        self._running.append(event)
        self.bytes += size
        return event

    def grow(self, event: InFlight, size: int) -> None:
        """The results of the event take so many bytes more."""
        event.bytes += size
        self.bytes += size

    def may_call(self, event: InFlight) -> bool:
        """Whether a call for it may be started: not at the bound of bytes, unless all others wait for it."""
        return self.bytes < self._bytes_max or self._running[0] is event

    def done(self, event: InFlight) -> None:
        """All calls for it have ended."""
        event.is_done = True
        running = self._running
        if running[0] is not event:
            return
        while running and running[0].is_done:
            self.completed.append(running.popleft())
        self._advanced()

    def take(self, events_max: int, bytes_max: int) -> list[InFlight]:
        """The first completed events, at least one if there are any, all of one group.

        They stay in flight until `committed`.
        """
        taken: list[InFlight] = []
        size = 0
        for event in self.completed:
            is_full = len(taken) >= events_max or size + event.bytes > bytes_max
            if taken and (is_full or event.group != taken[0].group):
                break
            taken.append(event)
            size += event.bytes
        return taken

    def committed(self, events: Iterable[InFlight]) -> None:
        """The results of these, which `take` gave last, are committed."""
        for event in events:
            self.completed.popleft()
            self.bytes -= event.bytes


def position_after(position: Position, events: Iterable[InFlight]) -> Position:
    """The position after these events."""
    return position.after_all(event.record for event in events if not event.was_parked)
