"""How many records a job on Flink has not processed, from the offsets that its consumer group has committed."""

from __future__ import annotations

from headwater.jobs.job import Job
from headwater.log.contract import LogReader, Position
from headwater.log.kafka.consumer_groups import ConsumerGroups
from headwater.processing.failures.redriven import redrive_topic
from headwater.streams.registry import StreamRegistry


async def lag_of(log: LogReader, groups: ConsumerGroups, streams: StreamRegistry, job: Job) -> int:
    """The records of its sources after the offsets that it has committed. Raises LogUnavailable, TopicUnknown."""
    topics = [topic for name in job.reads() for topic in streams.get(name).topics]
    counts = await log.partition_counts([*topics, redrive_topic(job.name)])
    done = (await groups.position(job.group, counts)).offsets
    first, last = await log.first(counts), await log.last(counts)
    begins = {part: max(done.get(part, 0), offset) for part, offset in first.offsets.items()}
    lag = sum(max(0, end - begins.get(part, 0)) for part, end in last.offsets.items())
    if lag and not await log.read(Position(begins), records_max=1):
        # What is left are the marks that end transactions, which Flink does not count.
        return 0
    return lag
