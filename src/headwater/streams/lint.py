"""Lint rules for stream declarations that can be read: their names, and their references to other things.

Each rule is a function over all streams; `RULES` gives the meaning and severity of each. Rules that need something from
outside (schemas, owners, services, what may be read over HTTP) apply only if `Surroundings` has it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Protocol

from headwater.declaration import nearest
from headwater.errors import ConfigInvalid
from headwater.finding import Finding, Rule, Severity
from headwater.streams import matching as legacy
from headwater.streams.layers import Layer, Scope, StreamLayers
from headwater.streams.merge import Path, find
from headwater.streams.stream import Stream

ERROR_TITLE = "error"
LEGACY_PREFIX = "eventlogging_"
TABLES_CONSUMER = "analytics_hive_ingestion"
# The scope that is checked; for overrides the check is that every site they name sees a valid stream.
SCOPE = Scope()


class SchemaFacts(Protocol):
    """What the rules need of a schema."""

    @property
    def uri(self) -> str: ...

    @property
    def document(self) -> Mapping[str, Any]: ...

    def declares(self, path: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the streams are checked against; None: unknown, and what depends on it is not checked.

    `schemas`: title → schemas, the newest version last. `readable`: the streams that may be read over HTTP. `opened`:
    private streams that everybody may read by configuration. `name_in_both`: a name that matches two family
    expressions, None if there is none; raises ValueError if it cannot decide.
    """

    schemas: Mapping[str, Sequence[SchemaFacts]] | None = None
    services: Mapping[str, Any] | None = None
    owners: Mapping[str, Any] | None = None
    readable: frozenset[str] | None = None
    opened: frozenset[str] = frozenset()
    name_in_both: Callable[[str, str], str | None] | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    """The streams without a particular site, and their layers."""

    streams: Sequence[Stream]
    layers: StreamLayers
    around: Surroundings

    def finding(self, rule: str, stream: Stream, path: Path, message: str, hint: str | None = None) -> Finding:
        layer = self.layers.setter(stream.name, path, SCOPE)
        file, line = (layer.file, layer.line_of(path)) if layer else (stream.file, stream.line)
        place = (file or stream.file, line or stream.line)
        return Finding(RULES[rule], RULES[rule].severity, stream.name, message, hint, *place)


RuleFunction = Callable[[_Checked], Iterator[Finding]]


def lint(layers: StreamLayers, around: Surroundings) -> list[Finding]:
    """All findings, in the order of the declarations. Raises ConfigInvalid if the streams cannot be made at all."""
    streams = [stream for stream in layers.streams(SCOPE) if not layers.entries[stream.name].implied]
    checked = _Checked(streams, layers, around)
    places = {name: place for place, name in enumerate(layers.entries)}
    found = [finding for rule in _FUNCTIONS for finding in rule(checked)]
    return sorted(found, key=lambda finding: places[finding.subject])


def table_name(stream: str) -> str:
    """The name of the table that an ingestion derives from a stream."""
    return re.sub(r"[.-]", "_", stream.removeprefix(LEGACY_PREFIX).lower())


def _titles(checked: _Checked) -> Iterator[Finding]:
    schemas = checked.around.schemas
    for stream in checked.streams:
        title = stream.schema_title
        if title is None:
            continue
        if title != title.strip("/ ") or re.search(r"/[0-9]+\.[0-9]+\.[0-9]+$|/latest$", title):
            message = f'the schema title "{title}" of "{stream.name}" is written like a URI.'
            hint = f'Write "{re.sub(r"/([0-9.]+|latest)$", "", title).strip("/ ")}".'
            yield checked.finding("schema-title-form", stream, ("schema_title",), message, hint)
        elif schemas and title not in schemas and title != ERROR_TITLE:
            near = nearest(title, schemas)
            message = f'the stream "{stream.name}" has the schema title "{title}", which no schema has.'
            hint = f'Did you mean "{near}"?' if near else "Add a schema with that title, or correct schema_title."
            yield checked.finding("schema-title-unknown", stream, ("schema_title",), message, hint)


