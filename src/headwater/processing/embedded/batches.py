"""Processes the batches of one job: folds events and due timers through its steps, and commits the results.

How this works: the watermark moves between batches, so whether an event is late depends on what came before its batch.
Timers that are due after a batch fire in its commit; those that do not fit into it, in further commits without events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from headwater.jobs.job import Job
from headwater.jobs.steps import Element
from headwater.log.contract import Position, StateChange, StoredRecord, TopicPartition
from headwater.processing.embedded.commits import Commits, Prepared
from headwater.processing.embedded.fold import END_OF_TIME, Batch, Due, StepFold
from headwater.processing.embedded.source import JobSource
from headwater.processing.embedded.state_sizes import StateSizes
from headwater.processing.embedded.watermark import Watermarks
from headwater.processing.failures.redriven import redrive_topic
from headwater.processing.status import RunnerStatus

PROGRESS_KEY = b"progress"
# How often, one after the other, timers may set others after the end of the input.
LAST_ROUNDS_MAX = 1_000


class Batches:
    """The batches of one run of a job, one after the other.

    `kept`: the committed progress in event time; `sizes`: of the state. `stopping` ends the commits of many timers
    early.
    """

    def __init__(
        self,
        job: Job,
        source: JobSource,
        commits: Commits,
        fold: StepFold,
        *,
        kept: bytes | None,
        sizes: StateSizes,
        status: RunnerStatus,
        stopping: asyncio.Event,
        clock: Callable[[], float],
    ) -> None:
        self.watermarks = Watermarks(kept)
        self._sizes = sizes
        self._job = job
        self._source = source
        self._commits = commits
        self._fold = fold
        self._status = status
        self._stopping = stopping
        self._clock = clock
        self._progress = progress_of(job)
        # The watermark before the events whose timers fire now.
        self._before_ms = self.watermarks.watermark_ms

    async def process(
        self,
        elements: list[Element],
        batch: Batch,
        position: Position,
        *,
        records: Sequence[StoredRecord],
        hold_watermark: bool,
    ) -> None:
        """Fold the `elements` of `records` and commit, with `position`; then fire the due timers that did not fit.

        `hold_watermark`: none of them is late, and no timer fires.
        """
        read = {(record.topic, record.partition) for record in records}
        folded = await self.folded(elements, batch, position, read=read, hold_watermark=hold_watermark)
        await self.store(folded)
        await self._source.move(position)
        self._status.read(len(records), self.watermarks.watermark_ms)
        self._status.latency.committed(records, int(self._clock() * 1000))
        await self.fire_rest(batch)

    async def folded(
        self,
        elements: list[Element],
        batch: Batch,
        position: Position,
        *,
        read: Collection[TopicPartition],
        hold_watermark: bool,
    ) -> Prepared:
        """As `process`, up to the commit, which is to be stored before the next batch. `read`: the partitions."""
        before_ms = self._before_ms = self.watermarks.watermark_ms
        await self._fold.fold_events(elements, batch, before_ms)
        self._note_seen(batch)
        if not hold_watermark:
            await self.move_watermark(position, read)
        moved_ms = self.watermarks.watermark_ms
        await self._fold.fold_timers(batch, before_ms, moved_ms=moved_ms, due=self._due(moved_ms))
        return await self.prepare(batch, position)

    async def prepare(self, batch: Batch, position: Position) -> Prepared:
        """The commit of what was folded."""
        changes = [
            *batch.changes,
            *self._fold.changes(),
            # With the size of the changes above.
            StateChange(self._progress, PROGRESS_KEY, self._encoded_progress(batch)),
        ]
        return await self._commits.prepare(batch, position, changes)

    async def store(self, prepared: Prepared) -> None:
        """Store a commit."""
        await self._commits.store(prepared)
        self._fold.committed()
        if self._job.keyed_steps:
            self._sizes.committed()
            self._status.state_size(*self._sizes.total)
        self._commits.stored(prepared)

    async def fire_rest(self, batch: Batch) -> None:
        """Fire the timers that were due after `batch` and did not fit into its commit."""
        moved_ms = self.watermarks.watermark_ms
        while batch.more and not self._stopping.is_set():
            batch = await self._fire(self._due(moved_ms), before_ms=self._before_ms)

    def _encoded_progress(self, batch: Batch) -> bytes:
        """While due timers are left, a restart must not find what they emit late: the watermark is that before them."""
        before_ms = self._before_ms if batch.more else None
        if not self._job.keyed_steps:
            return self.watermarks.encode(before_ms)
        return self.watermarks.encode(before_ms, state=self._sizes.prepare(self._fold.size_changes()))

    def _note_seen(self, batch: Batch) -> None:
        """Take note of the times that move the watermark: not those of events that were rejected or dropped."""
        results = batch.results
        items = (*(failure.item for failure in results.failures), *(item for _, item in results.dropped))
        # A function may have been given a copy of the event, but never of its bytes.
        rejected = {id(item.record.value) for item in items if item.record is not None}
        for part, at_ms, raw in batch.seen:
            if id(raw) not in rejected:
                self.watermarks.saw(part, at_ms)

    async def move_watermark(self, position: Position, read: Collection[TopicPartition] = ()) -> None:
        """Move it as far as the partitions allow that were just `read` or have more records to read."""
        redriven = redrive_topic(self._job.name)
        parts = {part for part in position.offsets if part[0] != redriven}
        own = [part for part in read if part[0] != redriven]
        if read and not own:
            # What is redriven is old.
            return
        active: Collection[TopicPartition]
        if len(parts) <= 1:
            active = parts
        elif read and not self._job.keeps_state:
            # If nothing depends on it, the brokers are not asked for ends.
            active = own
        elif read:
            backlog = await self._source.with_backlog(position, own)
            active = {part for part in backlog if part[0] != redriven}
        else:
            active = {part for part in parts if self.watermarks.has_seen(part)}
        self.watermarks.advance(active, self._job.out_of_order_ms)

    async def process_idleness(self, idle_since: float) -> None:
        """Fire timers by the wall clock that no event will fire; only events move the watermark itself."""
        more = self._job.has_timers
        while more and not self._stopping.is_set():
            more = (await self._fire(self._due(self.watermarks.watermark_ms))).more
        idle_ms = (self._clock() - idle_since) * 1000
        idle_ms_min = self._job.idle_ms
        if self._job.keeps_state and idle_ms_min is not None and idle_ms >= idle_ms_min:
            await self._fire_all(int(self._clock() * 1000) - self._job.out_of_order_ms)

    async def finish(self) -> None:
        """All input is processed: fire everything that waits for an event, then move the watermark accordingly.

        Over history the timers that these set fire, too. Raises JobInvalid if they never end.
        """
        await self._fire_all(END_OF_TIME)
        rounds = 0
        while self._fold.one_by_one and not self._stopping.is_set():
            if not (await self._fire(Due(END_OF_TIME, None))).fired:
                break
            rounds += 1
            if rounds > LAST_ROUNDS_MAX:
                raise self._job.invalid(
                    f"The job {self._job.name}: since the end of the input its timers have set others,"
                    f" {LAST_ROUNDS_MAX:,} times one after the other: they would never end.",
                    hint="Let a timer set itself again only as long as the state of its key asks for it.",
                )
        if self._stopping.is_set():
            return
        await self.move_watermark(self._source.position)
        more = True
        while more:
            watermark_ms = self.watermarks.watermark_ms
            more = (await self._fire(self._due(watermark_ms), commit=True)).more

    def _due(self, watermark_ms: int) -> Due:
        """What fires at this watermark, and what the wall clock fires now."""
        return Due(watermark_ms, watermark_ms, int(self._clock() * 1000))

    async def _fire_all(self, until_ms: int) -> None:
        while not self._stopping.is_set():
            batch = await self._fire(Due(until_ms, None))
            if not batch.more:
                return

    async def _fire(self, due: Due, *, before_ms: int | None = None, commit: bool = False) -> Batch:
        """Fire and commit as many due timers as fit into one commit, without events.

        `before_ms`: the watermark by which what they emit may be late for the steps after; by default the current one.
        """
        batch, watermark_ms = Batch(), self.watermarks.watermark_ms
        self._before_ms = watermark_ms if before_ms is None else before_ms
        await self._fold.fold_timers(batch, self._before_ms, moved_ms=watermark_ms, due=due)
        if batch.fired or commit:
            position = self._source.processed
            await self.store(await self.prepare(batch, position))
        return batch


def progress_of(job: Job) -> str:
    """The namespace of the job's progress in event time."""
    return f"job/{job.name}/progress"
