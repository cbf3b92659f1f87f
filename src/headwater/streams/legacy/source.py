"""Reads legacy stream configuration in any of its formats into one form: settings by realm and selector.

A selector is `default`, a site or group that replaces (`X`), or one that merges (`+X`); see site.py. Known formats: a
file of many (`default_settings`, `streams`), a file of overrides (a realm to both, by selector), and the
configuration's own variables (`wgEventStreamsDefaultSettings`, `wgEventStreams`), plain or by selector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.declaration import Declaration
from headwater.streams.layers import REALM_DEFAULT
from headwater.streams.legacy import site

DEFAULT_SETTINGS = "default_settings"
STREAMS = "streams"
PARTS = (DEFAULT_SETTINGS, STREAMS)
FORMAT = "wikimedia-streams/1"
OVERRIDES_FORMAT = "wikimedia-streams-overrides/1"
_VARIABLES = {DEFAULT_SETTINGS: "wgEventStreamsDefaultSettings", STREAMS: "wgEventStreams"}
_NOTES = ("format", "stream_count", "list_style_entries")

Setting = dict[str, dict[str, Any]]


@dataclass(slots=True)
class LegacySource:
    """Everything that was read. `settings` is realm → part → selector → value; streams are mappings of name to
    settings.
    """

    settings: dict[str, dict[str, Setting]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    # Entries of a list rather than of a mapping.
    list_style: list[str] = field(default_factory=list)
    # Settings about other things than streams, kept for the export.
    rest: dict[str, Any] = field(default_factory=dict)

    def setting(self, realm: str, part: str) -> Setting:
        """A part by selector as a realm sees it: its own selectors replace those of the default realm."""
        return {**self._own(REALM_DEFAULT, part), **self._own(realm, part)}

    def own(self, realm: str, part: str) -> Mapping[str, dict[str, Any]]:
        """The realm's own selectors and values."""
        return self._own(realm, part)

    def default(self, part: str, realm: str = REALM_DEFAULT) -> dict[str, Any]:
        """The value without a site."""
        return self.setting(realm, part).get(site.DEFAULT, {})

    def effective(self, part: str, realm: str, name: str | None) -> dict[str, Any]:
        """The value for a site (None: no particular one) by the legacy rules."""
        if name is None:
            return self.default(part, realm)
        groups = [group for group, sites in self.groups.items() if name in sites]
        value: dict[str, Any] = site.value_for(self.setting(realm, part), name, groups) or {}
        return value

    def add(self, declaration: Declaration) -> None:
        """Add one file. Raises ConfigInvalid."""
        tree = declaration.value
        if not isinstance(tree, dict):
            raise declaration.refusal((), "must be a mapping.", hint="Give a file of streams or of overrides.")
        if any(variable in tree for variable in _VARIABLES.values()):
            for part, variable in _VARIABLES.items():
                self._add_part(declaration, part, (variable,), tree.get(variable) or {})
        elif STREAMS in tree or DEFAULT_SETTINGS in tree:
            self.list_style += [str(name) for name in tree.get("list_style_entries") or ()]
            for part in PARTS:
                self._add_part(declaration, part, (part,), tree.get(part) or {})
            self.rest |= {name: value for name, value in tree.items() if name not in (*PARTS, *_NOTES)}
        else:
            self._add_overrides(declaration, tree)

    def _own(self, realm: str, part: str) -> Setting:
        return self.settings.get(realm, {}).get(part, {})

    def _add_overrides(self, declaration: Declaration, tree: Mapping[str, Any]) -> None:
        realms = [
            name for name, value in tree.items() if isinstance(value, dict) and set(value) <= set(PARTS) and value
        ]
        if not realms and "site_groups" not in tree:
            hint = "It needs `streams`, `wgEventStreams`, or overrides by realm."
            raise declaration.refusal((), "is not a stream configuration in a known format.", hint=hint)
        for realm in realms:
            for part, setting in tree[realm].items():
                if not isinstance(setting, dict):
                    raise declaration.refusal((realm, part), f"{part} must be a mapping of sites.")
                for selector, value in setting.items():
                    place = self.settings.setdefault(realm, {}).setdefault(part, {})
                    place[selector] = self._named(declaration, part, (realm, part, selector), value or {})
        self._add_groups(declaration, tree.get("site_groups") or {})
        own = (*realms, "site_groups", "format")
        self.rest |= {name: value for name, value in tree.items() if name not in own}

    def _add_groups(self, declaration: Declaration, groups: Any) -> None:
        if not isinstance(groups, dict) or not all(isinstance(sites, list) for sites in groups.values()):
            raise declaration.refusal(("site_groups",), "site_groups must be a mapping of names to lists of sites.")
        self.groups |= groups

    def _add_part(self, declaration: Declaration, part: str, path: tuple[str, ...], value: Any) -> None:
        place = self.settings.setdefault(REALM_DEFAULT, {}).setdefault(part, {})
        by_selector = isinstance(value, dict) and site.DEFAULT in value
        for selector, content in value.items() if by_selector else ((site.DEFAULT, value),):
            place[selector] = self._named(declaration, part, path, content or {})

    def _named(self, declaration: Declaration, part: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
        """Streams by name, also from a list."""
        if part == DEFAULT_SETTINGS:
            if not isinstance(value, dict):
                raise declaration.refusal(path, f"{path[-1]} must be a mapping.")
            return value
        if not isinstance(value, (dict, list)):
            raise declaration.refusal(path, f"{path[-1]} must be a mapping of streams, or a list.")
        pairs: Sequence[tuple[Any, Any]] = list(enumerate(value)) if isinstance(value, list) else list(value.items())
        found: dict[str, Any] = {}
        for key, settings in pairs:
            content = {} if settings in (None, []) else settings
            if not isinstance(content, dict):
                raise declaration.refusal((*path, key), f"the settings of {key} must be a mapping.")
            name = str(key)
            if name.isdecimal():
                name = str(content.get("stream", name))
                self.list_style.append(name)
            if name in self.list_style:
                content = {setting: item for setting, item in content.items() if setting != "stream"}
            found[name] = content
        return found
