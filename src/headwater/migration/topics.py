"""Copies topics from one log to another: resumable at any time without duplicates, times preserved, verified.

How this works: the records of a partition are appended, in order, to the same partition of the target. The progress is
stored in the target as the token of a group (`Ledger`): where source and target began, where they are, how many records
were copied, and a running checksum of them. It is committed now and then, so after a crash the target may have more
records. The next run reads those from both logs, compares them one by one, and resumes after them; any difference stops
it. At the end the target is read back and must have the ledger's checksum.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from headwater.errors import CopyRefused
from headwater.futures import retrieve
from headwater.log.contract import Log, Position, Record, StoredRecord, TopicInfo, TopicPartition, TopicSettings
from headwater.times import utc_seconds

LEDGER_PREFIX = "headwater.copy"
LEDGER_VERSION = "copy1"
LEDGER_SECONDS = 1.0
RECORDS_AT_ONCE_MAX = 4_000
BYTES_AT_ONCE_MAX = 4_194_304
VERIFIED_AT_ONCE = 1_000
# Where offsets are missing at the end (removed records, markers), a log can only be asked and waited for.
END_WAIT_SECONDS = 2.0
# What a killed process had sent may still arrive at a server.
SETTLE_SECONDS = 1.0

OnProgress = Callable[[int, str], None]
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Ledger:
    """How far one partition has been copied: next offsets of both logs, where they began, count and checksum."""

    topic: str
    partition: int
    source_first: int
    target_first: int
    source_next: int
    target_next: int
    records: int = 0
    checksum: bytes = b""

    @property
    def group(self) -> str:
        return f"{LEDGER_PREFIX}/{self.topic}/{self.partition}"

    @property
    def has_holes(self) -> bool:
        """Whether the source lacked some offsets, so that the two logs' offsets do not differ by one number."""
        return self.records != self.source_next - self.source_first

    def add(self, record: StoredRecord) -> None:
        """The next record is in the target."""
        self.source_next = record.offset + 1
        self.target_next += 1
        self.records += 1
        self.checksum = add_to_checksum(self.checksum, record)

    def token(self) -> str:
        numbers = (self.source_first, self.target_first, self.source_next, self.target_next, self.records)
        return " ".join([LEDGER_VERSION, *map(str, numbers), self.checksum.hex() or "-"])

    @classmethod
    def parse(cls, topic: str, partition: int, token: str) -> Ledger:
        """Raises CopyRefused."""
        version, *numbers, checksum = token.split(" ") if token.count(" ") == 6 else [""] * 7
        if version != LEDGER_VERSION or not all(number.isdigit() for number in numbers):
            raise CopyRefused(f"The target's note about the copy of {topic} cannot be read: {token[:80]!r}.")
        first, target_first, source_next, target_next, records = map(int, numbers)
        kept = b"" if checksum == "-" else bytes.fromhex(checksum)
        return cls(topic, partition, first, target_first, source_next, target_next, records, kept)


@dataclass(slots=True)
class CopiedTopic:
    """What became of one topic. `arrived_since`: source records that came after this run had begun."""

    topic: str
    settings: TopicSettings
    ledgers: list[Ledger]
    copied: int = 0
    resumed: int = 0
    skipped: int = 0
    arrived_since: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def records(self) -> int:
        return sum(ledger.records for ledger in self.ledgers)

    @property
    def verified(self) -> bool:
        return not self.problems

    @property
    def checksum(self) -> str:
        """Of all partitions in their order, as hexadecimal text."""
        return blake2b(
            b"".join(
                ledger.checksum.ljust(16, b"\0") for ledger in sorted(self.ledgers, key=lambda one: one.partition)
            ),
            digest_size=16,
        ).hexdigest()


def add_to_checksum(before: bytes, record: StoredRecord) -> bytes:
    """The checksum of a sequence of records, one more record on: over time, key, headers and value, in order."""
    content = _encode((record.timestamp_ms, record.key, record.headers, record.value))
    return blake2b(before + content, digest_size=16).digest()


@dataclass(slots=True)
class _Found:
    """What was found when reading back."""

    records: int = 0
    checksum: bytes = b""

    def add(self, record: StoredRecord) -> None:
        self.records += 1
        self.checksum = add_to_checksum(self.checksum, record)