def _fields(checked: _Checked) -> Iterator[Finding]:
    for stream in checked.streams:
        schemas = _schemas_of(checked, stream)
        for path in (stream.message_key_fields or {}).values():
            lacking = [schema.uri for schema in schemas if not schema.declares(path)]
            if not lacking:
                continue
            rule = "key-field-undeclared" if lacking[-1] == schemas[-1].uri else "key-field-undeclared-earlier"
            message = (
                f'the key of "{stream.name}" is made from {path}, which the schema {lacking[-1]} does not declare.'
            )
            hint = "Correct message_key_fields, or declare the field."
            yield checked.finding(rule, stream, ("transport", "message_key_fields"), message, hint)
        for path in stream.declared.get("privacy", {}).get("pii_fields", ()):
            if schemas and not schemas[-1].declares(path):
                message = f'"{stream.name}" declares {path} as personal data, which {schemas[-1].uri} does not declare.'
                hint = "Correct privacy.pii_fields, or declare the field."
                yield checked.finding("pii-field-undeclared", stream, ("privacy", "pii_fields"), message, hint)


def _people_and_services(checked: _Checked) -> Iterator[Finding]:
    services, owners = checked.around.services, checked.around.owners
    for stream in checked.streams:
        service = stream.destination_event_service
        if service and services is not None and service not in services:
            message = f'"{stream.name}" goes to the intake "{service}", which is not in services.yaml.'
            yield checked.finding(
                "service-unknown", stream, ("produce", "destination_event_service"), message, _hint(service, services)
            )
        if stream.owner and owners is not None and stream.owner not in owners:
            message = f'"{stream.name}" is owned by "{stream.owner}", who is not in owners.yaml.'
            yield checked.finding("owner-unknown", stream, ("docs", "owner"), message, _hint(stream.owner, owners))
        missing = [
            name for name, value in (("docs.owner", stream.owner), ("docs.summary", stream.summary)) if not value
        ]
        if missing:
            message = f'"{stream.name}" has no {" and no ".join(missing)}.'
            hint = "Name its owner, and summarise what an event of it means."
            yield checked.finding("undocumented", stream, ("docs",), message, hint)


def _canaries(checked: _Checked) -> Iterator[Finding]:
    for stream in checked.streams:
        if not stream.canary_events_enabled:
            continue
        schemas = _schemas_of(checked, stream)
        why = None
        if stream.is_family:
            why = "it is a family, so there is no single stream to send them to"
        elif not stream.destination_event_service:
            why = "it names no intake to send them to"
        elif schemas and not schemas[-1].document.get("examples"):
            why = f"the schema {schemas[-1].uri} has no examples to make them from"
        if why:
            message = f'"{stream.name}" has canaries enabled, but {why}.'
            hint = "Add it, or set monitor.canary.enabled (canary_events_enabled) to false."
            yield checked.finding("canary-impossible", stream, ("monitor", "canary", "enabled"), message, hint)


def _families(checked: _Checked) -> Iterator[Finding]:
    families = [stream for stream in checked.streams if stream.is_family]
    for family in families:
        body, _, flags = family.name[1:].rpartition("/")
        if flags:
            message = f"the family {family.name} has flags, which other consumers do not support."
            yield checked.finding("family-flags", family, ("stream",), message, "Write the expression without them.")
        elif not (body.startswith("^") and body.endswith("$")):
            message = f"the expression of the family {family.name} matches anywhere in a name."
            hint = f"Write /^{body.removeprefix('^').removesuffix('$')}$/ if whole names are meant."
            yield checked.finding("family-anchors", family, ("stream",), message, hint)
    names = [stream.name for stream in checked.streams if not stream.is_family]
    for first, second in combinations(families, 2):
        shared = next(
            (name for name in names if legacy.matches(first.name, name) and legacy.matches(second.name, name)), None
        )
        if checked.around.name_in_both is not None:
            with contextlib.suppress(ValueError):
                shared = checked.around.name_in_both(first.name, second.name)
        if shared is not None:
            message = f'the families {first.name} and {second.name} overlap: "{shared}" is in both.'
            yield checked.finding(
                "family-overlap", second, ("stream",), message, "Make them disjoint: the first one wins."
            )


