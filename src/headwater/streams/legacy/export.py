"""Exports stream files in the format of the legacy configuration: the reverse of importer.py.

What the legacy format cannot express (times, conditions on site and group together, a false over another value) is
reported: each such loss is a sentence in `Exported.unsaid`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.declaration import read_declaration
from headwater.streams.files import LEGACY_FILE
from headwater.streams.layers import EVERYWHERE, REALM_DEFAULT, Entry, Layer, Scope, StreamLayers
from headwater.streams.legacy import site
from headwater.streams.legacy.source import DEFAULT_SETTINGS, FORMAT, OVERRIDES_FORMAT, PARTS, STREAMS
from headwater.streams.merge import lay_over
from headwater.streams.stream_file import legacy_settings

Tree = dict[str, Any]


@dataclass(slots=True)
class Exported:
    """`streams` is the file of many, `overrides` the file of overrides by realm and site; both plain data."""

    streams: Tree = field(default_factory=dict)
    overrides: Tree = field(default_factory=dict)
    unsaid: list[str] = field(default_factory=list)


def exported(layers: StreamLayers, directory: Path) -> Exported:
    """All declarations in the legacy format. `directory` may have the legacy.yaml of an import. Raises
    ConfigInvalid.
    """
    return _Export(layers, _notes(directory)).made()


def _notes(directory: Path) -> Tree:
    file = directory / LEGACY_FILE
    found = read_declaration(file).value if directory.is_dir() and file.exists() else {}
    return found if isinstance(found, dict) else {}


class _Export:
    def __init__(self, layers: StreamLayers, notes: Tree) -> None:
        self._layers = layers
        self._notes = notes
        self._unsaid: dict[str, None] = {}
        self._piles: dict[str | None, tuple[Layer, ...]] = {None: layers.defaults}
        self._piles |= {name: entry.layers for name, entry in layers.entries.items() if not entry.implied}
        realms = {realm for layer in self._conditional() for realm in layer.when.realms} - {REALM_DEFAULT}
        self._realms = (REALM_DEFAULT, *sorted(realms))

    def made(self) -> Exported:
        defaults = self._settings(None, EVERYTHING)
        streams = {name: self._settings(name, EVERYTHING) for name in self._names(EVERYTHING)}
        self._check_lists(defaults, streams)
        list_style = [name for name in self._notes.get("list_style_entries", ()) if name in streams]
        for name in list_style:
            streams[name] = {"stream": name, **streams[name]}
        notes = {"list_style_entries": list_style} if list_style else {}
        main = {"format": FORMAT, "stream_count": len(streams), **notes, DEFAULT_SETTINGS: defaults, STREAMS: streams}
        return Exported(main, self._overrides(), list(self._unsaid))

    def _overrides(self) -> Tree:
        parts = {realm: {part: self._part(realm, part) for part in PARTS} for realm in self._realms}
        first = parts[REALM_DEFAULT]
        for realm in self._realms[1:]:
            for part, setting in parts[realm].items():
                # A selector with the same value is inherited; one that the realm lacks must be hidden from it.
                for selector in [name for name, value in setting.items() if first[part].get(name) == value]:
                    del setting[selector]
                hidden = [name for name in first[part] if name not in self._part(realm, part)]
                setting |= {name: {} for name in hidden}
        kept = lay_over(parts, self._notes.get("without_effect", {}))
        overrides = {
            realm: {part: setting for part, setting in by_part.items() if setting} for realm, by_part in kept.items()
        }
        overrides = {realm: by_part for realm, by_part in overrides.items() if by_part}
        groups = {name: list(sites) for name, sites in self._layers.groups.items()}
        named = {"site_groups": groups} if groups else {}
        rest = self._notes.get("rest", {})
        return {"format": OVERRIDES_FORMAT, **overrides, **named, **rest} if overrides or named or rest else {}

    def _part(self, realm: str, part: str) -> Tree:
        """Selector → value as the realm sees it."""
        names: Iterable[str | None] = [None] if part == DEFAULT_SETTINGS else [name for name in self._piles if name]
        patches: dict[str, dict[str | None, list[Layer]]] = {}
        for name in names:
            for layer in self._piles[name]:
                if layer.when != EVERYWHERE and (not layer.when.realms or realm in layer.when.realms):
                    for selector in self._selectors(layer):
                        patches.setdefault(selector, {}).setdefault(name, []).append(layer)
        setting: Tree = {}
        for selector, by_name in patches.items():
            if selector == site.DEFAULT or any(_replaces(layer) for pile in by_name.values() for layer in pile):
                setting[selector] = self._whole(realm, selector, part)
                continue
            values = {name: self._merged(name, pile, realm) for name, pile in by_name.items()}
            setting[f"+{selector}"] = values[None] if part == DEFAULT_SETTINGS else values
        return setting

    def _whole(self, realm: str, selector: str, part: str) -> Tree:
        """The value of a selector that replaces: everything as its sites see it."""
        members = self._layers.groups.get(selector, (selector,))
        scope = Scope(None if selector == site.DEFAULT else members[0], realm)
        if part == DEFAULT_SETTINGS:
            return self._settings(None, scope)
        return {name: self._settings(name, scope) for name in self._names(scope)}

    def _merged(self, name: str | None, pile: list[Layer], realm: str) -> Tree:
        patch: Tree = {}
        for layer in pile:
            patch = lay_over(patch, dict(layer.set))
        under = self._settings(name, Scope(None, realm))
        return self._legacy_patch(legacy_settings(patch), under, f"{name or 'defaults'} ({pile[-1].when})")

    def _legacy_patch(self, high: Tree, low: Any, where: str) -> Tree:
        """The patch with which the legacy rules give the same result as ours."""
        patch: Tree = {}
        for name, value in high.items():
            under = low.get(name) if isinstance(low, dict) else None
            if isinstance(value, dict) and isinstance(under, dict):
                patch[name] = self._legacy_patch(value, under, where)
            elif isinstance(value, list) and isinstance(under, list) and under:
                # The legacy rule appends the existing items.
                if value[-len(under) :] != under:
                    self._unsaid[f"{where}: the list {name} cannot replace another list."] = None
                patch[name] = value[: -len(under)] if value[-len(under) :] == under else value
            else:
                if (value is None or value is False) and under is not None and under is not value:
                    self._unsaid[f"{where}: {name} cannot become {'null' if value is None else 'false'}."] = None
                patch[name] = value
        return patch

    def _settings(self, name: str | None, scope: Scope) -> Tree:
        """The settings of one stack alone, without defaults."""
        groups = self._layers.groups_of(scope.site)
        document: Tree = {}
        for layer in self._piles[name]:
            if layer.when.holds(scope, groups):
                document = layer.apply(document)
        entry: Entry | None = self._layers.entries.get(name) if name is not None else None
        if entry is not None and entry.made is not None and len(entry.layers) == 1:
            return dict(entry.made.settings)
        return legacy_settings(document)

    def _names(self, scope: Scope) -> Iterator[str]:
        for name in self._piles:
            if name is not None and self._layers.document(name, scope).get("exists") is not False:
                yield name

    def _selectors(self, layer: Layer) -> list[str]:
        when = layer.when
        if when.not_before is not None or when.not_after is not None or (when.sites and when.groups):
            self._unsaid[f"{layer.name} ({when}): the legacy format has no such condition."] = None
            return []
        return sorted(when.sites | when.groups) or [site.DEFAULT]

    def _conditional(self) -> list[Layer]:
        return [layer for pile in self._piles.values() for layer in pile if layer.when != EVERYWHERE]

    def _check_lists(self, defaults: Any, streams: Mapping[str, Any]) -> None:
        """The legacy rule merges lists by index: a shorter one would inherit the rest of the default's."""
        for name, settings in streams.items():
            entry = self._layers.entries[name]
            for key in _shorter_lists(defaults if entry.takes_defaults else {}, settings):
                self._unsaid[f"{name}: the list {key} is shorter than the default, whose other items would stay."] = (
                    None
                )


EVERYTHING = Scope()


def _replaces(layer: Layer) -> bool:
    return bool(layer.unset) or layer.set.get("exists") is False


def _shorter_lists(defaults: Any, settings: Any) -> Iterator[str]:
    for name, value in settings.items() if isinstance(settings, dict) and isinstance(defaults, dict) else ():
        under = defaults.get(name)
        if isinstance(value, list) and isinstance(under, list) and len(value) < len(under):
            yield name
        else:
            yield from _shorter_lists(under, value)
