"""What a stream is: its name, its schema, its topics and how its events are handled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headwater.errors import ConfigInvalid
from headwater.streams import matching as legacy

PRIVACY_CLASS_UNSPECIFIED = "unspecified"
# The first two are for everybody who reaches the platform; the others are hidden without an API key.
PRIVACY_CLASSES = ("public", "internal", "private", "restricted", "confidential", PRIVACY_CLASS_UNSPECIFIED)
PRIVATE_CLASSES = frozenset({"private", "restricted", "confidential"})
# A family is named by an expression: its parts are divided by characters that no name has.
KeysAsked = Literal["optional", "required"]
_NAME_PARTS = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Stream:
    """One declared stream, or a family of them where `name` is a regex such as `/^mediawiki\\.job\\..+/`.

    A member of a family is a Stream too: it has the name asked for, and `family` is the regex it was found by. Only the
    name is required; topics follow from the name and the prefixes unless they are given. The mappings must not be
    changed.
    """

    name: str
    schema_title: str | None = None
    topic_prefixes: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    message_key_fields: Mapping[str, str] | None = None
    destination_event_service: str | None = None
    # False: the kill switch; every event is refused.
    enabled: bool = True
    # Whether producers may send; None: yes, unless the platform itself writes the stream.
    external: bool | None = None
    # Whether producers, and readers over HTTP, need an API key; None: as the configuration says.
    producer_keys: KeysAsked | None = None
    consumer_keys: KeysAsked | None = None
    canary_events_enabled: bool = False
    # Event field (dotted) -> lower-case request header that fills it, or None if that is disabled.
    headers: Mapping[str, str | None] = field(default_factory=dict)
    sample: Mapping[str, Any] | None = None
    meta_dt: Literal["when_absent", "always"] = "when_absent"
    # The field of the event time; an event without it has the time in `meta.dt`.
    event_time_field: str = "dt"
    deduplicate: bool = True
    partitions: int = 1
    retention_seconds: float | None = None
    retention_bytes: int | None = None
    compact: bool = False
    # The codec of its topics on Kafka; None: the log's default.
    compression: str | None = None
    # Copies of its topics on Kafka; None: the log's default.
    replicas: int | None = None
    privacy_class: str = PRIVACY_CLASS_UNSPECIFIED
    summary: str = ""
    owner: str | None = None
    # The settings as declared, with defaults merged, for the legacy API; `legacy_settings()` adds what that computes.
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str | None = None
    # The declaration as read (the stream file's blocks, defaults merged), for code that needs more than the above.
    declared: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if not self.topics:
            prefixes = list(self.topic_prefixes) or None
            object.__setattr__(self, "topics", tuple(legacy.topics(self.name, {"topic_prefixes": prefixes})))

    @property
    def is_family(self) -> bool:
        """Whether the name is a regex: events can be written only to its members, not to itself."""
        return legacy.is_family(self.name)

    @property
    def is_private(self) -> bool:
        """Whether its events are not for everybody, according to the privacy class or the name."""
        return self.privacy_class in PRIVATE_CLASSES or "private" in _NAME_PARTS.split(self.name.lower())

    def topic_for(self, prefix: str) -> str:
        """The topic that the intake of the datacenter with this prefix writes to; always one of `topics`.

        "" means the first topic, and a stream without prefixes ignores the prefix. Raises ConfigInvalid if the stream
        has prefixes and this is not one of them: events written to another topic would never be read.
        """
        if not prefix:
            return self.topics[0]
        if prefix + self.name in self.topics:
            return prefix + self.name
        for topic in self.topics:
            if topic.startswith(prefix) and self.topic_prefixes:
                return topic
        # Topics given by name, rather than derived from prefixes, may contain no datacenter.
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