def _collisions(checked: _Checked) -> Iterator[Finding]:
    tables: dict[str, Stream] = {}
    topics: dict[str, Stream] = {}
    for stream in checked.streams:
        if stream.is_family:
            continue
        if _has_table(stream):
            first = tables.setdefault(table_name(stream.name), stream)
            if first is not stream:
                message = (
                    f'"{first.name}" and "{stream.name}" would both be stored in the table {table_name(stream.name)}.'
                )
                yield checked.finding("table-collision", stream, ("stream",), message, "Rename one of the two.")
        for topic in stream.topics:
            first = topics.setdefault(topic, stream)
            if first is stream:
                continue
            mixed = first.is_private != stream.is_private
            message = f'"{first.name}" and "{stream.name}" share the topic {topic}' + (
                ", one of them private." if mixed else "."
            )
            rule = "private-in-public" if mixed else "topic-shared"
            yield checked.finding(rule, stream, ("transport", "topics"), message, "Give each a topic of its own.")


def _privacy(checked: _Checked) -> Iterator[Finding]:
    readable = checked.around.readable
    for stream in checked.streams:
        if not stream.is_private:
            continue
        path = ("privacy", "class")
        if stream.privacy_class == "public":
            message = f'"{stream.name}" is private according to its name and public according to its privacy class.'
            yield checked.finding("private-in-public", stream, path, message, "Correct privacy.class, or the name.")
        elif readable is not None and stream.name in readable:
            message = f'"{stream.name}" is private, but everybody may read it over HTTP.'
            hint = (
                "List the streams that may be read in consumption.allowed_streams, without this stream and its aliases."
            )
            yield checked.finding("private-in-public", stream, path, message, hint)
        elif stream.name in checked.around.opened:
            message = f'"{stream.name}" is private, but consumption.allowed_streams opens it to everybody.'
            hint = "Remove it from the list, and read it with an API key that has events:read."
            yield checked.finding("private-opened", stream, path, message, hint)


def _names(checked: _Checked) -> Iterator[Finding]:
    for stream in checked.streams:
        name = stream.name
        if stream.is_family or name.startswith(LEGACY_PREFIX):
            continue
        last = name.rpartition(".")[2]
        if name != name.lower():
            message = f'the name "{name}" has capital letters.'
            yield checked.finding("name-form", stream, ("stream",), message, f'Write "{name.lower()}".')
        if last.isdecimal() and last != name:
            message = f'the name "{name}" ends in a bare number.'
            hint = f'A version is written ".v{last}".'
            yield checked.finding("name-form", stream, ("stream",), message, hint)
        if found := re.match(r"(v|rc|dev)([0-9]+)\.(.+)", name):
            hint = f'Write "{found[3]}.{found[1]}{found[2]}".'
            yield checked.finding(
                "name-version-first", stream, ("stream",), f'the name "{name}" begins with a version.', hint
            )
        if re.search(r"\.v[0-9]+\.private$", name):
            stem, version, _ = name.rsplit(".", 2)
            hint = f'Write "{stem}.private.{version}".'
            message = f'the name "{name}" has its version before "private".'
            yield checked.finding("name-private-last", stream, ("stream",), message, hint)
        if stream.schema_title == ERROR_TITLE and not name.endswith((".error", ".error.validation")):
            message = f'"{name}" has the schema of error events, but not the name of such a stream.'
            hint = 'Errors of a job are in "<job name>.error", those of an intake in "<service>.error.validation".'
            yield checked.finding("name-error-stream", stream, ("stream",), message, hint)


def _overrides(checked: _Checked) -> Iterator[Finding]:
    layers = checked.layers
    for entry in layers.entries.values():
        stream = next((one for one in checked.streams if one.name == entry.name), Stream(entry.name, file=entry.file))
        under: dict[str, Any] = {}
        for layer in (*(layers.defaults if entry.takes_defaults else ()), *entry.layers):
            own = layer in entry.layers
            for group in sorted(layer.when.groups - set(layers.groups)) if own else ():
                message = f'"{entry.name}" has an override for the group "{group}", which is not in sites.yaml.'
                finding = checked.finding("site-group-unknown", stream, (), message, _hint(group, layers.groups))
                yield _at(finding, layer)
            for dotted in layer.unset if own else ():
                if not find(under, dotted):
                    message = f'"{entry.name}" unsets {dotted}, which nothing sets.'
                    yield _at(
                        checked.finding("unset-nothing", stream, (), message, "Remove it, or correct the key."), layer
                    )
            under = layer.apply(under)
            for site in sorted(layer.when.sites) if own else ():
                yield from _unreadable(checked, stream, site, layer)


