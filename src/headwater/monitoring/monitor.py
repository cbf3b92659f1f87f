"""Assembles, starts and stops the monitoring of one platform's streams."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from headwater.config import Config
from headwater.errors import HeadwaterError
from headwater.intake.intake import Intake
from headwater.log.contract import Log
from headwater.monitoring.canaries import Canaries, JobProgress
from headwater.monitoring.canary_plan import Topology
from headwater.monitoring.canary_sender import CanarySender
from headwater.monitoring.completeness import Basis, Completeness, StreamHour
from headwater.monitoring.health import Health, StreamHealth
from headwater.monitoring.hourly_counts import CountedTopic, HourlyCounts
from headwater.monitoring.hours import HOUR_MS
from headwater.monitoring.intake_counts import IntakeCounts
from headwater.monitoring.intakes import Intakes
from headwater.monitoring.reconciliation import Reconciled, Reconciliation
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry, closed, declared
from headwater.times import duration_seconds

RETRY_SECONDS = 10.0
# The number of hours that the gauges about hours cover.
GAUGED_HOURS = 24
_log = logging.getLogger(__name__)


class Monitor:
    """The monitoring of one platform. Of several processes one leads: it sends canaries and counts hours."""

    def __init__(
        self,
        config: Config,
        log: Log,
        intake: Intake,
        streams: Callable[[], StreamRegistry],
        *,
        telemetry: Telemetry,
        jobs: Callable[[], Sequence[JobProgress]] = lambda: (),
        job_totals: Callable[[], Mapping[str, int]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`jobs` returns the progress of jobs, `job_totals` how many events they have written into each stream.

        Raises ConfigInvalid if services.yaml, or a key for another intake, cannot be used.
        """
        settings = config.monitoring
        self.book = HourlyCounts(log, settings.hours_kept, clock)
        self.completeness = Completeness(self.book)
        self.reconciliation = Reconciliation(log, self.book)
        sender = CanarySender(
            intake,
            log,
            timeout_seconds=settings.canary_timeout_seconds,
            shared_log=config.log.is_kafka,
            # If none are sent, their keys are not needed.
            keys=config.canary_keys() if settings.canaries else None,
            clock=clock,
        )
        topology = Topology(Intakes.load(config), config.intake.service_name, config.intake.topic_prefix)
        repository = intake.gate.validator.repository
        self.canaries = Canaries(
            config, repository, streams, sender, topology=topology, telemetry=telemetry, jobs=jobs, clock=clock
        )
        self.canaries.on_planned = self._expect_canaries
        self.health = Health(self.canaries, self.book)
        self._settings = settings
        self._streams = streams
        self._clock = clock
        self._intake_counts = IntakeCounts(
            telemetry,
            config.intake.error_stream_name,
            job_totals=job_totals,
            clocks_ahead=intake.clocks.take,
            clock=clock,
        )
        self._recent = intake.recent
        # Stream → number of stored canaries, as far as counted at that time.
        self._canaries_kept: dict[str, int] = {}
        self._canaries_until_ms = 0
        self._counting: asyncio.Task[None] | None = None
        self._leads = False
        self._gauged_hour = 0
        self._make_gauges(telemetry)

    def _make_gauges(self, telemetry: Telemetry) -> None:
        self._hours = telemetry.gauge(
            "headwater_completeness_hours",
            "Hours of the last day by their state.",
            (declared("stream"), closed("state")),
        )
        self._differing = telemetry.gauge(
            "headwater_reconciliation_differing_hours",
            "Hours of the last day in which accepted, stored and delivered differ.",
            (declared("stream"),),
        )
        self._last_event = telemetry.gauge(
            "headwater_stream_last_event_timestamp_seconds",
            "When the last event that is not a canary arrived.",
            (declared("stream"),),
        )
        counted = telemetry.gauge(
            "headwater_completeness_counted_until_seconds", "Everything received before this time is counted."
        )
        counted.set_function(lambda: (self.book.counted_until_ms or 0) / 1000)

    def start(self, *, leads: bool = True) -> None:
        """Start to count and, if this process `leads`, to send canaries. The log is open."""
        self._leads = leads
        if self._settings.completeness:
            self._counting = asyncio.create_task(self._count(), name="event counts")
        if leads and self._settings.canaries:
            self.canaries.start()

    async def stop(self) -> None:
        """Stop, and make the counts durable. The intake has stopped, the log is still open."""
        await self.canaries.stop()
        if self._counting is None:
            return
        self._counting.cancel()
        await asyncio.gather(self._counting, return_exceptions=True)
        self._counting = None
        try:
            await self._keep_intake_counts(ended=True)
            if self.book.is_open and self._leads:
                await self.book.save()
        except HeadwaterError as error:
            _log.log(_level_of(error), "the last event counts could not be stored: %s", error)

    def streams(self) -> Iterator[StreamHealth]:
        """The condition of every declared stream and every impossible family; each is computed on demand."""
        registry = self._streams()
        families = [stream for stream in registry.families() if stream.name in self.canaries.plans]
        return self.health.of((*registry.all(), *families), int(self._clock() * 1000))

    def hours(self, stream: Stream, first: int, last: int, *, by: Basis = "event") -> list[StreamHour]:
        """The hours of a stream from `first` up to `last`, exclusive, with their states."""
        lateness = self.max_lateness_ms(stream)
        return list(self.completeness.hours(stream, first, last, by=by, max_lateness_ms=lateness))

    async def reconciled(self, streams: Sequence[Stream], first: int, last: int) -> list[Reconciled]:
        """The counts of accepted, stored and delivered events, for the hours that are over. Raises LogUnavailable."""
        return await self.reconciliation.hours(streams, first, last)

    def canaries_kept(self, stream: Stream) -> int:
        """The approximate number of canaries among the records of a stream in the log."""
        until_ms = self.book.counted_until_ms or 0
        if until_ms != self._canaries_until_ms:
            self._canaries_until_ms = until_ms
            self._canaries_kept.clear()
        if stream.name not in self._canaries_kept:
            hour = int(self._clock()) // 3600
            kept_hours = self.book.hours_kept
            if stream.retention_seconds is not None:
                kept_hours = min(kept_hours, int(stream.retention_seconds) // 3600)
            self._canaries_kept[stream.name] = sum(
                self.book.counts.canaries(topic, hour - kept_hours, hour) for topic in stream.topics
            )
        return self._canaries_kept[stream.name] + self._recent.canaries_since(until_ms / 1000, stream.name)

    def max_lateness_ms(self, stream: Stream) -> int:
        """How late events of a stream may arrive: as declared, else as configured."""
        written = stream.declared.get("monitor", {}).get("expect", {}).get("max_lateness")
        seconds = self._settings.max_lateness_seconds if written is None else duration_seconds(written)
        return round(seconds * 1000)

    async def count_now(self) -> None:
        """Count everything and make it durable. Raises LogUnavailable, LogCorrupt."""
        await self.book.open()
        await self._keep_intake_counts()
        await self.book.follow_intakes()
        await self.book.read_on(self._watched())
        await self.book.save()

    async def _count(self) -> None:
        while True:
            # Wait first: a process that runs only for a moment has nothing to count.
            await asyncio.sleep(self._intake_counts.next_look(self._settings.count_interval_seconds))
            try:
                if self._leads:
                    await self.count_now()
                    await self._publish()
                else:
                    await self._keep_intake_counts()
            except HeadwaterError as error:
                _log.log(_level_of(error), "events cannot be counted: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                _log.exception("events cannot be counted")
                await asyncio.sleep(RETRY_SECONDS)

    async def _keep_intake_counts(self, *, ended: bool = False) -> None:
        self._intake_counts.take()
        records = self._intake_counts.records(ended=ended)
        if not records:
            return
        try:
            await self.book.open()
            await self.book.save_intake(records)
        except BaseException:
            self._intake_counts.keep_changed(records)
            raise

    def _watched(self) -> dict[str, CountedTopic]:
        return {
            topic: CountedTopic(stream.name, stream.event_time_field, self.max_lateness_ms(stream))
            for stream in self._streams().all()
            for topic in stream.topics
        }

    def _expect_canaries(self) -> None:
        self.book.expect_canaries(topic for _, topic in self.canaries.tracks)

    async def _publish(self) -> None:
        """Update the gauges: the times always, the hours when another one is over."""
        streams = self._streams().all()
        for stream in streams:
            last = max((self.book.topic(topic).last_event_ms or 0 for topic in stream.topics), default=0)
            if last:
                self._last_event.labels(stream.name).set(last / 1000)
        hour = int(self._clock() * 1000 - 2 * 60_000) // HOUR_MS
        if hour == self._gauged_hour:
            return
        self._hours.clear()
        self._differing.clear()
        for stream in streams:
            if stream.name in self.canaries.plans:
                states = [one.state for one in self.hours(stream, hour - GAUGED_HOURS, hour)]
                for state in set(states):
                    self._hours.labels(stream.name, state).set(states.count(state))
                await asyncio.sleep(0)
        for one in await self.reconciled(streams, hour - GAUGED_HOURS, hour):
            if one.differences:
                self._differing.labels(one.stream).inc()
        self._gauged_hour = hour


def _level_of(error: HeadwaterError) -> int:
    """An unavailable log reports that itself, once."""
    return logging.DEBUG if error.is_away else logging.WARNING
