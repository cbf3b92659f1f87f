"""Parked events: those whose call failed for as long as it may be retried in place, to be tried again much later.

How this works: a parked event is a row of the job's state, in the namespace `job/NAME/park`, committed with the
position after it: it has left the window, and holds up nothing. Its key is a number that counts up. When its time has
come by the clock, it goes through its step again, once; the row is deleted, or replaced for the next park, in the
commit of what came of it. If the step's `Retry` says `hold_key`, later events of its key become rows, too, without a
time: they follow, one after the other, when the one before is done. How many rows there are, and bytes, is bounded.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

import msgspec

from headwater.event import decode_kept, encode_kept
from headwater.jobs.steps import Element
from headwater.log.contract import StateChange, StoredRecord
from headwater.processing.embedded.calls import Call
from headwater.processing.stores.contract import JobStore

PAGE_ROWS = 500


class ParkedEvent(msgspec.Struct, array_like=True, frozen=True):
    """A row. `step` and `index` say which call it is; `due_ms`: None while it is behind another one of its key.

    `parks`: how often it was parked; `value`: the event, if it is not what the steps before make of the record.
    """

    step: str
    index: int
    record: StoredRecord
    attempts: int
    parks: int
    due_ms: int | None
    key: bytes | None = None
    value: bytes | None = None
    event_time_ms: int = 0
    lineage_id: str = ""


class Due(msgspec.Struct, frozen=True):
    """An event to be tried now, and the number of its row."""

    number: int
    event: ParkedEvent


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ParkedEvent).decode


def park_of(job: str) -> str:
    """The namespace of the job's parked events."""
    return f"job/{job}/park"


class Parking:
    """The parked events of one run of a job, including those of commits that are under way."""

    def __init__(
        self, job: str, store: JobStore, *, events_max: int, bytes_max: int, now_ms: Callable[[], int]
    ) -> None:
        self.events = 0
        self.bytes = 0
        self._namespace = park_of(job)
        self._store = store
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._now_ms = now_ms
        self._next = 0
        self._sizes: dict[int, int] = {}
        # Rows with a time, the earliest first: (time, number).
        self._timed: list[tuple[int, int]] = []
        # The rows of each step and key that is held, in order; the first one is the one that the others wait for.
        self._held: dict[tuple[str, bytes], deque[int]] = {}
        # Rows that no commit has stored yet.
        self._fresh: dict[int, ParkedEvent] = {}

    async def load(self) -> None:
        """Find what is parked."""
        after = b""
        while page := await self._store.state_scan(self._namespace, after=after, rows_max=PAGE_ROWS):
            for row, encoded in page:
                event, number = _decode(encoded), int.from_bytes(row, "big")
                self._next = max(self._next, number + 1)
                self._count(number, len(encoded))
                if event.key is not None:
                    self._held.setdefault((event.step, event.key), deque()).append(number)
                if event.due_ms is not None:
                    heapq.heappush(self._timed, (event.due_ms, number))
            after = page[-1][0]
        timed = {number for _, number in self._timed}
        for numbers in self._held.values():
            if numbers[0] not in timed:
                # The one before it was done when the process ended.
                heapq.heappush(self._timed, (self._now_ms(), numbers[0]))

    def holds(self, step: str, call: Call) -> bool:
        """Whether the call's key is held by an event before it."""
        rows = None if call.key is None else self._held.get((step, call.key))
        return rows is not None and rows[0] != call.row

    def park(
        self, step: str, call: Call, pause_ms: int | None, *, hold_key: bool, with_value: bool
    ) -> StateChange | None:
        """Park the event of the call for so long, None: behind those of its key. The change to commit with the event.

        `with_value`: the steps before cannot make the event again. None if there is no room, or it cannot be stored.
        """
        record = call.event.record
        number = self._next if call.row is None else call.row
        value = None
        if with_value:
            try:
                value = encode_kept(call.element.value)
            except (TypeError, ValueError):
                return None
        due_ms = None if pause_ms is None else self._now_ms() + pause_ms
        element = call.element
        event = ParkedEvent(
            step,
            call.order[1],
            record,
            call.attempts,
            call.parks + (pause_ms is not None),
            due_ms,
            call.key if hold_key else None,
            value,
            element.event_time_ms,
            element.lineage_id,
        )
        encoded = _encode(event)
        if call.row is None:
            if self.events >= self._events_max or self.bytes + len(encoded) > self._bytes_max:
                return None
            self._next += 1
            if event.key is not None:
                self._held.setdefault((step, event.key), deque()).append(number)
        self._count(number, len(encoded))
        self._fresh[number] = event
        if due_ms is not None:
            heapq.heappush(self._timed, (due_ms, number))
        return StateChange(self._namespace, number.to_bytes(8, "big"), encoded)

    def delete(self, number: int, step: str, key: bytes | None) -> StateChange:
        """A parked event is done, in whatever way. The change to commit with what was made of it.

        The next one of its key, if it held that, is due now.
        """
        self.events -= 1
        self.bytes -= self._sizes.pop(number)
        self._fresh.pop(number, None)
        held = None if key is None else self._held.get((step, key))
        if key is not None and held is not None and held[0] == number:
            held.popleft()
            if held:
                heapq.heappush(self._timed, (self._now_ms(), held[0]))
            else:
                del self._held[step, key]
        return StateChange(self._namespace, number.to_bytes(8, "big"), None)

    def due_in_ms(self) -> int | None:
        """In how many milliseconds the next event is due, by the clock; None if none is."""
        return None if not self._timed else max(0, self._timed[0][0] - self._now_ms())

    async def take_due(self, events_max: int, *, everything: bool = False) -> list[Due]:
        """The events that are due, at most so many; with `everything`, those that will be, too."""
        now_ms = self._now_ms()
        numbers: list[int] = []
        while self._timed and len(numbers) < events_max and (everything or self._timed[0][0] <= now_ms):
            numbers.append(heapq.heappop(self._timed)[1])
        rows = {number: number.to_bytes(8, "big") for number in numbers if number not in self._fresh}
        stored = await self._store.state_get(self._namespace, list(rows.values())) if rows else {}
        found = []
        for number in numbers:
            fresh = self._fresh.get(number)
            found.append(Due(number, _decode(stored[rows[number]]) if fresh is None else fresh))
        return found

    def committed(self, changes: list[StateChange]) -> None:
        """These changes are committed: their events can be read from the store."""
        for change in changes:
            if change.namespace == self._namespace:
                number = int.from_bytes(change.key, "big")
                fresh = self._fresh.get(number)
                if fresh is not None and change.value is not None and _encode(fresh) == change.value:
                    del self._fresh[number]

    def _count(self, number: int, size: int) -> None:
        before = self._sizes.get(number)
        self.events += before is None
        self.bytes += size - (before or 0)
        self._sizes[number] = size


def element_of(event: ParkedEvent, made: list[Element]) -> Element:
    """The event as its call gets it; `made`: what the steps before make of its record."""
    if event.value is None:
        return made[event.index]
    source = made[0].source if made else None
    stream, record = (made[0].stream, made[0].record) if made else (None, event.record)
    value = decode_kept(event.value)
    return Element(value, event.event_time_ms, event.lineage_id, stream, record, source)
