"""Makes the version files of a schema from the file its author edits (contracts/schemas.md §2).

How this works: a current file is dereferenced and its `allOf` merged, numbers get bounds, and an example is made if
there is none; the text then depends only on the content. A `$ref` to the version that another current file is about to
become is resolved by materializing that one first, in memory; so a repository can be built from its current files
alone, in any order, and by several processes that do not communicate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.errors import HeadwaterError, SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas.numeric_bounds import fill_numeric_bounds
from headwater.schemas.source import Source, read_source
from headwater.schemas.uri import canonical_uri, version_of
from headwater.schemas.workspace.dereference import Document, dereference
from headwater.schemas.workspace.example_event import example_event
from headwater.schemas.workspace.merge_all_of import merge_all_of
from headwater.schemas.workspace.pinned_repository import DirectorySource, PinnedSource, SchemaSource
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, WorkingCopy, version_text
from headwater.schemas.workspace.yaml_style import json_text, sorted_keys, yaml_text

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Materialized:
    """The materialized current file. `texts` holds the whole text of the version file by content type."""

    title: str
    version: Version
    document: Mapping[str, Any]
    texts: Mapping[str, str]


class Materializer:
    """Materializes schemas of one working copy; caches every document it has read or made.

    `building` are the titles whose version files are being made in this run: their current files, not the stored files,
    are used for the version they name. Not thread-safe.
    """

    def __init__(self, copy: WorkingCopy, building: Collection[str] = ()) -> None:
        self.copy = copy
        self._building = frozenset(building)
        self._made: dict[str, Materialized] = {}
        self._open: list[str] = []
        self._documents: dict[str, Document] = {}
        self._sources, self._unasked = _sources(copy)

    def folder(self, folder: SchemaFolder) -> Materialized:
        """The version that a schema's current file names. Raises SchemaInvalid, SchemaNotFound, SchemaUnavailable."""
        if folder.current is None:
            raise SchemaNotFound(
                f"The schema {folder.title} has no {self.copy.settings.current_file}.",
                hint="Versions are made from that file; copy the latest version to it to continue from there.",
            )
        if folder.title in self._made:
            return self._made[folder.title]
        if folder.title in self._open:
            circle = " → ".join([*self._open[self._open.index(folder.title) :], folder.title])
            raise SchemaInvalid(
                f"The current files of these schemas need each other in a cycle: {circle}.",
                hint="Let one of them refer to a version that is already released.",
            )
        self._open.append(folder.title)
        try:
            made = self.document(self.copy.source(folder.current), folder.title)
        finally:
            self._open.pop()
        self._made[folder.title] = made
        return made

    def document(self, source: Source, title: str) -> Materialized:
        """The version that a schema names, whatever its origin. Raises as `folder` does."""
        version = version_of(self.copy.version_named(source.content, source.where))
        assert version is not None
        settings = self.copy.settings
        uri = f"/{title}/{version_text(version)}"
        made = self.dereferenced(source, uri) if settings.dereference else _copied(source.check().content)
        if settings.numeric_bounds is not None:
            fill_numeric_bounds(made, settings.numeric_bounds)
        if settings.generate_example and not made.get("examples"):
            made["examples"] = [example_event(made)]
        ordered = sorted_keys(made)
        return Materialized(title, version, ordered, {kind: text_of(ordered, kind) for kind in settings.content_types})

    def dereferenced(self, source: Source, uri: str) -> dict[str, Any]:
        """The schema without `$ref` and `allOf`, otherwise unchanged."""
        source.check()
        whole = dereference(Document(uri, source.where, source.content), self._fetch, self.copy.limits)
        # Merging treats a value that is not a schema as an empty one, so this is checked before.
        source.check_whole(whole)
        merged = merge_all_of(whole, source.where)
        if "examples" not in source.content:
            # Those of a fragment are not examples of the schema that includes it.
            merged.pop("examples", None)
        return merged

    def _fetch(self, path: str, where: str) -> Document:
        if path not in self._documents:
            self._documents[path] = self._found(path, where)
        return self._documents[path]

    def _found(self, path: str, where: str) -> Document:
        if "://" in path:
            raise SchemaInvalid(
                f"The schema at {where} refers to {path}, which is outside the schema repositories.",
                hint="Refer to other schemas by their path, as in `$ref: /fragment/common/1.0.0#`.",
            )
        try:
            uri = canonical_uri("/" + path.strip("/"))
        except HeadwaterError as error:
            raise SchemaInvalid(f"The schema at {where} refers to {path}: {error.message}") from None
        title, _, name = uri.removeprefix("/").rpartition("/")
        if title in self._building and (made := self._current(title, name)):
            return made
        for source in self._sources:
            for suffix in ("", ".yaml", ".json"):
                data = source.read(uri[1:] + suffix, self.copy.limits.document_bytes_max)
                if data is not None:
                    named = self.copy.shown(Path(source.name(uri[1:] + suffix)))
                    return Document(uri, uri, read_source(data, named, self.copy.limits).content)
        if made := self._current(title, name):
            return made
        raise self._missing(uri, where)

    def _current(self, title: str, name: str) -> Document | None:
        """The version `name` made from the schema's current file, if that is the version it names."""
        try:
            folder = self.copy.folder(title)
        except SchemaNotFound:
            return None
        if folder.current is None:
            return None
        named = self.copy.version_named(self.copy.read(folder.current), self.copy.shown(folder.current))
        if name.removesuffix(".yaml").removesuffix(".json") != named:
            return None
        return Document(f"/{title}/{named}", self.copy.shown(folder.current), self.folder(folder).document)

    def _missing(self, uri: str, where: str) -> HeadwaterError:
        message = f"The schema at {where} refers to {uri}, which is in no schema repository."
        if self._unasked:
            return SchemaUnavailable(
                f"{message} Not searched, because they are on the network: {', '.join(self._unasked)}.",
                hint="Pin a copy with `headwater schema import --pin`, or set `headwater: {online: true}`.",
            )
        return SchemaInvalid(message, hint="Correct the title or the version, or add that schema.")


