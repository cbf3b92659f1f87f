"""One violation with everything that both report formats need, and the path notations they use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from headwater.errors import Violation
from headwater.event import json_bytes

_IDENTIFIER = re.compile(r"[A-Za-z$_][A-Za-z$_0-9]*")
# A longer name is shortened in a path, because paths are built for each step into an event.
_NAME_CHARS_MAX = 256
_ESCAPES = str.maketrans({"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\f": "\\f", "\t": "\\t"})


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an event: as a JSON pointer, and in the JavaScript notation of the legacy error lists."""

    pointer: str = ""
    data_path: str = ""

    def property(self, name: str) -> Place:
        """A property the schema names."""
        name = _shown(name)
        plain = _IDENTIFIER.fullmatch(name)
        step = f".{name}" if plain else f"['{name.translate(_ESCAPES)}']"
        return Place(self.pointer + pointer_step(name), self.data_path + step)

    def key(self, name: str) -> Place:
        """A property the schema does not name; the legacy notation brackets these without escaping."""
        name = _shown(name)
        return Place(self.pointer + pointer_step(name), f"{self.data_path}['{name}']")

    def item(self, index: int) -> Place:
        return Place(f"{self.pointer}/{index}", f"{self.data_path}[{index}]")


@dataclass(frozen=True, slots=True)
class KeywordViolation:
    """A violation as the legacy validator words it: `message` follows the path in a sentence ("should be string")."""

    keyword: str
    place: Place
    schema_path: str
    params: dict[str, Any]
    message: str

    def violation(self) -> Violation:
        return Violation(self.place.pointer, self.keyword, self.message, self.schema_path)

    def legacy_error(self) -> dict[str, Any]:
        return {
            "keyword": self.keyword,
            "dataPath": self.place.data_path,
            "schemaPath": self.schema_path,
            "params": self.params,
            "message": self.message,
        }

    def size(self) -> int:
        """Its approximate number of characters in a response."""
        listed = self.params.get("allowedValues", self.params.get("allowedValue"))
        values = 0 if listed is None else len(json_bytes(listed))
        return 150 + 2 * len(self.place.data_path) + len(self.schema_path) + 2 * len(self.message) + values


def _shown(name: str) -> str:
    return name if len(name) <= _NAME_CHARS_MAX else name[:_NAME_CHARS_MAX] + "…"


def pointer_step(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def fragment_step(name: str) -> str:
    """A name as a step of a legacy schema path: pointer-escaped, then percent-encoded as JavaScript does."""
    return "/" + quote(name.replace("~", "~0").replace("/", "~1"), safe="-_.!~*'()")


def number_text(value: float) -> str:
    """A number as JavaScript prints it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        value = int(value)
    text = repr(value)
    return re.sub(r"e([-+])0+", r"e\1", text)
