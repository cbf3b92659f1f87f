"""Runs jobs in processes of their own, so that none can keep the platform from accepting events.

How this works: the jobs are divided over `jobs.processes` processes (`division.py`), each of which is started, watched
and restarted by a `JobProcess`. This process knows the last report of each job, adds what the processes measure to its
metrics, and asks them for the rows of their tables. To finish the jobs, it stops the processes and runs them itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from headwater.config import Config
from headwater.connectors.tables import TableView
from headwater.errors import HeadwaterError
from headwater.intake.gate import Gate
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.processing.control import JobControl
from headwater.processing.embedded.partitioned import can_share, sum_of_reports
from headwater.processing.hosting.deaths import Deaths
from headwater.processing.hosting.division import division_of, shares_partitions
from headwater.processing.hosting.inside import InsideHosting
from headwater.processing.hosting.messages import Assignment, outline
from headwater.processing.hosting.process import JobProcess, ServeLog
from headwater.processing.hosting.process_metrics import ProcessMetrics
from headwater.processing.status import JobReport, State
from headwater.processing.tables import materialized_tables
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Family, Telemetry, declared

CHECK_SECONDS = 1.0
# The metrics of the processes are kept after every so many checks, also if nobody asks for them.
MEASURE_CHECKS = 10
# The states of which the report of a job that runs in several processes shows the first.
_STATES: Sequence[State] = ("restarting", "failed", "frozen", "circuit_open", "retrying", "starting", "paused")


@dataclass(frozen=True, slots=True)
class HowToRun:
    """How processes of jobs are started (`command`), and what they read the log through; None: their own."""

    command: Sequence[str]
    serve_log: ServeLog | None


class ProcessJob:
    """One job that runs in other processes, several of them if they share its partitions."""

    def __init__(self, inside: InsideHosting, name: str) -> None:
        """`inside` runs it when the platform finishes its jobs."""
        self._supervisor = inside.jobs[name]
        self._processes: Sequence[JobProcess] = ()
        self._is_started = False

    @property
    def job(self) -> Job:
        return self._supervisor.job

    @property
    def control(self) -> JobControl | None:
        return self._supervisor.control

    def report(self) -> JobReport:
        own, name = self._supervisor.report(), self.job.name
        if not self._is_started:
            return own
        total = replace(own, state="starting")
        reports = []
        for process in self._processes:
            for part in (process.state.before.get(name), process.state.reports.get(name)):
                total = total if part is None else sum_of_reports(total, part)
            reports.append(process.state.reports.get(name) or process.state.before.get(name))
        if own.state == "stopped":
            # Here it was run to its end, after its processes had been stopped.
            return replace(total, state=own.state, position=own.position, watermark=own.watermark)
        states = [self._state_in(process) for process in self._processes]
        state = next((one for one in _STATES if one in states), states[0])
        known = [one for one in reports if one is not None]
        problem = next((found for one in self._processes if (found := one.state.problem())), None)
        return replace(
            total,
            state=state,
            restarts=total.restarts + sum(process.state.restarts for process in self._processes),
            position=next((one.position for one in known if one.position), None),
            watermark=min((one.watermark for one in known if one.watermark), default=None),
            trouble=problem or total.trouble,
            trouble_of_process=problem is not None,
            processes=tuple(process.state.number for process in self._processes),
        )

    def look(self) -> None:
        for process in self._processes:
            process.look(self.job.name)

    def runs_in(self, processes: Sequence[JobProcess]) -> None:
        """The processes that have been started for it."""
        self._processes = processes
        self._is_started = bool(processes)

    def _state_in(self, process: JobProcess) -> State:
        if process.state.is_restarting:
            return "restarting"
        report = process.state.reports.get(self.job.name)
        return "starting" if report is None else report.state


class ProcessHosting:
    """The jobs of a platform in processes of their own; `inside` has them for the end of a run."""

    def __init__(
        self,
        config: Config,
        inside: InsideHosting,
        *,
        how: HowToRun,
        log: Log,
        gate: Gate,
        telemetry: Telemetry,
    ) -> None:
        self._config = config
        self._inside = inside
        self._how = how
        self._gate = gate
        self._declared: StreamRegistry = gate.streams
        self._shares = shares_partitions(config)
        self._jobs = {name: ProcessJob(inside, name) for name in inside.jobs}
        self.processes: list[JobProcess] = []
        self._families: list[Family] = []
        self._watching: asyncio.Task[None] | None = None
        telemetry.include(lambda: self._families)
        in_trouble = telemetry.gauge(
            "headwater_job_in_trouble",
            "Whether a job fails and is restarted, or its events fail.",
            (declared("job"),),
        )
        for name, job in self._jobs.items():
            in_trouble.labels(name).set_function(_is_in_trouble(job))
        self._metrics = ProcessMetrics(telemetry, self.processes, config.jobs.processes)

    @property
    def jobs(self) -> Mapping[str, ProcessJob]:
        return self._jobs

    async def start(
        self,
        damaged: Mapping[str, HeadwaterError],
        *,
        only_shared: bool = False,
        elsewhere: Collection[str] = (),
    ) -> None:
        for name, error in damaged.items():
            self._inside.jobs[name].runner.status.ended(error)
        jobs = []
        for name, host in self._jobs.items():
            if name not in elsewhere and (self._is_shared(host.job) or not only_shared):
                jobs += [] if name in damaged else [host.job]
            elif name not in damaged:
                self._inside.jobs[name].runner.status.elsewhere()
        deaths = Deaths(self._config.jobs.process_ends_per_event_max)
        for names in division_of(self._config, jobs):
            assignment = self._assignment(len(self.processes) + 1, names)
            limit = self._config.jobs.process_memory_bytes_max
            self.processes.append(JobProcess(assignment, self._how.command, self._how.serve_log, limit, deaths))
        for name, host in self._jobs.items():
            host.runs_in([one for one in self.processes if name in one.state.jobs])
        for process in self.processes:
            process.start()
        if self.processes:
            self._watching = asyncio.create_task(self._watch(), name="job processes")

    async def stop(self) -> None:
        await self._stop_processes()
        await self._inside.stop()

    async def finish(self) -> None:
        await self._stop_processes()
        await self._inside.finish()

    async def views(self, rows_max: int) -> list[TableView]:
        found = await asyncio.gather(*(process.views(rows_max) for process in self.processes))
        views = {view.name: view for views in found for view in views}
        # Those that were opened here are newer.
        views.update({view.name: view for view in await self._inside.views(rows_max)})
        return list(views.values())

    async def measure(self) -> None:
        self._metrics.count()
        found = await asyncio.gather(*(process.families() for process in self.processes))
        self._families = [one for families in found for one in families if one.name != "headwater_job_in_trouble"]

    async def _stop_processes(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        await asyncio.gather(*(process.stop() for process in self.processes))

    async def _watch(self) -> None:
        turn = 0
        while True:
            before = time.monotonic()
            await asyncio.sleep(CHECK_SECONDS)
            turn += 1
            if turn % MEASURE_CHECKS == 0:
                # What was counted since is lost when a process is killed.
                await self.measure()
            # If this loop was blocked, what the processes have sent meanwhile is still to be read.
            if time.monotonic() - before < 2 * CHECK_SECONDS:
                for process in self.processes:
                    process.check()

    def _assignment(self, number: int, names: Sequence[str]) -> Assignment:
        jobs = {name: outline(self._jobs[name].job) for name in names}
        streams = self._declared
        return Assignment(
            number,
            self._config,
            streams.layers,
            streams.scope,
            streams.access,
            jobs,
            shares=self._shares,
            materialized=materialized_tables(one.job for one in self._jobs.values()),
            paths=tuple(sys.path),
        )

    def _is_shared(self, job: Job) -> bool:
        return self._shares and can_share(job)


def _is_in_trouble(job: ProcessJob) -> Callable[[], float]:
    return lambda: float(job.report().trouble is not None)
