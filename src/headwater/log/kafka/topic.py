"""One topic of the brokers: its settings as the brokers express them, and how large its records may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headwater.log.contract import TopicSettings

# What a batch of one record adds to it.
RECORD_OVERHEAD_BYTES = 128
# The brokers' own default of max.message.bytes.
MESSAGE_BYTES_DEFAULT = 1_048_588


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """One topic: our name for it and the brokers' (`full_name`).

    `record_bytes_max` is what its batches may hold, as it was at `measured_at`, by the monotonic clock.
    """

    name: str
    full_name: str
    partitions: int
    settings: TopicSettings | None = None
    record_bytes_max: int | None = None
    measured_at: float = 0.0
    replicas: int | None = None


def kept(settings: TopicSettings) -> TopicSettings:
    """The settings as the brokers keep them: times in whole milliseconds."""
    seconds = settings.retention_seconds
    return settings if seconds is None else replace(settings, retention_seconds=round(seconds * 1000) / 1000)


def config_of(settings: TopicSettings) -> dict[str, str | None]:
    """The topic's configuration as the brokers express it; None: the broker's default."""
    limited = settings.retention_seconds is not None or settings.retention_bytes is not None
    policy = ["compact"] if settings.compact else []
    if limited or not settings.compact:
        policy.append("delete")
    seconds, size = settings.retention_seconds, settings.retention_bytes
    return {
        "cleanup.policy": ",".join(policy),
        "retention.ms": "-1" if seconds is None else str(round(seconds * 1000)),
        "retention.bytes": "-1" if size is None else str(size),
        "compression.type": settings.compression,
    }


def settings_of(config: Mapping[str, str | None], partitions: int) -> TopicSettings:
    milliseconds, size = int(config.get("retention.ms") or "-1"), int(config.get("retention.bytes") or "-1")
    policy = (config.get("cleanup.policy") or "delete").split(",")
    deletes = "delete" in policy
    codec = config.get("compression.type")
    return TopicSettings(
        partitions=partitions,
        retention_seconds=milliseconds / 1000 if deletes and milliseconds >= 0 else None,
        retention_bytes=size if deletes and size >= 0 else None,
        compact="compact" in policy,
        compression=None if codec in (None, "producer") else codec,
    )


def record_limit_of(config: Mapping[str, str | None]) -> int:
    """The largest record, as `record_bytes` counts it, that fits into a batch of a topic kept like this."""
    return max(1, int(config.get("max.message.bytes") or MESSAGE_BYTES_DEFAULT) - RECORD_OVERHEAD_BYTES)
