"""Runs this process's share of a stateless job: a loop for each partition that the log assigns to it.

How this works: the processes that run the job are a consumer group; the log assigns some of the partitions to each of
them, and reassigns them when one joins, leaves or dies. Every partition has an `EmbeddedRunner` of its own, which reads
only that partition and commits to a group of its own (`stores.partitions`). Starting with a partition fences its
previous owner, so that a handover is safe however late that one hears of it: its further writes are refused, and it
stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, Unpack

from headwater.errors import JobStopped, LogUnavailable, WriterFenced
from headwater.intake.gate import Gate
from headwater.jobs.job import Job
from headwater.jobs.metrics import JobMetrics
from headwater.jobs.scope import Offered, Scope
from headwater.jobs.steps import NO_WATERMARK
from headwater.log.contract import Log, Membership, Position, TopicPartition
from headwater.processing.contract import RunnerFeatures, require_supported
from headwater.processing.embedded.log_source import LogSource
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.failures.counts import together
from headwater.processing.failures.failed_events import FailedEvents
from headwater.processing.failures.redriven import redrive_topic
from headwater.processing.status import JobReport, RunnerStatus, ended, lag_seconds
from headwater.processing.stores.partitions import PartitionStore, UnpartitionedStore, group_of, reposition_groups
from headwater.processing.supervisor import Supervisor
from headwater.telemetry import Telemetry
from headwater.times import time_ms

# As long as the brokers take to notice that a process is gone: until then two may claim the partition.
FENCED_PAUSE_SECONDS = 6.0
# How often to look whether there are events that were redriven.
LOOK_SECONDS = 2.0
# Less than that of the job's own supervisor, so that no loop outlives the runner.
PATIENCE_SECONDS = 3.0

_log = logging.getLogger(__name__)


def can_share(job: Job) -> bool:
    """Whether processes can share the job's partitions: it keeps nothing but its position, which is in the log."""
    return not shared_features(streams=True).unsupported_reasons(job)


def shared_features(*, streams: bool) -> RunnerFeatures:
    """What processes that share a job support: only the position is kept. `streams`: whether the log supports it."""
    return RunnerFeatures(
        streams=streams,
        keyed_state=False,
        tables=False,
        tables_with_state=False,
        fires_when_idle=True,
        shares_partitions=True,
        awaits=True,
    )


class PartitionRunner:
    """Runs one partition while it is assigned to this process. That another process has it is not a failure."""

    def __init__(
        self,
        job: Job,
        log: Log,
        gate: Gate,
        place: TopicPartition,
        *,
        status: RunnerStatus,
        settings: RunnerSettings,
        scope: Scope | None = None,
    ) -> None:
        self.features = shared_features(streams=log.features.transactional_commit)
        require_supported(job, self.unsupported_reasons(job))
        self.job = job
        self._log = log
        self._place = place
        source = LogSource(log, job, status, only=place, stops_where_replaced=settings.stops_where_replaced)
        store = PartitionStore(log, job.group, place)
        self._runner = EmbeddedRunner(
            job,
            source,
            store,
            gate,
            settings=settings,
            status=status,
            scope=scope or job.scope(time.time),
            failed_events=FailedEvents(log, settings.failed_events_seconds),
        )
        self.status = status
        self._stopping = asyncio.Event()

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        return self.features.unsupported_reasons(job)

    async def run(self, *, drain: bool = False) -> None:
        try:
            await self._run(drain=drain)
        finally:
            # The request to stop was for this run.
            self._stopping.clear()

    async def _run(self, *, drain: bool) -> None:
        while not self._stopping.is_set():
            try:
                await self._runner.run(drain=drain)
                break
            except WriterFenced:
                _log.info(
                    "job %s: another process has taken over partition %s of %s", self.job.label, *self._place[::-1]
                )
            finally:
                await self._log.release(group_of(self.job.group, self._place))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), FENCED_PAUSE_SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        self._runner.stop()

    def cancelled_itself(self) -> None:
        self._runner.cancelled_itself()

    async def fence(self) -> None:
        await self._runner.fence()

    async def reposition(self, position: Position) -> None:
        here = Position({place: at for place, at in position.offsets.items() if place == self._place})
        await reposition_groups(self._log, self.job.group, here)

    async def lag(self) -> int | None:
        return await self._runner.lag()


