"""The schemas of streams as self-contained documents: with all references resolved, and their version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import HeadwaterError
from headwater.schemas.dialect import DRAFT_04, DRAFT_07, DRAFT_2020_12
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.workspace.dereference import Document, dereference

FORMATS = {
    DRAFT_04: "application/schema+json;version=draft-04",
    DRAFT_07: "application/schema+json;version=draft-07",
    DRAFT_2020_12: "application/schema+json;version=2020-12",
}


@dataclass(frozen=True, slots=True)
class Payload:
    """The latest schema of a title. `uri` is its path in the repository; `document` has no external `$ref`."""

    title: str
    uri: str
    version: str
    dialect: str
    document: Mapping[str, Any]

    @property
    def media_type(self) -> str:
        """AsyncAPI's name for the schema's format."""
        return FORMATS[self.dialect]

    @property
    def examples(self) -> list[Any]:
        found = self.document.get("examples")
        return found if isinstance(found, list) else []


def payloads(titles: Iterable[str], repository: SchemaRepository) -> dict[str, Payload]:
    """{title: its latest schema}, for titles with a readable one. Blocks on disk or network."""
    found = ((title, _payload(title, repository)) for title in dict.fromkeys(titles))
    return {title: payload for title, payload in found if payload is not None}


def field_schema(payload: Payload | None, dotted: str) -> Mapping[str, Any]:
    """The schema of a field (`page.page_id`); {} if it is not declared."""
    schema: Any = payload.document if payload is not None else {}
    for name in dotted.split("."):
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        schema = properties.get(name) if isinstance(properties, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _payload(title: str, repository: SchemaRepository) -> Payload | None:
    try:
        schema = repository.get(f"/{title}/latest")

        def fetch(path: str, where: str) -> Document:
            fetched = repository.get(path)
            return Document(fetched.uri, where, fetched.document)

        whole = dereference(Document(schema.uri, schema.uri, schema.document), fetch, ValidationLimits())
    except HeadwaterError:
        return None
    return Payload(title, schema.uri, schema.uri.rsplit("/", 1)[-1], schema.dialect, whole)
