"""What production needs of the platform as a whole: who may reach it, what it keeps, and who watches it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater.catalog.alerts import alerting_rules
from headwater.checking.problem import Problem
from headwater.checking.production.statements import Asked
from headwater.config import CONFIG_FILE, REFERENCE
from headwater.declaration import KeyPath, read_declaration
from headwater.errors import ConfigInvalid
from headwater.log.urls import parse_url
from headwater.loopback import is_loopback
from headwater.streams.visibility import Sight

REPLICAS_MIN, IN_SYNC_MIN = 3, 2
_SECRET_WORDS = ("password", "secret", "token", "sasl.jaas", "key.pem", "credentials")
_ENCRYPTED = ("ssl", "sasl_ssl")


def keys_are_required(asked: Asked) -> Iterator[Problem]:
    """Clients need an API key to send and to read, or a proxy authenticates them."""
    config = asked.project.config
    for section, keys, does in (
        ("intake", config.intake.keys, "send events"),
        ("consumption", config.consumption.keys, "read events"),
    ):
        if keys != "required" and asked.statements.proxy is None:
            yield asked.project.at_setting(
                section,
                "keys",
                f"{section}.keys is {keys}: anyone who reaches the platform may {does}.",
                f"Set {section}.keys: required; or name the proxy that authenticates clients (`proxy`).",
            )


def requests_are_encrypted(asked: Asked) -> Iterator[Problem]:
    """Headwater speaks HTTP: it listens on this machine only, or what is in front of it is stated."""
    web = asked.project.config.web
    if is_loopback(web.host) or asked.statements.proxy is not None:
        return
    if (web.public_url or "").startswith("https://"):
        return
    hint = "Listen on 127.0.0.1 behind a proxy with TLS; or set web.public_url to its https address, or state `proxy`."
    yield asked.project.at_setting(
        "web", "host", f"The platform listens on {web.host or 'all addresses'}, and keys cross it unencrypted.", hint
    )


def secrets_are_references(asked: Asked) -> Iterator[Problem]:
    """No setting contains a password; it refers to a variable or to a file."""
    for path, value in _leaves(asked.project.settings.value, ()):
        name = str(path[-1]).lower() if path else ""
        line = asked.project.settings.line(path)
        where = ".".join(map(str, path))
        if not isinstance(value, str) or REFERENCE.fullmatch(value):
            continue
        address = value.partition("://")[2].partition("/")[0]
        if any(word in name for word in _SECRET_WORDS) or ("@" in address and ":" in address.partition("@")[0]):
            hint = "Put it into a variable or a file, and write `${env:NAME}` or `${file:PATH}` here."
            yield Problem(f"{where} contains a secret.", CONFIG_FILE, line, hint)


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
    else:
        for key, one in inner:
            yield from _leaves(one, (*path, key))


def acknowledged_events_survive(asked: Asked) -> Iterator[Problem]:
    """An acknowledged event is on disk, or on several machines."""
    project, log = asked.project, asked.project.config.log
    if not log.is_kafka:
        if log.durability != "fsync":
            message = f"log.durability is {log.durability}: the newest events are lost when the machine stops."
            yield project.at_setting("log", "durability", message, "Set log.durability: fsync.")
        return
    for key, value, least in (
        ("replication_factor", log.replication_factor, REPLICAS_MIN),
        ("min_insync_replicas", log.min_insync_replicas, IN_SYNC_MIN),
    ):
        if value is None or value < least:
            said = "is not set: it depends on how many brokers there are" if value is None else f"is {value}"
            yield project.at_setting("log", key, f"log.{key} {said}.", f"Set log.{key}: {least}.")
    for stream in project.declared_streams():
        if stream.replicas is not None and stream.replicas < REPLICAS_MIN:
            message = f'"{stream.name}" has {stream.replicas} replicas.'
            yield project.at_stream(
                stream, [("transport", "kafka", "replicas")], message, f"Use {REPLICAS_MIN}, or the default of the log."
            )


def the_log_can_be_restored(asked: Asked) -> Iterator[Problem]:
    """A log in a file is copied elsewhere, and a copy has been restored."""
    if asked.project.config.log.is_kafka:
        return
    hint = "Copy the file as `headwater log copy` or SQLite's backup does, to another machine; state how as `backup`."
    yield from asked.unstated("backup", "how the log is backed up", hint)
    yield from asked.unproven("backup_restored_on", "a backup was restored", "Restore one, and compare it.")


def brokers_are_reached_encrypted(asked: Asked) -> Iterator[Problem]:
    """Connections to brokers on other machines are encrypted."""
    log = asked.project.config.log
    if not log.is_kafka:
        return
    try:
        servers, _ = parse_url(log.url)
    except ConfigInvalid:
        return
    protocol = str(log.kafka.get("security.protocol", "plaintext")).lower()
    if protocol not in _ENCRYPTED and not all(is_loopback(one.rpartition(":")[0]) for one in servers.split(",")):
        hint = "Set security.protocol: SASL_SSL in log.kafka, unless nobody else is in this network."
        yield asked.project.at_setting("log", "kafka", f"Connections to {servers} are not encrypted.", hint)


def fire_and_forget_survives_an_outage(asked: Asked) -> Iterator[Problem]:
    """Fire-and-forget events are kept on disk while the log is away."""
    if asked.project.config.intake.hasty_spool_path is None:
        yield asked.project.at_setting(
            "intake",
            "hasty_spool_path",
            "Fire-and-forget events (`hasty`) are kept in memory only while the log does not answer.",
            "Set intake.hasty_spool_path: var/spool.",
        )


def the_platform_is_monitored(asked: Asked) -> Iterator[Problem]:
    """Canaries are sent, hours are counted, and something scrapes the metrics."""
    monitoring = asked.project.config.monitoring
    for key, on, what in (
        ("canaries", monitoring.canaries, "nobody notices when a path is broken and no events come"),
        ("completeness", monitoring.completeness, "which hours are complete is not known"),
    ):
        if not on:
            yield asked.project.at_setting(
                "monitoring", key, f"monitoring.{key} is false: {what}.", f"Set monitoring.{key}: true."
            )
    hint = "Let Prometheus scrape `/metrics`, and state its job as `scrape`."
    yield from asked.unstated("scrape", "what scrapes the metrics", hint)


def alerts_are_loaded(asked: Asked) -> Iterator[Problem]:
    """The alert rules that Prometheus loads are those of the streams as they are declared now, and lead somewhere."""
    export = "Run `headwater export prometheus > FILE`, let Prometheus load the file, and state it as `alert_rules`."
    yield from asked.unstated("alert_rules", "which file has the alert rules", export)
    yield from asked.unstated("alert_route", "where alerts go")
    written = asked.statements.alert_rules
    if not written or asked.project.streams is None:
        return
    path = asked.project.config.path(written)
    try:
        loaded = read_declaration(path).value
    except ConfigInvalid as error:
        yield asked.at("alert_rules", f"{written}: {error.detail}", export)
        return
    if loaded not in _rules(asked):
        message = f"{written} is not what the streams declare now: it was exported earlier, or changed by hand."
        yield asked.at("alert_rules", message, "Run `headwater export prometheus` again, and load the result.")


def _rules(asked: Asked) -> list[Mapping[str, Any]]:
    """The rules as they are exported: of public streams, and of all."""
    streams = asked.project.streams
    assert streams is not None
    config, entries = asked.project.config, streams.entries()
    public = [one for one in entries if streams.visibility.names(one, Sight.PUBLIC)]
    return [alerting_rules(some, config) for some in (public, entries)]


def people_can_be_reached(asked: Asked) -> Iterator[Problem]:
    """It is known who runs the platform, and who is called."""
    yield from asked.unstated("contact", "who runs the platform")
    yield from asked.unstated("on_call", "who is called when an alert fires")


def the_capacity_is_known(asked: Asked) -> Iterator[Problem]:
    """How much the platform takes was measured where it runs."""
    hint = "Measure it where it runs (`make bench`), and state it as `events_per_second_max`."
    yield from asked.unstated("events_per_second_max", "how many events per second it takes", hint)
    yield from asked.unproven("capacity_measured_on", "that was measured", "Measure it.")
