"""Counts the error events and the late events that a job on Flink has written since it was started there.

How this works: Flink's counters begin at zero with each restart, and what a restarted job processes again it counts
again. The streams are true after any restart, also of the process that counts: they are read from the start of the job
on, and an event that was written again has the same id, so that it counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from headwater.event import get_path
from headwater.jobs.job import Job
from headwater.log.contract import LogReader, Position, StoredRecord, TopicPartition
from headwater.log.reading_on import read_on
from headwater.processing.failures.stored import Groups, StoredError, error_of

# How much one look reads at most, of 1,000 records each: what is left is read by the next.
READS_MAX = 50
# Of how many late events the ids are kept, to recognise those that are written again.
IDS_MAX = 1_000_000


class WrittenEvents:
    """What one job has written since `since_ms`. Used by one task."""

    def __init__(self, log: LogReader, job: Job, errors: Sequence[str], late: Sequence[str], *, since_ms: int) -> None:
        """`errors`, `late`: the topics of its error events, and of its late events if no other job writes there."""
        self._log = log
        self._job = job
        self._counts_errors = bool(errors)
        self._late_topics = frozenset(late)
        self._topics = (*errors, *late)
        self._since_ms = since_ms
        self._offsets: dict[TopicPartition, int] = {}
        # The ends up to which all is read: marks of transactions may come before them.
        self._read_to: dict[TopicPartition, int] = {}
        self._late_ids: set[int] = set()
        self.groups = Groups()
        self._late = 0
        self.last_error: StoredError | None = None

    @property
    def errors(self) -> int | None:
        """How many events have failed; None if it writes no error events."""
        return sum(one.count for one in self.groups.groups.values()) if self._counts_errors else None

    @property
    def late(self) -> int | None:
        """How many events were late; None if it has no stream for them."""
        return self._late if self._late_topics else None

    async def look(self) -> None:
        """Read what is new. Raises LogUnavailable."""
        there = list(await self._log.partition_counts(self._topics))
        if not there:
            return
        ends = dict((await self._log.last(there)).offsets)
        if ends.keys() - self._offsets.keys():
            begins = (await self._log.at(there, self._since_ms)).offsets
            self._offsets = {**begins, **self._offsets}
        for _ in range(READS_MAX):
            if all(self._read_to.get(place, self._offsets[place]) >= end for place, end in ends.items()):
                return
            records, position = await read_on(self._log, Position(self._offsets))
            self._offsets = dict(position.offsets)
            for record in records:
                self._count(record)
            if not records:
                self._read_to = ends

    def _count(self, record: StoredRecord) -> None:
        if record.topic in self._late_topics:
            self._count_late(record)
            return
        error = error_of(self._job.name, record)
        if error is not None and error.event.get("emitter_id") == self._job.name:
            self.groups.add(error, redriven=False)
            self.last_error = error

    def _count_late(self, record: StoredRecord) -> None:
        try:
            name = get_path(orjson.loads(record.value), "meta.id")
        except orjson.JSONDecodeError:
            return
        mark = hash(name)
        if mark in self._late_ids:
            return
        if len(self._late_ids) < IDS_MAX:
            self._late_ids.add(mark)
        self._late += 1


def late_stream_alone(job: Job, jobs: Iterable[Job]) -> str | None:
    """The stream of the late events of a job, if no other of `jobs` writes to it."""
    late = job.writes().late
    return None if any(late in other.writes().streams for other in jobs if other.name != job.name) else late