class SharedStatus(RunnerStatus):
    """The sum of all partitions of this process, including those it no longer has."""

    def __init__(self, job: Job, telemetry: Telemetry) -> None:
        super().__init__(job, telemetry)
        self._telemetry = telemetry
        self._parts: dict[Hashable, RunnerStatus] = {}
        self._before = super().report()

    def part(self, part: Hashable) -> RunnerStatus:
        """The status of a part that starts."""
        status = self._parts[part] = RunnerStatus(self.job, self._telemetry, self._announcements)
        return status

    def left(self, part: Hashable) -> None:
        self._before = sum_of_reports(self._before, ended(self._parts.pop(part).report()))

    def report(self) -> JobReport:
        own, parts = super().report(), [status.report() for status in self._parts.values()]
        restarts = self._before.restarts + own.restarts
        total = replace(self._before, restarts=restarts, last_error=own.last_error, trouble=own.trouble)
        for part in parts:
            total = sum_of_reports(total, part)
        states = [own.state, *(part.state for part in parts)] if own.state == "running" else [own.state]
        state = next((state for state in ("restarting", "circuit_open", "retrying") if state in states), own.state)
        offsets = {
            place: offset
            for part in parts
            if part.position
            for place, offset in Position.parse(part.position).offsets.items()
        }
        watermark = min((part.watermark for part in parts if part.watermark), default=None)
        return replace(
            total,
            state=state,
            watermark=watermark,
            lag=own.lag,
            lag_seconds=lag_seconds(own.lag, (time_ms(watermark) if watermark else None) or NO_WATERMARK),
            position=Position(offsets).token() if offsets else None,
        )


