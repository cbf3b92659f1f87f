"""The schemas of streams as documents that stand alone: every reference filled in, and the version they are of."""

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
    """The newest schema of a title. `uri` is its place in the repository; `document` holds no `$ref` to elsewhere."""

    title: str
    uri: str
    version: str
    dialect: str
    document: Mapping[str, Any]

    @property
    def media_type(self) -> str:
        """The schema's format in the words of AsyncAPI."""
        return FORMATS[self.dialect]

    @property
    def examples(self) -> list[Any]:
        found = self.document.get("examples")
        return found if isinstance(found, list) else []


def payloads(titles: Iterable[str], repository: SchemaRepository) -> dict[str, Payload]:
    """{title: its newest schema} of those that have one that can be read. Blocks on disk or network."""
    found = ((title, _payload(title, repository)) for title in dict.fromkeys(titles))
    return {title: payload for title, payload in found if payload is not None}


def field_schema(payload: Payload | None, dotted: str) -> Mapping[str, Any]:
    """What a schema says of a field (`page.page_id`); {} where it says nothing."""
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
