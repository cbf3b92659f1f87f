"""Imports legacy stream configuration as equivalent stream files; only this package applies the legacy merge rules.

How this works: lists, which the legacy rules merge by index or append, are written out as merged; values that those
rules ignore (false and null over another value) are left out of the stream files and recorded in legacy.yaml, as are
the order of the entries and everything else that the export needs to reproduce the same files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.file_names import file_name, require_distinct
from headwater.streams import matching as legacy
from headwater.streams.files import (
    DEFAULTS_FILE,
    FAMILIES_DIRECTORY,
    LEGACY_FILE,
    OWNERS_FILE,
    SERVICES_FILE,
    SITES_FILE,
    read_layers,
)
from headwater.streams.layers import REALM_DEFAULT, Scope, StreamLayers
from headwater.streams.legacy import site
from headwater.streams.legacy.api import printed
from headwater.streams.legacy.source import DEFAULT_SETTINGS, PARTS, STREAMS, LegacySource
from headwater.streams.legacy_settings import document_of
from headwater.streams.merge import lay_over
from headwater.streams.stream_format import API_VERSION
from headwater.streams.writing import stream_file_text, yaml_text

_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9]+")


@dataclass(slots=True)
class Imported:
    """The result of an import: file names with their texts, and sentences about what needs a person's attention."""

    files: dict[str, str] = field(default_factory=dict)
    streams: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Selected:
    """One selector of one part: where it applies, whether it merges, and its value."""

    when: Mapping[str, Any]
    realm: str
    selector: str
    merges: bool
    value: Mapping[str, Any]


def imported(source: LegacySource) -> Imported:
    """The files of a streams directory that is equivalent to `source`."""
    result = Imported()
    lost: dict[str, Any] = {}
    defaults = source.default(DEFAULT_SETTINGS)
    document = document_of(defaults)
    overrides = list(_default_overrides(source, lost))
    if document or overrides:
        result.files[DEFAULTS_FILE] = stream_file_text(document | ({"overrides": overrides} if overrides else {}))
    documents = _documents(source, lost)
    reserved = (DEFAULTS_FILE, SERVICES_FILE, SITES_FILE, OWNERS_FILE, LEGACY_FILE)
    files = [name for name in documents if not legacy.is_family(name)]
    require_distinct(files, "stream", taken=[name.removesuffix(".yaml") for name in reserved])
    for place, (name, content) in enumerate(documents.items()):
        result.files[_file_name(name, place)] = stream_file_text(content)
    result.streams = len(documents)
    result.files |= _side_files(source, documents, lost)
    result.notes += [
        f"{realm}, {selector}: {name} has a false or null that the legacy rules ignore; kept in {LEGACY_FILE} only."
        for realm, parts in lost.items()
        for by_selector in parts.values()
        for selector, names in by_selector.items()
        for name in names
    ]
    result.notes += [
        f"{name} has no schema_title, which a stream file needs."
        for name, content in documents.items()
        if "schema_title" not in content and content.get("exists", True)
    ]
    return result


def differences(source: LegacySource, directory: Path) -> Iterator[str]:
    """The differences between stream files and the result of the legacy rules for `source`, for every site it names.

    Raises ConfigInvalid if the files cannot be read.
    """
    layers = read_layers(directory)
    for realm in {REALM_DEFAULT: None, **dict.fromkeys(source.settings)}:
        for name in (None, *_sites(source, realm)):
            yield from _differences_of_site(source, layers, realm, name)


def _differences_of_site(source: LegacySource, layers: StreamLayers, realm: str, name: str | None) -> Iterator[str]:
    defaults = source.effective(DEFAULT_SETTINGS, realm, name)
    entries = source.effective(STREAMS, realm, name)
    ours = {stream.name: stream.settings for stream in layers.streams(Scope(site=name, realm=realm))}
    where = f"{realm}, {name or 'no particular site'}"
    for stream in {**entries, **ours}:
        if stream not in ours or stream not in entries:
            yield f"{where}: {stream} exists only {'there' if stream in entries else 'here'}."
        elif printed(legacy.merge(defaults, entries[stream])) != printed(dict(ours[stream])):
            yield f"{where}: {stream} has other settings."


def _sites(source: LegacySource, realm: str) -> list[str]:
    """Every site that a selector names, and one of each group."""
    found: dict[str, None] = {}
    for part in PARTS:
        for selector in source.setting(realm, part):
            name = selector.removeprefix("+")
            if name in source.groups:
                found |= dict.fromkeys(source.groups[name][:1])
            elif name != site.DEFAULT:
                found[name] = None
    return list(found)


def _selected(source: LegacySource, part: str) -> list[_Selected]:
    """All selectors of a part, the weakest first: realms, groups (the first group has precedence), sites."""
    found = []
    for realm in source.settings:
        others = [other for other in source.settings if other != realm]
        for selector, value in source.own(realm, part).items():
            if selector == site.DEFAULT and realm == REALM_DEFAULT:
                continue
            name = selector.removeprefix("+")
            when: dict[str, Any] = (
                {} if selector == site.DEFAULT else {"site_group" if name in source.groups else "site": name}
            )
            if realm != REALM_DEFAULT:
                when["realm"] = realm
            elif hidden := [other for other in others if selector in source.own(other, part)]:
                seen = [realm, *(other for other in others if other not in hidden)]
                when["realm"] = seen[0] if len(seen) == 1 else seen
            found.append(_Selected(when, realm, selector, selector.startswith("+"), value))
    strength = {group: len(source.groups) - place for place, group in enumerate(source.groups)}
    sites = len(source.groups) + 1
    return sorted(
        found,
        key=lambda one: 0 if one.selector == site.DEFAULT else strength.get(one.selector.removeprefix("+"), sites),
    )


