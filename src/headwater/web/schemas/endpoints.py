"""The schema repositories over HTTP: files here, pages in `schema_pages`, one table of routes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from headwater.errors import HeadwaterError, SchemaInvalid, SchemaNotFound
from headwater.schemas.uri import canonical_uri, version_of
from headwater.schemas.workspace.working_copy import version_text
from headwater.web.http.route import Route
from headwater.web.paths import MERGED, REPOSITORIES, SCHEMA_FOLDER, SCHEMA_LISTING
from headwater.web.problems import ProblemResponse, request_uri, status_of
from headwater.web.schemas.confluent import ConfluentReader
from headwater.web.schemas.pages import SchemaPages
from headwater.web.schemas.repository_index import (
    RepositoryIndex,
    RepositoryIndexes,
    SchemaText,
    VisibilityOf,
    everything,
)

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_FOR_ONE = "private, no-cache"
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "etag, content-location, link",
}


def schema_routes(indexes: RepositoryIndexes, visibility_of: VisibilityOf = everything) -> list[BaseRoute]:
    """All routes of the schema service, for any application. `visibility_of`: what the client of a request may see."""
    pages = SchemaPages(indexes)
    files = SchemaFiles(indexes, pages, visibility_of)
    registry = ConfluentReader(indexes, visibility_of)
    return [
        Route(REPOSITORIES, files.to_schemas, methods=["GET"]),
        Route(f"{REPOSITORIES}/", files.repositories, methods=["GET"]),
        Route(f"{REPOSITORIES}/-/static/{{name}}", pages.static, methods=["GET"]),
        Route(f"{REPOSITORIES}/{{name}}", files.to_schemas, methods=["GET"]),
        Route(f"{REPOSITORIES}/{{name}}/", files.to_schemas, methods=["GET"]),
        Route(f"{REPOSITORIES}/{{name}}/{SCHEMA_FOLDER}", files.to_schemas, methods=["GET"]),
        Route(f"{REPOSITORIES}/{{name}}/{SCHEMA_FOLDER}/{{path:path}}", files.answer, methods=["GET"]),
        Route(SCHEMA_LISTING, _listing(registry, f".{REPOSITORIES}/"), methods=["GET"]),
        Route(f"{SCHEMA_LISTING}/", _listing(registry, f"..{REPOSITORIES}/"), methods=["GET"]),
        *registry.routes(),
    ]


class SchemaFiles:
    """The files of the repositories: versions are immutable, `latest` and `current` must be revalidated."""

    def __init__(self, indexes: RepositoryIndexes, pages: SchemaPages, visibility_of: VisibilityOf) -> None:
        self._indexes = indexes
        self._pages = pages
        self._visibility_of = visibility_of
        self._is_public = True

    def repositories(self, request: Request) -> Response:
        """All repositories, as a page or (Accept: application/json) as a list; `?q=` searches them."""
        seen = self._seen(request)
        if not wants_page(request):
            return seen._answer_list(request)
        return seen._pages.search(request) if request.query_params.get("q") else seen._pages.index(request)

    def to_schemas(self, request: Request) -> Response:
        """The directory of a shortened URL."""
        name = request.path_params.get("name")
        return RedirectResponse(
            f"{REPOSITORIES}/{name}/{SCHEMA_FOLDER}/" if name else f"{REPOSITORIES}/", status_code=308
        )

    def answer(self, request: Request) -> Response:
        """A schema, a directory, or a file next to a schema."""
        seen = self._seen(request)
        try:
            return seen._answer(request)
        except HeadwaterError as error:
            # An invalid schema file is a finding about that file, not an error of the server.
            status = 422 if isinstance(error, SchemaInvalid) else status_of(error)
            if wants_page(request):
                return seen._pages.problem(request, error, status)
            answer = ProblemResponse(error, method=request.method, uri=request_uri(request.scope), status=status)
            answer.headers.update(_CORS)
            return answer

    def _seen(self, request: Request) -> SchemaFiles:
        """The same with the schemas that the client may see."""
        visibility, seen = self._visibility_of(request), copy.copy(self)
        seen._indexes, seen._is_public = self._indexes.without(visibility.hidden), visibility.is_public
        seen._pages = self._pages.seen(seen._indexes, visibility)
        return seen

    def _answer(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        indexes = self._indexes.named(request.path_params["name"])
        inner = path.rstrip("/")
        # Refuses everything that is not clearly a path in the repository, before any look-up.
        title = canonical_uri(inner).strip("/") if inner else ""
        if self._is_directory(title, indexes):
            if not path.endswith("/") and path:
                asked = request.scope["query_string"].decode("latin-1")
                query = f"?{asked}" if asked else ""
                return RedirectResponse(f"{request.scope['path']}/{query}", status_code=308, headers=_CORS)
            if wants_page(request):
                return self._pages.directory(request, title, indexes)
            return self._listing(request, title, indexes)
        if path.endswith("/"):
            self._indexes.find(title, indexes)
        return self._file(request, title, indexes)

    def _is_directory(self, path: str, indexes: tuple[RepositoryIndex, ...]) -> bool:
        below = f"{path}/" if path else ""
        return any(path in index.folders or any(t.startswith(below) for t in index.folders) for index in indexes)

    def _file(self, request: Request, path: str, indexes: tuple[RepositoryIndex, ...]) -> Response:
        title, _, name = path.rpartition("/")
        stem, form = name, _negotiated(request)
        for extension in ("yaml", "json"):
            if name.endswith(f".{extension}"):
                stem, form = name.removesuffix(f".{extension}"), extension
        index, file = self._find_file(title, stem, indexes)
        if file.suffix == ".md":
            return self._send(request, index.note_text(file), {"cache-control": _ASK_AGAIN})
        text = index.text(file, form)
        fixed = version_of(stem) is not None
        headers = {"cache-control": _FOR_EVER if fixed else _ASK_AGAIN}
        if stem == name:
            headers["vary"] = "accept"
        if not fixed:
            version = version_of(file.stem)
            target = version_text(version) if version else file.stem
            base = request.scope["path"].rsplit("/", 1)[0]
            headers["content-location"] = f"{base}/{target}{name.removeprefix(stem)}"
        return self._send(request, text, headers)

    def _find_file(self, title: str, stem: str, indexes: tuple[RepositoryIndex, ...]) -> tuple[RepositoryIndex, Any]:
        """From the first repository that has it; a later one may have a version that an earlier one lacks."""
        failure: SchemaNotFound | None = None
        for index in indexes:
            try:
                return index, index.file(title, stem)
            except SchemaNotFound as error:
                # Of several errors, that of a repository with the title is more specific.
                failure = error if failure is None or title in index.folders else failure
        assert failure is not None
        raise failure

    def _listing(self, request: Request, title: str, indexes: tuple[RepositoryIndex, ...]) -> Response:
        """A directory as JSON: the directories below it and, if it is a schema, its versions."""
        below = f"{title}/" if title else ""
        inside = {name for index in indexes for name in index.folders if name.startswith(below) and name != title}
        names = sorted({name.removeprefix(below).split("/")[0] for name in inside})
        document: dict[str, Any] = {"path": f"/{title}" if title else "/", "directories": names}
        for index in indexes:
            if title in index.folders:
                folder = index.folders[title]
                document |= {
                    "repository": index.name,
                    "title": title,
                    "versions": [version_text(version) for version in folder.versions],
                    "latest": version_text(folder.latest) if folder.latest else None,
                }
                break
        return _json(document)

    def _answer_list(self, request: Request) -> Response:
        query = request.query_params.get("q")
        if query:
            return _json({"query": query, "found": self._pages.found(query)})
        names = [
            {"name": index.name, "schemas": len(index.folders), "path": f"{REPOSITORIES}/{index.name}/{SCHEMA_FOLDER}/"}
            for index in self._indexes.indexes
        ]
        return _json({"repositories": names, "all": f"{REPOSITORIES}/{MERGED}/{SCHEMA_FOLDER}/"})

    def _send(self, request: Request, text: SchemaText, headers: Mapping[str, str]) -> Response:
        own = {**_CORS, **headers, "etag": text.tag, "x-content-type-options": "nosniff"}
        if not self._is_public:
            own["cache-control"] = _FOR_ONE
        if matches(request.headers.get("if-none-match"), text.tag):
            return Response(status_code=304, headers=own)
        return Response(text.data, headers={**own, "content-type": text.media_type})


def wants_page(request: Request) -> bool:
    """Whether to respond with a page. Only for directories: Java's HTTP client prefers text/html for files, too."""
    return "text/html" in request.headers.get("accept", "").lower()


