"""The checks of a project's topics: whether its log supports them as declared."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator

from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.errors import ConfigInvalid
from headwater.log.limits import PARTITIONS_MAX, RETENTION_BYTES_MAX, RETENTION_SECONDS_MAX, TOPIC_NAME_CHARS_MAX
from headwater.log.urls import parse_url
from headwater.streams.stream import Stream

_KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]+")


def partitions_within_limits(project: Project) -> Iterator[Problem]:
    """The log supports the number of partitions of each topic."""
    if project.config.log.is_kafka:
        # The limit of a cluster is unknown here.
        return
    for stream in project.declared_streams():
        if stream.partitions > PARTITIONS_MAX:
            message = f'"{stream.name}" has {stream.partitions} partitions; the limit is {PARTITIONS_MAX}.'
            hint = "A partition is a unit of parallelism: a few per reader are enough."
            yield _about(project, stream, ("partitions", "kafka.partitions"), message, hint)


def retention_within_limits(project: Project) -> Iterator[Problem]:
    """Retention times and sizes are in the range of the log."""
    for stream in project.declared_streams():
        seconds, size = stream.retention_seconds, stream.retention_bytes
        if seconds is not None and not (0 < seconds <= RETENTION_SECONDS_MAX and math.isfinite(seconds)):
            says = "for no time at all" if seconds == 0 else f"for longer than {RETENTION_SECONDS_MAX} seconds"
            keys: tuple[str, ...] = ("retention", "kafka.retention_ms")
            if stream.declared.get("privacy", {}).get("retention_override") is not None:
                keys = ("/privacy.retention_override", *keys)
            yield _about(project, stream, keys, f'"{stream.name}" keeps its events {says}.', "Use 7d, for example.")
        if size is not None and size > RETENTION_BYTES_MAX:
            message = f'"{stream.name}" keeps {size} bytes; a log counts up to {RETENTION_BYTES_MAX}.'
            hint = "Omit it to keep everything."
            yield _about(project, stream, ("retention_bytes", "kafka.retention_bytes"), message, hint)


def names_fit_the_log(project: Project) -> Iterator[Problem]:
    """Each topic has a name that is valid in the log."""
    on_kafka = project.config.log.is_kafka
    before = ""
    if on_kafka:
        # An invalid URL is a finding of its own.
        with contextlib.suppress(ConfigInvalid):
            before = parse_url(project.config.log.url)[1]
    for stream in project.declared_streams():
        for topic in () if stream.is_family else stream.topics:
            if why := _refusal(before + topic, on_kafka=on_kafka):
                message = f'the topic "{topic[:80]}" of "{stream.name}" {why}.'
                hint = "Correct the topic, its prefix, or the stream's name."
                yield _about(project, stream, ("topics", "topic_prefixes"), message, hint)
    intake = project.config.intake
    if why := _refusal(before + intake.error_stream_name, on_kafka=on_kafka):
        key = "error_stream" if intake.error_stream else "service_name"
        message = f'the error stream "{intake.error_stream_name[:80]}" {why}.'
        yield project.at_setting("intake", key, message, f"Correct intake.{key}.")


def _refusal(name: str, *, on_kafka: bool) -> str | None:
    """Why this name is invalid in the log; None if it is valid."""
    if len(name) > TOPIC_NAME_CHARS_MAX:
        return f"has {len(name)} characters; the limit for a topic's name is {TOPIC_NAME_CHARS_MAX}"
    if on_kafka and not _KAFKA_NAME.fullmatch(name):
        return "has characters other than letters, digits, dots, underscores and hyphens, which Kafka does not allow"
    if not name or not name.isprintable() or name in (".", ".."):
        return "cannot be a topic's name"
    return None


def names_stay_apart_on_kafka(project: Project) -> Iterator[Problem]:
    """Kafka refuses a topic whose name differs from another's only in dots and underscores."""
    first: dict[str, str] = {}
    for stream in project.declared_streams() if project.config.log.is_kafka else ():
        for topic in () if stream.is_family else stream.topics:
            other = first.setdefault(topic.replace(".", "_"), topic)
            if other != topic:
                message = f'the topics "{other}" and "{topic}" have the same name in Kafka, which treats "." as "_".'
                yield _about(project, stream, ("topics", "topic_prefixes"), message, "Rename one of the two.")


def _about(project: Project, stream: Stream, keys: tuple[str, ...], message: str, hint: str) -> Problem:
    """A problem with the first of these keys that is set; they are under `transport`, or at the top after a `/`."""
    paths = [tuple((key[1:] if key[0] == "/" else f"transport.{key}").split(".")) for key in keys]
    return project.at_stream(stream, paths, message, hint)