def _default_overrides(source: LegacySource, lost: dict[str, Any]) -> Iterator[dict[str, Any]]:
    blocks = list(document_of(source.default(DEFAULT_SETTINGS)))
    for one in _selected(source, DEFAULT_SETTINGS):
        if not one.merges:
            yield {"when": one.when, "unset": blocks, "set": document_of(one.value)}
            continue
        kept, ignored = _what_counts(one.value, source.default(DEFAULT_SETTINGS, one.realm))
        if ignored:
            _note(lost, one, DEFAULT_SETTINGS, ignored)
        if kept:
            yield {"when": one.when, "set": document_of(kept)}


def _documents(source: LegacySource, lost: dict[str, Any]) -> dict[str, dict[str, Any]]:
    defaults, entries = source.default(DEFAULT_SETTINGS), source.default(STREAMS)
    head = {"apiVersion": API_VERSION, "kind": "Stream"}
    documents = {
        name: {**head, "stream": name, **document_of(_settled(defaults, settings))}
        for name, settings in entries.items()
    }
    blocks = {name: [key for key in content if key not in (*head, "stream")] for name, content in documents.items()}
    for one in _selected(source, STREAMS):
        for name in one.value:
            documents.setdefault(name, {**head, "stream": name, "exists": False})
        for name, content in documents.items():
            patch = _patch(source, one, name, lost)
            if patch is not None:
                replaced = {} if one.merges or not blocks.get(name) else {"unset": blocks[name]}
                content.setdefault("overrides", []).append({"when": one.when, **replaced, "set": patch})
    return documents


def _patch(source: LegacySource, one: _Selected, name: str, lost: dict[str, Any]) -> dict[str, Any] | None:
    """What a selector sets on one stream; None if it sets nothing."""
    entries = source.default(STREAMS)
    if name not in one.value:
        return None if one.merges or name not in entries else {"exists": False}
    settings = one.value[name]
    if one.merges:
        settings, ignored = _what_counts(settings, entries.get(name, {}))
        if ignored:
            _note(lost, one, STREAMS, {name: ignored})
        if not settings and name in entries:
            return None
    document = document_of(_settled(source.default(DEFAULT_SETTINGS), settings))
    return document if name in entries else {"exists": True, **document}


def _what_counts(high: Mapping[str, Any], low: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`high` as a patch with which our merge rule changes `low` as the legacy rule would; and what the legacy rule
    ignores.
    """
    kept: dict[str, Any] = {}
    ignored: dict[str, Any] = {}
    for name, value in high.items():
        under = low.get(name)
        if isinstance(value, dict) and isinstance(under, dict):
            below, passed_over = _what_counts(value, under)
            kept |= {name: below} if below else {}
            ignored |= {name: passed_over} if passed_over else {}
        elif under is not None and (value is None or value is False) and value is not under:
            ignored[name] = value
        else:
            kept[name] = site.merge(value, under) if isinstance(value, (dict, list)) else value
    return kept, ignored


def _settled(defaults: Any, settings: Any) -> Any:
    """Settings with every list that the legacy rule would merge with a default list replaced by the merged list."""
    if isinstance(defaults, dict) and isinstance(settings, dict):
        return {
            name: _settled(defaults[name], value) if name in defaults else value for name, value in settings.items()
        }
    return legacy.merge(defaults, settings)


def _note(lost: dict[str, Any], one: _Selected, part: str, ignored: Mapping[str, Any]) -> None:
    place = lost.setdefault(one.realm, {}).setdefault(part, {})
    place[one.selector] = lay_over(place.get(one.selector, {}), dict(ignored))


def _side_files(source: LegacySource, documents: Mapping[str, Any], lost: Mapping[str, Any]) -> dict[str, str]:
    services = sorted(
        {
            service
            for content in documents.values()
            for service in (content.get("produce", {}).get("destination_event_service"),)
            if service
        }
    )
    notes = {
        "order": list(documents),
        "list_style_entries": sorted(set(source.list_style), key=source.list_style.index),
        "without_effect": dict(lost),
        "rest": source.rest,
    }
    files = {LEGACY_FILE: yaml_text({name: value for name, value in notes.items() if value})}
    if services:
        files[SERVICES_FILE] = yaml_text({service: {} for service in services})
    if source.groups:
        files[SITES_FILE] = yaml_text({"groups": source.groups})
    return files


def _file_name(name: str, place: int) -> str:
    if not legacy.is_family(name):
        return f"{file_name(name, 'stream')}.yaml"
    # Families are tried in the order of their file names, which is the order of the entries.
    return f"{FAMILIES_DIRECTORY}/{place:04d}-{_NOT_IN_FILE_NAMES.sub('-', name).strip('-').lower() or 'family'}.yaml"
