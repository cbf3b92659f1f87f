"""What is to be created for a new job: its kind, what it reads and writes, and the fields of its output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.checking.fields import field_at
from headwater.cli.job.scaffold.kinds import Kind
from headwater.event import get_path

SERVICE = "http://127.0.0.1:8099"

_FIELD = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = frozenset({"meta", "dt", "count", "events", "answer", "source_id", "window_start"})
_VERSION = re.compile(r"\.v[0-9]+$")
_PLAIN = (("string", str), ("boolean", bool), ("integer", int), ("number", float))
_COLUMN_TYPES = {"string": "text", "integer": "integer", "number": "real", "boolean": "boolean"}


@dataclass(frozen=True, slots=True)
class KeyField:
    """A part of the key: its dotted path in the source, its name in the output, and its JSON type there."""

    path: str
    name: str
    type: str

    @property
    def is_converted(self) -> bool:
        """Whether the output has its text, since its values are not of one simple type."""
        return not self.type

    def of(self, event: str) -> str:
        """The expression of its value in the output."""
        value = item(event, self.path)
        return f"str({value})" if self.is_converted else value


@dataclass(frozen=True, slots=True)
class Plan:
    """A new job. `sink`: None for a table. `time`: the path of the time in the source, if it is there as text.

    `example`: an event of the source that is valid. `is_derived`: whether the source is what another job writes.
    """

    name: str
    kind: Kind
    source: str
    sink: str | None
    keys: tuple[KeyField, ...]
    time: str | None
    example: Mapping[str, Any]
    is_derived: bool = False

    @property
    def title(self) -> str:
        """Of the output's schema: the stream without a version at its end, with slashes, in lower case."""
        return _VERSION.sub("", self.sink or "").replace(".", "/").lower()

    @property
    def fields(self) -> dict[str, tuple[str, str]]:
        """The fields of the output's schema, besides `$schema`, `meta` and `dt`: name → type and description."""
        found = {key.name: (key.type or "string", f"The {key.path} of events of {self.source}.") for key in self.keys}
        own: dict[Kind, dict[str, tuple[str, str]]] = {
            "function": {"source_id": ("string", "The event that it was made of.")},
            "state": {"count": ("integer", "How many events there were so far.")},
            "window": {
                "window_start": ("date-time", "When the window begins."),
                "events": ("integer", "How many events there were in the window."),
            },
            "lookup": {"answer": ("string", "What the service says.")}
            | ({"count": ("integer", "How many events there were so far.")} if self.keys else {}),
            "sql": {
                "window_start": ("date-time", "When the window begins."),
                "events": ("integer", "How many events there were in the window."),
            },
            "table": {},
            "materialized": {},
        }
        return found | own[self.kind]

    @property
    def columns(self) -> dict[str, str | tuple[str, str]]:
        """Of the table: the key, and the fields of the example that have a simple type."""
        found: dict[str, str | tuple[str, str]] = {}
        for key in self.keys:
            # A column may be NULL, so the values of the example are enough.
            kind = _COLUMN_TYPES.get(key.type or type_of(get_path(self.example, key.path)), "json")
            found[key.name] = kind if key.name == key.path else (kind, key.path)
        paths = {key.path for key in self.keys}
        for name, value in self.example.items():
            kind = _COLUMN_TYPES.get(type_of(value), "")
            if kind and _FIELD.fullmatch(name) and name not in paths and name not in found:
                found[name] = kind
        return found


def key_fields(paths: Sequence[str], documents: Sequence[Any], example: Mapping[str, Any]) -> tuple[KeyField, ...]:
    """The parts of the key; `documents` are the versions of the source's schema."""
    found: list[KeyField] = []
    for path in paths:
        last, whole = path.rpartition(".")[2], path.replace(".", "_")
        names = (last, whole, f"key_{len(found) + 1}")
        taken = _TAKEN | {key.name for key in found}
        name = next(name for name in names if _FIELD.fullmatch(name) and name not in taken)
        found.append(KeyField(path, name, _type(path, documents, example)))
    return tuple(found)


def _type(path: str, documents: Sequence[Any], example: Mapping[str, Any]) -> str:
    """The one JSON type of a field; "" if it has several, or none that is simple."""
    declared: set[str] = set()
    for document in documents:
        field = field_at(document, path)
        if field is None or field.types is None or "null" in field.types:
            return ""
        declared |= field.types
    declared -= {"integer"} if "number" in declared else set()
    found = type_of(get_path(example, path))
    if declared == {"number"} and found == "integer":
        return "number"
    return found if declared == {found} else ""


def type_of(value: Any) -> str:
    """The JSON type of a simple value; "" of any other."""
    return next((name for name, of in _PLAIN if type(value) is of), "")


def item(event: str, path: str) -> str:
    """The expression of a field of an event."""
    return event + "".join(f"[{quoted(part)}]" for part in path.split("."))


def quoted(text: str) -> str:
    """A text in Python, as ruff formats it: with the quotes that need fewer escapes, double ones if both do."""
    escaped = repr(text)
    if escaped[0] == '"' or '"' not in text:
        return f'"{escaped[1:-1]}"'
    if text.count('"') > text.count("'"):
        return escaped
    return '"' + escaped[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
