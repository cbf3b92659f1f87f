"""Runs jobs in this process, each as a task of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from headwater.config import Config
from headwater.connectors.contract import Readable, Source
from headwater.connectors.discarding import OnDiscarded
from headwater.connectors.isolated import IsolatedSink
from headwater.connectors.lake.options import LakeOptions, OnStored
from headwater.connectors.tables import TableView
from headwater.errors import HeadwaterError, SinkUnavailable
from headwater.foreign import awaited
from headwater.intake.gate import Gate
from headwater.jobs.flow import in_order_of_flow
from headwater.jobs.job import Job
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.log.contract import Log
from headwater.lookups import Lookups
from headwater.processing.control import JobControl
from headwater.processing.declarations import failed_events_seconds
from headwater.processing.embedded.partitioned import SharedRunner, can_share
from headwater.processing.embedded.runner import connector_runner_on, runner_on
from headwater.processing.embedded.settings import RunnerSettings, settings_for
from headwater.processing.flight_recorder import FlightRecorder
from headwater.processing.hosting.files import connector_of, isolated_sink, kept_secrets
from headwater.processing.lake_status import shows_stored
from headwater.processing.stores.contract import JobStore
from headwater.processing.stores.outbox import OutboxStore, state_file
from headwater.processing.stores.partitions import UnpartitionedStore
from headwater.processing.stores.sink import sink_store
from headwater.processing.supervisor import Supervisor
from headwater.processing.tables import materialized_tables, tables_of
from headwater.telemetry import Telemetry, closed, declared


class InsideHosting:
    """The jobs of this process. `sinks`: those that they write by, by name; they are closed by `stop`."""

    def __init__(
        self,
        config: Config,
        jobs: Sequence[Job],
        *,
        log: Log,
        gate: Gate,
        telemetry: Telemetry,
        lookups: Lookups,
        shares: bool | None = None,
        materialized: Mapping[str, MaterializedTable] | None = None,
        recorder: FlightRecorder | None = None,
    ) -> None:
        """`shares`: whether it shares the partitions of jobs where that is possible; None: as configured.
        `materialized`: the tables that jobs of the project keep, wherever these run; None: those of `jobs`.
        `recorder`: records what the jobs have in flight.

        Raises JobInvalid for a job that cannot run on this log; ConfigInvalid, ExtraMissing for its sink."""
        self._config = config
        self._log = log
        self._gate = gate
        self._telemetry = telemetry
        self._lookups = lookups
        known = materialized_tables(jobs) if materialized is None else materialized
        self.materialized = tables_of(known, log, config.path(config.jobs.state_path))
        self._shares = config.jobs.shared if shares is None else shares
        self._settings = replace(runner_settings(config, jobs, gate), recorder=recorder)
        self.sinks: dict[str, IsolatedSink] = {}
        self._connectors: list[Source] = []
        self.jobs: Mapping[str, Supervisor] = {job.name: self._supervisor(job) for job in jobs}

    async def start(
        self,
        damaged: Mapping[str, HeadwaterError],
        *,
        only_shared: bool = False,
        elsewhere: Collection[str] = (),
    ) -> None:
        for name, supervisor in self.jobs.items():
            if name in damaged:
                supervisor.runner.status.ended(damaged[name])
            elif name not in elsewhere and (not only_shared or supervisor.runner.features.shares_partitions):
                supervisor.start()
            else:
                supervisor.runner.status.elsewhere()

    async def stop(self) -> None:
        for sink in self.sinks.values():
            sink.stop_within(self._config.jobs.sink_stop_seconds_max)
        await self._stop_jobs()
        await asyncio.gather(*(sink.close() for sink in self.sinks.values()))
        await asyncio.gather(*(awaited(connector.close()) for connector in self._connectors))

    async def finish(self) -> None:
        await self._stop_jobs()
        # The position of a job cannot be read while a killed process's transaction for another job is open.
        here = [one for one in self.jobs.values() if not one.runner.status.is_elsewhere]
        await asyncio.gather(*(supervisor.runner.fence() for supervisor in here))
        for job in in_order_of_flow([supervisor.job for supervisor in self.jobs.values()]):
            # What another system has may never end.
            if job.input is None and not self.jobs[job.name].runner.status.is_elsewhere:
                await self.jobs[job.name].finish()

    async def views(self, rows_max: int) -> list[TableView]:
        return await asyncio.to_thread(self._views, rows_max)

    async def measure(self) -> None:
        """Nothing to do: the metrics of these jobs are in this process."""

    def _views(self, rows_max: int) -> list[TableView]:
        views = []
        for sink in list(self.sinks.values()):
            if not isinstance(sink, Readable):
                continue
            try:
                views.append(sink.view(rows_max))
            except SinkUnavailable:
                continue
        return views

    def _discarded(self, job: Job) -> OnDiscarded:
        counter = self._telemetry.counter(
            "headwater_sink_discarded",
            "Rows and values that a sink left out, since its contract keeps them out of the table.",
            (declared("job"), closed("what")),
        )

        def discarded(what: Literal["rows", "values"], count: int) -> None:
            counter.labels(job.name, what).inc(count)
            if (sink := self.jobs[job.name].runner.status.sink) is not None:
                sink.discarded(what, count)

        return discarded

    def _stored(self, job: Job) -> OnStored | None:
        """To which the sink of a job reports what is in the lake; None if it fills no lake."""
        sink = job.writes().sink
        if sink is None or not isinstance(sink.options, LakeOptions):
            return None

        def show(complete_ms: int | None) -> None:
            status = self.jobs[job.name].runner.status.sink
            if status is not None:
                status.complete(complete_ms)

        return shows_stored(self._telemetry, job.name, show)

    async def _stop_jobs(self) -> None:
        await asyncio.gather(*(supervisor.stop() for supervisor in self.jobs.values()))

    def _supervisor(self, job: Job) -> Supervisor:
        if self._shares and self._log.features.shares_partitions and can_share(job):
            shared = SharedRunner(
                job,
                self._log,
                self._gate,
                telemetry=self._telemetry,
                settings=self._settings,
                stall_seconds_max=self._config.jobs.shared_stall_seconds_max,
                http=self._lookups,
                tables=self.materialized,
            )
            return Supervisor(shared, control=control_of(job, self._log, self._gate))
        if (connector := connector_of(self._config, job)) is not None:
            self._connectors.append(connector)
            reader = connector_runner_on(
                self._log,
                job,
                self._gate,
                connector,
                telemetry=self._telemetry,
                settings=self._settings,
                secrets=kept_secrets(self._config, job.input),
            )
            return Supervisor(reader, control=control_of(job, self._log, self._gate))
        runner = runner_on(
            self._log,
            job,
            self._gate,
            store=self._store(job),
            telemetry=self._telemetry,
            settings=settings_for(job, self._settings),
            http=self._lookups,
            tables=self.materialized,
        )
        return Supervisor(runner, control=control_of(job, self._log, self._gate))

    def _store(self, job: Job) -> JobStore | None:
        """Where a job commits, if not to the log alone."""
        writes = job.writes()
        if writes.target is not None:
            sink = self.sinks[writes.target.name] = isolated_sink(
                self._config, job, self._discarded(job), on_stored=self._stored(job)
            )
            return sink_store(job, sink, self._log)
        if self._log.features.shares_partitions and can_share(job):
            return UnpartitionedStore(self._log, job.group)
        if self._log.features.keyed_state or not job.keeps_state:
            return None
        path = state_file(self._config.path(self._config.jobs.state_path), job.name)
        return OutboxStore(self._log, job.group, path, durability=self._config.log.durability)


def control_of(job: Job, log: Log, gate: Gate) -> JobControl:
    """What people ask of the job, in the log."""
    return JobControl(log, job, [topic for name in job.reads() for topic in gate.streams.get(name).topics])


def runner_settings(config: Config, jobs: Sequence[Job], gate: Gate) -> RunnerSettings:
    """The settings of the runners of these jobs, as configured."""
    jobs_config = config.jobs
    return RunnerSettings(
        in_flight_events_max=jobs_config.in_flight_events_max,
        in_flight_bytes_max=jobs_config.in_flight_bytes_max,
        parked_events_max=jobs_config.parked_events_max,
        parked_bytes_max=jobs_config.parked_bytes_max,
        stops_where_replaced=jobs_config.on_replaced_log == "stop",
        full_errors_per_minute_max=jobs_config.full_errors_per_minute_max,
        failed_events_seconds=failed_events_seconds(config, jobs, gate.streams),
    )
