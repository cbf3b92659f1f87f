"""The oracle: the simplest implementation of `Log`, in memory, which others are checked against."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

from headwater.errors import LogUnavailable, PositionLost, TopicUnknown
from headwater.log.contract import (
    Commit,
    Features,
    Placement,
    Position,
    Record,
    StateReader,
    StoredRecord,
    TopicInfo,
    TopicPartition,
    TopicSettings,
)
from headwater.log.defaults import LogDefaults, unsupported
from headwater.log.record_batch import partition_of_key


class OraclePartition:
    """A list of records, what was removed before it, and the newest time given."""

    def __init__(self) -> None:
        self.records: list[StoredRecord] = []
        self.floor = 0
        self.next = 0
        self.last_ms = 0


class OracleContent:
    """The content of a log; several logs may share it."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.settings: dict[str, TopicSettings] = {}
        self.partitions: dict[TopicPartition, OraclePartition] = {}
        self.turns: dict[str, int] = {}
        self.positions: dict[str, str] = {}
        self.state: dict[str, dict[bytes, bytes]] = {}
        self.grown = asyncio.Event()

    def wake_readers(self) -> None:
        """Wait until there is something new, or the log is closed."""
        self.grown.set()
        self.grown = asyncio.Event()


class OracleState:
    """The state in an oracle, read without a coroutine."""

    def __init__(self, state: dict[str, dict[bytes, bytes]], check_open: Callable[[], None]) -> None:
        self._state = state
        self._check_open = check_open

    def get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        self._check_open()
        space = self._state.get(namespace, {})
        return {key: space[key] for key in keys if key in space}

    def scan(self, namespace: str, after: bytes, rows_max: int) -> Sequence[tuple[bytes, bytes]]:
        self._check_open()
        return sorted(item for item in self._state.get(namespace, {}).items() if item[0] > after)[:rows_max]