class _RemoteSource:
    """A repository over HTTP, which only a setting allows."""

    def __init__(self, url: str) -> None:
        from headwater.schemas.remote import RemoteRepository

        self._url = url.rstrip("/")
        self._repository = RemoteRepository(url, extension=None)

    def read(self, path: str, bytes_max: int) -> bytes | None:
        try:
            return yaml_text(self._repository.get("/" + path).document, exact=True).encode()
        except SchemaNotFound:
            return None

    def name(self, path: str) -> str:
        return f"{self._url}/{path}"


def _sources(copy: WorkingCopy) -> tuple[list[SchemaSource], list[str]]:
    """Where references are looked up, in order, and the base URIs that are not used."""
    settings = copy.settings
    pinned = {one.replaces.rstrip("/"): one for one in settings.pinned if one.replaces}
    sources: list[SchemaSource] = []
    unasked = []
    for base in settings.base_uris or (str(copy.base),):
        if base.rstrip("/") in pinned:
            sources.append(PinnedSource(pinned.pop(base.rstrip("/"))))
        elif not base.startswith(("http://", "https://")):
            sources.append(DirectorySource(copy.root / Path(base.removeprefix("file://"))))
        elif settings.online:
            sources.append(_RemoteSource(base))
        else:
            unasked.append(base)
    sources.extend(
        PinnedSource(one) for one in settings.pinned if not one.replaces or one.replaces.rstrip("/") in pinned
    )
    return sources, unasked


def text_of(document: Any, content_type: str) -> str:
    """The text of an ordered document as `yaml` or `json`."""
    return yaml_text(document) if content_type == "yaml" else json_text(document)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(child) for name, child in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
