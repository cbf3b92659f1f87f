"""Combines what many requests append in one iteration of the event loop into one append: one call, one result.

How this works: the first append of an iteration schedules the joint append for its end, when everything that had
arrived by then is included. If the joint append fails, each is retried separately, since an append is all or none and
one may have made all of them fail; if the log reports the outcome of each record, nothing is retried. In both cases
each caller gets the result of its own append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from headwater.errors import AppendIncomplete, HeadwaterError, LogUnavailable
from headwater.log.contract import Placement, Record

RECORDS_GATHERED_MAX = 1_000
BYTES_GATHERED_MAX = 1_048_576

Submit = Callable[[Sequence[Record]], "asyncio.Future[Sequence[Placement]]"]


class Waiting(Protocol):
    """A caller whose records are being appended."""

    def ended(self, error: HeadwaterError | None) -> None:
        """The records are durable (None), or none of them was stored, or some (AppendIncomplete)."""
        ...

    def late(self) -> None:
        """The log has not responded in time; `ended` may still be called."""
        ...


Gathered = list[tuple[list[Record], Waiting]]


class AppendBatcher:
    """Appends on their way to the log. Belongs to one event loop."""

    def __init__(self, submit: Submit, seconds_max: float) -> None:
        """`seconds_max`: how long an append may take before `late` of its callers is called."""
        self._submit = submit
        self._seconds_max = seconds_max
        self._gathered: Gathered = []
        self._records = 0
        self._bytes = 0

    def add(self, records: list[Record], waiting: Waiting) -> None:
        """Append `records` with the others of this iteration; `waiting.ended` is called after this has returned."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._gathered.append((records, waiting))
        self._records += len(records)
        for record in records:
            self._bytes += len(record.value)
        if self._records >= RECORDS_GATHERED_MAX or self._bytes >= BYTES_GATHERED_MAX:
            self._hand_over()

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._records = self._bytes = 0
        if gathered:
            self._append(gathered)

    def _append(self, gathered: Gathered) -> None:
        records = gathered[0][0] if len(gathered) == 1 else [record for records, _ in gathered for record in records]
        loop = asyncio.get_running_loop()
        try:
            future = self._submit(records)
        except HeadwaterError as error:
            loop.call_soon(self._ended, gathered, error)
            return
        timer = loop.call_later(self._seconds_max, _late, gathered)

        def answered(future: asyncio.Future[Sequence[Placement]]) -> None:
            timer.cancel()
            self._ended(gathered, failure_of(future))

        future.add_done_callback(answered)

    def _ended(self, gathered: Gathered, error: HeadwaterError | None) -> None:
        if isinstance(error, AppendIncomplete):
            start = 0
            for records, waiting in gathered:
                waiting.ended(_part_of(error, start, start + len(records)))
                start += len(records)
            return
        if error is not None and len(gathered) > 1:
            for one in gathered:
                self._append([one])
            return
        if error is not None and not error.retriable and len(gathered[0][0]) > 1:
            self._append_apart(*gathered[0])
            return
        for _, waiting in gathered:
            waiting.ended(error)

    def _append_apart(self, records: list[Record], waiting: Waiting) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._seconds_max, waiting.late)

        def answered(task: asyncio.Future[Sequence[Placement]]) -> None:
            timer.cancel()
            waiting.ended(failure_of(task))

        loop.create_task(append_apart(self._submit, records)).add_done_callback(answered)


async def append_exactly(submit: Submit, records: Sequence[Record]) -> Sequence[Placement]:
    """Append records, and if one of them can never be stored, the others without it. Raises AppendIncomplete."""
    try:
        return await submit(records)
    except HeadwaterError as error:
        if error.retriable or len(records) == 1:
            raise
    return await append_apart(submit, records)


async def append_apart(submit: Submit, records: Sequence[Record]) -> Sequence[Placement]:
    """Append records one by one, since one of them can never be stored. Raises AppendIncomplete."""
    placements: dict[int, Placement] = {}
    failures: dict[int, HeadwaterError] = {}
    futures: dict[int, asyncio.Future[Sequence[Placement]]] = {}
    for index, record in enumerate(records):
        try:
            futures[index] = submit([record])
        except HeadwaterError as error:
            failures[index] = error
    if futures:
        await asyncio.wait(futures.values())
    for index, future in futures.items():
        why = failure_of(future)
        if isinstance(why, AppendIncomplete):
            failures[index] = why.failures[0]
        elif why is not None:
            failures[index] = why
        else:
            (placements[index],) = future.result()
    if failures:
        raise AppendIncomplete(dict(sorted(failures.items())), placements)
    return [placements[index] for index in range(len(records))]


def _part_of(error: AppendIncomplete, start: int, end: int) -> AppendIncomplete | None:
    """What became of the records from `start` to `end`, counted from `start`; None where all of them were stored."""
    failures = {index - start: error.failures[index] for index in range(start, end) if index in error.failures}
    if not failures:
        return None
    placements = {index - start: error.placements[index] for index in range(start, end) if index in error.placements}
    return AppendIncomplete(failures, placements)


def _late(gathered: Gathered) -> None:
    for _, waiting in gathered:
        waiting.late()


def failure_of(future: asyncio.Future[Any]) -> HeadwaterError | None:
    """Why an append failed, or None."""
    if future.cancelled():
        return LogUnavailable("The append was given up.")
    error = future.exception()
    if error is None or isinstance(error, HeadwaterError):
        return error
    return LogUnavailable(f"The log failed: {type(error).__name__}.")


def failures_of(error: HeadwaterError, count: int) -> Mapping[int, HeadwaterError]:
    """Which of `count` records an append did not store, and why."""
    return error.failures if isinstance(error, AppendIncomplete) else dict.fromkeys(range(count), error)
