"""Counts the events and canaries of each hour of each partition, idempotently.

How this works: one `DayRow` for each topic and day. A record counts in two places: an event in the hour in which it
happened, every record in the hour in which it was received. Each row knows up to which offset of each partition it has
counted, so a record that is read a second time after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from headwater.event import CANARY_MARK, is_canary
from headwater.log.contract import StoredRecord
from headwater.log.event_time import event_time_of
from headwater.monitoring.hours import HOUR_MS
from headwater.times import time_ms

HOURS_A_DAY = 24
_Z = ord("Z")


@dataclass(slots=True)
class HourCount:
    """One hour of one partition. By event time: `events`, of which `late`. By receipt: `canaries`, all `received`."""

    events: int = 0
    late: int = 0
    canaries: int = 0
    received: int = 0

    def add(self, other: HourCount) -> None:
        self.events += other.events
        self.late += other.late
        self.canaries += other.canaries
        self.received += other.received


NOTHING = HourCount()


@dataclass(slots=True)
class DayRow:
    """One day of one topic: (partition, hour of the epoch) → count, and the next offset to count per partition."""

    counts: dict[tuple[int, int], HourCount] = field(default_factory=dict)
    next: dict[int, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        rows = [[p, h, c.events, c.late, c.canaries, c.received] for (p, h), c in self.counts.items()]
        return orjson.dumps({"next": list(self.next.items()), "counts": rows})

    @classmethod
    def decode(cls, data: bytes) -> DayRow:
        value = orjson.loads(data)
        counts = {(row[0], row[1]): HourCount(*row[2:]) for row in value["counts"]}
        return cls(counts, dict(value["next"]))


class HourCounts:
    """The counts of all topics. Hours are numbered since the epoch (UTC)."""

    def __init__(self, hours_kept: int) -> None:
        self.rows: dict[tuple[str, int], DayRow] = {}
        self.changed: set[tuple[str, int]] = set()
        self._hours_kept = hours_kept

    def count(self, record: StoredRecord, event_time_field: str, max_lateness_ms: int) -> tuple[int, bool]:
        """Count a record; its event hour, and whether it is a canary."""
        received_hour = record.timestamp_ms // HOUR_MS
        canary = is_canary(record.value)
        hour = received_hour if canary else event_hour(record, event_time_field)
        one = self._hour(record, received_hour)
        if one is not None:
            one.received += 1
            one.canaries += canary
        if not canary and hour > received_hour - self._hours_kept:
            same_row = hour // HOURS_A_DAY == received_hour // HOURS_A_DAY
            of_event = one if hour == received_hour else self._hour(record, hour, again=same_row and one is not None)
            if of_event is not None:
                of_event.events += 1
                of_event.late += record.timestamp_ms > (hour + 1) * HOUR_MS + max_lateness_ms
        return hour, canary

    def count_run(self, records: Sequence[StoredRecord], start: int) -> int:
        """Count the run of plain records from `start` that count in the same way; the index after it.

        Plain: not a canary, in the hour in which it was received, new to the row. Nearly every record is, and finding
        the row once for a run costs a fraction of finding it for each. Other records are left.
        """
        first = records[start]
        topic, partition, offset = first.topic, first.partition, first.offset
        hour = first.timestamp_ms // HOUR_MS
        begin_ms, end_ms = hour * HOUR_MS, (hour + 1) * HOUR_MS
        is_last = hour % HOURS_A_DAY == HOURS_A_DAY - 1
        index, dt = start, b""
        for index in range(start, len(records)):
            record = records[index]
            headers = record.headers
            if (
                record.partition != partition
                or record.topic != topic
                or not begin_ms <= record.timestamp_ms < end_ms
                or len(headers) != 1
                or headers[0][0] != "dt"
                or CANARY_MARK in record.value
            ):
                break
            text = headers[0][1]
            # A leap second in the last hour of a day belongs to the next one.
            if not text or text[-1] != _Z or (is_last and text[17:19] == b"60"):
                break
            if text[:13] != dt:
                if _hour_of(text[:13]) != hour:
                    break
                dt = text[:13]
            offset = record.offset
        else:
            index = len(records)
        if index == start:
            return start
        row = self.rows.get((topic, hour // HOURS_A_DAY))
        if row is not None and first.offset < row.next.get(partition, 0):
            return start
        one = self._hour(first, hour)
        if one is not None:
            one.received += index - start
            one.events += index - start
            self.rows[topic, hour // HOURS_A_DAY].next[partition] = offset + 1
        return index

    def of(self, topic: str, partition: int, hour: int) -> HourCount:
        row = self.rows.get((topic, hour // HOURS_A_DAY))
        return row.counts.get((partition, hour), NOTHING) if row is not None else NOTHING

    def topic_total(self, topic: str, hour: int) -> HourCount:
        """All partitions of a topic together."""
        total = HourCount()
        row = self.rows.get((topic, hour // HOURS_A_DAY))
        for (_, its_hour), count in row.counts.items() if row is not None else ():
            if its_hour == hour:
                total.add(count)
        return total

    def canaries(self, topic: str, first_hour: int, last_hour: int) -> int:
        """The number of canaries a topic received in these hours of receipt, both included."""
        days = range(first_hour // HOURS_A_DAY, last_hour // HOURS_A_DAY + 1)
        rows = [row for day in days if (row := self.rows.get((topic, day))) is not None]
        return sum(count.canaries for row in rows for (_, hour), count in row.counts.items() if hour >= first_hour)

    def forget_before(self, hour: int) -> None:
        for key in [key for key in self.rows if key[1] < hour // HOURS_A_DAY]:
            del self.rows[key]
            self.changed.discard(key)

    def _hour(self, record: StoredRecord, hour: int, *, again: bool = False) -> HourCount | None:
        """The count to change; None if the record was counted before. `again`: a second place in the same row."""
        key = (record.topic, hour // HOURS_A_DAY)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = DayRow()
        if not again:
            if record.offset < row.next.get(record.partition, 0):
                return None
            row.next[record.partition] = record.offset + 1
        self.changed.add(key)
        place = (record.partition, hour)
        count = row.counts.get(place)
        if count is None:
            count = row.counts[place] = HourCount()
        return count


def event_hour(record: StoredRecord, event_time_field: str) -> int:
    """The hour in which an event happened, at the latest that of its receipt."""
    return event_time_of(record, event_time_field) // HOUR_MS


@lru_cache(maxsize=4096)
def _hour_of(text: bytes) -> int | None:
    at = time_ms(text.decode("latin-1"))
    return None if at is None else at // HOUR_MS
