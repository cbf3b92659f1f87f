"""The served schema repositories: their files, read again when they change, and the references between schemas.

How this works: a request never becomes a path on disk. A repository is listed (at most every few seconds), and requests
are looked up in the list; links are not followed. A file is parsed once for each state in which it is seen.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request

from headwater.errors import ConfigInvalid, HeadwaterError, SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import read_source
from headwater.schemas.uri import canonical_uri, version_of
from headwater.schemas.workspace.fragment_use import named_by, references
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, WorkingCopy, version_text
from headwater.schemas.workspace.working_settings import SETTINGS_FILE, WorkingSettings
from headwater.web.paths import MERGED

LISTING_SECONDS = 3.0
FILES_KEPT_MAX = 5_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class SchemaVisibility:
    """What the client of a request may see: the streams of each title, and no schemas of the `hidden` titles.

    `is_public`: whether it is the same for every client.
    """

    streams: Mapping[str, list[str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    is_public: bool = True


VisibilityOf = Callable[[Request], SchemaVisibility]


def everything(_: Request) -> SchemaVisibility:
    """What clients see if there are no streams."""
    return SchemaVisibility()


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A schema as it is sent: `data`, its media type, and a strong entity tag of exactly these bytes."""

    data: bytes
    media_type: str
    tag: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One end of a `$ref` between schemas: the `title` at that end, the referenced `version`, and whether that is the
    latest."""

    title: str
    version: str
    is_latest: bool


@dataclass
class _Listing:
    copy: WorkingCopy
    folders: Mapping[str, SchemaFolder]
    at: float
    references: dict[str, list[tuple[str, str]]] | None = None


class RepositoryIndex:
    """One repository and the name under which it is served. Safe to use from several threads."""

    def __init__(self, name: str, settings: WorkingSettings, *, clock: Clock = time.monotonic) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._listing = self._list()
        self._origin = self
        self._hidden: frozenset[str] = frozenset()
        self._files: dict[Path, tuple[tuple[int, int], bytes, dict[str, Any]]] = {}
        self._texts: dict[tuple[Path, str], tuple[tuple[int, int], SchemaText]] = {}

    @property
    def path(self) -> Path:
        """The directory whose schemas are served; nothing outside it is."""
        return self._settings.base_path

    @property
    def folders(self) -> Mapping[str, SchemaFolder]:
        """Every schema by title, titles ascending."""
        folders = self._origin._fresh().folders
        if not self._hidden:
            return folders
        return {title: folder for title, folder in folders.items() if title not in self._hidden}

    def without(self, titles: frozenset[str]) -> RepositoryIndex:
        """The same repository without the schemas of these titles."""
        view = copy.copy(self)
        view._hidden = titles
        return view

    def folder(self, title: str) -> SchemaFolder:
        """One schema. Raises SchemaNotFound with the nearest titles."""
        found = self.folders.get(title)
        if found is None:
            raise _no_title(title, self.folders, self.name)
        return found

    def file(self, title: str, name: str) -> Path:
        """The file behind a last path segment: `1.0.0`, `latest`, `current`, or the name of a Markdown file.

        Raises SchemaNotFound with the available names.
        """
        folder = self.folder(title)
        if name == "latest" and folder.latest is not None:
            return folder.versions[folder.latest]
        if name == "current" and folder.current is not None:
            return folder.current
        version = version_of(name)
        if version is not None and version in folder.versions:
            return folder.versions[version]
        for path in self.notes(folder):
            if path.name == name:
                return path
        there = ", ".join(version_text(version) for version in folder.versions) or "none"
        raise SchemaNotFound(f"{title} has no {name} in {self.name}.", hint=f"Available: {there}.")

    def notes(self, folder: SchemaFolder) -> list[Path]:
        """The Markdown files next to a schema's versions, such as its changelog; no links."""
        try:
            found = sorted(folder.path.iterdir())
        except OSError:
            return []
        return [path for path in found if path.suffix == ".md" and path.is_file() and not path.is_symlink()]

    def document(self, file: Path) -> dict[str, Any]:
        """A listed file parsed. Raises SchemaInvalid, SchemaUnavailable."""
        return self._read(file)[2]

    def text(self, file: Path, form: str) -> SchemaText:
        """A listed file as `yaml` (its bytes; JSON is YAML) or `json`. Raises SchemaInvalid, SchemaUnavailable."""
        state, data, document = self._read(file)
        known = self._texts.get((file, form))
        if known is not None and known[0] == state:
            return known[1]
        if form == "json" and file.suffix != ".json":
            data = json_text(document).encode() + b"\n"
        media_type = "application/json" if form == "json" else "application/yaml"
        text = SchemaText(data, media_type, tag_of(data))
        if len(self._texts) >= FILES_KEPT_MAX:
            self._texts.clear()
        self._texts[file, form] = (state, text)
        return text

    def faults(self) -> Iterator[SchemaInvalid]:
        """The error of each file that is not a valid schema. Reads all files, which takes a while."""
        for folder in self.folders.values():
            files = [file for kinds in folder.files.values() for file in kinds.values()]
            for file in (*files, *([folder.current] if folder.current else [])):
                try:
                    self.document(file)
                except SchemaInvalid as error:
                    yield error
                except SchemaUnavailable:
                    continue

    def note_text(self, file: Path) -> SchemaText:
        """A Markdown file as plain text. Raises SchemaUnavailable."""
        data = _bytes(file)[1]
        return SchemaText(data, "text/plain; charset=utf-8", tag_of(data))

    def newest(self, folder: SchemaFolder) -> Path | None:
        """The file that represents the schema: its latest version, or else its current file."""
        return folder.versions[folder.latest] if folder.latest is not None else folder.current

    def referring(self, title: str) -> list[tuple[str, str]]:
        """The schemas here that refer to `title`, by title, each with the version it refers to."""
        listing = self._origin._fresh()
        if listing.references is None:
            listing.references = self._references(listing)
        return [one for one in listing.references.get(title, []) if one[0] not in self._hidden]

    def uses(self, folder: SchemaFolder) -> list[tuple[str, str]]:
        """The (title, version) pairs that a schema's current file refers to, or its latest version if it has none."""
        file = folder.current or self.newest(folder)
        if file is None:
            return []
        try:
            document = self.document(file)
        except HeadwaterError:
            # A file that cannot be read must not hide the references of the others.
            return []
        named = {named_by(reference) for _, reference in references(document)}
        return sorted((title, version_text(version)) for title, version in named if title and version)

    def _references(self, listing: _Listing) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for folder in listing.folders.values():
            for title, version in self.uses(folder):
                if title != folder.title:
                    found.setdefault(title, []).append((folder.title, version))
        return found

    def _fresh(self) -> _Listing:
        listing = self._listing
        if self._clock() - listing.at > LISTING_SECONDS:
            with self._lock:
                if self._listing is listing:
                    self._listing = self._list()
        return self._listing

    def _list(self) -> _Listing:
        copy = WorkingCopy(self.path, self._settings)
        return _Listing(copy, copy.schemas, self._clock())

    def _read(self, file: Path) -> tuple[tuple[int, int], bytes, dict[str, Any]]:
        known = self._files.get(file)
        state, data = _bytes(file, known[0] if known else None)
        if known is not None and known[0] == state:
            return known
        where = f"{self.name}/{file.relative_to(self.path).as_posix()}"
        read = (state, data, read_source(data, where, ValidationLimits()).content)
        if len(self._files) >= FILES_KEPT_MAX:
            self._files.clear()
        self._files[file] = read
        return read