class TopicCopy:
    """Copies topics one after the other. Belongs to one event loop; both logs are open."""

    def __init__(
        self,
        source: Log,
        target: Log,
        *,
        on_progress: OnProgress = lambda step, note: None,
        clock: Callable[[], float] = time.time,
        skip_expired: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """`on_progress(step, note)` is called for each `step` records copied, and verified.

        `skip_expired`: leave out what the target would remove.

        `settle_seconds`: how long the target's ends must be unchanged before an interrupted copy resumes.
        """
        self._source = source
        self._target = target
        self._on_progress = on_progress
        self._clock = clock
        self._skip_expired = skip_expired
        self._settle_seconds = settle_seconds
        self._names: set[str] = set()
        self._settled: set[str] = set()

    async def topics(self, names: Iterable[str] = ()) -> list[TopicInfo]:
        """The source's topics of these names, or all that are not a log's own. Raises CopyRefused for unknown ones."""
        infos = {info.name: info for info in await self._source.topics()}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in infos:
                raise CopyRefused(f"The source has no topic {name!r}.", hint="`headwater log topics` lists them.")
        found = [infos[name] for name in wanted] or [info for info in infos.values() if not info.name.startswith("__")]
        self._names = {info.name for info in found}
        return found

    async def copy(self, info: TopicInfo) -> CopiedTopic:
        """Bring one topic up to the end it has now, and verify it. Raises CopyRefused, LogUnavailable, LogCorrupt."""
        copied, ends = await self._prepare(info)
        await self._transfer(copied, ends)
        await self._verify(copied)
        last = await self._source.last([info.name])
        copied.arrived_since = sum(max(0, last.offsets[place] - end) for place, end in ends.items())
        return copied

    async def _prepare(self, info: TopicInfo) -> tuple[CopiedTopic, Mapping[TopicPartition, int]]:
        """Create the topic if it is missing, and find out where to resume."""
        settings = await self._ensure(info)
        ends = (await self._source.last([info.name])).offsets
        starts = (await self._source.first([info.name])).offsets
        known = {place: await self._known_ledger(*place) for place in ends}
        if any(known.values()):
            await self._settle(info.name)
        first, last = await self._target_ends(info.name)
        copied = CopiedTopic(info.name, settings, [])
        begins: dict[TopicPartition, int] = {}
        begun = [(ledger, ends[place], last[place]) for place, ledger in known.items() if ledger is not None]
        copied.resumed = sum(await asyncio.gather(*(self._take_over(*one) for one in begun)))
        for place, ledger in known.items():
            if ledger is None and first[place] < last[place]:
                raise CopyRefused(
                    f"The target has {last[place] - first[place]:,} records in {place[0]}, partition {place[1]}, that"
                    " were not copied: a copy would mix with them.",
                    hint="Copy into a log that has none in this topic, or choose other topics with --topic.",
                )
            begins[place] = max(starts[place], ledger.source_next if ledger else 0)
        kept_from = await self._kept_from(info, settings, begins, ends)
        for place, ledger in known.items():
            if ledger is None:
                begin, end = kept_from[place], last[place]
                copied.skipped += begin - begins[place]
                copied.ledgers.append(Ledger(*place, begin, end, begin, end))
                continue
            if ledger.source_next < kept_from[place]:
                copied.skipped += kept_from[place] - ledger.source_next
                ledger.source_next = kept_from[place]
            copied.ledgers.append(ledger)
            self._on_progress(ledger.records, info.name)
        await self._note(copied.ledgers)
        return copied, ends

    async def _ensure(self, info: TopicInfo) -> TopicSettings:
        """The target's settings of the topic, which has at least as many partitions as the source's from now on."""
        present = {one.name: one for one in await self._target.topics()}.get(info.name)
        settings = info.settings if present is None else present.settings
        if present is None or settings.partitions < info.settings.partitions:
            settings = dataclasses.replace(settings, partitions=info.settings.partitions)
            await self._target.ensure_topic(info.name, settings)
        return settings

    async def _known_ledger(self, topic: str, partition: int) -> Ledger | None:
        token = await self._target.committed(f"{LEDGER_PREFIX}/{topic}/{partition}")
        return None if token is None else Ledger.parse(topic, partition, token)

    async def _settle(self, topic: str) -> None:
        """Wait until the ends of the target do not change: once, for all that are to be copied."""
        if topic in self._settled:
            return
        present = {info.name for info in await self._target.topics()}
        names = (self._names | {topic}) & present
        before: Position | None = None
        while (ends := await self._target.last(names)) != before:
            before = ends
            await asyncio.sleep(self._settle_seconds)
        self._settled |= names

    async def _target_ends(self, topic: str) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
        return (await self._target.first([topic])).offsets, (await self._target.last([topic])).offsets

    async def _take_over(self, ledger: Ledger, source_end: int, target_end: int) -> int:
        """Bring the ledger up to what the target has, comparing with the source; the records that it did not know."""
        place = (ledger.topic, ledger.partition)
        where = f"{ledger.topic}, partition {ledger.partition}"
        if target_end < ledger.target_next:
            raise CopyRefused(
                f"The target ends at offset {target_end} of {where}, but {ledger.target_next} were copied into it:"
                " it is not the log it was.",
                hint="Start again with an empty log.",
            )
        before = ledger.records
        if target_end == ledger.target_next:
            return 0
        theirs = _records(self._target, {place: (ledger.target_next, target_end)})
        ours = _records(self._source, {place: (ledger.source_next, source_end)})
        async with aclosing(theirs), aclosing(ours):
            async for theirs_one in theirs:
                ours_one = await anext(ours, None)
                if ours_one is None or _content(ours_one) != _content(theirs_one):
                    raise CopyRefused(
                        f"The target has another record at offset {theirs_one.offset} of {where} than the source has"
                        " to copy there: something else writes into it.",
                        hint="Nothing else may write into the target during a copy; start again with an empty log.",
                    )
                ledger.add(ours_one)
        return ledger.records - before

    async def _kept_from(
        self,
        info: TopicInfo,
        settings: TopicSettings,
        begins: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> Mapping[TopicPartition, int]:
        """`begins`, after what the target would remove at once. Raises CopyRefused if the source must still keep it."""
        if settings.retention_seconds is None:
            return begins
        limit_ms = int((self._clock() - settings.retention_seconds) * 1000)
        kept = await self._begins_at(info.name, limit_ms, begins, ends)
        owed = begins
        if info.settings.retention_seconds is not None:
            # What is over the source's own limit may be removed there at any moment too: it need not be copied.
            own_ms = int((self._clock() - info.settings.retention_seconds) * 1000)
            owed = await self._begins_at(info.name, own_ms, begins, ends)
        expired = sum(max(0, kept[place] - owed[place]) for place in begins)
        if expired and not self._skip_expired:
            found = await self._source.read(
                Position({place: begin for place, begin in owed.items() if begin < kept[place]}), records_max=1
            )
            oldest = f" The oldest is of {utc_seconds(found[0].timestamp_ms)}." if found else ""
            raise CopyRefused(
                f"The target keeps {info.name} for {settings.retention_seconds:,.0f} seconds, that is since"
                f" {utc_seconds(limit_ms)}, and {expired:,} records are older: it would remove them.{oldest}",
                hint="Leave them out with `--expired skip`, or let the target keep the topic longer before the copy"
                " (`retention` in the stream's file, then `headwater apply`).",
            )
        return kept

    async def _begins_at(
        self, topic: str, timestamp_ms: int, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """`begins`, but not before a time."""
        since = (await self._source.at([topic], timestamp_ms)).offsets
        return {place: min(max(begin, since[place]), ends[place]) for place, begin in begins.items()}

    async def _transfer(self, copied: CopiedTopic, ends: Mapping[TopicPartition, int]) -> None:
        """Append what is between the ledgers and `ends`; the next records are read while the last are being stored."""
        ledgers = {(ledger.topic, ledger.partition): ledger for ledger in copied.ledgers}
        offsets = {place: ledger.source_next for place, ledger in ledgers.items() if ledger.source_next < ends[place]}
        storing: asyncio.Task[None] | None = None
        noted = time.monotonic()
        try:
            while offsets:
                found = await _read(self._source, Position(offsets))
                if storing is not None:
                    await storing
                    storing = None
                if time.monotonic() > noted + LEDGER_SECONDS:
                    await self._note(copied.ledgers)
                    noted = time.monotonic()
                if not found:
                    break
                wanted = [record for record in found if record.offset < ends[record.topic, record.partition]]
                for record in found:
                    offsets[record.topic, record.partition] = record.offset + 1
                offsets = {place: offset for place, offset in offsets.items() if offset < ends[place]}
                storing = asyncio.create_task(self._store(wanted, ledgers))
                storing.add_done_callback(retrieve)
                copied.copied += len(wanted)
            if storing is not None:
                await storing
        finally:
            # Also if the source fails: what was stored until then is recorded.
            if storing is not None and not storing.done():
                await asyncio.wait([storing])
            await self._note(copied.ledgers)

    async def _store(self, records: Sequence[StoredRecord], ledgers: Mapping[TopicPartition, Ledger]) -> None:
        """Append records, and see that they went where they belong."""
        placements = await self._target.append(
            [Record(r.topic, r.value, r.key, r.headers, r.partition, r.timestamp_ms) for r in records]
        )
        for record, placement in zip(records, placements, strict=True):
            ledger = ledgers[record.topic, record.partition]
            if placement.offset != ledger.target_next:
                raise CopyRefused(
                    f"Offset {ledger.target_next} of {record.topic}, partition {record.partition}, of the target was"
                    " taken by something else while this copy was writing.",
                    hint="Stop what writes into the target; start again with an empty log.",
                )
            ledger.add(record)
        self._on_progress(len(records), records[-1].topic if records else "")

    async def _note(self, ledgers: Iterable[Ledger]) -> None:
        await asyncio.gather(*(self._target.commit(ledger.group, ledger.token()) for ledger in ledgers))

    async def _verify(self, copied: CopiedTopic) -> None:
        """Read the target back and compare it with the ledgers; what differs goes to `copied.problems`."""
        first, _ = await self._target_ends(copied.topic)
        found = {(ledger.topic, ledger.partition): _Found() for ledger in copied.ledgers}
        left: dict[TopicPartition, tuple[int, int]] = {}
        for ledger in copied.ledgers:
            place = (ledger.topic, ledger.partition)
            if first[place] > ledger.target_first and ledger.records:
                copied.problems.append(
                    f"partition {ledger.partition}: the target has removed records since they were copied, up to offset"
                    f" {first[place]}"
                )
                del found[place]
            else:
                left[place] = (ledger.target_first, ledger.target_next)
        async with aclosing(_records(self._target, left)) as records:
            async for record in records:
                found[record.topic, record.partition].add(record)
                if record.offset % VERIFIED_AT_ONCE == 0:
                    self._on_progress(VERIFIED_AT_ONCE, f"verifying {record.topic}")
        for ledger in copied.ledgers:
            there = found.get((ledger.topic, ledger.partition))
            if there is not None and there.records != ledger.records:
                counts = f"{ledger.records:,} records were copied and {there.records:,} are there"
                copied.problems.append(f"partition {ledger.partition}: {counts}")
            elif there is not None and there.checksum != ledger.checksum:
                copied.problems.append(
                    f"partition {ledger.partition}: the records in the target are not those that were copied"
                )


async def translated(source: Log, ledger: Ledger, offset: int) -> int:
    """The target's offset for the source's `offset`: the next to read for a reader that had read up to there."""
    if offset >= ledger.source_next:
        return ledger.target_next
    if not ledger.has_holes:
        return ledger.target_first + max(0, offset - ledger.source_first)
    place = (ledger.topic, ledger.partition)
    first = (await source.first([ledger.topic])).offsets[place]
    begin = max(offset, first, ledger.source_first)
    left = 0
    async with aclosing(_records(source, {place: (begin, ledger.source_next)})) as found:
        async for _ in found:
            left += 1
    return max(ledger.target_first, ledger.target_next - left)


def _content(record: StoredRecord) -> tuple[object, ...]:
    return record.timestamp_ms, record.key, record.headers, record.value


async def _records(log: Log, spans: Mapping[TopicPartition, tuple[int, int]]) -> AsyncGenerator[StoredRecord]:
    """The records in these ranges of offsets, in order within each partition; fewer if some no longer exist."""
    offsets = {place: begin for place, (begin, end) in spans.items() if begin < end}
    while offsets and (found := await _read(log, Position(offsets))):
        for record in found:
            place = (record.topic, record.partition)
            offsets[place] = record.offset + 1
            if record.offset < spans[place][1]:
                yield record
        offsets = {place: offset for place, offset in offsets.items() if offset < spans[place][1]}


async def _read(log: Log, position: Position) -> Sequence[StoredRecord]:
    limits = {"records_max": RECORDS_AT_ONCE_MAX, "bytes_max": BYTES_AT_ONCE_MAX}
    found = await log.read(position, **limits)
    return found or await log.read(position, **limits, wait_seconds=END_WAIT_SECONDS)
