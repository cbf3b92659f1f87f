"""One soak test: measures the capacity of the platform, sustains half of it with churn, and reports what grew."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.testing.soak.churn import CLIENTS, Churn
from headwater.testing.soak.load import Load, Observed
from headwater.testing.soak.measurements import Holdings, Series, Slope, holdings, quantile, rise, slope
from headwater.testing.whole_platform.connection import Connection
from headwater.testing.whole_platform.process import UpProcess
from headwater.testing.whole_platform.project import ProjectSettings, write_whole_project

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
DRAIN_SECONDS_MAX = 180.0
DRAIN_POLL_SECONDS = 0.2
RETENTION = "5m"
CAPACITY_SECONDS = 8.0
SAMPLE_SECONDS = 0.5
HANDLES_RISE_MAX = 2 * CLIENTS
THREADS_RISE_MAX = 4
FAULTS_SHOWN_MAX = 20
_JOB_READ = re.compile(rb'^headwater_job_events_total\{job="([^"]+)",what="read"\} (\S+)$', re.MULTILINE)
_JOB_LOST = re.compile(rb'^headwater_job_positions_lost_total\{job="([^"]+)"\} (\S+)$', re.MULTILINE)
# The last jobs of the chain: once they have read all orders, everything is processed.
_LAST_JOBS = ("numbered", "per_minute", "table.orders", "table.running")


@dataclass(frozen=True, slots=True)
class SoakSettings:
    """Duration, load and limits. `events_per_second` None: half of the measured capacity."""

    seconds: float
    warm_up_seconds: float
    events_per_second: float | None = None
    megabytes_per_hour_max: float = 30.0
    health_seconds_max: float = 2.0
    seed: int = 0
    leak_bytes: int = 0


@dataclass(slots=True)
class SoakReport:
    """The result of a soak test. It has passed if `problems` is empty."""

    events_per_second: float
    observed: Observed
    samples: Sequence[Holdings]
    visits: Counter[str]
    warm_up_seconds: float
    memory: Slope | None = None
    own_memory: Slope | None = None
    problems: list[str] = field(default_factory=list)

    def series(self, value: Callable[[Holdings], float]) -> Series:
        """One series of the samples after the warm-up."""
        return [(one.seconds, value(one)) for one in self.samples if one.seconds >= self.warm_up_seconds]


async def soak(directory: Path, settings: SoakSettings, say: Callable[[str], None]) -> SoakReport:
    """Run the platform of a new project in `directory`. Raises RuntimeError if it does not start."""
    project = ProjectSettings(
        retention=RETENTION,
        lateness="1m",
        canary_period="5s",
        trim_interval_seconds=5.0,
        leak_bytes=settings.leak_bytes,
    )
    write_whole_project(directory, project)
    up = UpProcess(directory)
    try:
        address = await asyncio.to_thread(up.address, START_SECONDS_MAX)
        if address is None:
            raise RuntimeError(f"The platform did not start:\n{up.printed()}")
        rate = settings.events_per_second or await _capacity(address) / 2
        say(
            f"{rate:,.0f} events a second for {settings.seconds / 60:g} minutes, {CLIENTS} clients that connect "
            "and disconnect"
        )
        report = await _loaded(up, address, settings, rate, say)
        if up.is_running:
            await _judge_jobs(address, report)
        if not await asyncio.to_thread(up.stop, STOP_SECONDS_MAX):
            report.problems.append(f"the platform did not stop within {STOP_SECONDS_MAX:g} s of SIGTERM")
    finally:
        up.kill()
    _judge(report, settings)
    return report


async def _judge_jobs(address: tuple[str, int], report: SoakReport) -> None:
    connection = Connection(*address)
    text = (await connection.request("GET", "/metrics")).body
    connection.abort()
    if lost := [job.decode() for job, count in _JOB_LOST.findall(text) if float(count)]:
        # They can no longer read what was removed.
        report.problems.append(f"retention ({RETENTION}) removed events before they were read by {', '.join(lost)}")
    elif not await _drained(address, report.observed.accepted):
        report.problems.append(f"jobs have not processed everything {DRAIN_SECONDS_MAX:g} s after the load ended")


async def _capacity(address: tuple[str, int]) -> float:
    """Events per second through the intake and all jobs, if producers send as fast as they are answered."""
    observed = Observed()
    before = time.monotonic()
    load = asyncio.create_task(Load(address, observed, before).run(float("inf")))
    await asyncio.sleep(CAPACITY_SECONDS)
    await _ended(load)
    if not await _drained(address, observed.accepted):
        raise RuntimeError("The jobs did not process the events of the capacity measurement.")
    return observed.accepted / (time.monotonic() - before)


async def _loaded(
    up: UpProcess, address: tuple[str, int], settings: SoakSettings, rate: float, say: Callable[[str], None]
) -> SoakReport:
    started = time.monotonic()
    observed = Observed()
    load = Load(address, observed, started)
    churn = Churn(address, settings.seed, observed.faults)
    samples: list[Holdings] = []
    report = SoakReport(rate, observed, samples, churn.visits, settings.warm_up_seconds)
    tasks = [asyncio.create_task(work) for work in (load.run(rate), load.watch_health(), churn.run())]
    minutes_printed = 0
    while (seconds := time.monotonic() - started) < settings.seconds:
        await asyncio.sleep(SAMPLE_SECONDS)
        try:
            samples.append(holdings(up.pid, seconds))
        except OSError:
            report.problems.append(f"the platform ended after {seconds:,.0f} s: {up.printed()[-2000:]}")
            break
        if any(task.done() for task in tasks):
            break
        if seconds // 60 > minutes_printed:
            minutes_printed = int(seconds // 60)
            say(_minute_line(minutes_printed, samples[-1], observed))
    for task in tasks:
        await _ended(task)
    return report


def _minute_line(minute: int, now: Holdings, observed: Observed) -> str:
    since = (minute - 1) * 60.0
    latencies = [took for at, took in observed.latencies if at >= since]
    health = [took for at, took in observed.health if at >= since]
    return (
        f"{minute:>3} min  {now.resident_bytes / 1e6:7.1f} MB ({now.own_bytes / 1e6:.1f} MB without files)"
        f"  {now.handles:>3} handles  {now.threads:>2} threads  {observed.accepted:>11,} events"
        f"  p50 {quantile(latencies, 0.5) * 1000:.1f} ms  p99 {quantile(latencies, 0.99) * 1000:.0f} ms"
        f"  /healthz worst {max(health, default=0.0) * 1000:.0f} ms"
    )


async def _drained(address: tuple[str, int], events: int) -> bool:
    """Whether every job reads this many events in time."""
    connection = Connection(*address)
    until = time.monotonic() + DRAIN_SECONDS_MAX
    try:
        while time.monotonic() < until:
            text = (await connection.request("GET", "/metrics")).body
            read = {job.decode(): float(count) for job, count in _JOB_READ.findall(text)}
            if all(read.get(job, 0.0) >= events for job in _LAST_JOBS):
                return True
            await asyncio.sleep(DRAIN_POLL_SECONDS)
    finally:
        connection.abort()
    return False


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome


def _judge(report: SoakReport, settings: SoakSettings) -> None:
    resident = report.series(lambda one: one.resident_bytes / 1e6)
    try:
        report.memory = slope(resident)
        report.own_memory = slope(report.series(lambda one: one.own_bytes / 1e6))
    except ValueError as error:
        report.problems.append(str(error))
        return
    if report.memory.exceeds(settings.megabytes_per_hour_max):
        level = statistics.fmean(value for _, value in resident)
        report.problems.append(
            f"memory grows by {report.memory.per_hour:,.0f} ± {report.memory.uncertainty:,.0f} MB an hour around"
            f" {level:,.0f} MB; {settings.megabytes_per_hour_max:g} are allowed"
        )
    for what, most, value in (
        ("handles", HANDLES_RISE_MAX, lambda one: float(one.handles)),
        ("threads", THREADS_RISE_MAX, lambda one: float(one.threads)),
    ):
        rose = rise(report.series(value))
        if rose > most:
            report.problems.append(f"{rose:g} more {what} in the last third than in the first; {most} are allowed")
    worst = max((took for _, took in report.observed.health), default=0.0)
    if worst > settings.health_seconds_max:
        report.problems.append(f"/healthz took {worst:.2f} s; {settings.health_seconds_max:g} s are allowed")
    for fault, count in report.observed.faults.most_common(FAULTS_SHOWN_MAX):
        report.problems.append(f"{count} times: {fault}")
