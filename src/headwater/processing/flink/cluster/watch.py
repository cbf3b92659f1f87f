"""Watches the jobs of a project that run on Flink clusters, and reports them as those that run here.

How this works: every few seconds its cluster is asked about each job (`flink.jobs`), and the brokers about the offsets
that it has committed, and the errors that it has written. What is found replaces the report of the job in this process,
which does not run it; so pages, the API and the metrics have the same names for both. What begins to be wrong is
printed, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from headwater.config import Config
from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid, HeadwaterError
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.job_state import EVENTS_FAIL, FlinkLook, look_at, report_of, without_lag
from headwater.processing.flink.cluster.lag import lag_of
from headwater.processing.flink.cluster.written import WrittenEvents, late_stream_alone
from headwater.processing.status import RunnerStatus
from headwater.streams.registry import StreamRegistry

_log = logging.getLogger(__name__)


def jobs_on_flink(config: Config, names: Mapping[str, object]) -> frozenset[str]:
    """The names of the jobs that run on Flink. `names`: those of all jobs of the project.

    Raises ConfigInvalid for one that there is not, and if the settings lack what such jobs need.
    """
    flink = config.flink
    for name in flink.jobs:
        if name not in names:
            raise ConfigInvalid(f"flink.jobs: the project has no job {name}.", hint=suggestion(name, names))
        flink.url_of(name)
    if flink.jobs and not config.log.is_kafka:
        raise ConfigInvalid(
            f"flink.jobs names jobs, and Flink cannot read the log {config.log.url}.",
            hint="Flink needs a log on Kafka (log.url: kafka://…).",
        )
    return frozenset(flink.jobs)


class FlinkWatch:
    """Looks after the jobs on their clusters. Belongs to one event loop; `start` once, then `stop`."""

    def __init__(
        self,
        config: Config,
        log: Log,
        streams: StreamRegistry,
        jobs: Sequence[Job],
        statuses: Mapping[str, RunnerStatus],
    ) -> None:
        """`jobs`: all of the project; `statuses`: those of its jobs on Flink, by name, of which those are looked after
        whose cluster has an address. Raises ConfigInvalid."""
        from headwater.log.kafka.consumer_groups import ConsumerGroups

        flink = config.flink
        urls = {name: url for name in statuses if (url := flink.url_of(name)) is not None}
        self._log = log
        self._streams = streams
        self._jobs = jobs
        self._statuses = {name: statuses[name] for name in urls}
        self._seconds = flink.look_seconds
        self._groups = ConsumerGroups.of(config)
        clusters = {url: FlinkCluster(url, request_seconds_max=flink.request_seconds_max) for url in urls.values()}
        self._clusters = {name: clusters[url] for name, url in urls.items()}
        # By the id of what runs there: a job that is started again counts from then on.
        self._written: dict[str, tuple[str, WrittenEvents]] = {}
        self._troubles: dict[str, str | None] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        # A cluster that does not answer keeps no job of another one waiting.
        self._tasks = [
            asyncio.create_task(self._watch(name, status), name=f"job {name} on Flink")
            for name, status in self._statuses.items()
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for cluster in set(self._clusters.values()):
            await cluster.close()

    async def look(self) -> None:
        """Look at all jobs now."""
        await asyncio.gather(*(self._look(name, status) for name, status in self._statuses.items()))

    async def _watch(self, name: str, status: RunnerStatus) -> None:
        while True:
            await self._look(name, status)
            await asyncio.sleep(self._seconds)

    async def _look(self, name: str, status: RunnerStatus) -> None:
        found = await look_at(self._clusters[name], name)
        lag = written = None
        try:
            lag = await lag_of(self._log, self._groups, self._streams, status.job)
            written = await self._written_by(status.job, found)
        except HeadwaterError as error:
            found = without_lag(found, error.message)
        report = report_of(status.job, found, lag, written)
        status.elsewhere(report, found.watermark_ms)
        self._tell(status.job, report.trouble)

    async def _written_by(self, job: Job, found: FlinkLook) -> WrittenEvents | None:
        """Its error events and late events; None if it is not known since when. Raises LogUnavailable."""
        if found.found is None:
            return None
        run, written = self._written.get(job.name, ("", None))
        if written is None or run != found.found.id:
            topics_of = self._topics_of
            written = WrittenEvents(
                self._log,
                job,
                topics_of(job.writes().errors) if job.on_error == "error_event" else (),
                topics_of(late_stream_alone(job, self._jobs)),
                since_ms=found.found.started_ms,
            )
            self._written[job.name] = (found.found.id, written)
        await written.look()
        return written

    def _topics_of(self, stream: str | None) -> Sequence[str]:
        known = None if stream is None else self._streams.find(stream)
        return () if known is None else known.topics

    def _tell(self, job: Job, trouble: str | None) -> None:
        """Print what begins to be wrong, and what works again; events that fail for other reasons are not new."""
        kind = EVENTS_FAIL if trouble is not None and trouble.startswith(EVENTS_FAIL) else trouble
        if kind == self._troubles.get(job.name):
            return
        self._troubles[job.name] = kind
        if trouble is not None:
            _log.warning("job %s on Flink: %s", job.label, trouble)
        else:
            _log.warning("job %s on Flink works again.", job.label)
