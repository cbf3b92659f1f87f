"""The data of the page: totals, rates, streams, the last outcomes and the rows of the jobs' tables.

How this works: nothing runs unless a page is open. The events of the last two minutes come from the bounded memory of
the intake, so a new page has them immediately; events that pass faster than a page can show are counted as skipped.
Each open page requests a sample of the streams about once a second; the first request takes it, the others share it.
Rates are differences between samples, so the first one after a pause is the average over that pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from headwater.connectors.tables import TableView
from headwater.errors import EventMalformed, HeadwaterError
from headwater.event import decode_json, encode_json, json_bytes
from headwater.intake.recent import RecentOutcome, RecentOutcomes
from headwater.log.contract import LogReader
from headwater.streams.seen import SeenStreams
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight, Visibility
from headwater.times import ms_of, utc_milliseconds

SAMPLE_SECONDS = 1.0
TICK_SECONDS = 0.25
TABLES_EVERY_TICKS = 8
OUTCOMES_PER_TICK_MAX = 20
STREAMS_MAX = 60
# How many streams are processed before the event loop runs other tasks.
IN_A_TURN_MAX = 100
JOBS_MAX = 20
ROWS_MAX = 50
GIST_CHARS_MAX = 160

# An empty pointer means the event itself; two quotes with nothing between are easily overlooked.
_ROOT_POINTER = re.compile(r"(^|; )'' ")

_WITHHELD = "The event names no declared stream. It is not shown, since it may have been meant for a private one."


@dataclass(frozen=True, slots=True)
class Sample:
    """The number of records each topic has ever had, and has now, and the number of canaries of each stream."""

    at: float
    canaries: Mapping[str, int]
    written: Mapping[str, int]
    kept: Mapping[str, int]


class PageFeed:
    """The page's view of one platform. `read_tables` takes the maximum number of rows.

    `canaries_kept`: how many of a stream's records are canaries, which are excluded from all counts.
    """

    def __init__(
        self,
        log: LogReader,
        recent: RecentOutcomes,
        read_tables: Callable[[int], Awaitable[Sequence[TableView]]],
        *,
        canaries_kept: Callable[[Stream], int],
        clock: Callable[[], float] = time.monotonic,
        jobs_in_trouble: Callable[[SeenStreams], Sequence[Mapping[str, Any]]] = lambda _: (),
    ) -> None:
        self._log = log
        self._recent = recent
        self._read_tables = read_tables
        self._canaries_kept = canaries_kept
        self._clock = clock
        self._jobs_in_trouble = jobs_in_trouble
        self._samples: deque[Sample] = deque(maxlen=2)
        self._sampling = asyncio.Lock()
        self._known_rows: dict[Sight, tuple[Sample, Visibility, list[dict[str, Any]]]] = {}
        self._tables: list[dict[str, Any]] = []
        self._tables_read_at = float("-inf")

    async def state(self, seen: SeenStreams) -> dict[str, Any]:
        """`{totals: {accepted, refused}, rates: [{accepted, refused}], streams: [{name, summary, count, …}], jobs}`.

        `rates` is one entry per second, oldest first; `streams` the busiest of the visible ones, `reads` whether their
        events may be read; `jobs` the failing ones. Totals and rates count all streams.
        """
        await self._sample()
        latest = self._samples[-1]
        before = self._samples[-2] if len(self._samples) > 1 else latest
        shown = await self._rows(seen, latest, before)
        return {
            "totals": {"accepted": self._recent.accepted_total, "refused": self._recent.refused_total},
            "rates": [{"accepted": accepted, "refused": refused} for accepted, refused in self._recent.per_second()],
            # Empty streams, such as error streams without errors, come last.
            "streams": sorted(shown, key=lambda row: (row["count"] == 0, row["name"])),
            "jobs": list(self._jobs_in_trouble(seen))[:JOBS_MAX],
        }

    async def _rows(self, seen: SeenStreams, latest: Sample, before: Sample) -> list[dict[str, Any]]:
        """The rows of the busiest streams; computed once per sample for all clients that see the same streams."""
        known = self._known_rows.get(seen.sight)
        if known is not None and known[0] is latest and known[1] is seen.visibility:
            return known[2]
        rows = []
        for number, stream in enumerate(seen.all(), 1):
            row = _stream_row(stream, latest, before, self._canaries_kept(stream))
            rows.append(row | {"reads": seen.reads(stream)})
            if number % IN_A_TURN_MAX == 0:
                await asyncio.sleep(0)
        if len(rows) > STREAMS_MAX:
            rows = sorted(rows, key=lambda row: -row["count"])[:STREAMS_MAX]
        self._known_rows[seen.sight] = (latest, seen.visibility, rows)
        return rows

    async def tables(self, seen: SeenStreams) -> list[dict[str, Any]]:
        """`[{name, columns, rows, rows_total}]` of the tables whose sources may be read; the last known rows while one
        is busy."""
        async with self._sampling:
            if self._clock() - self._tables_read_at >= SAMPLE_SECONDS:
                # A table that cannot be read now keeps its last known rows.
                with contextlib.suppress(HeadwaterError):
                    views = await self._read_tables(ROWS_MAX)
                    self._tables = [_table(view) for view in views]
                self._tables_read_at = self._clock()
        return [one for one in self._tables if seen.visibility.reads_table(one["name"], seen.sight)]

    def outcomes_since(self, number: int, seen: SeenStreams) -> tuple[dict[str, Any], int]:
        """`{outcomes: […], skipped: n}` after the outcome `number`, and the number for the next call."""
        latest = self._recent.number
        remembered = self._recent.since(number)
        found = [made for one in remembered if (made := _as_seen(one, seen)) is not None]
        # A new page gets everything; later only as much as a person can follow.
        shown = _fair_choice(found) if number else found
        hidden = len(remembered) - len(found)
        skipped = max(0, latest - number - hidden - len(shown)) if number else 0
        return {"outcomes": [_outcome(one) for one in shown], "skipped": skipped}, latest

    async def messages(
        self, seeing: Callable[[], SeenStreams], *, ended: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[bytes]:
        """Server-sent events for one open page: `state` each second, `outcomes` and `tables` as they change.

        `seeing` returns the streams as its reader sees them now.
        """
        number = 0
        tick = 0
        sent: list[dict[str, Any]] | None = None
        while not ended():
            seen = seeing()
            changes, number = self.outcomes_since(number, seen)
            if changes["outcomes"]:
                yield _message("outcomes", changes)
            if tick % round(SAMPLE_SECONDS / TICK_SECONDS) == 0:
                yield _message("state", await self.state(seen))
            if tick % TABLES_EVERY_TICKS == 0 and (tables := await self.tables(seen)) != sent:
                sent = tables
                yield _message("tables", tables)
            tick += 1
            await asyncio.sleep(TICK_SECONDS)

    async def _sample(self) -> None:
        async with self._sampling:
            now = self._clock()
            # A little less than the interval, so that a page that asks every second never skips one.
            if self._samples and now - self._samples[-1].at < SAMPLE_SECONDS * 0.9:
                return
            topics = await self._log.topics()
            self._samples.append(
                Sample(
                    at=now,
                    canaries=dict(self._recent.canaries),
                    written={info.name: sum(info.next) for info in topics},
                    kept={info.name: sum(info.next) - sum(info.first) for info in topics},
                )
            )


def _stream_row(stream: Stream, latest: Sample, before: Sample, canaries: int) -> dict[str, Any]:
    written = [
        sum(sample.written.get(topic, 0) for topic in stream.topics) - sample.canaries.get(stream.name, 0)
        for sample in (before, latest)
    ]
    seconds = latest.at - before.at
    return {
        "name": stream.name,
        "summary": stream.summary,
        "count": max(0, sum(latest.kept.get(topic, 0) for topic in stream.topics) - canaries),
        "rate": max(0.0, round((written[1] - written[0]) / seconds, 2)) if seconds > 0 else 0.0,
    }


def _fair_choice(found: Sequence[RecentOutcome]) -> Sequence[RecentOutcome]:
    """The newest outcomes, up to a limit, half of which is reserved for refusals, which matter most."""
    if len(found) <= OUTCOMES_PER_TICK_MAX:
        return found
    half = OUTCOMES_PER_TICK_MAX // 2
    refused = [one for one in found if not one.accepted][-half:]
    accepted = [one for one in found if one.accepted][-(OUTCOMES_PER_TICK_MAX - len(refused)) :]
    return sorted([*refused, *accepted], key=lambda one: one.number)


def _as_seen(one: RecentOutcome, seen: SeenStreams) -> RecentOutcome | None:
    """What a reader may see of an outcome: all, nothing, or only that an event without a stream was refused."""
    if seen.visibility.reads_of(one.stream, seen.sight):
        return one
    if one.accepted or seen.visibility.knows(one.stream):
        return None
    return replace(one, stream=None, message=_WITHHELD, event_text="")


def _outcome(one: RecentOutcome) -> dict[str, Any]:
    return {
        "number": one.number,
        "time": utc_milliseconds(ms_of(one.at)),
        "accepted": one.accepted,
        "stream": one.stream,
        "code": one.code,
        "reason": one.message and _ROOT_POINTER.sub(r"\1the event ", one.message),
        "gist": _gist(one.event_text),
        "event": one.event_text,
    }


def _gist(event_text: str) -> str:
    """The event's own simple fields in one line; empty if the text was cut and is not JSON."""
    try:
        value = decode_json(event_text)
    except EventMalformed:
        return ""
    if not isinstance(value, dict):
        return ""
    simple = (v for k, v in value.items() if k not in {"$schema", "dt"} and isinstance(v, str | int | float))
    words = [v if isinstance(v, str) else encode_json(v).decode() for v in simple]
    return " · ".join(words)[:GIST_CHARS_MAX]


def _table(view: TableView) -> dict[str, Any]:
    return {
        "name": view.name,
        "columns": list(view.columns),
        "rows": [[_cell(value) for value in row] for row in view.rows],
        "rows_total": view.rows_total,
    }


def _cell(value: Any) -> str | int | float | None:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _message(event: str, data: Any) -> bytes:
    return b"event: " + event.encode() + b"\ndata: " + json_bytes(data) + b"\n\n"
