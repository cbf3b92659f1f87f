"""What people are shown of failed events, as JSON values: causes with their counts, and one error with its event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from headwater.log.contract import LogReader
from headwater.processing.failures.counts import ErrorGroup
from headwater.processing.failures.redrive import redrive_entries, redrives_of
from headwater.processing.failures.selection import Selection, selected_errors
from headwater.processing.failures.stored import Groups, Reading, StoredError, original_of, stored_errors
from headwater.times import utc_text


async def described_groups(
    log: LogReader, job: str, topics: Sequence[str], wanted: Selection, reading: Reading | None = None
) -> list[dict[str, Any]]:
    """The causes of the selected errors of a job, the most frequent first. Raises LogUnavailable."""
    groups = Groups()
    redrives = await redrives_of(log, job)
    async for error in selected_errors(log, job, topics, wanted, reading):
        groups.add(error, redriven=redrives.has(error))
    return [_group(job, one, groups.redriven[one.group]) for one in groups.largest_first()]


def _group(job: str, one: ErrorGroup, redriven: int) -> dict[str, Any]:
    return {
        "job": job,
        "group": one.group,
        "error_type": one.kind,
        "step": one.step,
        "exception": one.exception,
        "count": one.count,
        "redriven": redriven,
        "compact": one.compact,
        "first": utc_text(one.first_ms),
        "last": utc_text(one.last_ms),
        "message": one.message,
        "sample": one.event_id,
        "first_ms": one.first_ms,
        "last_ms": one.last_ms,
    }


@dataclass(slots=True)
class Found:
    """The newest of the errors that a name means, and how many there are."""

    newest: StoredError | None = None
    count: int = 0
    _seen: set[str] = field(default_factory=set)

    def add(self, error: StoredError) -> None:
        if error.id not in self._seen:
            self._seen.add(error.id)
            self.count += 1
        if self.newest is None or error.at_ms >= self.newest.at_ms:
            self.newest = error


async def find_error(
    log: LogReader, name: str, jobs: Iterable[tuple[str, Sequence[str]]], reading: Reading | None = None
) -> Found:
    """The errors of a group, or with this id: of the error event, or of the event that failed.

    `jobs`: each with the topics of its error stream. Raises LogUnavailable.
    """
    found = Found()
    for job, topics in jobs:
        async for error in stored_errors(log, job, topics, reading=reading):
            if name in (error.group, error.id, error.event_id, error.details.lineage_id):
                found.add(error)
    return found


async def described_error(log: LogReader, error: StoredError, count: int, *, whole: bool = True) -> dict[str, Any]:
    """One error, the event that failed, where that is, and its redrives. `count`: how many have its name.

    Not `whole`: without anything that only those see who may read the streams of the job. Raises LogUnavailable.
    """
    details, event = error.details, error.event
    original: tuple[bytes, bytes] | str = "it is of a stream that needs an API key with the scope events:read"
    if whole:
        original = await original_of(log, error)
    raw, step_input = (b"", b"") if isinstance(original, str) else original
    return {
        "job": error.job,
        "group": error.group,
        "id": error.id,
        "error_type": error.kind,
        "exception": details.exception or None,
        "step": details.step or None,
        "message": error.message,
        "stack": event.get("stack"),
        "at": event.get("dt"),
        "attempt": details.attempt,
        "first_failed_at": details.first_failed_at or None,
        "found": count,
        "error_event": error.place,
        "event": {
            "id": error.event_id if whole else None,
            "stream": error.stream if whole else None,
            "place": details.place if whole else None,
            "key": details.key if whole else None,
            "bytes": len(raw),
            "value": _json_of(raw),
            "raw": raw.decode("utf-8", "backslashreplace"),
            "missing": original if isinstance(original, str) else None,
        },
        "continues_with": details.resume if whole else None,
        "input": _json_of(step_input) if step_input else None,
        "redrives": [one async for one in _redrives_of_error(log, error)],
    }


async def _redrives_of_error(log: LogReader, error: StoredError) -> AsyncIterator[dict[str, Any]]:
    async for entry in redrive_entries(log):
        if error.id in entry.get("errors", ()):
            yield {part: entry.get(part) for part in ("redrive", "by", "at", "filter", "mapper")}


def _json_of(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
