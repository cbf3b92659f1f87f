"""Where schemas come from: directories, HTTP, and several of them in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from headwater.errors import HeadwaterError, SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas.limits import ValidationLimits, forget_oldest
from headwater.schemas.schema import Schema, read_schema
from headwater.schemas.uri import LATEST, canonical_uri, has_extension, version_of


class SchemaRepository(Protocol):
    """Schemas by canonical relative URI. The content of a URI never changes, so every result may be cached for ever.

    Thread-safe. Nothing outside the configured base is ever read.
    """

    def get(self, uri: str) -> Schema:
        """The schema at `uri`; a last segment `latest` means its greatest version.

        Raises SchemaUriRefused (not a path inside the repository), SchemaNotFound, SchemaInvalid (not a readable
        document) or SchemaUnavailable (unknown; retry).
        """
        ...

    def uris(self) -> Iterable[str]:
        """The URIs of all versions, as far as the repository can list them."""
        ...

    def close(self) -> None:
        """Close connections. Do not use the repository afterwards."""
        ...


class LocalRepository:
    """Schemas from a directory; only paths that stay inside it after symbolic links are resolved."""

    def __init__(
        self, path: Path | str, extension: str | None = ".yaml", limits: ValidationLimits | None = None
    ) -> None:
        self._base = Path(path).resolve()
        self._extension = extension
        self._limits = limits or ValidationLimits()

    def get(self, uri: str) -> Schema:
        uri = canonical_uri(uri)
        parent, _, name = uri.rpartition("/")
        if name == LATEST:
            uri = f"{parent}/{self._latest_version(parent)}"
        file = self._file(uri)
        if file is None:
            raise SchemaNotFound(f"There is no schema {uri}.")
        try:
            with file.open("rb") as opened:
                data = opened.read(self._limits.document_bytes_max + 1)
        except OSError as error:
            raise SchemaUnavailable(f"The schema {uri} cannot be read: {error.strerror}.") from None
        return read_schema(uri, data, self._limits, "/" + file.relative_to(self._base).as_posix())

    def uris(self) -> Iterator[str]:
        seen: set[str] = set()
        for file in sorted(self._base.rglob("*")):
            name = file.name.removesuffix(file.suffix) if has_extension(file.name) else file.name
            if version_of(name):
                uri = "/" + (file.parent / name).relative_to(self._base).as_posix()
                if uri not in seen and self._file(uri) is not None:
                    seen.add(uri)
                    yield uri

    def close(self) -> None:
        """There is nothing to close."""

    def _file(self, uri: str) -> Path | None:
        names = [uri] if has_extension(uri) or not self._extension else [uri + self._extension, uri]
        for name in names:
            file = self._inside(name)
            if file is not None and self._asks(file.is_file, uri):
                return file
        return None

    def _inside(self, name: str) -> Path | None:
        """The path of a name below the base; None if it leads out of it, or if no file can have that name."""
        try:
            path = (self._base / name[1:]).resolve()
        except (OSError, RuntimeError, ValueError):
            return None
        return path if path.is_relative_to(self._base) else None

    def _asks(self, question: Callable[[], bool], uri: str) -> bool:
        """Whether the file system has the file; False for a name it cannot have. Raises SchemaUnavailable."""
        try:
            return question()
        except PermissionError as error:
            raise SchemaUnavailable(f"The schema {uri} cannot be read: {error.strerror}.") from None
        except (OSError, ValueError):
            # Mostly a name that is too long: a producer chose it, and there is no such schema.
            return False

    def _latest_version(self, parent: str) -> str:
        directory = self._inside(parent)
        if directory is None or not self._asks(directory.is_dir, parent):
            raise SchemaNotFound(f"There is no schema {parent}.")
        names = {file.name.removesuffix(self._extension or "") for file in directory.iterdir()}
        versions = sorted((version, name) for name in names if (version := version_of(name)))
        if not versions:
            raise SchemaNotFound(f"The schema {parent} has no version.")
        return versions[-1][1]


class LayeredRepository:
    """Several repositories, searched in order; the first that has a usable document wins, and the result is cached.

    A missing schema is searched again next time, because it may be published at any moment. The cache is bounded and
    drops the oldest documents, since a repository over HTTP may have one for every name that an event makes up.
    """

    def __init__(self, repositories: Sequence[SchemaRepository]) -> None:
        self._repositories = tuple(repositories)
        self._known: dict[str, Schema] = {}
        self._lock = threading.Lock()

    def get(self, uri: str) -> Schema:
        uri = canonical_uri(uri)
        known = self._known.get(uri)
        if known is not None:
            return known
        # The most informative error. With its frames it would refer to itself until the garbage collector runs.
        failure: HeadwaterError | None = None
        for repository in self._repositories:
            try:
                schema = repository.get(uri)
            except (SchemaNotFound, SchemaInvalid, SchemaUnavailable) as error:
                if failure is None or _weight(error) > _weight(failure):
                    failure = error.with_traceback(None)
                continue
            if not uri.endswith("/" + LATEST):
                with self._lock:
                    schema = self._known.setdefault(uri, schema)
                    forget_oldest(self._known)
            return schema
        if failure is None or isinstance(failure, SchemaNotFound):
            raise SchemaNotFound(f"There is no schema {uri}.", hint="Publish it in one of the schema repositories.")
        try:
            raise failure
        finally:
            del failure

    def uris(self) -> Iterator[str]:
        seen: set[str] = set()
        for repository in self._repositories:
            for uri in repository.uris():
                if uri not in seen:
                    seen.add(uri)
                    yield uri

    def close(self) -> None:
        for repository in self._repositories:
            repository.close()


def _weight(failure: HeadwaterError) -> int:
    """An unreachable repository may have the schema, so its error, which is retriable, takes precedence."""
    return 2 if isinstance(failure, SchemaUnavailable) else int(isinstance(failure, SchemaInvalid))


def open_repositories(
    base_uris: Sequence[str],
    *,
    root: Path | None = None,
    extension: str | None = ".yaml",
    remote_timeout_seconds: float = 5.0,
    remote_bytes_max: int | None = None,
    limits: ValidationLimits | None = None,
) -> LayeredRepository:
    """The repositories of a configuration in its order: HTTP URLs, or directories (relative to `root`).

    `remote_bytes_max` None means the limit of documents in `limits`.
    """
    from headwater.schemas.remote import RemoteRepository

    limits = limits or ValidationLimits()
    bytes_max = limits.document_bytes_max if remote_bytes_max is None else remote_bytes_max
    repositories: list[SchemaRepository] = []
    for base in base_uris:
        if base.startswith(("http://", "https://")):
            repositories.append(
                RemoteRepository(base, remote_timeout_seconds, bytes_max, extension=extension, limits=limits)
            )
        else:
            path = Path(base.removeprefix("file://"))
            repositories.append(LocalRepository((root or Path()) / path, extension, limits))
    return LayeredRepository(repositories)
