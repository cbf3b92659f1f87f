"""Finds the record that makes its batch fail each time, so that it is set aside instead of being retried for ever.

How this works: errors raised by a job's functions never get this far. If processing fails all the same, in a sink or
while the results are stored, and not because log or target are unavailable, the records of that batch are read again in
halves, and what fails of these in halves again, until one is left. The one that fails by itself so many times becomes
an error event. A job that stops in front of an event that fails finds it in the same way. A parked event has no record
to read again: it is committed alone. Records that a process was working on when it ended are read one by one by the
next one, too (`flight_recorder.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.errors import Fault, HeadwaterError, JobStopped, ProcessEnded
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.processing.flight_recorder import Place, Suspicion

ATTEMPTS = 2


class Suspects:
    """The records of failed batches. Belongs to one runner, across its restarts.

    `attempts`: how often a record fails by itself before it is set aside. `before`: what earlier processes have left.
    """

    def __init__(self, attempts: int = ATTEMPTS, before: Suspicion | None = None) -> None:
        before = before or Suspicion()
        self._attempts = attempts
        # How many records are read at once, and whether that grows again, after one was found.
        self._size = 1
        self._grows = False
        # The last offset of each partition whose records are to be read one by one.
        self._until: dict[TopicPartition, int] = dict(before.until)
        # The records that are not tried, as each has ended its process every time.
        self._ended: dict[Place, str] = dict(before.ended)
        self._place: Place | None = None
        self._times = 0
        self._error: BaseException | None = None
        # How often each parked event, by the number of its row, failed alone, and with which error.
        self._parked: dict[int, tuple[int, BaseException]] = {}

    def failed(self, records: Sequence[StoredRecord], error: BaseException, parked: Sequence[int] = ()) -> None:
        """A batch could not be processed. `parked`: the parked events in it, by the number of their row."""
        stops = isinstance(error, JobStopped)
        if isinstance(error, HeadwaterError) and not stops and (error.retriable or error.fault is not Fault.PRODUCER):
            return
        for row in parked:
            times, _ = self._parked.get(row, (0, error))
            self._parked[row] = times + (len(parked) == 1 and not records and not stops), error
        for record in records:
            part = (record.topic, record.partition)
            self._until[part] = max(record.offset, self._until.get(part, 0))
        self._size, self._grows = max(1, len(records) // 2), False
        # Where a job stops it is to begin again, however often.
        if len(records) == 1 and not stops:
            place = _place(records[0])
            self._times = self._times + 1 if place == self._place else 1
            self._place, self._error = place, error

    def among(self, position: Position) -> bool:
        """Whether any of them may be next, so that fewer records are to be read at once."""
        if not self._until:
            return False
        offsets = position.offsets
        if any(part in offsets and offsets[part] <= offset for part, offset in self._until.items()):
            return True
        self._until.clear()
        self._ended.clear()
        self._place = self._error = None
        return False

    def records_max(self, position: Position, most: int) -> int:
        """How many records to read now, of `most`."""
        if not self.among(position):
            return most
        if self._ended:
            return 1
        size = min(self._size, most)
        if self._grows:
            self._size *= 2
        return size

    @property
    def is_searching(self) -> bool:
        """Whether a record is searched for."""
        return bool(self._until)

    @property
    def attempts(self) -> int:
        """How often the record that is read by itself has failed."""
        return self._times

    def alone(self, records: Sequence[StoredRecord]) -> StoredRecord | None:
        """The record, if it was read alone because it may be one of them."""
        return records[0] if self._until and len(records) == 1 else None

    def is_suspect(self, row: int | None) -> bool:
        """Whether this parked event was in a batch that failed, so that it is to be committed alone."""
        return row is not None and row in self._parked

    def parked_verdict(self, row: int) -> BaseException | None:
        """The error with which this parked event fails each time; None if it may be tried."""
        times, error = self._parked.get(row, (0, None))
        return error if times >= self._attempts else None

    def committed(self, row: int) -> None:
        """This parked event was committed."""
        self._parked.pop(row, None)

    def try_again(self) -> None:
        """Forget how often the record failed: the job stops in front of it, and it may have been repaired by then."""
        self._place, self._times, self._error = None, 0, None
        self._ended.clear()

    def verdict(self, records: Sequence[StoredRecord]) -> BaseException | None:
        """The error with which this record fails each time; None if it may be tried."""
        if self._ended and len(records) == 1 and (reason := self._ended.get(_place(records[0]))) is not None:
            return ProcessEnded(reason)
        if self._times < self._attempts or len(records) != 1 or _place(records[0]) != self._place:
            return None
        self._grows = True
        return self._error


def _place(record: StoredRecord) -> Place:
    return record.topic, record.partition, record.offset
