"""What a stream is: its name, its schema, the topics it lives in and how events of it are treated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headwater.errors import ConfigInvalid
from headwater.streams import matching as legacy

PRIVACY_CLASS_UNSPECIFIED = "unspecified"
# The first two are for everybody who reaches the platform; of the others nothing is told without a key.
PRIVACY_CLASSES = ("public", "internal", "private", "restricted", "confidential", PRIVACY_CLASS_UNSPECIFIED)
PRIVATE_CLASSES = frozenset({"private", "restricted", "confidential"})
# A family is named by an expression: its parts are divided by whatever no name has.
KeysAsked = Literal["optional", "required"]
_NAME_PARTS = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Stream:
    """One declared stream, or a family of them where `name` is a regex such as `/^mediawiki\\.job\\..+/`.

    A member of a family is a Stream too: it has the name asked for, and `family` is the regex it was found by.
    Only the name is needed; topics follow from the name and the prefixes where they are not given.
    The mappings must not be changed.
    """

    name: str
    schema_title: str | None = None
    topic_prefixes: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    message_key_fields: Mapping[str, str] | None = None
    destination_event_service: str | None = None
    # False: the kill switch; every event is refused.
    enabled: bool = True
    # Whether producers may send; None: unless the platform itself writes the stream.
    external: bool | None = None
    # Whether producers, and readers over HTTP, need an API key; None: as the configuration says.
    producer_keys: KeysAsked | None = None
    consumer_keys: KeysAsked | None = None
    canary_events_enabled: bool = False
    # Event field (dotted) -> lower-case request header that fills it, or None where that is switched off.
    headers: Mapping[str, str | None] = field(default_factory=dict)
    sample: Mapping[str, Any] | None = None
    meta_dt: Literal["when_absent", "always"] = "when_absent"
    # Where an event says when it happened; where an event has no such field, `meta.dt` says it.
    event_time_field: str = "dt"
    deduplicate: bool = True
    partitions: int = 1
    retention_seconds: float | None = None
    retention_bytes: int | None = None
    compact: bool = False
    # The codec of its topics on Kafka; None: the log's own choice.
    compression: str | None = None
    # Copies of its topics on Kafka; None: the log's own choice.
    replicas: int | None = None
    privacy_class: str = PRIVACY_CLASS_UNSPECIFIED
    summary: str = ""
    owner: str | None = None
    # The legacy API's view: settings as declared with defaults merged; what it computes is in `legacy_settings()`.
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str | None = None
    # The declaration as read (the stream file's blocks, defaults merged), for rooms that need more than the above.
    declared: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if not self.topics:
            prefixes = list(self.topic_prefixes) or None
            object.__setattr__(self, "topics", tuple(legacy.topics(self.name, {"topic_prefixes": prefixes})))

    @property
    def is_family(self) -> bool:
        """True where the name is a regex: nothing can be written to it, only to its members."""
        return legacy.is_family(self.name)

    @property
    def is_private(self) -> bool:
        """True where its events are not for everybody: the privacy class says so, or the name does."""
        return self.privacy_class in PRIVATE_CLASSES or "private" in _NAME_PARTS.split(self.name.lower())

    def topic_for(self, prefix: str) -> str:
        """The topic the intake of the datacenter with this prefix writes to; always one of `topics`.

        "" takes the first topic, and a stream without prefixes ignores the prefix. Raises ConfigInvalid where the
        stream has prefixes and this is none of them: written elsewhere, its events would never be read.
        """
        if not prefix:
            return self.topics[0]
        if prefix + self.name in self.topics:
            return prefix + self.name
        for topic in self.topics:
            if topic.startswith(prefix) and self.topic_prefixes:
                return topic
        # Topics given by name, rather than made of prefixes, may have no datacenter in them.
        if self.topic_prefixes and self.topics[0] == self.topic_prefixes[0] + self.name:
            raise ConfigInvalid(
                f'The stream "{self.name}" has no topic with the prefix "{prefix}", only {", ".join(self.topics)}.',
                file=self.file,
                line=self.line,
                hint="Add the prefix to the stream's topic_prefixes, or change intake.topic_prefix.",
            )
        return self.topics[0]

    def legacy_settings(self) -> dict[str, Any]:
        """The entry of this stream in the legacy streamconfigs API: merged settings, `stream` and `topics`."""
        return legacy.entry(self.family or self.name, self.settings, self.name)