def _unreadable(checked: _Checked, stream: Stream, site: str, layer: Layer) -> Iterator[Finding]:
    for realm in layer.when.realms or {SCOPE.realm}:
        try:
            checked.layers.stream(stream.name, Scope(site, realm))
        except ConfigInvalid as error:
            message = f'for the site "{site}", "{stream.name}" is invalid: {error.message.rpartition(": ")[2]}'
            yield _at(checked.finding("override-breaks", stream, (), message, error.hint), layer)


def _at(finding: Finding, layer: Layer) -> Finding:
    return replace(finding, file=layer.file, line=layer.line)


def _schemas_of(checked: _Checked, stream: Stream) -> Sequence[SchemaFacts]:
    return (checked.around.schemas or {}).get(stream.schema_title or "", ())


def _has_table(stream: Stream) -> bool:
    consumer = stream.settings.get("consumers")
    table = consumer.get(TABLES_CONSUMER) if isinstance(consumer, dict) else None
    return not (isinstance(table, dict) and table.get("enabled") is False)


def _hint(name: str, known: Mapping[str, Any]) -> str:
    near = nearest(name, known)
    return f'Did you mean "{near}"?' if near else "Add it there, or correct the name."


_FUNCTIONS: Sequence[RuleFunction] = (
    _titles,
    _fields,
    _people_and_services,
    _canaries,
    _families,
    _collisions,
    _privacy,
    _names,
    _overrides,
)
RULES: Mapping[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule("schema-title-unknown", Severity.ERROR, "No schema has the stream's `schema_title`."),
        Rule("schema-title-form", Severity.ERROR, "A `schema_title` has a leading slash or a version, like a URI."),
        Rule("key-field-undeclared", Severity.ERROR, "The newest schema lacks a field the message key is made from."),
        Rule("key-field-undeclared-earlier", Severity.NOTE, "An earlier version of the schema lacks a key field."),
        Rule("pii-field-undeclared", Severity.WARNING, "The schema lacks a field named in `privacy.pii_fields`."),
        Rule("service-unknown", Severity.ERROR, "The intake is not in `services.yaml`, if there is such a file."),
        Rule("owner-unknown", Severity.ERROR, "The owner is not in `owners.yaml`, if there is such a file."),
        Rule("undocumented", Severity.NOTE, "Owner or summary is missing."),
        Rule(
            "canary-impossible",
            Severity.ERROR,
            "Canaries are enabled, but there is no intake, no example, or no single stream.",
        ),
        Rule("family-flags", Severity.ERROR, "A family's expression has flags."),
        Rule("family-anchors", Severity.WARNING, "A family's expression is not anchored by `^` and `$`."),
        Rule("family-overlap", Severity.ERROR, "A name can match two families."),
        Rule("table-collision", Severity.ERROR, "Two streams would be stored in the same table."),
        Rule("topic-shared", Severity.WARNING, "Two streams share a topic."),
        Rule(
            "private-in-public",
            Severity.ERROR,
            "A private stream is exposed by its class, an alias, a shared topic, or the stream of its late events.",
        ),
        Rule("private-opened", Severity.WARNING, "`consumption.allowed_streams` opens a private stream to everybody."),
        Rule(
            "name-form", Severity.ERROR, "A name has capital letters, or a bare number as its version (decision #009)."
        ),
        Rule("name-version-first", Severity.WARNING, "A name begins with its version (decision #009)."),
        Rule("name-private-last", Severity.WARNING, "`private` comes after the version (decision #009)."),
        Rule("name-error-stream", Severity.WARNING, "A stream of error events is not named as such (decision #008)."),
        Rule("site-group-unknown", Severity.ERROR, "An override is for a group that is not in `sites.yaml`."),
        Rule("unset-nothing", Severity.WARNING, "An override unsets a key that nothing sets."),
        Rule("override-breaks", Severity.ERROR, "An override makes an invalid stream for some site."),
    )
}
