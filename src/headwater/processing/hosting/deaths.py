"""Finds the event that ends its process each time, from what processes of jobs were working on when they ended.

How this works: what a process was working on (`flight_recorder.py`) is suspect, and its successor processes those
records one by one. When one ends with a record that it tried alone, that counts against the record: surely, if the code
of its job was running; also if only one record was tried, unless somebody else may have ended the process. A record
that has ended `per_event_max` processes is not tried again: the next process writes an error event about it.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from headwater.log.contract import TopicPartition
from headwater.processing.flight_recorder import Flights, Place, Suspicion
from headwater.processing.wording import counted

# Records that a job has not passed; the oldest are forgotten.
COUNTED_MAX = 1_000
# So many processes are started soon after an event has ended the one before, in so many seconds.
SOON_MAX = 20
SOON_SECONDS = 600.0

_log = logging.getLogger(__name__)


class Deaths:
    """What the processes of one platform were working on when they ended, by job."""

    def __init__(self, per_event_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_event_max = per_event_max
        self._clock = clock
        self._blamed_at: deque[float] = deque(maxlen=SOON_MAX)
        self._until: dict[str, dict[TopicPartition, int]] = {}
        self._counts: dict[tuple[str, Place], int] = {}
        self._ended: dict[tuple[str, Place], str] = {}

    def suspicions(self, jobs: Iterable[str]) -> Mapping[str, Suspicion]:
        """What the next process with these jobs has to know."""
        return {
            job: Suspicion(
                dict(self._until.get(job, {})),
                {place: reason for (name, place), reason in self._ended.items() if name == job},
            )
            for job in jobs
            if job in self._until
        }

    def note(self, flights: Flights, reason: str, *, status: int | None, is_ours: bool) -> bool:
        """A process has ended for this reason; `is_ours`: the platform has ended it, because of what it did.

        Whether the next one may be started soon: an event is known that has ended it, and there were not too many.
        """
        for job, flight in flights.jobs.items():
            self._forget_passed(job, flight.read)
            until = self._until.setdefault(job, {})
            for part, offset in flight.read.items():
                until[part] = max(offset, until.get(part, offset))
        if (found := _blamed(flights, may_be_others=status == -signal.SIGKILL and not is_ours)) is None:
            return False
        count = self._counts[found] = self._counts.pop(found, 0) + 1
        if len(self._counts) > COUNTED_MAX:
            del self._counts[next(iter(self._counts))]
        if count >= self._per_event_max:
            job, place = found
            times = counted(count, "time")
            self._ended[found] = f"it has ended its process {times}, and is not processed again; the last time {reason}"
            _log.error(
                "job %s: the event at %s has ended its process %s; the last time %s. It becomes an error event"
                " instead of being processed again, unless the job has another `on_error`.",
                *(job, "/".join(map(str, place)), times, reason),
            )
        now = self._clock()
        self._blamed_at.append(now)
        return len(self._blamed_at) < SOON_MAX or now - self._blamed_at[0] > SOON_SECONDS

    def _forget_passed(self, job: str, read: Mapping[TopicPartition, int]) -> None:
        """Forget the records that the job has passed: one by one, it reads others only then."""
        for noted in (self._counts, self._ended):
            for name, place in [*noted]:
                if name == job and read.get(place[:2], -1) > place[2]:
                    del noted[name, place]


def _blamed(flights: Flights, *, may_be_others: bool) -> tuple[str, Place] | None:
    """The job and the record that have ended the process, as far as that is certain."""
    if flights.running is not None:
        return flights.running
    tried = [(job, place) for job, flight in flights.jobs.items() for place in flight.tried]
    return tried[0] if len(tried) == 1 and not may_be_others else None
