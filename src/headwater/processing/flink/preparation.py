"""What is found out and made at the brokers before a job starts on Flink: topics, partitions, limits of records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.log.contract import Log, TopicSettings
from headwater.log.diagnostics import InspectableLog
from headwater.log.open import log_of
from headwater.log.urls import parse_url
from headwater.processing.contract import require_supported
from headwater.processing.declarations import failed_events_seconds, topic_settings
from headwater.processing.failures.failed_events import TOPIC
from headwater.processing.failures.redriven import SETTINGS, redrive_topic
from headwater.processing.flink.features import unsupported_reasons
from headwater.processing.flink.limits import TopicLimit
from headwater.processing.flink.loading import Loaded
from headwater.processing.flink.stream_rules import require_unchanged

# What every broker accepts unless it was configured otherwise.
RECORD_BYTES_DEFAULT = 1_000_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the brokers have for a job; topics in the names of the log. `reads`: topic → the dotted path of the event
    time, None for redriven events. `partitions`: of the topic that has the most.
    """

    servers: str
    namespace: str
    reads: Mapping[str, str | None]
    partitions: int
    limits: Mapping[str, TopicLimit]


async def prepare(loaded: Loaded, *, is_program: bool = False) -> Prepared:
    """Make the topics of a job, and find out what they accept. `is_program`: it is none of the project.

    Raises JobInvalid for a job that Flink cannot run, LogUnavailable, ConfigInvalid.
    """
    config, job = loaded.config, loaded.job
    require_supported(job, unsupported_reasons(job, config))
    log = log_of(config)
    await log.open()
    try:
        return await _prepared(loaded, log, is_program=is_program)
    finally:
        await log.close()


async def _prepared(loaded: Loaded, log: InspectableLog, *, is_program: bool) -> Prepared:
    config, job, streams = loaded.config, loaded.job, loaded.streams
    await require_unchanged(log, streams, job)
    servers, namespace = parse_url(config.log.url)
    reads: dict[str, str | None] = {}
    # The rows that a program writes may come from anywhere.
    for name in job.reads() if job.writes().output is None or not is_program else ():
        stream = streams.get(name)
        for topic in stream.topics:
            reads[topic] = stream.event_time_field
            await log.ensure_topic(topic, topic_settings(config, stream))
    if job.query is None and not is_program:
        # A query is given events of its streams, and nothing else.
        reads[redrive_topic(job.name)] = None
        await log.ensure_topic(redrive_topic(job.name), SETTINGS)
    limits: dict[str, TopicLimit] = {}
    for name in job.writes().streams:
        stream = streams.get(name)
        settings = topic_settings(config, stream)
        for topic in stream.topics:
            await log.ensure_topic(topic, settings)
            limits[topic] = await _limit(log, topic, settings)
    apart = TopicSettings(retention_seconds=failed_events_seconds(config, loaded.jobs, streams))
    await log.ensure_topic(TOPIC, apart)
    limits[TOPIC] = await _limit(log, TOPIC, apart)
    counts = await log.partition_counts([topic for topic, path in reads.items() if path is not None])
    return Prepared(servers, namespace, reads, max(counts.values(), default=1), limits)


async def _limit(log: Log, topic: str, settings: TopicSettings) -> TopicLimit:
    found = await log.smallest_limit([topic])
    return TopicLimit(RECORD_BYTES_DEFAULT if found is None else found[0], settings.compact)
