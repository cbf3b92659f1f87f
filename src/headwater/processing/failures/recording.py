"""What becomes of the failures of a job: error events, a count, or the end of the run, as its `on_error` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import assert_never

from headwater.errors import JobStopped
from headwater.event import get_path
from headwater.jobs.job import Job
from headwater.jobs.steps import Failure, ReadRecord
from headwater.log.contract import Record
from headwater.processing.failures.events import ErrorEvents
from headwater.processing.wording import short_reason

NOTHING_WRITTEN: Mapping[int, Sequence[str]] = MappingProxyType({})


class FailureRecords:
    """The records about the failures of one job, by whichever runner."""

    def __init__(
        self, job: Job, errors: ErrorEvents, clock: Callable[[], float], refused: Callable[[BaseException], None]
    ) -> None:
        """`clock`: in epoch seconds. `refused` is called with the reason if an error event is refused itself."""
        self._job = job
        self._errors = errors
        self._clock = clock
        self._refused = refused

    async def records(
        self, failures: Iterable[Failure], written: Mapping[int, Sequence[str]] = NOTHING_WRITTEN
    ) -> list[Record]:
        """The records to write about them. `written`: see `written_of`.

        Raises JobStopped if the job is to stop at an event that failed.
        """
        records: list[Record] = []
        for failure in failures:
            now_ms = int(self._clock() * 1000)
            match self._job.on_error:
                case "error_event":
                    pass
                case "skip":
                    self._errors.count(failure, now_ms)
                    continue
                case "stop":
                    raise stopped_at(failure)
                case _:
                    assert_never(self._job.on_error)
            made = await self._errors.records(failure, now_ms, written.get(id(failure.item.record), ()))
            if isinstance(made, Failure):
                self._refused(made.error)
            else:
                records += made
        return records


def stopped_at(failure: Failure) -> JobStopped:
    """The error of a job that stops in front of the event, or the timer, that failed."""
    item = failure.item
    if item.record is not None and item.record.topic:
        event_id = get_path(item.source, "meta.id")
        where = place_of(item.record) + (f", event {event_id}" if isinstance(event_id, str) else "")
    else:
        where = f"the timer {item.lineage_id}"
    return JobStopped(f"{failure.step}: {short_reason(failure.error)} (at {where})")


def place_of(record: ReadRecord) -> str:
    """Where a record is in the log: `topic/partition/offset`."""
    return f"{record.topic}/{record.partition}/{record.offset}"
