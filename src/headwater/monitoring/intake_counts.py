"""Counts the events that this process's intake and jobs have accepted, by stream and hour, to compare with the log.

How this works: the counters of `/metrics` are read every few seconds, at the turn of each hour and a moment after it;
the differences are added to the hour. An event that is counted in the first moments of an hour may have been stored in
the hour before: those are `turning`, and give the tolerance of a comparison.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import Fault, HeadwaterError
from headwater.monitoring.hours import HOUR_MS
from headwater.telemetry import Telemetry, bounded, closed

TURN_SECONDS = 2.0
LATE_SECONDS = 0.1
ACCEPTED, DUPLICATE = "accepted", "duplicate"
# What enters the log without the intake's own count of the stream.
JOB, ERROR_EVENT = "written_by_jobs", "error_events"
TURNING = "turning"
STORING = (ACCEPTED, JOB, ERROR_EVENT)
Totals = dict[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Ahead:
    """Events whose event time is after their receipt, and the largest lead among them."""

    events: int
    lead_ms: int


class IntakeCounts:
    """The counts of one process. `take` adds new counts; `records` are to be stored by their keys."""

    def __init__(
        self,
        telemetry: Telemetry,
        error_stream: str,
        *,
        job_totals: Callable[[], Mapping[str, int]] = dict,
        clocks_ahead: Callable[[], Mapping[str, tuple[int, int]]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`job_totals`: stream → events that jobs have written into it since the process started.

        `clocks_ahead`: stream → events that were ahead of their receipt since the last call, and the largest lead (ms).
        """
        self._clocks_ahead = clocks_ahead
        # Hour → stream → events ahead of their receipt, and the largest lead (ms).
        self.ahead: dict[int, dict[str, tuple[int, int]]] = {}
        self.hours: dict[int, dict[str, dict[str, int]]] = {}
        self._telemetry = telemetry
        self._error_stream = error_stream
        self._job_totals = job_totals
        self._clock = clock
        self._instance = os.urandom(6).hex()
        self._known: Totals = {}
        self._taken_at = clock()
        self._changed: set[int] = set()
        self._not_refusals = {error.code for error in _family(HeadwaterError) if error.fault is not Fault.PRODUCER}

    def next_look(self, interval_seconds: float) -> float:
        """Seconds until the next reading: after the interval, or at a turn of the hour."""
        now = self._clock()
        into = now % 3600
        turns = [at - into for at in (TURN_SECONDS, 3600.0) if at > into]
        return min([interval_seconds, *turns]) + 0.001

    def take(self) -> None:
        """Add the counts since the last time."""
        now = self._clock()
        totals = self._totals()
        hour = int(self._taken_at) // 3600
        is_first = self._taken_at % 3600 < TURN_SECONDS
        # A late reading: its counts belong to one of two hours, and it is unknown to which.
        is_late = now - (hour + 1) * 3600 > LATE_SECONDS
        for (stream, outcome), total in totals.items():
            count = round(total - self._known.get((stream, outcome), 0))
            if count <= 0:
                continue
            its = self.hours.setdefault(hour, {}).setdefault(stream, {})
            its[outcome] = its.get(outcome, 0) + count
            self._changed.add(hour)
            if (is_first or is_late) and outcome in STORING:
                of = hour + 1 if is_late else hour
                turned = self.hours.setdefault(of, {}).setdefault(stream, {})
                turned[TURNING] = turned.get(TURNING, 0) + count
                self._changed.add(of)
        self._take_ahead(hour)
        self._known, self._taken_at = totals, now

    def _take_ahead(self, hour: int) -> None:
        for stream, (count, lead_ms) in self._clocks_ahead().items():
            its = self.ahead.setdefault(hour, {})
            events, largest = its.get(stream, (0, 0))
            its[stream] = (events + count, max(largest, lead_ms))
            self._changed.add(hour)

    def records(self, *, ended: bool = False) -> dict[str, Any]:
        """Key → content of the counts that have changed since the last call, to be made durable."""
        changed = self._changed | ({max(self.hours)} if ended and self.hours else set())
        self._changed = set()
        until = int(self._taken_at * 1000)
        current = int(self._taken_at) // 3600
        for hour in [hour for hour in self.hours if hour < current - 1 and hour not in changed]:
            del self.hours[hour]
            self.ahead.pop(hour, None)
        records: dict[str, Any] = {}
        for hour in changed:
            record = {"until": until, "ended": ended, "streams": self.hours.get(hour, {})}
            if hour in self.ahead:
                record["ahead"] = self.ahead[hour]
            records[f"{self._instance}|{hour}"] = record
        return records

    def keep_changed(self, records: Mapping[str, Any]) -> None:
        """These could not be made durable: `records` returns them again."""
        self._changed |= {int(key.rpartition("|")[2]) for key in records}

    def _totals(self) -> Totals:
        totals: Totals = {}
        refused = 0.0
        events = self._telemetry.counter(
            "headwater_intake_events",
            "Events validated, by stream and outcome.",
            (bounded("stream"), closed("outcome")),
        )
        for metric in events.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    outcome = sample.labels["outcome"]
                    totals[sample.labels["stream"], outcome] = sample.value
                    if outcome not in (ACCEPTED, DUPLICATE) and outcome not in self._not_refusals:
                        refused += sample.value
        lost = sum(
            self._telemetry.value(f"headwater_intake_error_events_{how}_total") or 0 for how in ("refused", "lost")
        )
        totals[self._error_stream, ERROR_EVENT] = refused - lost
        for stream, total in self._job_totals().items():
            totals[stream, JOB] = total
        return totals


def hour_of(records: Mapping[int, Mapping[str, Any]], stream: str, hour: int) -> tuple[dict[str, int], bool]:
    """All intakes' counts of one stream and hour; and whether a process died in it, so that some are missing.

    `records`: hour → process → its counts.
    """
    total: dict[str, int] = {}
    broken_off = False
    for instance, record in records.get(hour, {}).items():
        # It recorded neither its end nor that it continued into the next hour.
        went_on = record["until"] >= (hour + 1) * HOUR_MS or any(
            instance in records[later] for later in records if later > hour
        )
        broken_off = broken_off or not (record["ended"] or went_on)
        for outcome, count in record["streams"].get(stream, {}).items():
            total[outcome] = total.get(outcome, 0) + count
    return total, broken_off


def ahead_in(records: Mapping[int, Mapping[str, Any]], first: int) -> dict[str, Ahead]:
    """Stream → all intakes' counts of clocks that run ahead, from the hour `first` on; `records` as above."""
    found: dict[str, Ahead] = {}
    for hour, by_process in records.items():
        for record in by_process.values() if hour >= first else ():
            for stream, (events, lead_ms) in record.get("ahead", {}).items():
                known = found.get(stream, Ahead(0, 0))
                found[stream] = Ahead(known.events + events, max(known.lead_ms, lead_ms))
    return found


def _family(base: type[HeadwaterError]) -> list[type[HeadwaterError]]:
    return [base, *(found for child in base.__subclasses__() for found in _family(child))]
