"""The pages of the schema repositories: directories, schemas with fields and users, differences, search."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from headwater import __version__
from headwater.errors import FilterInvalid, HeadwaterError, SchemaNotFound
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.targets import TARGETS, map_types
from headwater.schemas.workspace.working_copy import SchemaFolder, version_text
from headwater.web.paths import MERGED
from headwater.web.schemas.pages_changes import diff_lines, difference, previous_of
from headwater.web.schemas.pages_fields import FieldRow, field_rows
from headwater.web.schemas.repository_index import (
    RepositoryIndex,
    RepositoryIndexes,
    SchemaVisibility,
    json_text,
    versions_of,
)

FOUND_MAX = 200
EXAMPLES_MAX = 5
# Each is searched in every field of every schema.
WORDS_MAX = 20
_STATIC = {
    "page.css": "text/css; charset=utf-8",
    "schemas.css": "text/css; charset=utf-8",
    "headwater.svg": "image/svg+xml",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "referrer-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "accept",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a directory: a schema (`latest` is its latest version), a directory of schemas, or both."""

    name: str
    href: str
    title: str | None
    latest: str | None
    description: str
    fields: int
    below: int
    repository: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: a schema, its matching fields, and a score, higher being better."""

    repository: str
    title: str
    description: str
    fields: tuple[FieldRow, ...]
    weight: int


class SchemaPages:
    """Renders as a page what `schemas.SchemaFiles` has decided to show."""

    def __init__(self, indexes: RepositoryIndexes) -> None:
        self._indexes = indexes
        self._visibility = SchemaVisibility()
        self._static = {name: files("headwater.web").joinpath("static", name).read_bytes() for name in _STATIC}
        environment = Environment(
            loader=PackageLoader("headwater.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        environment.filters["breakable"] = _breakable
        environment.filters["pretty"] = json_text
        environment.filters["with_code"] = _with_code
        self._templates = {
            name: environment.get_template(f"schema_{name}.html")
            for name in ("index", "directory", "schema", "difference", "search", "problem")
        }

    def seen(self, indexes: RepositoryIndexes, visibility: SchemaVisibility) -> SchemaPages:
        """The same pages, limited to what one client may see."""
        seen = copy.copy(self)
        seen._indexes, seen._visibility = indexes, visibility
        return seen

    def static(self, request: Request) -> Response:
        """The style of the pages; a new release uses another `?v=`."""
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404)
        age = "public, max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
        return Response(self._static[name], headers={"content-type": _STATIC[name], "cache-control": age})

    def index(self, request: Request) -> Response:
        """Every repository with its top directory."""
        indexes = [(index, self._entries("", (index,))) for index in self._indexes.indexes]
        return self._page(request, "index", indexes=indexes)

    def directory(self, request: Request, title: str, indexes: Sequence[RepositoryIndex]) -> Response:
        """The directory at `title`: the page of the schema, if it is one, and the directories below it."""
        if any(title in index.folders for index in indexes):
            index, folder = self._indexes.find(title, indexes)
            return self._schema(request, index, folder, self._entries(title, indexes))
        return self._page(request, "directory", title=title, steps=_steps(title), entries=self._entries(title, indexes))

    def search(self, request: Request) -> Response:
        """Schemas whose title, description or fields contain every word of `?q=`."""
        query = request.query_params["q"].strip()
        hits = self._hits(query)
        return self._page(request, "search", query=query, hits=hits[:FOUND_MAX], hits_total=len(hits))

    def found(self, query: str) -> list[dict[str, Any]]:
        """The same as plain values."""
        return [
            {"repository": hit.repository, "title": hit.title, "fields": [row.path for row in hit.fields]}
            for hit in self._hits(query.strip())[:FOUND_MAX]
        ]

    def problem(self, request: Request, error: HeadwaterError, status: int) -> Response:
        """A page with an error and its hint."""
        return self._page(request, "problem", status=status, error=error)

    def _schema(self, request: Request, index: RepositoryIndex, folder: SchemaFolder, below: list[Entry]) -> Response:
        asked = request.query_params
        newest = version_text(folder.latest) if folder.latest is not None else "current"
        chosen = asked.get("version", newest)
        document = index.document(index.file(folder.title, chosen))
        versions = [version_text(version) for version in versions_of(folder)]
        known = {
            "shelf": index,
            "title": folder.title,
            "steps": _steps(folder.title),
            "version": chosen,
            "newest": newest,
            "versions": versions,
            "has_current": folder.current is not None,
            "document": document,
            "previous": previous_of(folder, chosen),
        }
        if "from" in asked:
            return self._difference(request, index, folder, known, asked["from"])
        target = asked.get("types", "")
        examples = document.get("examples")
        return self._page(
            request,
            "schema",
            **known,
            rows=field_rows(document),
            source=index.text(index.file(folder.title, chosen), "yaml").data.decode("utf-8", "replace"),
            examples=examples[:EXAMPLES_MAX] if isinstance(examples, list) else [],
            below=below,
            streams=self._visibility.streams.get(folder.title, []),
            referring=self._indexes.referring(folder.title),
            built_on=self._indexes.built_on(index, folder),
            notes=[(path.name, index.note_text(path).data.decode("utf-8", "replace")) for path in index.notes(folder)],
            targets=list(TARGETS),
            target=target if target in TARGETS else "",
            types=self._types(document, target) if target in TARGETS else None,
        )

    def _difference(
        self, request: Request, index: RepositoryIndex, folder: SchemaFolder, known: dict[str, Any], before: str
    ) -> Response:
        old_file, new_file = index.file(folder.title, before), index.file(folder.title, known["version"])
        old, new = index.document(old_file), known["document"]
        shown = difference(folder, (before, old), (known["version"], new), self._indexes)
        lines = diff_lines(index.text(old_file, "yaml").data, index.text(new_file, "yaml").data)
        return self._page(request, "difference", **known, before=before, shown=shown, lines=lines)

    def _types(self, document: Mapping[str, Any], target: str) -> tuple[str, list[str], str | None]:
        """The types' text, remarks, and what cannot be represented; with JSON columns if needed."""
        trouble = None
        try:
            typed = read_types(document, self._indexes.document_at)
            try:
                mapping = map_types(typed, target, options=FitOptions(comments=False))
            except HeadwaterError as error:
                trouble = error.message
                mapping = map_types(typed, target, options=FitOptions(json_columns=True, comments=False))
        except HeadwaterError as error:
            return "", [], error.message
        return mapping.text, [f"{note.path} {note.sentence}" for note in mapping.notes], trouble

    def _entries(self, title: str, indexes: Sequence[RepositoryIndex]) -> list[Entry]:
        below = f"{title}/" if title else ""
        found: dict[str, list[tuple[RepositoryIndex, str]]] = {}
        for index in indexes:
            for name in index.folders:
                if name.startswith(below) and name != title:
                    found.setdefault(name.removeprefix(below).split("/")[0], []).append((index, name))
        return [self._entry(name, below + name, members) for name, members in sorted(found.items())]

    def _entry(self, name: str, title: str, members: Sequence[tuple[RepositoryIndex, str]]) -> Entry:
        own = next((index for index, member in members if member == title), None)
        others = len({member for _, member in members if member != title})
        index = own or members[0][0]
        href = f"{index.name}/jsonschema/{title}/"
        if own is None:
            return Entry(name, href, None, None, "", 0, others, index.name)
        folder = own.folders[title]
        document = _document(own, folder)
        latest = version_text(folder.latest) if folder.latest is not None else None
        fields = len(field_rows(document))
        return Entry(name, href, title, latest, _first_sentence(document), fields, others, index.name)

    def _hits(self, query: str) -> list[Hit]:
        words = list(dict.fromkeys(query.lower().split()))
        if len(words) > WORDS_MAX:
            raise FilterInvalid(f"A search has {len(words):,} words; at most {WORDS_MAX} are allowed.")
        found = []
        for index, folder in self._indexes.schemas():
            hit = _hit(index, folder, words)
            if hit is not None:
                found.append(hit)
        return sorted(found, key=lambda hit: (-hit.weight, hit.title))

    def _page(self, request: Request, template: str, **known: Any) -> Response:
        top = f"{request.scope.get('root_path', '')}/"
        # The standalone schema service has no other pages to link to.
        platform = getattr(request.app.state, "platform", None)
        content = self._templates[template].render(
            root=f"{top}repositories",
            top=top,
            service=platform.config.intake.service_name if platform else "Schemas",
            alone=platform is None,
            here=request.path_params.get("name", MERGED),
            names=[index.name for index in self._indexes.indexes],
            merged=MERGED,
            release=__version__,
            asked=request.query_params.get("q", ""),
            **known,
        )
        status = known.get("status", 200)
        return HTMLResponse(content, status_code=status, headers=_HEADERS)


