"""One rule as it is written in YAML: its values by type, with errors that name file, line and rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.connectors.templates import Template
from headwater.declaration import Declaration, KeyPath
from headwater.errors import ConfigInvalid
from headwater.jobs.durations import milliseconds
from headwater.jobs.rules.addresses import field_of


class WrittenRule:
    """The rule `name` of a declaration. Every method raises ConfigInvalid for what cannot be used."""

    def __init__(self, source: Declaration, name: str) -> None:
        self.source = source
        self.name = name
        self.path: KeyPath = ("rules", name)
        self.written: Mapping[str, Any] = {}

    def address(self, at: KeyPath, written: Any) -> Template:
        """The address of a service or a resource, over HTTP."""
        uri = self.template(at, written, is_address=True)
        first = uri.parts[0] if uri.parts else ""
        if isinstance(first, str) and not first.startswith(("http://", "https://")):
            raise self.refused(at, f"{uri.text!r:.200} does not begin with http:// or https://.")
        return uri

    def template(self, at: KeyPath, written: Any, *, is_address: bool = False) -> Template:
        """A text with fields in braces; marks such as `{+path}` only in an address."""
        if isinstance(written, bool | int | float):
            written = str(written).lower() if isinstance(written, bool) else str(written)
        if not isinstance(written, str):
            raise self.refused(at, "this is a text, with fields in braces.")
        try:
            template = Template.parse(written)
        except ConfigInvalid as error:
            raise self.refused(at, error.detail, error.hint) from None
        for path in template.paths:
            mark, field = field_of(path)
            if not all(field.split(".")):
                raise self.refused(at, f"'{{{path}}}' in {written!r} is no field of an event.")
            if mark and not is_address:
                raise self.refused(at, f"'{mark}' in {written!r} is for addresses.", f"Write {{{field}}}.")
        return template

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number."""
        value = self.written.get(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self.refused((key,), f"`{key}` is a whole number from {least} to {most:,}, not {value!r:.100}.")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number."""
        value = self.written.get(key, default)
        if type(value) not in (int, float) or not least <= value <= most:
            raise self.refused((key,), f"`{key}` is a number from {least:g} to {most:g}, not {value!r:.100}.")
        return float(value)

    def duration(self, at: KeyPath, default: str, *, at_least_ms: int = 0) -> int:
        """A duration, in milliseconds."""
        value = self.at(at)
        try:
            made = milliseconds(default if value is None else value)
        except ConfigInvalid as error:
            raise self.refused(at, error.detail, error.hint) from None
        if made < at_least_ms:
            raise self.refused(at, f"`{at[-1]}` is longer than 0.")
        return made

    def at(self, at: KeyPath) -> Any:
        """What is written there; None if nothing is."""
        value: Any = self.written
        for key in at:
            value = value.get(str(key)) if isinstance(value, Mapping) else value[key]
        return value

    def mapping(self, at: KeyPath, written: Any) -> Mapping[str, Any]:
        """What is written there, if it is a mapping."""
        if not isinstance(written, Mapping):
            raise self.refused(at, f"{'.'.join(map(str, at)) or 'a rule'} is a mapping, not {written!r:.100}.")
        return written

    def refused(self, at: KeyPath, message: str, hint: str | None = None) -> ConfigInvalid:
        """The error to raise about what is written there."""
        return self.source.refusal((*self.path, *at), f"the rule {self.name}: {message}", hint)
