"""Replaces every `$ref` by what it refers to (contracts/schemas.md §2.3).

How this works: the document is copied from the top down. A `$ref` (in any place, also in examples) is a path into the
same document or `/title/version#/pointer`, which is searched in the given sources in order; its target is copied in
turn, relative to *its* document. The references being followed are a chain, and one that occurs again in its own chain
is circular. Size, depth and number of documents are limited while copying, so nothing large is ever built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from headwater.errors import SchemaInvalid
from headwater.schemas.limits import ValidationLimits

# The result of fetching a document: its name in messages, its place in its repository, and its content.
Fetch = Callable[[str, str], "Document"]

_CHAIN_MAX = 50
_ABSENT = object()


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A document that `$ref`s are resolved in. `uri` is its place in the repository (`/title/1.0.0`)."""

    uri: str
    where: str
    content: Any


def dereference(document: Document, fetch: Fetch, limits: ValidationLimits) -> dict[str, Any]:
    """The document without any `$ref`; it shares no objects with the input, except within its `examples`.

    `fetch(path, where)` returns the document that a `$ref` names by path. `examples` are kept only if the document
    itself has some. Raises SchemaInvalid for circular and unresolvable references, and what `fetch` raises.
    """
    copier = _Copier(document, fetch, limits)
    content = {name: value for name, value in document.content.items() if name != "examples"}
    whole = copier.copy(content, document, 0)
    if not isinstance(whole, dict):
        raise SchemaInvalid(f"The schema at {document.where} is not an object.")
    whole.pop("examples", None)
    if "examples" in document.content:
        whole["examples"] = copier.examples(document.content["examples"], document)
    return whole


class _Copier:
    def __init__(self, root: Document, fetch: Fetch, limits: ValidationLimits) -> None:
        self._root = root
        self._fetch = fetch
        self._limits = limits
        self._documents: dict[str, Document] = {root.uri: root}
        self._chain: list[tuple[int, str]] = []
        self._shared: dict[int, Any] | None = None
        self._nodes = 0

    def examples(self, value: Any, document: Document) -> Any:
        """A copy in which an object that a YAML alias repeats stays one object, because it is printed as an alias
        again.
        """
        self._shared = {}
        return self.copy(value, document, 1)

    def copy(self, value: Any, document: Document, depth: int) -> Any:
        self._nodes += 1
        if not isinstance(value, dict | list):
            return value
        if self._nodes > self._limits.document_nodes_max or depth > self._limits.document_depth_max:
            raise SchemaInvalid(
                f"The schema at {self._root.where} is too large once its references are resolved: more than "
                f"{self._limits.document_nodes_max} values or {self._limits.document_depth_max} levels.",
                hint="Refer to less, or split the schema.",
            )
        if self._shared is not None and id(value) in self._shared:
            return self._shared[id(value)]
        if isinstance(value, list):
            copy: Any = [self.copy(item, document, depth + 1) for item in value]
        elif isinstance(reference := value.get("$ref"), str) and reference:
            copy = self._followed(value, reference, document, depth)
        else:
            copy = {name: self.copy(child, document, depth + 1) for name, child in value.items()}
        if self._shared is not None:
            self._shared[id(value)] = copy
        return copy

    def _followed(self, value: dict[str, Any], reference: str, document: Document, depth: int) -> Any:
        """The target of the reference; sibling keywords win over those of a target object."""
        target, home = self._target(reference, document, depth)
        shown = f"{document.uri}: {reference}"
        if any(known == id(target) for known, _ in self._chain if isinstance(target, dict | list)):
            raise self._circle(shown)
        if len(self._chain) >= _CHAIN_MAX:
            raise SchemaInvalid(f"The schema at {self._root.where} follows more than {_CHAIN_MAX} references in a row.")
        self._chain.append((id(target), shown))
        try:
            copy = self.copy(target, home, depth)
        finally:
            self._chain.pop()
        if isinstance(copy, dict) and len(value) > 1:
            copy = dict(copy)
            siblings = ((name, child) for name, child in value.items() if name != "$ref")
            copy.update((name, self.copy(child, document, depth + 1)) for name, child in siblings)
        return copy

    def _target(self, reference: str, document: Document, depth: int) -> tuple[Any, Document]:
        path, _, fragment = reference.partition("#")
        home = self._document(path, document) if path.removeprefix("./") else document
        target = home.content
        tokens = [one.replace("~1", "/").replace("~0", "~") for one in unquote(fragment).strip("/").split("/")]
        for token in tokens if unquote(fragment).strip("/") else ():
            if isinstance(target, dict) and token not in target and isinstance(target.get("$ref"), str):
                # The path leads through another reference.
                target, home = self._through(target, home, depth)
            target = _step(target, token)
            if target is _ABSENT:
                raise SchemaInvalid(
                    f"The schema at {document.where} refers to {reference!r}, which does not exist.",
                    hint=f"Look for {fragment!r} in {home.where}.",
                )
        return target, home

    def _through(self, value: dict[str, Any], home: Document, depth: int) -> tuple[Any, Document]:
        if (id(value), "") in self._chain or len(self._chain) >= _CHAIN_MAX:
            raise self._circle(value["$ref"])
        self._chain.append((id(value), ""))
        try:
            target, found = self._target(value["$ref"], home, depth)
        finally:
            self._chain.pop()
        if isinstance(target, dict) and len(value) > 1:
            target = {**target, **{name: child for name, child in value.items() if name != "$ref"}}
        return target, found

    def _circle(self, last: str) -> SchemaInvalid:
        names = " → ".join([*(name for _, name in self._chain if name), last])
        return SchemaInvalid(
            f"The schema at {self._root.where} refers to itself in a cycle: {names}.",
            hint="A materialized schema has no references, so a recursive one cannot be written; break the cycle.",
        )

    def _document(self, path: str, document: Document) -> Document:
        if not path.startswith("/") and "://" not in path:
            path = _joined(document.uri, path)
        known = self._documents.get(path)
        if known is None:
            if len(self._documents) >= self._limits.documents_max:
                raise SchemaInvalid(
                    f"The schema at {self._root.where} needs more than {self._limits.documents_max} documents."
                )
            known = self._documents[path] = self._fetch(path, document.where)
        return known


def _joined(uri: str, path: str) -> str:
    """A relative path seen from a document's place."""
    steps = uri.split("/")[:-1]
    for step in path.split("/"):
        if step == ".." and len(steps) > 1:
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    return "/".join(steps)


def _step(container: Any, token: str) -> Any:
    if isinstance(container, dict):
        return container.get(token, _ABSENT)
    if isinstance(container, list) and token.isdigit() and int(token) < len(container):
        return container[int(token)]
    return _ABSENT
