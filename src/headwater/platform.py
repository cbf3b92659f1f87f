"""The composition root: the one place where contracts meet implementations, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from headwater.access.api_keys import ApiKeys
from headwater.checking.damage import damaged_at_start
from headwater.checking.project import Project, schemas_of
from headwater.config import Config
from headwater.connectors.spec import TableSink
from headwater.connectors.tables import TableView
from headwater.consumption.hub import StreamHub
from headwater.control.stream_control import StreamControl
from headwater.errors import HeadwaterError
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.intake.spool import Spool
from headwater.jobs.job import Job
from headwater.jobs.tables.reader import Tables
from headwater.log.contract import Log, TopicSettings
from headwater.log.open import log_of, serve_log
from headwater.log.sqlite.owner import LogOwner
from headwater.lookups import Lookups
from headwater.monitoring.canaries import JobProgress
from headwater.monitoring.monitor import Monitor
from headwater.processing.declarations import declarations, topic_settings, with_error_streams
from headwater.processing.flink.cluster.watch import FlinkWatch, jobs_on_flink
from headwater.processing.hosting.contract import Hosting, JobHost
from headwater.processing.hosting.files import file_of
from headwater.processing.hosting.inside import InsideHosting
from headwater.processing.hosting.processes import HowToRun, ProcessHosting
from headwater.processing.pushed_sources import PushedSources
from headwater.schemas.validation.validator import Validator
from headwater.served_tables.audit import AccessAudit
from headwater.served_tables.declared import ServedTable, project_tables
from headwater.served_tables.newest_schemas import NewestSchemas
from headwater.served_tables.tables import ServedTables
from headwater.streams.registry import StreamRegistry
from headwater.streams.seen import SeenStreams
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight
from headwater.telemetry import Telemetry

# How many of the ten seconds for stopping a server it may wait for its log.
WAIT_SECONDS_MAX = 7.0
# Every Kafka broker accepts this much by default, so no warning is needed for it.
COMMON_LIMIT_BYTES = 1_000_000

_log = logging.getLogger(__name__)


class Platform:
    """Everything a project consists of, wired together. `start` before use, `stop` after; one event loop.

    `schemas` is the Validator.
    """

    def __init__(
        self,
        config: Config,
        streams: StreamRegistry,
        jobs: Sequence[Job],
        schemas: Validator | None = None,
        *,
        log: Log | None = None,
        lookups: Lookups | None = None,
        job_command: Sequence[str] | None = None,
    ) -> None:
        """Use `build`, which reads what the project declares. `schemas`: those already compiled. `log`, `lookups`:
        instead of those that the configuration names. `job_command`: starts a process for jobs; without it, they run
        in this one."""
        self.config = config
        self.telemetry = Telemetry()
        self.telemetry.expect(streams.names())
        self.schemas = schemas or schemas_of(config)
        self.streams = streams
        self.jobs = tuple(jobs)
        self.log: Log = log or log_of(config)
        # On Kafka any number of processes serve one log.
        self.owner = None if log is not None or config.log.is_kafka else LogOwner(config.log_path)
        self.gate = Gate(streams, self.schemas, GateSettings.from_config(config))
        self.intake = Intake(
            self.gate,
            self.log,
            config.intake,
            self.telemetry,
            topic_settings=self.topic_settings,
            spool=_spool(config),
        )
        self.pushed = PushedSources(config, self.gate, self.telemetry)
        self.hub = StreamHub(self.log, streams, config.consumption, self.telemetry)
        self.control = StreamControl(self.log, streams, self.telemetry, self._use_streams)
        newest = NewestSchemas(lambda: self.streams, self.schemas.repository)
        self.served = ServedTables(_served(config, self.jobs), newest.document)
        self.audit = AccessAudit(self.intake, newest.uri)
        self.keys = ApiKeys(
            config.path(config.control.api_keys_path),
            config.control.requests_per_minute_max,
            attempts_per_minute_max=config.control.attempts_per_minute_max,
        )
        self.lookups = lookups or Lookups(config.lookups, self.telemetry)
        self.inside = InsideHosting(
            config, jobs, log=self.log, gate=self.gate, telemetry=self.telemetry, lookups=self.lookups
        )
        self.on_flink = jobs_on_flink(config, self.inside.jobs)
        self._flink: FlinkWatch | None = None
        self.hosting = self.inside if job_command is None else self._in_processes(job_command)
        self.monitor = Monitor(
            config,
            self.log,
            self.intake,
            lambda: self.streams,
            telemetry=self.telemetry,
            jobs=self._job_progress,
            job_totals=self._job_totals,
        )
        _measure_damage(self.log, self.telemetry)
        self._trimming: asyncio.Task[None] | None = None
        self._started = False

    @property
    def runners(self) -> Mapping[str, JobHost]:
        """The jobs by name, wherever they run."""
        return self.hosting.jobs

    @property
    def tables(self) -> Mapping[str, TableSink]:
        """The tables of the jobs that run in this process, by name, of which the rows can be read."""
        return {name: sink for name, sink in self.inside.sinks.items() if isinstance(sink, TableSink)}

    @property
    def materialized(self) -> Tables:
        """The tables that jobs keep as their state."""
        return self.inside.materialized

    async def start(
        self,
        *,
        run_jobs: bool = True,
        run_shared_jobs: bool = False,
        elsewhere: Collection[str] = (),
        command: str = "up",
    ) -> None:
        """Open the log, create the topics of all streams, and start the jobs.

        Without `run_jobs` the jobs wait for `finish_jobs`; `run_shared_jobs` starts those that processes share.
        `elsewhere`: the names of jobs that other processes run, so that they are not started here.
        `command` is the running verb, which other processes report. Raises LogInUse, LogUnavailable, LogCorrupt.
        """
        if self.owner is not None:
            await asyncio.to_thread(self.owner.acquire, command)
        try:
            await self.log.open()
        except BaseException:
            self._release()
            raise
        self._started = True
        self.keys.report()
        try:
            await self.control.start()
            await self.intake.start()
            await self._warn_of_limits()
            if run_jobs:
                await self.intake.recall(made_by_jobs={name for job in self.jobs for name in job.writes().streams})
        except BaseException:
            await self.stop()
            raise
        damaged = await damaged_at_start(self.config, self.log, self.jobs) if run_jobs else {}
        for name in self.on_flink:
            self.inside.jobs[name].runner.status.elsewhere()
        if run_jobs or run_shared_jobs:
            files = {job.name: file_of(self.config, job) for job in self.jobs}
            failed = {name: damaged[file] for name, file in files.items() if file is not None and file in damaged}
            await self.hosting.start(failed, only_shared=not run_jobs, elsewhere={*elsewhere, *self.on_flink})
        if run_jobs and any(self.config.flink.url_of(name) for name in self.on_flink):
            statuses = {name: self.inside.jobs[name].runner.status for name in self.on_flink}
            self._flink = FlinkWatch(self.config, self.log, self.streams, self.jobs, statuses)
            self._flink.start()
        self._trimming = asyncio.create_task(self._keep_trimming(), name="retention")
        self.monitor.start(leads=run_jobs)

    def prepare_stop(self) -> None:
        """Bound how long calls wait for a log that does not answer, so that `stop` ends in time.

        Called before the web answers its last requests.
        """
        self.log.close_within(WAIT_SECONDS_MAX)

    async def stop(self) -> None:
        """Finish what was accepted and release everything; idempotent. The web stops accepting events before this."""
        if not self._started:
            return
        self._started = False
        self.prepare_stop()
        await self.hub.close()
        await self.control.stop()
        await self.intake.stop()
        if self._flink is not None:
            await self._flink.stop()
            self._flink = None
        await self.hosting.stop()
        await self.lookups.close()
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.gather(self._trimming, return_exceptions=True)
            self._trimming = None
        await self.monitor.stop()
        await self.log.close()
        self._release()
        self.schemas.repository.close()

    def _release(self) -> None:
        if self.owner is not None:
            self.owner.release()

    async def finish_jobs(self) -> None:
        """Let every job process its input to the end, emit its open windows, and stop. For runs that end.

        A job runs after the jobs whose streams it reads. Raises what a job's runner raises.
        """
        await self.hosting.finish()

    def seen(self, sight: Sight) -> SeenStreams:
        """The streams as a reader with this sight sees them."""
        return SeenStreams(self.streams, sight)

    async def _warn_of_limits(self) -> None:
        """Warn once if the log accepts smaller events than the intake is set to, or than a broker does by default."""
        if not self.log.features.record_limits:
            return
        wanted = self.config.intake.event_bytes_max
        found = await self.log.smallest_limit(topic for stream in self.streams.all() for topic in stream.topics)
        is_set = wanted != type(self.config.intake)().event_bytes_max
        if found is not None and found[0] < (wanted if is_set else min(wanted, COMMON_LIMIT_BYTES)):
            _log.warning(
                "The topic %s accepts events of up to %d bytes (max.message.bytes), less than "
                "intake.event_bytes_max (%d): "
                "larger ones are refused.",
                found[1],
                found[0],
                wanted,
            )

    async def read_tables(self, rows_max: int) -> list[TableView]:
        """The tables as they are, without those not open yet."""
        return await self.hosting.views(rows_max)

    async def metrics(self, conceals: Callable[[str, str], bool] | None = None) -> bytes:
        """All samples in the Prometheus text format, without those that are concealed (`Telemetry.render`)."""
        await self.hosting.measure()
        return self.telemetry.render(conceals)

    def _use_streams(self, streams: StreamRegistry) -> None:
        """Replace the streams everywhere after a change of files or revisions."""
        self.streams = streams
        self.gate.use_streams(streams)
        self.hub.use_streams(streams)

    def _in_processes(self, command: Sequence[str]) -> Hosting:
        if not self.jobs or self.config.jobs.processes == 0:
            return self.inside
        how = HowToRun(command, None if self.config.log.is_kafka else partial(serve_log, self.log))
        return ProcessHosting(self.config, self.inside, how=how, log=self.log, gate=self.gate, telemetry=self.telemetry)

    def _job_progress(self) -> list[JobProgress]:
        return [JobProgress(job.name, job.reads(), self.runners[job.name].report().position) for job in self.jobs]

    def _job_totals(self) -> dict[str, int]:
        """Stream → how many events jobs have written to it since the process started."""
        totals: dict[str, int] = {}
        for job in self.jobs:
            report, writes = self.runners[job.name].report(), job.writes()
            late = report.late if writes.late else 0
            output = report.written - late - sum(report.emitted.values())
            counts = (
                (writes.errors, report.errors),
                (writes.output, output),
                (writes.late, late),
                *report.emitted.items(),
            )
            for stream, count in counts:
                if stream:
                    totals[stream] = totals.get(stream, 0) + count
        return totals

    def topic_settings(self, stream: Stream) -> TopicSettings:
        """How the topics of a stream are retained: as it declares, else as the log is configured."""
        return topic_settings(self.config, stream)

    async def _keep_trimming(self) -> None:
        failure = ""
        while True:
            await asyncio.sleep(self.config.log.trim_interval_seconds)
            try:
                await self.log.trim()
            except HeadwaterError as error:
                if failure != error.code:
                    _log.warning("retention: %s", error)
                failure = error.code
            else:
                if failure:
                    _log.warning("retention succeeds again")
                failure = ""


def build(config: Config, project: Project | None = None, *, job_command: Sequence[str] | None = None) -> Platform:
    """Read the project's streams and jobs and wire everything; opens and starts nothing.

    `project`: as a check has read it, so that its files are not read again. `job_command`: starts a process for jobs,
    as many as are configured; without it, jobs run in this process. Raises ConfigInvalid, JobInvalid, ExtraMissing.
    """
    if project is None:
        return Platform(config, *declarations(config), job_command=job_command)
    streams = with_error_streams(config, project.streams or StreamRegistry(), project.jobs)
    return Platform(config, streams, project.jobs, project.validator, job_command=job_command)


def _served(config: Config, jobs: Sequence[Job]) -> Iterable[ServedTable]:
    """The tables that are served. Verbs that need no jobs have none; invalid files, which a check reports, are left out
    with a warning, so that `--force` starts everything else."""
    return project_tables(config, jobs, lambda error: _log.warning("not served: %s", error)) if jobs else ()


def _measure_damage(log: Log, telemetry: Telemetry) -> None:
    if log.features.finds_damage:
        gauge = telemetry.gauge("headwater_log_damaged_offsets", "Offsets found damaged since the start and skipped.")
        gauge.set_function(lambda: float(log.damaged_offsets()))


def _spool(config: Config) -> Spool | None:
    path = config.intake.hasty_spool_path
    return Spool(config.path(path), config.intake.hasty_spool_bytes_max) if path else None
