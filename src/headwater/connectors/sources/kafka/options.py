"""The options of a Kafka source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.connectors.kafka.client import check_settings
from headwater.declaration import Declaration
from headwater.settings import REQUIRED, setting

# More partitions would make tokens too long.
PARTITIONS_MAX = 2_000
# What the source's promises depend on, or has an option of its own.
OWN_SETTINGS = frozenset(
    (
        "group.id",
        "group.protocol",
        "group.instance.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "enable.partition.eof",
        "isolation.level",
        "max.poll.interval.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "max.partition.fetch.bytes",
        "queued.max.messages.kbytes",
    )
)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class KafkaSourceOptions:
    """Which topics are read, and how their brokers are reached."""

    servers: tuple[str, ...] = setting(REQUIRED, "`HOST:PORT` of some brokers.")
    topics: tuple[str, ...] = setting(REQUIRED, "The topics to read; their messages are JSON objects.")
    start: Literal["oldest", "newest"] = setting(
        "oldest", "Where to begin: `oldest` reads what the topics have, `newest` what is added from now on."
    )
    group: str | None = setting(
        None,
        "A consumer group to which what was stored is committed, so that Kafka's own tools show the lag. The source"
        " itself never reads these offsets, and no consumer may be a member of the group.",
    )
    user: str | None = setting(None, "The user to log in as, by SASL.")
    password: str | None = setting(None, "The password of the user.", secret=True)
    settings: Mapping[str, Any] = setting(
        {},
        "Options of the client library (librdkafka) by their dotted names, such as `security.protocol: SASL_SSL`,"
        " `sasl.mechanism` or `ssl.ca.location`.",
    )
    fetch_bytes_max: int = setting(
        16_777_216,
        "How much is fetched ahead of what is stored. A single larger message is fetched nevertheless.",
        at_least=65_536,
        at_most=1_073_741_824,
    )
    timeout_seconds: float = setting(
        10.0, "How long the brokers may take to answer a request.", at_least=1.0, at_most=600.0
    )

    def __post_init__(self) -> None:
        """Raises ConfigInvalid for a setting that the source sets itself."""
        known = "`servers`, `user`, `password`, `group`, `start`, `fetch_bytes_max` and `timeout_seconds`"
        check_settings(self.settings, OWN_SETTINGS, "source", known)


def check(options: KafkaSourceOptions, source: Declaration) -> None:
    """Raise ConfigInvalid for topics that cannot be."""
    if not options.servers:
        raise source.refusal(("servers",), "it needs a broker.", hint="Such as `[localhost:9092]`.")
    if not options.topics:
        raise source.refusal(("topics",), "it needs a topic.", hint="Such as `[orders]`.")
    for name in options.topics:
        if not _TOPIC.fullmatch(name):
            raise source.refusal(("topics",), f"{name!r} cannot name a topic.")
    if len(set(options.topics)) < len(options.topics):
        raise source.refusal(("topics",), "a topic is named twice.")