def prefers_page(request: Request) -> bool:
    """Whether a browser sends a request to a path that clients of a registry use, too.

    Some of those are written in Java and do not set `Accept`: Java's HTTP client then prefers text/html and accepts
    `*`, which browsers never send.
    """
    qualities = _qualities(request)
    page = qualities.get("text/html", 0.0)
    return page > 0 and "*" not in qualities and all(page >= qualities[kind] for kind in qualities if "json" in kind)


def _listing(registry: ConfluentReader, pages: str) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        if prefers_page(request):
            found: Response = RedirectResponse(pages, status_code=303)
        else:
            found = registry.listing(request)
        found.headers["vary"] = "accept"
        return found

    return answer


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has this representation (RFC 9110, weak comparison)."""
    if not if_none_match:
        return False
    given = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in given or tag in given


def _negotiated(request: Request) -> str:
    """`json` only if `Accept` names and prefers it; without an extension the format is YAML otherwise (§1)."""
    best, form = 0.0, "yaml"
    for kind, quality in _qualities(request).items():
        is_json = kind in ("application/json", "application/schema+json", "text/json")
        is_yaml = kind in ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/vnd.yaml")
        if (is_json or is_yaml) and quality > best:
            best, form = quality, "json" if is_json else "yaml"
    return form


def _qualities(request: Request) -> dict[str, float]:
    """Media type → quality (0 to 1), in the order of the header `Accept`."""
    found: dict[str, float] = {}
    for part in ",".join(request.headers.getlist("accept")).lower().split(","):
        kind, *parameters = [word.strip() for word in part.split(";")]
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        found[kind] = max(quality, found.get(kind, 0.0))
    return found


def _json(document: Any) -> Response:
    return JSONResponse(document, headers={**_CORS, "cache-control": _ASK_AGAIN, "vary": "accept"})