@dataclass(frozen=True)
class RepositoryIndexes:
    """Several repositories in order: if two have the same schema, the first one is used."""

    indexes: tuple[RepositoryIndex, ...]
    by_name: Mapping[str, RepositoryIndex] = field(default_factory=dict)

    @classmethod
    def of(cls, places: Sequence[tuple[str, WorkingSettings]]) -> RepositoryIndexes:
        """The repositories of `(name, settings)`. Raises ConfigInvalid for a duplicate name, or one invalid in URLs."""
        indexes: list[RepositoryIndex] = []
        for name, settings in places:
            if not _NAME.fullmatch(name) or name == MERGED:
                raise ConfigInvalid(
                    f"A repository cannot be served under the name {name!r}.",
                    hint=f"Use letters, digits, dots and dashes, but not {MERGED!r}, which means all repositories.",
                )
            if any(index.name == name for index in indexes):
                raise ConfigInvalid(
                    f"Two repositories have the name {name!r}.", hint="Give each its own name: NAME=DIRECTORY."
                )
            indexes.append(RepositoryIndex(name, settings))
        return cls(tuple(indexes), {index.name: index for index in indexes})

    def without(self, titles: frozenset[str]) -> RepositoryIndexes:
        """The same repositories without the schemas of these titles."""
        if not titles:
            return self
        indexes = tuple(index.without(titles) for index in self.indexes)
        return RepositoryIndexes(indexes, {index.name: index for index in indexes})

    def named(self, name: str) -> tuple[RepositoryIndex, ...]:
        """The repository of that name, or all of them in order for `all`. Raises SchemaNotFound."""
        if name == MERGED:
            return self.indexes
        if name not in self.by_name:
            raise SchemaNotFound(
                f"There is no repository {name}.", hint=f"Available: {', '.join([*self.by_name, MERGED])}."
            )
        return (self.by_name[name],)

    def schemas(self) -> Iterator[tuple[RepositoryIndex, SchemaFolder]]:
        """Every schema once, by title, from the first repository that has it."""
        seen: dict[str, tuple[RepositoryIndex, SchemaFolder]] = {}
        for index in self.indexes:
            for title, folder in index.folders.items():
                seen.setdefault(title, (index, folder))
        for title in sorted(seen):
            yield seen[title]

    def find(
        self, title: str, indexes: Iterable[RepositoryIndex] | None = None
    ) -> tuple[RepositoryIndex, SchemaFolder]:
        """The schema of that title from the first of the repositories that has it. Raises SchemaNotFound."""
        chosen = list(self.indexes if indexes is None else indexes)
        for index in chosen:
            folder = index.folders.get(title)
            if folder is not None:
                return index, folder
        titles = [name for index in chosen for name in index.folders]
        raise _no_title(title, titles, " or ".join(index.name for index in chosen))

    def document_at(self, path: str) -> Mapping[str, Any]:
        """The document a `$ref` such as `/fragment/common/2.0.0` names, from any repository. Raises SchemaNotFound."""
        title, _, name = canonical_uri(path).strip("/").rpartition("/")
        index, folder = self.find(title)
        return index.document(index.file(folder.title, re.sub(r"\.(yaml|json)$", "", name)))

    def referring(self, title: str) -> list[Reference]:
        """The schemas that refer to a schema, in any repository."""
        found = [one for index in self.indexes for one in index.referring(title)]
        return [Reference(by, version, self._is_latest(title, version)) for by, version in found]

    def built_on(self, index: RepositoryIndex, folder: SchemaFolder) -> list[Reference]:
        """The other schemas that one refers to."""
        used = [one for one in index.uses(folder) if one[0] != folder.title]
        return [Reference(title, version, self._is_latest(title, version)) for title, version in used]

    def _is_latest(self, title: str, version: str) -> bool:
        """Whether there is no later version; a schema that no repository has counts as latest."""
        folder = next((index.folders[title] for index in self.indexes if title in index.folders), None)
        return folder is None or folder.latest is None or version_text(folder.latest) == version


