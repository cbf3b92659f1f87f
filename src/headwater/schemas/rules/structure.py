"""The rules about files: which a schema has, their names, and whether the materialized ones are up to date."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.schemas.json_value import json_equal
from headwater.schemas.rules.rule import Breach
from headwater.schemas.workspace.materialize import Materialized
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, version_text
from headwater.schemas.workspace.working_settings import WorkingSettings

_SCHEMA_LIKE = re.compile(r"\.(ya?ml|json)$")


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What is known of one schema's directory.

    `documents` are those of the readable versions; `made` is the materialized current file, None if that failed;
    `others` the further content types of a version: `{(1, 0, 0): {"json": …}}`.
    """

    folder: SchemaFolder
    settings: WorkingSettings
    current: Mapping[str, Any] | None
    made: Materialized | None
    documents: Mapping[Version, Mapping[str, Any]]
    others: Mapping[Version, Mapping[str, Any]]

    @property
    def greatest(self) -> Version | None:
        """The greatest version that has a file of the first content type."""
        kind = self.settings.content_types[0]
        return max((version for version, files in self.folder.files.items() if kind in files), default=None)


Located = tuple[Path, Breach]


def check(facts: FolderFacts) -> Iterator[Located]:
    """All rules of this family, with the file of each breach."""
    yield from _current(facts)
    yield from _up_to_date(facts)
    if facts.settings.symlink_latest and facts.greatest:
        yield from _latest_links(facts, facts.greatest)
    for version in facts.folder.files:
        yield from _version(facts, version)
    yield from _other_files(facts)


def _current(facts: FolderFacts) -> Iterator[Located]:
    folder = facts.folder
    kind = facts.settings.content_types[0]
    if folder.current is None:
        message = f"{folder.title} has no {facts.settings.current_file}."
        hint = "Copy the latest version to it: versions are made from that file."
        yield folder.path, Breach("current-present", "", message, hint)
    name = facts.settings.current_file.rpartition(".")[0]
    if name and os.path.lexists(folder.path / name):
        yield folder.path / name, Breach("current-without-link", "", f"{name} names no released version.", "Remove it.")
    if facts.greatest is None:
        message = f"{folder.title} has no version as {kind}."
        hint = f"Run `headwater schema materialize {folder.title}`."
        yield folder.current or folder.path, Breach("version-present", "", message, hint)
    if facts.current is not None and folder.current is not None:
        title = facts.current.get(facts.settings.title_field)
        if title != folder.title:
            message = f"The title is {title!r}, and the directory is {folder.title!r}."
            hint = f'Write `title: {folder.title}`, or move the directory to "{title}".'
            yield folder.current, Breach("title-matches-directory", f"/{facts.settings.title_field}", message, hint)


def _up_to_date(facts: FolderFacts) -> Iterator[Located]:
    made, folder = facts.made, facts.folder
    if made is None or folder.current is None or facts.greatest is None:
        return
    named = version_text(made.version)
    pointer = "/" + facts.settings.version_field.replace(".", "/")
    if made.version != facts.greatest:
        message = f"The current file is version {named}, and the greatest version is {version_text(facts.greatest)}."
        newer = made.version > facts.greatest
        hint = f"Run `headwater schema {'materialize' if newer else 'bump'} {folder.title}`."
        yield folder.current, Breach("current-is-greatest", pointer, message, hint)
    stored = facts.documents.get(made.version)
    if stored is None or made.document is stored:
        return
    file = folder.versions[made.version]
    if not json_equal(stored, made.document):
        what = "; ".join(_first_differences(stored, made.document)) or "an example or an annotation"
        message = f"{file.name} differs from the materialized current file: {what}."
        hint = (
            f"Run `headwater schema materialize {folder.title}`, or, once {named} is released, "
            f"`headwater schema bump {folder.title} --materialize`."
        )
        yield folder.current, Breach("current-is-materialized", "", message, hint)
    else:
        message = f"{file.name} has the content of the current file in a different format."
        yield file, Breach("version-text", "", message, f"Run `headwater schema materialize {folder.title}`.")


def _first_differences(stored: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    from headwater.schemas.compatibility.semantic_diff import changes

    return [change.sentence.rstrip(".") for change in changes(stored, made)[:2]]


def _latest_links(facts: FolderFacts, greatest: Version) -> Iterator[Located]:
    settings, folder = facts.settings, facts.folder
    links = {f"latest.{kind}": f"{version_text(greatest)}.{kind}" for kind in settings.content_types}
    if settings.symlink_extensionless:
        links["latest"] = links[f"latest.{settings.content_types[0]}"]
    for name, target in links.items():
        yield from _link(folder, name, target, "latest-links")


def _link(folder: SchemaFolder, name: str, target: str, rule: str) -> Iterator[Located]:
    path = folder.path / name
    try:
        what = f"leads to {os.readlink(path)}, not to {target}" if os.readlink(path) != target else None
    except FileNotFoundError:
        what = "is missing"
    except OSError:
        what = "is a copy, not a link"
    if what:
        hint = f"Run `headwater schema materialize {folder.title}`."
        yield path, Breach(rule, "", f"The link {name} {what}.", hint)


def _version(facts: FolderFacts, version: Version) -> Iterator[Located]:
    settings, folder = facts.settings, facts.folder
    files = folder.files[version]
    file = folder.versions[version]
    for kind in settings.content_types:
        if kind not in files:
            message = f"{version_text(version)} has no file of the content type {kind}."
            hint = f"Run `headwater schema materialize {folder.title}` if it is the current version."
            yield file, Breach("content-types-present", "", message, hint)
    kind = settings.content_types[0]
    if settings.symlink_extensionless and kind in files:
        name = version_text(version)
        yield from _link(folder, name, f"{name}.{kind}", "extensionless-link")
    document = facts.documents.get(version)
    if document is None:
        return
    title, identifier = document.get(settings.title_field), document.get("$id")
    if title != folder.title:
        message = f"The title is {title!r}, and the directory is {folder.title!r}."
        yield file, Breach("version-title", f"/{settings.title_field}", message, "Correct the title, or move the file.")
    if identifier != folder.uri(version):
        # The original accepts an `$id` that the path contains.
        contained = isinstance(identifier, str) and identifier.removeprefix("/") in folder.uri(version)
        rule = "version-id-exact" if contained else "version-id"
        message = f"The `$id` is {identifier!r}, and the file is {folder.uri(version)!r}."
        yield file, Breach(rule, "/$id", message, f"Write `$id: {folder.uri(version)}`.")
    for kind, other in facts.others.get(version, {}).items():
        if not json_equal(other, document):
            message = f"{files[kind].name} and {file.name} have different content."
            hint = "Materialize the version again, or remove one of the two."
            yield files[kind], Breach("content-types-equal", "", message, hint)


def _other_files(facts: FolderFacts) -> Iterator[Located]:
    folder = facts.folder
    known = {path for files in folder.files.values() for path in files.values()} | {folder.current}
    with os.scandir(folder.path) as entries:
        names = sorted(
            entry.name for entry in entries if _SCHEMA_LIKE.search(entry.name) and entry.is_file(follow_symlinks=False)
        )
    for name in names:
        if folder.path / name not in known:
            message = f"{name} is neither {facts.settings.current_file} nor a version, so nothing reads it."
            hint = "Versions are named 1.0.0.yaml; move other files elsewhere."
            yield folder.path / name, Breach("file-name", "", message, hint)
