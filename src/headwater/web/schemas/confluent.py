"""The read endpoints of Confluent's schema registry API, for serdes and consoles, answered from the repositories.

How this works: a subject is a schema's title, and for each stream of the platform `<stream>-value`. A version is the
semantic version as one number (1.2.3 is 1002003), an id 31 bits of the SHA-256 of `/title/version`: both depend only on
the version's name, so they are the same after a restart, on another machine and after any addition.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.errors import HeadwaterError, SchemaInvalid
from headwater.event import json_bytes, read_json
from headwater.schemas.dialect import proper_name, with_proper_names
from headwater.schemas.json_value import json_equal
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, version_text
from headwater.web.http.headers import is_number, is_on
from headwater.web.http.places import REGISTRY_MEDIA_TYPE, registry_failure
from headwater.web.http.route import Route
from headwater.web.http.threads import in_thread
from headwater.web.schemas.repository_index import RepositoryIndex, RepositoryIndexes, SchemaVisibility, VisibilityOf

BODY_BYTES_MAX = 1_048_576
_LEVEL = "BACKWARD_TRANSITIVE"
_VALUE = "-value"
_PART_MAX = 999
_MAJOR_MAX = 2146
_SEMANTIC_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){2}")


@dataclass(frozen=True, slots=True)
class _Registered:
    """One version of a schema with the registry's names."""

    index: RepositoryIndex
    folder: SchemaFolder
    version: Version
    number: int
    id: int

    def schema(self) -> str:
        """The schema as JSON text, with its dialect under the name that the registry's clients know."""
        return with_proper_names(self.index.text(self.folder.versions[self.version], "json").data.decode())


