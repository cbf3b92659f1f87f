"""The schema of an event and everything its `$ref`s reach, resolved through the repository and nothing else.

How this works: every schema that can be reached is a node, keyed by the identity of its Python object (documents are
never copied or changed). A reference is resolved as a URI against the nearest `$id`; what is outside the starting
document is read from the repository by path, and a reference to any other host is refused before anything is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from headwater.errors import HeadwaterError, SchemaInvalid, SchemaUnavailable
from headwater.schemas.dialect import (
    DRAFT_04,
    DRAFT_2020_12,
    IN_PLACE,
    check_against_metaschema,
    subschemas,
)
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.security import check_secure

# Relative identifiers need some absolute base. `.invalid` can never be a host (RFC 2606).
BASE = "http://schemas.invalid"


@dataclass
class Node:
    """One reachable schema: the schemas for the same value, those for its parts, and the target of its `$ref`."""

    schema: Any
    base: str
    dialect: str
    in_place: list[int] = field(default_factory=list)
    descending: list[int] = field(default_factory=list)
    target: int | None = None

    @property
    def ref_replaces(self) -> bool:
        """Before 2019-09 a `$ref` makes the engine ignore every sibling keyword."""
        return self.target is not None and self.dialect != DRAFT_2020_12


class SchemaGraph:
    """Every schema reachable from one root. Raises SchemaInvalid or SchemaUnavailable while it is built."""

    def __init__(self, root: Schema, repository: SchemaRepository, limits: ValidationLimits) -> None:
        self._repository = repository
        self._limits = limits
        self._documents: dict[str, Schema] = {}
        self._named: dict[str, tuple[Any, str, str]] = {}
        self.nodes: dict[int, Node] = {}
        self.root = root
        self._add_document(BASE + root.uri, root)
        self.root_id = self._add(root.document, self._base_of(root.document, BASE + root.uri), root.dialect)
        self._refuse_endless()
        if self._applications(self.root_id, {}) > limits.applications_max:
            raise SchemaInvalid(f"The schema {root.uri} applies its parts to the same value far too often.")

    @property
    def documents(self) -> Mapping[str, Schema]:
        """Every document used, by the absolute URL under which it is referred to."""
        return self._documents

    def document_at(self, url: str) -> Schema:
        """The document a reference names, from the cache or the repository. Raises SchemaInvalid, SchemaUnavailable."""
        url = url.removesuffix("#")
        known = self._documents.get(url)
        if known is not None:
            return known
        if not url.startswith(BASE + "/"):
            raise SchemaInvalid(
                f"The schema {self.root.uri} refers to {url!r}, which is outside the schema repositories.",
                hint="Refer to other schemas by their path, as in `$ref: /fragment/common/1.0.0`.",
            )
        uri = url[len(BASE) :]
        try:
            schema = self._repository.get(uri)
        except SchemaUnavailable:
            raise
        except HeadwaterError as error:
            raise SchemaInvalid(f"The schema {self.root.uri} refers to {uri}: {error.message}") from None
        if len(self._documents) >= self._limits.documents_max:
            raise SchemaInvalid(f"The schema {self.root.uri} needs more than {self._limits.documents_max} documents.")
        self._add_document(url, schema)
        return schema

    def _add_document(self, url: str, schema: Schema) -> None:
        _check_names(schema)
        check_against_metaschema(schema.document, schema.dialect, schema.uri)
        if not self._limits.allow_insecure_schemas:
            check_secure(schema.document, schema.uri)
        self._documents[url] = schema
        self._name(schema.document, url, schema.dialect, is_root=True)

    def _name(self, schema: Any, base: str, dialect: str, *, is_root: bool = False) -> None:
        """Record each `$id` and anchor of a document, so that references by name find their schema."""
        if not isinstance(schema, dict):
            return
        identifier = _identifier(schema)
        if identifier and not (is_root and identifier.startswith("#")):
            url = urljoin(base, identifier)
            base = urldefrag(url).url or base
            self._named.setdefault(url.removesuffix("#"), (schema, base, dialect))
        if is_root:
            self._named.setdefault(base, (schema, base, dialect))
        if isinstance(schema.get("$anchor"), str):
            self._named.setdefault(f"{base}#{schema['$anchor']}", (schema, base, dialect))
        for _, child in subschemas(schema, definitions=True):
            self._name(child, base, dialect)

    def _base_of(self, schema: Any, base: str) -> str:
        identifier = _identifier(schema) if isinstance(schema, dict) else None
        return urldefrag(urljoin(base, identifier)).url if identifier else base

    def _add(self, schema: Any, base: str, dialect: str) -> int:
        key = id(schema)
        if key in self.nodes or not isinstance(schema, dict):
            self.nodes.setdefault(key, Node(schema, base, dialect))
            return key
        if len(self.nodes) >= self._limits.document_nodes_max:
            raise SchemaInvalid(f"The schema {self.root.uri} has more than {self._limits.document_nodes_max} parts.")
        node = self.nodes[key] = Node(schema, base, dialect)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target, target_base, target_dialect = self._resolve(base, reference, dialect)
            node.target = self._add(target, target_base, target_dialect)
            node.in_place.append(node.target)
        if node.ref_replaces:
            return key
        for path, child in subschemas(schema, definitions=False):
            child_key = self._add(child, self._base_of(child, base), dialect)
            (node.in_place if path[0] in IN_PLACE else node.descending).append(child_key)
        return key

    def _resolve(self, base: str, reference: str, dialect: str) -> tuple[Any, str, str]:
        url = urljoin(base, reference).removesuffix("#")
        if url in self._named:
            return self._named[url]
        where, fragment = urldefrag(url)
        if where in self._named:
            schema, schema_base, dialect = self._named[where]
        else:
            document = self.document_at(where)
            dialect = document.dialect
            schema, schema_base = document.document, self._base_of(document.document, where)
        if not fragment:
            return schema, schema_base, dialect
        for token in unquote(fragment).split("/")[1:] if fragment.startswith("/") else [None]:
            schema = _step(schema, token)
            if not isinstance(schema, dict | list | bool):
                raise SchemaInvalid(f"The schema {self.root.uri} refers to {reference!r}, but there is no schema.")
            schema_base = self._base_of(schema, schema_base)
        return schema, schema_base, dialect

    def _refuse_endless(self) -> None:
        """Refuse a schema that applies itself to the same value again, because its validation would never end."""
        done: set[int] = set()
        for start in list(self.nodes):
            stack, path = [(start, False)], set[int]()
            while stack:
                key, leaving = stack.pop()
                if leaving:
                    path.discard(key)
                    done.add(key)
                elif key in path:
                    raise SchemaInvalid(f"The schema {self.root.uri} refers to itself without end.")
                elif key not in done:
                    path.add(key)
                    stack.append((key, True))
                    stack.extend((child, False) for child in self.nodes[key].in_place)

    def _applications(self, key: int, known: dict[int, int]) -> int:
        """How many schemas can apply along one path into an event; a recursion counts once, because the engine caches
        it.
        """
        if key in known:
            return known[key]
        known[key] = 1
        node = self.nodes[key]
        total = 1 + sum(self._applications(child, known) for child in node.in_place)
        named = {id(child) for child in node.schema.get("properties", {}).values()} if node.descending else set()
        counts = [(child in named, self._applications(child, known)) for child in node.descending]
        total += max((count for is_named, count in counts if is_named), default=0)
        total += sum(count for is_named, count in counts if not is_named)
        known[key] = total
        return total


def _identifier(schema: Mapping[str, Any]) -> str | None:
    """`$id`, or draft-04's `id`; ignored next to `$ref`, as in draft-07."""
    if "$ref" in schema:
        return None
    for keyword in ("$id", "id"):
        value = schema.get(keyword)
        if isinstance(value, str) and (keyword == "$id" or schema.get("$schema", "").startswith(DRAFT_04[:-1])):
            return value
    return None


def _check_names(schema: Schema) -> None:
    named, old_style = schema.document.get("$id"), schema.document.get("id")
    if isinstance(named, str) and isinstance(old_style, str) and named != old_style:
        raise SchemaInvalid(f"The schema at {schema.uri} has an `id` that differs from its `$id`.")


def _step(container: Any, token: str | None) -> Any:
    if token is None:
        return None
    token = token.replace("~1", "/").replace("~0", "~")
    if isinstance(container, dict):
        return container.get(token)
    if isinstance(container, list) and token.isdigit() and int(token) < len(container):
        return container[int(token)]
    return None
