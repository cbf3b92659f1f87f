"""The topics an intake writes: those of declared streams, and a bounded number that the names in events make."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headwater.errors import TooManyStreams
from headwater.intake.gate import Gate
from headwater.log.contract import Log, TopicSettings
from headwater.streams.stream import Stream


class IntakeTopics:
    """The topics that there are. Members of families and undeclared streams make at most `made_max` more."""

    def __init__(self, gate: Gate, log: Log, topic_settings: Callable[[Stream], TopicSettings], made_max: int) -> None:
        self.known: set[str] = set()
        self._gate = gate
        self._log = log
        self._settings = topic_settings
        self._made_max = made_max
        self._made: set[str] = set()

    async def start(self, streams: Iterable[Stream]) -> None:
        """Make the topics of declared streams, and find those that members of families have from before."""
        for stream in streams:
            for topic in stream.topics:
                await self._log.ensure_topic(topic, self._settings(stream))
                self.known.add(topic)
        families = self._gate.streams.families()
        if not families:
            return
        prefixes = {
            "",
            self._gate.settings.topic_prefix,
            *(one for family in families for one in family.topic_prefixes),
        }
        for info in await self._log.topics():
            names = (info.name.removeprefix(prefix) for prefix in prefixes if info.name.startswith(prefix))
            if info.name not in self.known and any(self._is_member(name) for name in names):
                self._made.add(info.name)

    def check(self, stream: Stream) -> None:
        """Raise TooManyStreams where the topics of a stream would be more than may be made; else count them."""
        missing = self._topics_of(stream) - self.known - self._made
        if missing and len(self._made) + len(missing) > self._made_max:
            raise TooManyStreams(
                f"{stream.name} needs a new topic; there are {len(self._made)} of streams that no file names.",
                hint="Declare the stream by its name, or raise intake.made_topics_max.",
            )
        self._made |= missing

    async def ensure(self, streams: Iterable[Stream]) -> None:
        """Make the topics of streams that no declaration names one by one."""
        for stream in {stream.name: stream for stream in streams}.values():
            for topic in self._topics_of(stream):
                await self._log.ensure_topic(topic, self._settings(stream))
                self.known.add(topic)

    def _topics_of(self, stream: Stream) -> set[str]:
        return {*stream.topics, stream.topic_for(self._gate.settings.topic_prefix)}

    def _is_member(self, name: str) -> bool:
        found = self._gate.streams.find(name)
        return found is not None and found.family is not None


def settings_of(stream: Stream) -> TopicSettings:
    """The settings of a stream's topics, as the stream declares them."""
    return TopicSettings(
        partitions=stream.partitions,
        retention_seconds=stream.retention_seconds,
        retention_bytes=stream.retention_bytes,
        compact=stream.compact,
        compression=stream.compression,
        replicas=stream.replicas,
    )