class RegistryError(Exception):
    """An answer in the registry's own form: an HTTP status, a code and a sentence."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def number_of(version: Version) -> int | None:
    """1.2.3 → 1002003; None for a version without such a number."""
    major, minor, patch = version
    if major > _MAJOR_MAX or minor > _PART_MAX or patch > _PART_MAX or version == (0, 0, 0):
        return None
    return major * 1_000_000 + minor * 1_000 + patch


@lru_cache(maxsize=65_536)
def id_of(title: str, version: Version) -> int:
    """The id of a version: a positive 31-bit number."""
    digest = hashlib.sha256(f"/{title}/{version_text(version)}".encode()).digest()
    return (int.from_bytes(digest[:4], "big") & 0x7FFFFFFF) or 1


_Endpoint = Callable[["ConfluentReader", Request], Any]


class ConfluentReader:
    """The endpoints. `visibility_of`: what the client of a request may see."""

    def __init__(self, indexes: RepositoryIndexes, visibility_of: VisibilityOf) -> None:
        self._indexes = indexes
        self._visibility_of = visibility_of
        self._visibility = SchemaVisibility()

    def routes(self) -> list[BaseRoute]:
        """The registry's paths, at the root as its clients expect them."""
        table: list[tuple[str, _Endpoint]] = [
            ("/subjects", ConfluentReader.subjects),
            ("/subjects/{subject:path}/versions", ConfluentReader.versions),
            ("/subjects/{subject:path}/versions/{version}", ConfluentReader.version),
            ("/subjects/{subject:path}/versions/{version}/schema", ConfluentReader.version_schema),
            ("/subjects/{subject:path}/versions/{version}/referencedby", ConfluentReader.referenced_by),
            ("/schemas/types", lambda reader, request: ["JSON"]),
            ("/schemas/ids/{id}", ConfluentReader.by_id),
            ("/schemas/ids/{id}/schema", ConfluentReader.schema_by_id),
            ("/schemas/ids/{id}/subjects", ConfluentReader.subjects_by_id),
            ("/schemas/ids/{id}/versions", ConfluentReader.versions_by_id),
            ("/config", lambda reader, request: {"compatibilityLevel": _LEVEL}),
            ("/config/{subject:path}", ConfluentReader.config),
            ("/mode", lambda reader, request: {"mode": "READONLY"}),
            ("/mode/{subject:path}", ConfluentReader.mode),
        ]
        routes: list[BaseRoute] = [Route(path, self._reading(endpoint), methods=["GET"]) for path, endpoint in table]
        # Longest first: a subject may contain slashes, and the first matching route is used.
        routes.sort(key=lambda route: -len(getattr(route, "path", "")))
        return [
            *routes,
            Route("/subjects/{subject:path}/versions", self.register, methods=["POST"]),
            Route("/subjects/{subject:path}", self.look_up, methods=["POST"]),
        ]

    def listing(self, request: Request) -> Response:
        """GET /schemas: every version of every subject."""
        return self._reading(ConfluentReader.schemas)(request)

    def subjects(self, request: Request) -> list[str]:
        prefix = request.query_params.get("subjectPrefix", "")
        # `:*:` means "of every context"; there is only one here.
        return sorted(subject for subject in self._subjects() if subject.startswith(prefix.removeprefix(":*:")))

    def versions(self, request: Request) -> list[int]:
        return [one.number for one in self._registered(request.path_params["subject"])]

    def version(self, request: Request) -> dict[str, Any]:
        subject = request.path_params["subject"]
        return _document(subject, self._version(subject, request.path_params["version"]))

    def version_schema(self, request: Request) -> _Raw:
        return _Raw(self._version(request.path_params["subject"], request.path_params["version"]).schema())

    def referenced_by(self, request: Request) -> list[int]:
        """Ids of the latest versions of the schemas that reference this version."""
        chosen = self._version(request.path_params["subject"], request.path_params["version"])
        name = version_text(chosen.version)
        titles = [one.title for one in self._indexes.referring(chosen.folder.title) if one.version == name]
        return [newest[-1].id for title in titles if (newest := self._of_title(title))]

    def schemas(self, request: Request) -> list[dict[str, Any]]:
        prefix = request.query_params.get("subjectPrefix", "").removeprefix(":*:")
        latest_only = is_on(request.query_params.getlist("latestOnly"))
        found = []
        for subject in sorted(self._subjects()):
            if subject.startswith(prefix):
                registered = self._registered(subject)
                chosen = registered[-1:] if latest_only else registered
                found += [document for one in chosen if (document := _readable(subject, one))]
        return found

    def by_id(self, request: Request) -> dict[str, Any]:
        return {"schemaType": "JSON", "schema": self._by_id(request).schema()}

    def schema_by_id(self, request: Request) -> _Raw:
        return _Raw(self._by_id(request).schema())

    def subjects_by_id(self, request: Request) -> list[str]:
        title = self._by_id(request).folder.title
        return sorted([title, *self._subjects_of(title)])

    def versions_by_id(self, request: Request) -> list[dict[str, Any]]:
        one = self._by_id(request)
        return [{"subject": subject, "version": one.number} for subject in self.subjects_by_id(request)]

    def config(self, request: Request) -> dict[str, Any]:
        subject = request.path_params["subject"]
        self._registered(subject)
        if is_on(request.query_params.getlist("defaultToGlobal")):
            return {"compatibilityLevel": _LEVEL}
        raise RegistryError(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured")

    def mode(self, request: Request) -> dict[str, Any]:
        subject = request.path_params["subject"]
        self._registered(subject)
        if is_on(request.query_params.getlist("defaultToGlobal")):
            return {"mode": "READONLY"}
        raise RegistryError(404, 40409, f"Subject '{subject}' does not have subject-level mode configured")

    async def look_up(self, request: Request) -> Response:
        """POST /subjects/{subject}: the version of a schema in the subject, compared as JSON."""
        try:
            wanted, subject = await _posted_schema(request), request.path_params["subject"]
            return await in_thread(lambda: _answer(_document(subject, self._seen(request)._same(subject, wanted))))
        except RegistryError as error:
            return _failure(error)

    async def register(self, request: Request) -> Response:
        """POST …/versions: the id of an existing schema; new ones are added to the repository."""
        try:
            wanted, subject = await _posted_schema(request), request.path_params["subject"]
            try:
                found = await in_thread(lambda: self._seen(request)._same(subject, wanted))
                return _answer({"id": found.id})
            except RegistryError:
                raise RegistryError(
                    422, 42205, f"Subject '{subject}' is in read-only mode: schemas are added to its repository"
                ) from None
        except RegistryError as error:
            return _failure(error)

    def _seen(self, request: Request) -> ConfluentReader:
        """The same, as the client of a request may see it."""
        seen = copy.copy(self)
        seen._visibility = self._visibility_of(request)
        seen._indexes = self._indexes.without(seen._visibility.hidden)
        return seen

    def _reading(self, endpoint: _Endpoint) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            seen = self._seen(request)
            try:
                return _answer(endpoint(seen, request))
            except RegistryError as error:
                return _failure(error)
            except SchemaInvalid as error:
                return _failure(RegistryError(422, 42201, f"The file of this version is not a valid schema: {error}"))
            except HeadwaterError as error:
                return _failure(RegistryError(500, 50001, f"Error in the backend data store: {error}"))

        return answer

    def _subjects(self) -> list[str]:
        schemas = (folder for _, folder in self._indexes.schemas())
        # A schema is a subject only if one of its versions has a number here.
        titles = [folder.title for folder in schemas if any(map(number_of, folder.versions))]
        streams = self._visibility.streams
        return [*titles, *(name + _VALUE for title in titles for name in streams.get(title, ()))]

    def _subjects_of(self, title: str) -> list[str]:
        return [name + _VALUE for name in self._visibility.streams.get(title, ())]

    def _title_of(self, subject: str) -> str:
        """The schema title of a subject: its own name, or that of the stream's schema."""
        stream = subject.removesuffix(_VALUE)
        if stream != subject:
            for title, names in self._visibility.streams.items():
                if stream in names:
                    return title
        return subject.strip("/")

    def _of_title(self, title: str) -> list[_Registered]:
        """The versions of a title, ascending; empty for an unknown title."""
        index = next((index for index in self._indexes.indexes if title in index.folders), None)
        if index is None:
            return []
        folder = index.folders[title]
        return [
            _Registered(index, folder, version, number, id_of(title, version))
            for version in sorted(folder.versions)
            if (number := number_of(version)) is not None
        ]

    def _registered(self, subject: str) -> list[_Registered]:
        found = self._of_title(self._title_of(subject))
        if not found:
            raise RegistryError(404, 40401, f"Subject '{subject}' not found.")
        return found

    def _version(self, subject: str, wanted: str) -> _Registered:
        registered = self._registered(subject)
        if wanted in ("latest", "-1"):
            return registered[-1]
        for one in registered:
            if wanted in (str(one.number), version_text(one.version)):
                return one
        is_possible = is_number(wanted) and 1 <= int(wanted) <= 2**31 - 1
        if not is_possible and not _SEMANTIC_VERSION.fullmatch(wanted):
            raise RegistryError(
                422,
                42202,
                f"The specified version '{wanted}' is not a valid version id. Allowed values are between [1, 2^31-1] "
                'and the string "latest"',
            )
        raise RegistryError(404, 40402, f"Version {wanted} not found.")

    def _by_id(self, request: Request) -> _Registered:
        wanted: str = request.path_params["id"]
        if not is_number(wanted):
            raise RegistryError(404, 404, "HTTP 404 Not Found")
        for _, folder in self._indexes.schemas():
            for one in self._of_title(folder.title):
                if one.id == int(wanted):
                    return one
        raise RegistryError(404, 40403, f"Schema {wanted} not found")

    def _same(self, subject: str, wanted: Any) -> _Registered:
        for one in reversed(self._registered(subject)):
            try:
                document = one.index.document(one.folder.versions[one.version])
            except SchemaInvalid:
                continue
            if json_equal(_with_proper_name(document), _with_proper_name(wanted)):
                return one
        raise RegistryError(404, 40403, "Schema not found")


def _with_proper_name(schema: Any) -> Any:
    """The schema as the registry returns it, to compare it with one that it returned."""
    name = proper_name(schema.get("$schema")) if isinstance(schema, dict) else None
    return schema if name is None else {**schema, "$schema": name}


@dataclass(frozen=True, slots=True)
class _Raw:
    """JSON text that is the complete response."""

    text: str


def _document(subject: str, one: _Registered) -> dict[str, Any]:
    return {
        "subject": subject,
        "version": one.number,
        "id": one.id,
        "schemaType": "JSON",
        "schema": one.schema(),
    }


def _readable(subject: str, one: _Registered) -> dict[str, Any] | None:
    """The document of a version, None if its file is not a valid schema: a list still contains the others."""
    try:
        return _document(subject, one)
    except SchemaInvalid:
        return None


def _answer(document: Any) -> Response:
    if isinstance(document, _Raw):
        data = document.text.encode()
    elif isinstance(document, list):
        # One by one: it may be every schema, and encoding them at once would block the interpreter.
        data = b"[" + b",".join(map(json_bytes, document)) + b"]"
    else:
        data = json_bytes(document)
    return Response(data, media_type=REGISTRY_MEDIA_TYPE, headers={"access-control-allow-origin": "*"})


def _failure(error: RegistryError) -> Response:
    return registry_failure(error.status, error.code, error.message)


async def _posted_schema(request: Request) -> Any:
    """The schema in a request's body, parsed. Raises RegistryError."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise RegistryError(413, 413, f"The body is larger than {BODY_BYTES_MAX} bytes")
    try:
        posted = orjson.loads(body)
        text = posted["schema"]
        if posted.get("schemaType", "AVRO") != "JSON":
            _invalid(f"Schemas here are JSON schemas, not {posted.get('schemaType', 'AVRO')}")
        return read_json(text)
    except (ValueError, KeyError, TypeError, AttributeError):
        _invalid('The body is not {"schema": …, "schemaType": "JSON"} with a JSON schema as text')


def _invalid(message: str) -> NoReturn:
    raise RegistryError(422, 42201, message)
