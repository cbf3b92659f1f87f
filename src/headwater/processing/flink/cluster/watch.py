"""Watches the jobs of a project that run on a Flink cluster, and reports them as those that run here.

How this works: every few seconds the cluster is asked about each job (`flink.jobs`), and the brokers about the offsets
that it has committed. What is found replaces the report of the job in this process, which does not run it; so pages,
the API and the metrics have the same names for both. What begins to be wrong is printed, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from headwater.config import Config
from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid, HeadwaterError
from headwater.jobs.job import Job
from headwater.log.contract import Log, Position
from headwater.processing.failures.redriven import redrive_topic
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.job_state import look_at, report_of, without_lag
from headwater.processing.status import RunnerStatus
from headwater.streams.registry import StreamRegistry

_log = logging.getLogger(__name__)


def jobs_on_flink(config: Config, names: Mapping[str, object]) -> frozenset[str]:
    """The names of the jobs that run on Flink, on the cluster of `flink.url` or, if that is null, on clusters of their
    own, which are not watched. `names`: those of all jobs of the project.

    Raises ConfigInvalid for one that there is not, and if the settings lack what such jobs need.
    """
    flink = config.flink
    for name in flink.jobs:
        if name not in names:
            raise ConfigInvalid(f"flink.jobs: the project has no job {name}.", hint=suggestion(name, names))
    if flink.jobs and not config.log.is_kafka:
        raise ConfigInvalid(
            f"flink.jobs names jobs, and Flink cannot read the log {config.log.url}.",
            hint="Flink needs a log on Kafka (log.url: kafka://…).",
        )
    return frozenset(flink.jobs)


class FlinkWatch:
    """Looks after the jobs on one cluster. Belongs to one event loop; `start` once, then `stop`."""

    def __init__(self, config: Config, log: Log, streams: StreamRegistry, statuses: Mapping[str, RunnerStatus]) -> None:
        """`statuses`: those of the jobs on Flink, by name. Raises ConfigInvalid."""
        from headwater.log.kafka.consumer_groups import ConsumerGroups

        assert config.flink.url is not None
        self._log = log
        self._streams = streams
        self._statuses = statuses
        self._seconds = config.flink.look_seconds
        self._groups = ConsumerGroups.of(config)
        self._cluster = FlinkCluster(config.flink.url, request_seconds_max=config.flink.request_seconds_max)
        self._troubles: dict[str, str | None] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="jobs on Flink")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._cluster.close()

    async def look(self) -> None:
        """Look at all jobs now."""
        await asyncio.gather(*(self._look(name, status) for name, status in self._statuses.items()))

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._seconds)

    async def _look(self, name: str, status: RunnerStatus) -> None:
        found = await look_at(self._cluster, name)
        lag = None
        try:
            lag = await self._lag(status.job)
        except HeadwaterError as error:
            found = without_lag(found, error.message)
        report = report_of(status.job, found, lag)
        status.elsewhere(report, found.watermark_ms)
        if report.trouble != self._troubles.get(name):
            self._troubles[name] = report.trouble
            if report.trouble is not None:
                _log.warning("job %s on Flink: %s", status.job.label, report.trouble)
            else:
                _log.warning("job %s on Flink works again.", status.job.label)

    async def _lag(self, job: Job) -> int:
        """The records of its sources after the offsets that it has committed. Raises LogUnavailable, TopicUnknown."""
        topics = [topic for name in job.reads() for topic in self._streams.get(name).topics]
        counts = await self._log.partition_counts([*topics, redrive_topic(job.name)])
        done = (await self._groups.position(job.group, counts)).offsets
        first, last = await self._log.first(counts), await self._log.last(counts)
        begins = {part: max(done.get(part, 0), offset) for part, offset in first.offsets.items()}
        lag = sum(max(0, end - begins.get(part, 0)) for part, end in last.offsets.items())
        if lag and not await self._log.read(Position(begins), records_max=1):
            # What is left are the marks that end transactions, which Flink does not count.
            return 0
        return lag