class OracleLog(LogDefaults):
    """Keeps everything in lists and dictionaries; `close` and `open` keep the content."""

    features = Features(transactional_commit=True, keyed_state=True, seek_by_time=True, compaction=True)

    def __init__(self, *, clock: Callable[[], float] = time.time, content: OracleContent | None = None) -> None:
        self._clock = clock
        self._content = content = content or OracleContent()
        self._id, self._settings, self._partitions = content.id, content.settings, content.partitions
        self._turns, self._positions, self._state = content.turns, content.positions, content.state
        self._is_open = False

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        self._check_open()
        if commit is not None and records and not self.features.transactional_commit:
            raise unsupported(self, "transactional_commit")
        if commit is not None and commit.state:
            self._check_state()
        turns = dict(self._turns)
        places = [(record.topic, self._partition_of(record, turns)) for record in records]
        for topic in {record.topic for record in records}:
            self._turns[topic] = turns.get(topic, 0) + 1
        placements = []
        for record, place in zip(records, places, strict=True):
            partition = self._partitions[place]
            time_ms = self._time_of(record, partition)
            stored = StoredRecord(*place, partition.next, time_ms, record.key, record.headers, record.value)
            partition.records.append(stored)
            partition.next += 1
            placements.append(Placement(*place, stored.offset, stored.timestamp_ms))
        if commit is not None:
            self._positions[commit.group] = commit.token
            for change in commit.state:
                space = self._state.setdefault(change.namespace, {})
                if change.value is None:
                    space.pop(change.key, None)
                else:
                    space[change.key] = change.value
        self._content.wake_readers()
        return placements

    def submit(self, records: Sequence[Record]) -> asyncio.Future[Sequence[Placement]]:
        return asyncio.get_running_loop().create_task(self.append(records))

    async def read(
        self, position: Position, *, records_max: int = 1000, bytes_max: int = 4_194_304, wait_seconds: float = 0.0
    ) -> Sequence[StoredRecord]:
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while True:
            self._check_open()
            grown = self._content.grown
            found = self._read(position, records_max, bytes_max)
            left = deadline - asyncio.get_running_loop().time()
            if found or left <= 0:
                return found
            try:
                # Unlike `wait_for`, it never treats a cancellation as a result.
                async with asyncio.timeout(left):
                    await grown.wait()
            except TimeoutError:
                return self._read(position, records_max, bytes_max)

    async def first(self, topics: Iterable[str]) -> Position:
        return Position({place: self._partitions[place].floor for place in self._places(topics)})

    async def last(self, topics: Iterable[str]) -> Position:
        return Position({place: self._partitions[place].next for place in self._places(topics)})

    async def at(self, topics: Iterable[str], timestamp_ms: int) -> Position:
        if not self.features.seek_by_time:
            raise unsupported(self, "seek_by_time")
        return Position(
            {
                place: next(
                    (r.offset for r in self._partitions[place].records if r.timestamp_ms >= timestamp_ms),
                    self._partitions[place].next,
                )
                for place in self._places(topics)
            }
        )

    async def partition_counts(self, topics: Iterable[str]) -> Mapping[str, int]:
        self._check_open()
        return {name: settings.partitions for name in topics if (settings := self._settings.get(name)) is not None}

    async def topic_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        self._check_open()
        return {name: self._id for name in topics if name in self._settings}

    async def topics(self) -> Sequence[TopicInfo]:
        self._check_open()
        return [
            TopicInfo(
                name,
                settings,
                tuple(self._partitions[name, number].floor for number in range(settings.partitions)),
                tuple(self._partitions[name, number].next for number in range(settings.partitions)),
                sum(len(r.value) for n in range(settings.partitions) for r in self._partitions[name, n].records),
            )
            for name, settings in sorted(self._settings.items())
        ]

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        self._content.wake_readers()

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        self._check_open()
        present = self._settings.get(name)
        count = max(settings.partitions, present.partitions if present else 0)
        self._settings[name] = dataclasses.replace(
            settings, partitions=count, compression=settings.compression if self.features.topic_compression else None
        )
        for number in range(count):
            self._partitions.setdefault((name, number), OraclePartition())

    async def commit(self, group: str, token: str) -> None:
        await self.append((), commit=Commit(group, token))

    async def committed(self, group: str) -> str | None:
        self._check_open()
        return self._positions.get(group)

    async def groups(self) -> Sequence[str]:
        self._check_open()
        return sorted(self._positions)

    async def claim(self, group: str) -> str | None:
        return await self.committed(group)

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        self._check_state()
        space = self._state.get(namespace, {})
        return {key: space[key] for key in keys if key in space}

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        self._check_state()
        return sorted(item for item in self._state.get(namespace, {}).items() if item[0] > after)[:rows_max]

    async def namespaces(self) -> Sequence[str]:
        self._check_state()
        return sorted(name for name, space in self._state.items() if space)

    def state_reader(self) -> StateReader:
        if not self.features.keyed_state:
            raise unsupported(self, "keyed_state")
        return OracleState(self._state, self._check_open)

    async def trim(self) -> int:
        self._check_open()
        before = sum(len(partition.records) for partition in self._partitions.values())
        for (topic, _), partition in self._partitions.items():
            settings = self._settings[topic]
            if settings.retention_seconds is not None:
                oldest_ms = int((self._clock() - settings.retention_seconds) * 1000)
                while partition.records and partition.records[0].timestamp_ms < oldest_ms:
                    partition.records.pop(0)
            if settings.retention_bytes is not None:
                while (
                    len(partition.records) > 1
                    and sum(len(r.value) for r in partition.records) > settings.retention_bytes
                ):
                    partition.records.pop(0)
            if settings.retention_seconds is not None or settings.retention_bytes is not None:
                partition.floor = partition.records[0].offset if partition.records else partition.next
            if settings.compact:
                newest = {r.key: r.offset for r in partition.records if r.key is not None}
                partition.records = [r for r in partition.records if r.key is None or newest[r.key] == r.offset]
        return before - sum(len(partition.records) for partition in self._partitions.values())

    def partition(self, topic: str, number: int) -> OraclePartition:
        """The content, for a test that compares or corrects it."""
        return self._partitions[topic, number]

    def partitions(self) -> list[TopicPartition]:
        """Every (topic, partition)."""
        return sorted(self._partitions)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its records, as an administrator of a shared log does."""
        for place in [place for place in self._partitions if place[0] == topic]:
            del self._partitions[place]
        del self._settings[topic]

    def replace_partition(self, topic: str, number: int) -> None:
        """Recreate a topic: the partition is empty and its offsets begin at 0."""
        self._partitions[topic, number] = OraclePartition()

    def settings(self, topic: str) -> TopicSettings:
        return self._settings[topic]

    def _time_of(self, record: Record, partition: OraclePartition) -> int:
        given = record.timestamp_ms
        partition.last_ms = max(partition.last_ms, int(self._clock() * 1000) if given is None else given)
        return partition.last_ms if given is None else given

    def _partition_of(self, record: Record, turns: dict[str, int]) -> int:
        if record.topic not in self._settings:
            raise TopicUnknown(f"The log has no topic {record.topic!r}.")
        count = self._settings[record.topic].partitions
        if record.partition is not None:
            if not 0 <= record.partition < count:
                raise TopicUnknown(f"Topic {record.topic!r} has no partition {record.partition}.")
            return record.partition
        if record.key is not None:
            return partition_of_key(record.key, count)
        return turns.get(record.topic, 0) % count

    def _read(self, position: Position, records_max: int, bytes_max: int) -> list[StoredRecord]:
        # A position is lost however few records are asked for.
        for place, offset in position.offsets.items():
            if place[0] not in self._settings:
                raise TopicUnknown(f"The log has no topic {place[0]!r}.")
            partition = self._partitions.get(place)
            if partition is None or not partition.floor <= offset <= partition.next:
                earliest = Position({place: partition.floor}).token() if partition else None
                raise PositionLost(f"Offset {offset} of {place} is not in the log.", earliest=earliest)
        found: list[StoredRecord] = []
        size = 0
        for place, offset in position.offsets.items():
            for record in self._partitions[place].records:
                if record.offset < offset:
                    continue
                if len(found) >= records_max or (found and size + len(record.value) > bytes_max):
                    return found
                found.append(record)
                size += len(record.value)
        return found

    def _places(self, topics: Iterable[str]) -> list[TopicPartition]:
        self._check_open()
        places: list[TopicPartition] = []
        for topic in topics:
            if topic not in self._settings:
                raise TopicUnknown(f"The log has no topic {topic!r}.")
            places.extend((topic, number) for number in range(self._settings[topic].partitions))
        return places

    def _check_state(self) -> None:
        self._check_open()
        if not self.features.keyed_state:
            raise unsupported(self, "keyed_state")

    def _check_open(self) -> None:
        if not self._is_open:
            raise LogUnavailable("The log is not open.")
