"""The checks of a project's settings: whether what they refer to exists."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from headwater.access.key_file import read_keys
from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.config import Config, check_canary_keys
from headwater.connectors.registry import SINKS, SUFFIXES
from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, ExtraMissing, StreamUnknown
from headwater.log.urls import parse_url, require_client
from headwater.loopback import is_loopback
from headwater.streams.visibility import Sight

NAMES_SHOWN_MAX = 5


def directories_exist(project: Project) -> Iterator[Problem]:
    """The directories of schemas, streams, jobs and sources exist.

    If the default directory of jobs or sources does not exist, there are none: Git does not store empty directories.
    """
    config = project.config
    for base in config.schemas.base_uris:
        if not base.startswith(("http://", "https://")):
            yield from _missing(project, "schemas", "base_uris", base.removeprefix("file://"))
    if config.streams.enforce or project.says("streams", "path"):
        yield from _missing(project, "streams", "path", config.streams.path, file=True)
    if config.jobs.path != type(config.jobs)().path:
        yield from _missing(project, "jobs", "path", config.jobs.path)
    if config.sources.path != type(config.sources)().path:
        yield from _missing(project, "sources", "path", config.sources.path)


def _missing(project: Project, section: str, key: str, written: str, *, file: bool = False) -> Iterator[Problem]:
    path = project.config.path(written)
    if os.path.isdir(path) or (file and os.path.isfile(path)):
        return
    siblings = [one.name for one in _directories(path.parent) if not one.name.startswith(".")]
    near = nearest(path.name, siblings)
    what = "is not a directory" if os.path.exists(path) else "does not exist"
    hint = (
        f'Did you mean "{Path(written).with_name(near).as_posix()}"?' if near else f"Create it, or correct {section}."
    )
    yield project.at_setting(section, key, f"{section}: the directory {written} {what}.", hint)


def _directories(parent: Path) -> list[Path]:
    try:
        return [one for one in parent.iterdir() if one.is_dir()]
    except OSError:
        return []


def log_can_be_opened(project: Project) -> Iterator[Problem]:
    """The log's URL names brokers and the client for them is installed, or it names a file."""
    config = project.config
    try:
        if config.log.is_kafka:
            parse_url(config.log.url)
            require_client()
        elif config.log.url == "sqlite:///" or os.path.isdir(config.log_path):
            raise ConfigInvalid(
                f"{config.log.url} does not name a file.", hint="Use sqlite:///var/events.db, for example."
            )
    except (ConfigInvalid, ExtraMissing) as error:
        yield project.at_setting("log", "url", error.message, error.hint)


def kafka_options_are_taken(project: Project) -> Iterator[Problem]:
    """The Kafka client knows its options, and none of them violates a guarantee of the log."""
    if not project.config.log.is_kafka or importlib.util.find_spec("confluent_kafka") is None:
        return
    from headwater.log.kafka.settings import check_options

    try:
        check_options(project.config.log.kafka)
    except ConfigInvalid as error:
        yield project.at_setting("log", "kafka", error.message, error.hint)


def canary_keys_are_references(project: Project) -> Iterator[Problem]:
    """Keys for other intakes are references; whether their targets exist is checked when the platform starts."""
    try:
        check_canary_keys(project.config.monitoring.canary_keys)
    except ConfigInvalid as error:
        yield project.at_setting("monitoring", "canary_keys", error.message, error.hint)


def copies_fit(project: Project) -> Iterator[Problem]:
    """At most as many replicas must have an event as a topic has."""
    log = project.config.log
    if not log.is_kafka or log.min_insync_replicas is None:
        return
    message = "log.min_insync_replicas is {}, and {} {}: no event could ever be acknowledged."
    hint = "Decrease it, or use more replicas."
    if log.replication_factor is not None and log.min_insync_replicas > log.replication_factor:
        said = message.format(log.min_insync_replicas, "log.replication_factor", log.replication_factor)
        yield project.at_setting("log", "min_insync_replicas", said, hint)
    for stream in project.declared_streams():
        if stream.replicas is not None and log.min_insync_replicas > stream.replicas:
            said = message.format(log.min_insync_replicas, f'the replicas of "{stream.name}"', stream.replicas)
            yield project.at_stream(stream, [("transport", "kafka", "replicas")], said, hint)


def tables_can_be_kept(project: Project) -> Iterator[Problem]:
    """The extension of the tables' file selects a database, and its driver is installed."""
    path = project.config.path(project.config.jobs.tables_path)
    if not keeps_tables(project):
        return
    kind = SUFFIXES.get(path.suffix)
    extra = SINKS[kind].extra if kind else None
    if kind is None:
        hint = f"Use the extension {' or '.join(SUFFIXES)}."
        yield project.at_setting(
            "jobs", "tables_path", f"The extension of {path.name!r} does not select a database.", hint
        )
    elif extra and importlib.util.find_spec(extra) is None:
        hint = f"Install headwater[{extra}]."
        yield project.at_setting("jobs", "tables_path", f"The {kind} sink needs {extra}, which is not installed.", hint)
    elif os.path.isdir(path):
        yield project.at_setting("jobs", "tables_path", f"{path} is a directory.", "Use a file in it.")


def keeps_tables(project: Project) -> bool:
    """Whether any table is in the project's own database."""
    return any(job.writes().table is not None and job.writes().sink is None for job in project.jobs)


