"""One schema document under its canonical URI, and what it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.schemas.dialect import dialect_of
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import read_source


@dataclass(frozen=True)
class Schema:
    """A schema as its repository has it. Immutable.

    `uri` is canonical and relative (`/test/event/1.0.0`), `dialect` the `$schema` the document names, or draft-07.
    """

    uri: str
    document: Mapping[str, Any]
    title: str | None
    dialect: str

    def declares(self, path: str) -> bool:
        """Whether a field (dotted path such as `meta.id`) is declared.

        It is when every step is under `properties` (also those of an inline `allOf`), or when the path ends in an
        object that lists no properties at all and so leaves its content open. `$ref`s are not followed.
        """
        return _declares(self.document, path.split("."))


def read_schema(uri: str, data: bytes, limits: ValidationLimits, where: str | None = None) -> Schema:
    """A Schema from the bytes of its document; `where` is its file as messages name it. Raises SchemaInvalid."""
    document = read_source(data, where or uri, limits).content
    title = document.get("title")
    return Schema(uri, document, title if isinstance(title, str) else None, dialect_of(document, uri))


def _declares(schema: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    if not isinstance(schema, Mapping):
        return False
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and steps[0] in properties:
        return _declares_below(properties[steps[0]], steps[1:])
    parts = schema.get("allOf")
    return isinstance(parts, list) and any(_declares(part, steps) for part in parts)


def _declares_below(schema: Any, steps: list[str]) -> bool:
    if _declares(schema, steps):
        return True
    if not isinstance(schema, Mapping) or schema.get("additionalProperties") is False:
        return False
    return schema.get("type") == "object" and not schema.get("properties") and "allOf" not in schema
