"""Follows all topics, counts every hour of them, and stores the counts durably in the log itself.

How this works: every few seconds new records of the topics are read and counted. Changed rows, one for each topic and
day, are appended as keyed records to one compacted topic, followed by the position up to which each topic is counted. A
crash between the two only means that records are read again, which rows ignore (hour_counts.py). A start folds that
topic. Every process adds the counts of its intake there (intake_counts.py), for reconciliation. No other database is
needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from headwater.errors import LogCorrupt, PositionLost, TopicUnknown
from headwater.log.contract import Log, Position, Record, StoredRecord, TopicPartition, TopicSettings
from headwater.log.reading_on import passed
from headwater.monitoring.hour_counts import DayRow, HourCounts
from headwater.monitoring.hours import HOUR_MS

TOPIC = "headwater.event_counts"
READ_RECORDS_MAX = 1000
READ_BYTES_MAX = 2_097_152
# Counting may take this share of the time, since producers and consumers have priority: the minimum while its lag is
# small, the maximum once it is large.
BUSY_SHARE_MIN = 0.02
BUSY_SHARE_MAX = 0.1
BEHIND_SECONDS = 600.0
# Longer than the counts themselves are kept, so that the fold at a start is complete.
KEPT_HOURS_MORE = 48


@dataclass(slots=True)
class CountedTopic:
    """How a topic is counted: its stream, the field of the event time, and the allowed lateness."""

    stream: str
    event_time_field: str
    max_lateness_ms: int


@dataclass(slots=True)
class TopicProgress:
    """How far a topic is counted, and the last records in it. Times are receipt times (epoch ms)."""

    next: dict[int, int] = field(default_factory=dict)
    canaries_since_ms: int | None = None
    last_canary_ms: int | None = None
    last_event_ms: int | None = None

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "next": list(self.next.items()),
                "canaries_since": self.canaries_since_ms,
                "last_canary": self.last_canary_ms,
                "last_event": self.last_event_ms,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> TopicProgress:
        value = orjson.loads(data)
        return cls(dict(value["next"]), value["canaries_since"], value["last_canary"], value["last_event"])


def busy_share(behind_seconds: float) -> float:
    """The share of the time that counting may take at this lag."""
    return min(BUSY_SHARE_MAX, max(BUSY_SHARE_MIN, BUSY_SHARE_MAX * behind_seconds / BEHIND_SECONDS))


class HourlyCounts:
    """The counts of one platform. `open` before use; `read_on` counts new records, `save` makes the counts durable."""

    def __init__(self, log: Log, hours_kept: int, clock: Callable[[], float] = time.time) -> None:
        self.counts = HourCounts(hours_kept)
        self.hours_kept = hours_kept
        # Everything received before this time is counted (epoch ms); None until everything has been counted once.
        self.counted_until_ms: int | None = None
        # Hour → process → what its intake counted (intake_counts.py), and since when any did (epoch ms).
        self.intakes: dict[int, dict[str, Any]] = {}
        self.intakes_since_ms: int | None = None
        self._log = log
        self._clock = clock
        self._topics: dict[str, TopicProgress] = {}
        self._moved: set[str] = set()
        self._followed = Position()
        self._is_open = False
        self._since_ms = int(clock() * 1000)

    async def open(self) -> None:
        """Fold the stored counts. Raises LogUnavailable."""
        if self._is_open:
            return
        settings = TopicSettings(compact=True, retention_seconds=(self.hours_kept + KEPT_HOURS_MORE) * 3600.0)
        await self._log.ensure_topic(TOPIC, settings)
        self._followed = await self._log.first([TOPIC])
        await self._fold(own_too=True)
        if self.intakes_since_ms is None:
            self.intakes_since_ms = self._since_ms
            await self._append({"intake|since": orjson.dumps(self._since_ms)})
        self._is_open = True

    @property
    def is_open(self) -> bool:
        return self._is_open

    def topic(self, name: str) -> TopicProgress:
        """The state of a topic; empty if it was never counted."""
        return self._topics.get(name) or TopicProgress()

    def expect_canaries(self, topics: Iterable[str]) -> None:
        """Set the topics that have canaries from now on."""
        expected = set(topics)
        now = int(self._clock() * 1000)
        for name in expected | set(self._topics):
            known = self._topics.setdefault(name, TopicProgress())
            if (known.canaries_since_ms is not None) != (name in expected):
                known.canaries_since_ms = now if name in expected else None
                self._moved.add(name)

    async def read_on(self, watched: dict[str, CountedTopic]) -> int:
        """Count everything in these topics; the number of records. Raises LogUnavailable, LogCorrupt."""
        began = int(self._clock() * 1000)
        ends: dict[TopicPartition, int] = {}
        for info in await self._log.topics():
            if info.name in watched:
                progress = self._topics.setdefault(info.name, TopicProgress())
                for partition, end in enumerate(info.next):
                    first = info.first[partition]
                    reached = progress.next.get(partition, first)
                    # Beyond the end: the topic was recreated, and everything in it is still to be counted.
                    progress.next[partition] = first if reached > end else max(first, reached)
                    ends[info.name, partition] = end
        read, pause = 0, 0.0
        while behind := self._behind(ends):
            # At least a short pause, so that a large lag does not block other tasks.
            await asyncio.sleep(pause)
            turn = time.perf_counter()
            records = await self._read(behind, ends, watched)
            read += len(records)
            late = self._clock() - records[-1].timestamp_ms / 1000 if records else 0.0
            pause = (time.perf_counter() - turn) * (1 / busy_share(late) - 1)
        self.counted_until_ms = began
        oldest = began // HOUR_MS - self.hours_kept
        self.counts.forget_before(oldest)
        self.intakes = {hour: records for hour, records in self.intakes.items() if hour >= oldest}
        return read

    async def save(self) -> None:
        """Make changed counts durable. Raises LogUnavailable; it can be retried."""
        rows, moved = set(self.counts.changed), set(self._moved)
        # A row that changes while the log stores it counts as changed again.
        self.counts.changed -= rows
        self._moved -= moved
        try:
            await self._append({f"day|{day}|{topic}": self.counts.rows[topic, day].encode() for topic, day in rows})
            await self._append({f"topic|{name}": self._topics[name].encode() for name in moved})
        except BaseException:
            self.counts.changed |= rows
            self._moved |= moved
            raise

    async def save_intake(self, records: dict[str, Any]) -> None:
        """Make the counts of an intake durable, by key. Raises LogUnavailable."""
        await self._append({f"intake|{key}": orjson.dumps(value) for key, value in records.items()})

    async def follow_intakes(self) -> None:
        """Read the counts of other processes' intakes. Raises LogUnavailable."""
        await self._fold(own_too=False)

    def _behind(self, ends: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        now = {(topic, partition): self._topics[topic].next[partition] for topic, partition in ends}
        return {place: offset for place, offset in now.items() if offset < ends[place]}

    async def _read(
        self, behind: dict[TopicPartition, int], ends: dict[TopicPartition, int], watched: dict[str, CountedTopic]
    ) -> Sequence[StoredRecord]:
        try:
            records = await self._log.read(Position(behind), records_max=READ_RECORDS_MAX, bytes_max=READ_BYTES_MAX)
        except LogCorrupt as error:
            for (topic, partition), offset in passed(Position(behind), error).offsets.items():
                if offset != behind[topic, partition]:
                    self._move(topic, partition, min(offset, ends[topic, partition]))
            return ()
        except PositionLost:
            first = (await self._log.first({topic for topic, _ in behind})).offsets
            for (topic, partition), offset in behind.items():
                self._move(topic, partition, max(offset, first.get((topic, partition), offset)))
            return ()
        index = 0
        while index < len(records):
            after = self.counts.count_run(records, index)
            if after > index:
                self._counted(records[after - 1], canary=False)
            else:
                self._count(records[index], watched[records[index].topic])
                after = index + 1
            index = after
        if not records:
            # What remains below the end are gaps, of transactions or compaction.
            for topic, partition in behind:
                self._move(topic, partition, ends[topic, partition])
        return records

    def _count(self, record: StoredRecord, watched: CountedTopic) -> None:
        _, canary = self.counts.count(record, watched.event_time_field, watched.max_lateness_ms)
        self._counted(record, canary=canary)

    def _counted(self, record: StoredRecord, *, canary: bool) -> None:
        progress = self._topics[record.topic]
        if canary:
            progress.last_canary_ms = max(record.timestamp_ms, progress.last_canary_ms or 0)
        else:
            progress.last_event_ms = max(record.timestamp_ms, progress.last_event_ms or 0)
        self._move(record.topic, record.partition, record.offset + 1)

    def _move(self, topic: str, partition: int, offset: int) -> None:
        self._topics[topic].next[partition] = offset
        self._moved.add(topic)

    async def _append(self, values: dict[str, bytes]) -> None:
        if values:
            await self._log.append([Record(TOPIC, value, key.encode(), partition=0) for key, value in values.items()])

    async def _fold(self, *, own_too: bool) -> None:
        try:
            while True:
                try:
                    records = await self._log.read(self._followed, records_max=READ_RECORDS_MAX)
                except LogCorrupt as error:
                    # Counting restarts with the hours after those counted there.
                    self._followed = passed(self._followed, error)
                    continue
                if not records:
                    break
                for record in records:
                    self._followed = self._followed.after(record)
                    self._fold_one(record, own_too=own_too)
                await asyncio.sleep(0)
        except (PositionLost, TopicUnknown):
            # The topic was emptied or deleted: next time it is created if missing, and read from the beginning.
            self._is_open = False
            raise

    def _fold_one(self, record: StoredRecord, *, own_too: bool) -> None:
        if not record.value:
            return
        kind, _, rest = (record.key or b"").decode().partition("|")
        if kind == "intake" and rest == "since":
            self.intakes_since_ms = orjson.loads(record.value)
        elif kind == "intake":
            instance, _, hour = rest.partition("|")
            self.intakes.setdefault(int(hour), {})[instance] = orjson.loads(record.value)
        elif kind == "day" and own_too:
            day, _, topic = rest.partition("|")
            self.counts.rows[topic, int(day)] = DayRow.decode(record.value)
        elif kind == "topic" and own_too:
            self._topics[rest] = TopicProgress.decode(record.value)