def files_differ(project: Project) -> Iterator[Problem]:
    """The log, the tables, the keys, the state of jobs and the spool have different paths."""
    config = project.config
    first: dict[str, str] = {}
    for section, key, path in own_places(config):
        # On some file systems names are case-insensitive.
        other = first.setdefault(str(path.resolve()).lower(), f"{section}.{key}")
        if other != f"{section}.{key}":
            message = f"{section}.{key} and {other} have the same path, {path}."
            yield project.at_setting(section, key, message, "Use a different path for each.")


def own_places(config: Config) -> list[tuple[str, str, Path]]:
    """Where the platform keeps what is its own, by section and key of the setting that says so."""
    places: list[tuple[str, str, Path]] = [] if config.log.is_kafka else [("log", "url", config.log_path)]
    places += [
        ("jobs", "tables_path", config.path(config.jobs.tables_path)),
        ("jobs", "state_path", config.path(config.jobs.state_path)),
        ("control", "api_keys_path", config.path(config.control.api_keys_path)),
    ]
    if config.intake.hasty_spool_path:
        places.append(("intake", "hasty_spool_path", config.path(config.intake.hasty_spool_path)))
    return places


def spool_can_be_kept(project: Project) -> Iterator[Problem]:
    """The spool of events received with `hasty` is a directory."""
    written = project.config.intake.hasty_spool_path
    if written and os.path.exists(place := project.config.path(written)) and not os.path.isdir(place):
        message = f"intake.hasty_spool_path: {written} is not a directory."
        yield project.at_setting("intake", "hasty_spool_path", message, "Use a directory.")


def keys_can_be_read(project: Project) -> Iterator[Problem]:
    """The file of API keys, if there is one, is a list of keys."""
    path = project.config.path(project.config.control.api_keys_path)
    if not os.path.exists(path):
        return
    hint = "Correct it, or create a new key with `headwater keys create`."
    try:
        for sentence, line in read_keys(path.read_bytes()).faults:
            yield Problem(sentence, str(path), line, hint)
    except OSError as error:
        yield Problem(
            f"it cannot be read: {error.strerror}.", str(path), None, "It must be a file that this user can read."
        )
    except ValueError as error:
        yield Problem(f"it is not a list of API keys: {error}.", str(path), getattr(error, "lineno", 1), hint)


def strangers_are_kept_out(project: Project) -> Iterator[Problem]:
    """A platform on a public address requires keys; a warning lists what it allows without them."""
    config = project.config
    if is_loopback(config.web.host):
        return
    may, close = [], []
    if config.consumption.keys != "required":
        streams = project.streams
        names = [s.name for s in streams.all() if streams.visibility.reads(s, Sight.PUBLIC)] if streams else []
        shown = ", ".join([*names[:NAMES_SHOWN_MAX], *(["…"] if len(names) > NAMES_SHOWN_MAX else [])])
        events = f"the events of {len(names)} declared streams" + (f" ({shown})" if shown else "")
        may.append(f"read the pages, schemas, metrics and {events}")
        close.append("consumption.keys: required")
    if config.intake.keys != "required":
        may.append("send events to every stream whose file does not require a key")
        close.append("intake.keys: required")
    if may:
        place = f"{config.web.host or 'any address of this machine'}, port {config.web.port}"
        message = f"Anyone who can reach {place} may {', and '.join(may)}: no API key is required."
        hint = f"Set {' and '.join(close)}; or listen on 127.0.0.1, behind a proxy that authenticates clients."
        yield project.at_setting("web", "host", message, hint)


def required_keys_exist(project: Project) -> Iterator[Problem]:
    """If keys are required, there is one."""
    config = project.config
    path = config.path(config.control.api_keys_path)
    try:
        known = read_keys(path.read_bytes()).keys.values() if os.path.exists(path) else ()
    except (OSError, ValueError):
        return
    scopes = {scope for key in known for scope in key.scopes}
    for section, keys, scope, does in (
        ("consumption", config.consumption.keys, "events:read", "read"),
        ("intake", config.intake.keys, "events:write", "send"),
    ):
        if keys == "required" and scope not in scopes:
            yield project.at_setting(
                section,
                "keys",
                f"{section}.keys is required, but no key has the scope {scope}: no client can {does} events.",
                f"Create one: headwater keys create NAME --scope {scope}",
            )


def state_can_be_kept(project: Project) -> Iterator[Problem]:
    """If the log does not store the state of jobs, its path is a directory."""
    path = project.config.path(project.config.jobs.state_path)
    if project.config.log.is_kafka and os.path.exists(path) and not os.path.isdir(path):
        yield project.at_setting("jobs", "state_path", f"{path} is not a directory.", "Use a directory.")


def readable_streams_exist(project: Project) -> Iterator[Problem]:
    """Streams that may be read, and those with aliases, are declared."""
    streams, consumption = project.streams, project.config.consumption
    if streams is None:
        return
    # Error streams need no declaration.
    implied = {project.config.intake.error_stream_name, *(job.writes().errors for job in project.jobs)}
    named = [("stream_aliases", name) for name in consumption.stream_aliases.values()]
    named += [("allowed_streams", name) for name in consumption.allowed_streams or ()]
    for key, name in named:
        if name in implied or name in project.unread_streams or name in consumption.stream_aliases:
            continue
        try:
            streams.get(name)
        except StreamUnknown as error:
            yield project.at_setting("consumption", key, f"consumption.{key}: {error.message}", error.hint)
