"""Which streams get canaries, through which intake and how often; and which declare canaries but cannot have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headwater.config import Config
from headwater.errors import HeadwaterError, SchemaNotFound
from headwater.monitoring.canary_event import missing_example, newest_by_title, newest_schema
from headwater.monitoring.intakes import Intakes
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.times import duration_seconds


@dataclass(frozen=True, slots=True)
class Target:
    """One topic a stream's canaries must reach. `url` None: through the intake of this process, by `prefix`."""

    topic: str
    prefix: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class CanaryPlan:
    """The canaries of a stream. `problems` say why it, or some of its topics, gets none.

    Without `schema` and `targets` it gets none. Times are in seconds.
    """

    stream: Stream
    period_seconds: float
    required_within_seconds: float
    targets: tuple[Target, ...] = ()
    problems: tuple[str, ...] = ()
    schema: Schema | None = None

    @property
    def is_possible(self) -> bool:
        return self.schema is not None and bool(self.targets)


@dataclass(frozen=True, slots=True)
class Topology:
    """The known intakes: their addresses, and what the one in this process writes."""

    intakes: Intakes
    own_service: str = ""
    own_prefix: str = ""


def claiming(streams: StreamRegistry) -> Iterator[Stream]:
    """The streams and families that declare canaries, except those whose producers are switched off."""
    for stream in (*streams.all(), *streams.families()):
        if stream.canary_events_enabled and stream.enabled:
            yield stream


def plan_of(stream: Stream, schema: Schema | HeadwaterError, topology: Topology, config: Config) -> CanaryPlan:
    """The plan for one stream; `schema` is its latest, or why there is none."""
    written = stream.declared.get("monitor", {}).get("canary", {})
    settings = config.monitoring
    period = _seconds(written.get("period"), settings.canary_period_seconds)
    within = _seconds(written.get("required_within"), max(settings.canary_required_within_seconds, 2 * period))
    reason = impossibility(stream, topology)
    if reason is None:
        reason = str(schema) if isinstance(schema, HeadwaterError) else missing_example(schema)
    if reason is not None or isinstance(schema, HeadwaterError):
        return CanaryPlan(stream, period, within, problems=(reason or "",))
    targets: list[Target] = []
    problems: list[str] = []
    for topic, prefix in _topics(stream):
        found = _target(stream, topic, prefix, topology)
        if isinstance(found, Target):
            targets.append(found)
        else:
            problems.append(found)
    return CanaryPlan(stream, period, within, tuple(targets), tuple(problems), schema)


def find_schemas(
    claims: Iterable[Stream], repository: SchemaRepository, topology: Topology
) -> dict[str, Schema | HeadwaterError]:
    """Stream → the latest schema of its title, or why there is none. Blocks on the repository."""
    titles = newest_by_title(repository)
    found: dict[str, Schema | HeadwaterError] = {}
    for stream in claims:
        if impossibility(stream, topology) is not None or stream.schema_title is None:
            found[stream.name] = SchemaNotFound("The schema was not looked up.")
            continue
        try:
            found[stream.name] = newest_schema(repository, titles, stream.schema_title)
        except SchemaNotFound as error:
            hint = error.hint or "Publish it in one of the schema repositories."
            found[stream.name] = SchemaNotFound(f"No schema has the title {stream.schema_title}.", hint=hint)
        except HeadwaterError as error:
            found[stream.name] = error
    return found


def impossibility(stream: Stream, topology: Topology) -> str | None:
    """Why this declaration cannot have canaries at all, before anything is read; None if it can."""
    service = stream.destination_event_service
    if stream.is_family:
        return "A family is not a stream to which canaries could be sent. Declare its members, or switch canaries off."
    if stream.schema_title is None:
        return "It has no `schema_title`, so there is no schema for canaries."
    if not service:
        return "It names no intake. Set `produce.destination_event_service`, or set `monitor.canary.enabled` to false."
    if not topology.intakes.knows(service):
        return f'Its intake "{service}" is not in services.yaml.'
    if stream.compact:
        return "It is compacted: a canary would replace the latest event of its key. Switch its canaries off."
    return None


def _topics(stream: Stream) -> Iterator[tuple[str, str | None]]:
    """Each topic and the prefix by which an intake writes it; None if there is no such prefix."""
    by_topic: dict[str, str] = {}
    for prefix in stream.topic_prefixes:
        by_topic.setdefault(_topic_for(stream, prefix), prefix)
    if not stream.topic_prefixes:
        by_topic[stream.topics[0]] = ""
    for topic in stream.topics:
        yield topic, by_topic.get(topic)


def _topic_for(stream: Stream, prefix: str) -> str:
    try:
        return stream.topic_for(prefix)
    except HeadwaterError:
        return ""


def _target(stream: Stream, topic: str, prefix: str | None, topology: Topology) -> Target | str:
    if prefix is None:
        return f"No intake writes to the topic {topic}: it has none of the stream's prefixes."
    service = stream.destination_event_service or ""
    url = topology.intakes.url(service, prefix)
    own = topology.own_prefix
    is_own = topic == _topic_for(stream, own) if own else True
    if service == topology.own_service and is_own:
        return Target(topic, prefix)
    if url is not None:
        return Target(topic, prefix, url)
    if is_own:
        # An intake without a datacenter of its own is the only one: it serves all of them.
        return Target(topic, prefix)
    return f'No intake is known for "{prefix}": add the URL of {service} there to services.yaml.'


def _seconds(written: str | None, default: float) -> float:
    return default if written is None else duration_seconds(written)
