"""Texts with fields of an event in them, such as `https://shop.example/orders/{id}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.errors import ConfigInvalid, EventMalformed
from headwater.event import encode_json, get_path

# A field in braces, a brace that is meant as such (doubled), or one that is a mistake.
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Field:
    """The place of an event's field in a text: its dotted path."""

    path: str


@dataclass(frozen=True, slots=True)
class Template:
    """A text with fields. `{dotted.path}` is a field of the event; `{{` and `}}` are braces."""

    text: str
    parts: tuple[str | Field, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises ConfigInvalid, with the text, for a brace without its counterpart and for an empty path."""
        parts: list[str | Field] = []
        at = 0
        for found in _PART.finditer(text):
            parts.append(text[at : found.start()])
            at = found.end()
            path = found.group(1)
            if found.group() in ("{{", "}}"):
                parts.append(found.group()[0])
            elif path is not None and all(path.split(".")):
                parts.append(Field(path))
            else:
                raise ConfigInvalid(
                    f"{found.group()!r} in {text!r} is no field of an event.",
                    hint="A field is a dotted path in braces, such as {meta.id}; write {{ or }} for a brace itself.",
                )
        parts.append(text[at:])
        return cls(text, tuple(part for part in parts if part != ""))

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields that it needs."""
        return tuple(part.path for part in self.parts if isinstance(part, Field))

    @property
    def only_field(self) -> str | None:
        """The path of the field, if it is nothing but one field."""
        return self.parts[0].path if len(self.parts) == 1 and isinstance(self.parts[0], Field) else None

    def render(self, event: Mapping[str, Any], encode: Callable[[str], str] = str) -> str:
        """The text for an event. `encode` is applied to the fields' values, not to the text around them.

        Numbers, truth values, objects and arrays are written as JSON. Raises EventMalformed for an absent field.
        """
        return "".join(part if isinstance(part, str) else encode(_text_at(event, part.path)) for part in self.parts)

    def value(self, event: Mapping[str, Any]) -> Any:
        """As `render`, but a template that is nothing but one field has its value, of whatever type it is."""
        path = self.only_field
        return self.render(event) if path is None else _value_at(event, path)


def parsed_values(written: Any) -> Any:
    """A JSON value whose texts are templates, those in objects and arrays too. Raises ConfigInvalid."""
    if isinstance(written, str):
        return Template.parse(written)
    if isinstance(written, Mapping):
        return {str(key): parsed_values(value) for key, value in written.items()}
    if isinstance(written, Sequence):
        return [parsed_values(value) for value in written]
    return written


def paths_of(parsed: Any) -> Iterator[str]:
    """The fields that the templates in what `parsed_values` made need."""
    if isinstance(parsed, Template):
        yield from parsed.paths
    elif isinstance(parsed, Mapping):
        for value in parsed.values():
            yield from paths_of(value)
    elif isinstance(parsed, list):
        for value in parsed:
            yield from paths_of(value)


def rendered_values(parsed: Any, event: Mapping[str, Any]) -> Any:
    """What `parsed_values` made, for an event. Raises EventMalformed for an absent field."""
    if isinstance(parsed, Template):
        return parsed.value(event)
    if isinstance(parsed, dict):
        return {key: rendered_values(value, event) for key, value in parsed.items()}
    if isinstance(parsed, list):
        return [rendered_values(value, event) for value in parsed]
    return parsed


def _value_at(event: Mapping[str, Any], path: str) -> Any:
    value = get_path(event, path)
    if value is None:
        raise EventMalformed(f"The event has no {path}, which is needed here.")
    return value


def _text_at(event: Mapping[str, Any], path: str) -> str:
    value = _value_at(event, path)
    return value if isinstance(value, str) else encode_json(value).decode()