def _hit(index: RepositoryIndex, folder: SchemaFolder, words: Sequence[str]) -> Hit | None:
    """Every word must occur in the schema; a title counts more than a field, a name more than a text."""
    document = _document(index, folder)
    description = str(document.get("description", ""))
    rows = field_rows(document)
    weight, fields = 0, {}
    for word in words:
        named = [row for row in rows if word in (row.path if "." in word else row.name).lower()]
        matching = [row for row in rows if word in row.description.lower()]
        points = (
            8 * (word in folder.title.lower()) + 4 * bool(named) + 2 * (word in description.lower()) + bool(matching)
        )
        if not points:
            return None
        weight += points
        fields.update({row.path: row for row in (named or matching)})
    order = [row for row in rows if row.path in fields]
    return Hit(index.name, folder.title, _first_sentence(document), tuple(order), weight)


def _document(index: RepositoryIndex, folder: SchemaFolder) -> Mapping[str, Any]:
    """The latest document, or {} if it cannot be read: one bad file must not hide the others."""
    file = index.newest(folder)
    try:
        return index.document(file) if file is not None else {}
    except (HeadwaterError, SchemaNotFound):
        return {}


def _steps(title: str) -> list[tuple[str, str]]:
    """The parent directories of a title, each as (name, path with a slash at its end)."""
    names = title.split("/") if title else []
    return [(name, "/".join(names[: index + 1]) + "/") for index, name in enumerate(names)]


def _first_sentence(document: Mapping[str, Any]) -> str:
    text = " ".join(str(document.get("description") or "").split())
    match = re.match(r".{20,}?[.!?](?=\s|$)", text)
    sentence = match[0] if match else text
    return sentence if len(sentence) <= 200 else sentence[:199].rstrip() + "…"


def _breakable(name: str) -> Markup:
    """A long path with possible line breaks after dots, slashes and underscores."""
    return Markup(re.sub(r"([._/])", r"\1<wbr>", str(escape(name))))


def _with_code(text: str) -> Markup:
    """A sentence in which text in backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
