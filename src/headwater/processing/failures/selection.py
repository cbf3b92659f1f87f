"""Which errors of a job are meant: filters by cause, field and time, as the command line and HTTP give them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.consumption.filter import parse_filter
from headwater.errors import TimestampInvalid
from headwater.event import get_path
from headwater.log.contract import LogReader
from headwater.processing.failures.stored import Reading, StoredError, stored_errors
from headwater.times import time_ms


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters of errors. `fields`: texts that fields must equal, by dotted path; times in epoch milliseconds."""

    group: str | None = None
    test: Callable[[Any], bool] | None = None
    fields: dict[str, str] = field(default_factory=dict)
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, error: StoredError) -> bool:
        if self.group is not None and error.group != self.group:
            return False
        if self.test is None and not self.fields:
            return True
        value = error.fields()
        if self.test is not None and not self.test(value):
            return False
        return all(_as_text(get_path(value, path)) == text for path, text in self.fields.items())


def selection(group: str | None, where: Sequence[str], since: str | None, until: str | None) -> Selection:
    """The filters as they are written. Raises FilterInvalid, TimestampInvalid.

    `where`: each a filter, in which `event` is the event that failed, or PATH=TEXT.
    """
    fields: dict[str, str] = {}
    tests = []
    for text in where:
        path, equals, value = text.partition("=")
        is_pair = equals and not value.startswith(("=", "~")) and path.replace(".", "").replace("_", "").isalnum()
        if is_pair:
            fields[path] = value
        else:
            tests.append(parse_filter(text).matches)
    test = (lambda value: all(one(value) for one in tests)) if tests else None
    return Selection(group, test, fields, _time("since", since), _time("until", until))


async def selected_errors(
    log: LogReader, job: str, topics: Sequence[str], wanted: Selection, reading: Reading | None = None
) -> AsyncIterator[StoredError]:
    """The selected error events of `job` in these topics, oldest first by partition. Raises LogUnavailable."""
    errors = stored_errors(log, job, topics, since_ms=wanted.since_ms, until_ms=wanted.until_ms, reading=reading)
    async for error in errors:
        if wanted.matches(error):
            yield error


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    at = int(text) if text.isascii() and text.isdigit() and len(text) == 13 else time_ms(text)
    if at is None:
        raise TimestampInvalid(f"{name}: {text[:80]!r} is not a time.", hint="Such as 2026-01-31T12:00:00Z.")
    return at


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