def settings_at(directory: Path) -> WorkingSettings:
    """A repository given by its directory, or by that of its schemas: with its settings file, or the usual layout.

    Raises ConfigInvalid if the directory does not exist. Settings files in parent directories are ignored.
    """
    if not directory.is_dir():
        raise ConfigInvalid(f"There is no directory {directory}.", hint="Name the directory of a schema repository.")
    if (directory / SETTINGS_FILE).is_file():
        return WorkingCopy.open(directory).settings
    inner = directory / "jsonschema"
    return WorkingSettings(base_path=(inner if inner.is_dir() else directory).resolve())


def json_text(value: Any) -> str:
    """Indented JSON. Not orjson's, since schemas have bounds beyond 64 bits."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def tag_of(data: bytes) -> str:
    """A strong entity tag: the same for the same bytes on every machine."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def versions_of(folder: SchemaFolder) -> list[Version]:
    """Versions, newest first."""
    return sorted(folder.versions, reverse=True)


def _bytes(file: Path, known: tuple[int, int] | None = None) -> tuple[tuple[int, int], bytes]:
    """The file's state and content; no content if it is in the known state."""
    limit = ValidationLimits().document_bytes_max
    try:
        status = file.stat()
        state = (status.st_mtime_ns, status.st_size)
        if state == known:
            return state, b""
        with file.open("rb") as opened:
            return state, opened.read(limit + 1)
    except OSError as error:
        raise SchemaUnavailable(f"{file.name} cannot be read: {error.strerror}.") from None


def _no_title(title: str, titles: Iterable[str], where: str) -> SchemaNotFound:
    import difflib

    near = difflib.get_close_matches(title, list(titles), n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Search at /repositories/?q=WORD."
    return SchemaNotFound(f"There is no schema {title or '(no title)'} in {where}.", hint=hint)