class SharedRunner:
    """Runs this process's share of one job; `run` returns when it was stopped."""

    def __init__(
        self,
        job: Job,
        log: Log,
        gate: Gate,
        *,
        telemetry: Telemetry | None = None,
        settings: RunnerSettings | None = None,
        stall_seconds_max: float = 60.0,
        **offered: Unpack[Offered],
    ) -> None:
        """`stall_seconds_max`: how long the event loop may be blocked before others take over the partitions.

        `offered`: what the job's functions find in their context; `metrics` are those of `telemetry` unless given.

        Raises JobInvalid if the job's partitions cannot be shared.
        """
        self.features = shared_features(streams=log.features.transactional_commit)
        require_supported(job, self.unsupported_reasons(job))
        self.job = job
        self.settings = settings or RunnerSettings()
        self._stall_seconds_max = stall_seconds_max
        telemetry = telemetry or Telemetry()
        self._shares = SharedStatus(job, telemetry)
        offered.setdefault("metrics", JobMetrics(telemetry, job.name))
        self._scope = job.scope(time.time, **offered)
        self.status: RunnerStatus = self._shares
        self._log = log
        self._gate = gate
        self._parts: dict[TopicPartition, Supervisor] = {}
        self._stopping = asyncio.Event()
        self._stopped: JobStopped | None = None

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        return self.features.unsupported_reasons(job)

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        """The (topic, partition) pairs this process works on; a lost one until its current batch has ended."""
        return frozenset(self._parts)

    def stop(self) -> None:
        """Ask `run` to return after the current batches."""
        self._stopping.set()

    async def run(self, *, drain: bool = False) -> None:
        """Process what is assigned to this process until stopped. `drain`: process all there is, as the only process.

        Raises LogUnavailable if the brokers refuse the group, JobStopped at an event that failed if the job wants that.
        """
        self._stopping.clear()
        self._stopped = None
        if drain:
            await self._run_whole()
            return
        topics = [topic for name in self.job.reads() for topic in self._gate.streams.get(name).topics]
        membership = await self._log.join(self.job.group, topics, stall_seconds_max=self._stall_seconds_max)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            self.status.running()
            await self._follow_changes(membership, stopping, (topics[0], 0))
        finally:
            stopping.cancel()
            try:
                await self._follow(frozenset())
            finally:
                await membership.close()
        if self._stopped is not None:
            raise self._stopped

    def _stop_on_error(self, stopped: JobStopped) -> None:
        """One partition has stopped in front of an event: so do all."""
        self._stopped = stopped
        self._stopping.set()

    def cancelled_itself(self) -> None:
        """Nothing to do: the job's code runs in the tasks of its partitions, never in that of `run`."""

    async def fence(self) -> None:
        """Fence all earlier processes that ran the job. Raises LogUnavailable, WriterFenced."""
        await UnpartitionedStore(self._log, self.job.group).open()

    async def reposition(self, position: Position) -> None:
        """Let all processes that share the job continue at `position`: those that run now are fenced, and resume."""
        await reposition_groups(self._log, self.job.group, position)

    async def lag(self) -> int:
        """How many records of its partitions are not processed."""
        lags = await asyncio.gather(*(part.runner.lag() for part in list(self._parts.values())))
        return sum(lag or 0 for lag in lags)

    async def _follow_changes(
        self, membership: Membership, stopping: asyncio.Future[Any], leading: TopicPartition
    ) -> None:
        """Work on what is assigned, until `stopping` is done; who has `leading` also has what is redriven."""
        assigned: frozenset[TopicPartition] = frozenset()
        redriven: frozenset[TopicPartition] = frozenset()
        changes = asyncio.ensure_future(membership.changes())
        try:
            while not stopping.done():
                await asyncio.wait((changes, stopping), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if changes.done():
                    assigned = changes.result()
                    changes = asyncio.ensure_future(membership.changes())
                # A log that is away has reported that, and the partitions go on trying.
                with contextlib.suppress(LogUnavailable):
                    found = await self._log.partition_counts([redrive_topic(self.job.name)])
                    redriven = frozenset((topic, 0) for topic in found)
                await self._follow(assigned | redriven if leading in assigned else assigned)
        finally:
            changes.cancel()

    async def _follow(self, assigned: frozenset[TopicPartition]) -> None:
        """Stop the partitions that are no longer assigned, then start those that are."""
        lost = [place for place in self._parts if place not in assigned]
        await asyncio.gather(*(self._parts[place].stop(patience_seconds=PATIENCE_SECONDS) for place in lost))
        for place in lost:
            del self._parts[place]
            self._shares.left(place)
        for place in sorted(assigned - self.partitions):
            status = self._shares.part(place)
            runner = PartitionRunner(
                self.job, self._log, self._gate, place, status=status, settings=self.settings, scope=self._scope
            )
            self._parts[place] = Supervisor(runner, on_stopped=self._stop_on_error)
            self._parts[place].start()

    async def _run_whole(self) -> None:
        status, stops = self._shares.part("whole"), self.settings.stops_where_replaced
        source = LogSource(self._log, self.job, status, stops_where_replaced=stops)
        store = UnpartitionedStore(self._log, self.job.group)
        runner = EmbeddedRunner(
            self.job,
            source,
            store,
            self._gate,
            settings=self.settings,
            status=status,
            scope=self._scope,
            failed_events=FailedEvents(self._log, self.settings.failed_events_seconds),
        )
        self.status.running()
        try:
            await runner.run(drain=True)
        finally:
            self._shares.left("whole")
            await self._log.release(self.job.group)


def sum_of_reports(one: JobReport, other: JobReport) -> JobReport:
    """The report of two parts of one job, or of one and its successor."""
    return replace(
        one,
        read=one.read + other.read,
        written=one.written + other.written,
        errors=one.errors + other.errors,
        late=one.late + other.late,
        skipped=one.skipped + other.skipped,
        restarts=one.restarts + other.restarts,
        last_error=other.last_error or one.last_error,
        trouble=one.trouble or other.trouble,
        calls=one.calls + other.calls,
        emitted=Counter(one.emitted) + Counter(other.emitted),
        dropped=Counter(one.dropped) + Counter(other.dropped),
        error_groups=together(one.error_groups, other.error_groups),
        retried=one.retried + other.retried,
        latency=one.latency + other.latency,
        lag=None if one.lag is None and other.lag is None else (one.lag or 0) + (other.lag or 0),
        lag_seconds=max((each.lag_seconds for each in (one, other) if each.lag_seconds is not None), default=None),
        state_keys=one.state_keys + other.state_keys,
        state_bytes=one.state_bytes + other.state_bytes,
        sink=one.sink + other.sink if one.sink is not None and other.sink is not None else one.sink or other.sink,
        source=one.source + other.source
        if one.source is not None and other.source is not None
        else one.source or other.source,
    )
