"""Imports schemas: files of another repository, or the export of a schema registry.

How this works: everything that would be written is computed first. A released version that already exists with other
content is a conflict, and a run with conflicts writes nothing. A registry numbers the versions of a subject 1, 2, 3…;
here each gets the version that its difference from the one before requires.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from headwater.errors import HeadwaterError, SchemaInvalid
from headwater.file_names import file_name, file_path, folded, require_distinct
from headwater.schemas.dialect import DRAFT_07
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import read_source
from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.next_version import advise_bump, next_version
from headwater.schemas.workspace.version_files import VersionFile, version_files
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, WorkingCopy, version_text
from headwater.schemas.workspace.yaml_style import sorted_keys, yaml_text

_EXPORT_BYTES_MAX = 268_435_456
_TITLE_CHARACTER = re.compile(r"[^A-Za-z0-9_./-]+")


@dataclass
class ImportPlan:
    """What an import would do: `files` to write, `conflicts` (files that exist with other content), and `notes`."""

    files: list[VersionFile] = field(default_factory=list)
    conflicts: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)


def plan_repository(copy: WorkingCopy, source: WorkingCopy, titles: Sequence[str] | None = None) -> ImportPlan:
    """Import the schemas of another repository, files unchanged; links are made according to our settings.

    Raises SchemaInvalid, with the place, for a file that is not a schema, because imported versions are permanent.
    """
    plan = ImportPlan()
    require_distinct(source.schemas, "schema")
    for title in titles or list(source.schemas):
        folder = source.folder(title)
        target = copy.base / title
        plan.titles.append(title)
        for types in folder.files.values():
            for kind, file in types.items():
                if kind in copy.settings.content_types:
                    _add(plan, VersionFile(target / file.name, content=source.source(file).data))
                else:
                    plan.notes.append(f"{title}: {file.name} is left out; this repository has no {kind} files.")
        if folder.current is not None:
            _add(plan, VersionFile(target / copy.settings.current_file, content=source.source(folder.current).data))
    return plan


def plan_registry_export(copy: WorkingCopy, export: Path, *, prefix: str = "") -> ImportPlan:
    """Import the JSON schemas of a registry export: a JSON list as returned by its `/schemas` endpoint.

    Each entry has `subject`, `version`, `schemaType` and `schema` (text), and may have `references`. Titles are the
    subjects without `-value` (`-key` becomes `/key`), below `prefix`. Raises SchemaInvalid.
    """
    plan = ImportPlan()
    subjects = _subjects(export, plan)
    with TemporaryDirectory() as scratch:
        _Registry(copy, plan, Path(scratch), prefix).add(subjects)
    return plan


def _add(plan: ImportPlan, file: VersionFile) -> None:
    state = file.state
    if state == "different":
        plan.conflicts.append(file.path)
    elif state == "absent":
        plan.files.append(file)


def _subjects(export: Path, plan: ImportPlan) -> Mapping[str, Mapping[int, Mapping[str, Any]]]:
    """Subject → version → entry, both ascending; entries of other schema languages become notes."""
    if export.stat().st_size > _EXPORT_BYTES_MAX:
        raise SchemaInvalid(f"{export} is larger than {_EXPORT_BYTES_MAX} bytes.")
    try:
        entries = orjson.loads(export.read_bytes())
    except orjson.JSONDecodeError as error:
        raise SchemaInvalid(f"{export} is not JSON: {error}.") from None
    if isinstance(entries, dict):
        entries = [entry for value in entries.values() for entry in (value if isinstance(value, list) else [value])]
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("subject"), str):
            raise SchemaInvalid(
                f"{export} is not a registry export.",
                hint="It is the JSON list that a registry returns at `/schemas`: subject, version, schemaType, schema.",
            )
        if entry.get("schemaType", "AVRO") != "JSON":
            plan.notes.append(f"{entry['subject']}: {entry.get('schemaType', 'AVRO')} schemas are left out.")
            continue
        if not isinstance(entry.get("version"), int) or not isinstance(entry.get("schema"), str):
            raise SchemaInvalid(f"{export} has an entry of {entry['subject']!r} without `version` or `schema`.")
        found.setdefault(entry["subject"], {})[entry["version"]] = entry
    return {subject: dict(sorted(found[subject].items())) for subject in sorted(found)}


class _Registry:
    """An import of one registry's schemas; each is materialized in a directory of its own."""

    def __init__(self, copy: WorkingCopy, plan: ImportPlan, scratch: Path, prefix: str) -> None:
        settings = replace(copy.settings, base_path=scratch.resolve(), base_uris=(str(scratch), str(copy.base)))
        self._scratch = WorkingCopy(copy.root, settings, copy.limits)
        self._copy, self._plan, self._prefix = copy, plan, prefix.strip("/")
        self._uris: dict[tuple[str, int], str] = {}
        self._last: dict[str, tuple[Version, Mapping[str, Any]]] = {}

    def add(self, subjects: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> None:
        self._require_distinct_titles(subjects)
        waiting = [(subject, number) for subject, entries in subjects.items() for number in entries]
        while waiting:
            ready = [key for key in waiting if self._is_ready(key, subjects, waiting)]
            if not ready:
                raise self._not_ready(waiting, subjects)
            for key in ready:
                self._add_one(*key, subjects[key[0]][key[1]], is_last=key[1] == max(subjects[key[0]]))
            waiting = [key for key in waiting if key not in set(ready)]

    def _require_distinct_titles(self, subjects: Iterable[str]) -> None:
        """Two subjects with one title would become versions of each other; without regard to case, one directory."""
        by_title: dict[str, list[str]] = {}
        for subject in subjects:
            by_title.setdefault(folded(self._title(subject)), []).append(subject)
        clashes = [
            f"{', '.join(map(repr, several))} (all {self._title(several[0])})"
            for several in by_title.values()
            if len(several) > 1
        ]
        if clashes:
            raise SchemaInvalid(
                f"Several subjects would become one title: {'; '.join(clashes[:5])}.",
                hint="Rename all but one of each in the export, or import them one by one with different --prefix.",
            )

    def _not_ready(self, waiting: Sequence[tuple[str, int]], subjects: Any) -> SchemaInvalid:
        """Why none of the remaining entries can be imported: what they refer to is missing, or needs them."""
        missing = {
            f"{subject} {number} refers to {one.get('subject')} {one.get('version')}"
            for subject, number in waiting
            for one in subjects[subject][number].get("references") or []
            if one.get("version") not in subjects.get(one.get("subject"), {})
        }
        if missing:
            return SchemaInvalid(
                f"The export lacks entries that others refer to: {'; '.join(sorted(missing)[:5])}.",
                hint="Export the subjects they refer to as well.",
            )
        names = ", ".join(f"{subject} {number}" for subject, number in waiting[:5])
        return SchemaInvalid(
            f"These entries refer to each other in a cycle: {names}.",
            hint="No order of import satisfies these references; remove one of them.",
        )

    def _is_ready(self, key: tuple[str, int], subjects: Any, waiting: Sequence[tuple[str, int]]) -> bool:
        subject, number = key
        if any(other == subject and earlier < number for other, earlier in waiting):
            return False
        references = subjects[subject][number].get("references") or []
        return all((one.get("subject"), one.get("version")) in self._uris for one in references)

    def _add_one(self, subject: str, number: int, entry: Mapping[str, Any], *, is_last: bool) -> None:
        title = self._title(subject)
        source = read_source(entry["schema"].encode(), f"{subject} {number}", self._copy.limits)
        names = {one["name"]: self._uris[one["subject"], one["version"]] for one in entry.get("references") or []}
        content = _renamed(source.content, names)
        content = {**content, "title": title, "$schema": content.get("$schema", DRAFT_07), "$id": f"/{title}/0.0.0"}
        materializer = Materializer(self._scratch)
        try:
            source = replace(source, content=content)
            version = self._version(title, materializer.document(source, title).document)
            content["$id"] = uri = f"/{title}/{version_text(version)}"
            made = materializer.document(source, title)
        except HeadwaterError as error:
            raise SchemaInvalid(f"The schema of {subject} {number} cannot be imported: {error.message}") from None
        for file in version_files(made, self._scratch.base / title, self._scratch.settings):
            if file.content is not None:
                file.write()
                _add(self._plan, replace(file, path=self._copy.base / title / file.path.name))
        self._uris[subject, number] = uri
        self._last[title] = (version, made.document)
        if is_last:
            self._plan.titles.append(title)
            text = (
                yaml_text(sorted_keys(content))
                if self._copy.settings.current_file.endswith("yaml")
                else made.texts["json"]
            )
            _add(self._plan, VersionFile(self._copy.base / title / self._copy.settings.current_file, text.encode()))

    def _version(self, title: str, document: Mapping[str, Any]) -> Version:
        if title not in self._last:
            return (1, 0, 0)
        version, before = self._last[title]
        level = advise_bump(before, document).level
        return next_version(version, "patch" if level == "none" else level)

    def _title(self, subject: str) -> str:
        name = subject.removesuffix("-value")
        name = name.removesuffix("-key") + "/key" if name.endswith("-key") else name
        name = "/".join(part for part in _TITLE_CHARACTER.sub("_", name).split("/") if part.strip("."))
        if not name:
            raise SchemaInvalid(f"No title can be made of the subject {subject!r}.", hint="Rename it in the export.")
        return file_path(f"{self._prefix}/{name}" if self._prefix else name, "subject")


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A copy in which `$ref`s by the names of registry references are paths in the repository."""
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {name: _renamed(child, names) for name, child in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str):
        name, hash_sign, fragment = reference.partition("#")
        if name in names:
            copy["$ref"] = names[name] + hash_sign + fragment
    return copy


def plan_pin(copy: WorkingCopy, source: WorkingCopy, name: str) -> tuple[ImportPlan, Path]:
    """Store the released versions of another repository next to our schemas, at `.headwater/NAME`, for `$ref`s only."""
    place = copy.root / ".headwater" / file_name(name, "pinned repository")
    plan = ImportPlan()
    for folder in source.schemas.values():
        plan.titles.append(folder.title)
        plan.files.extend(_released(source, folder, place))
    known = {file.path for file in plan.files}
    if place.is_dir():
        plan.notes.extend(
            f"{copy.shown(old)} is no longer in the other repository."
            for old in place.rglob("*.yaml")
            if old not in known
        )
    return plan, place


def _released(source: WorkingCopy, folder: SchemaFolder, place: Path) -> list[VersionFile]:
    return [
        VersionFile(place / folder.title / file.name, content=source.source(file).data)
        for types in folder.files.values()
        for file in types.values()
    ]


def with_pin(text: str, entry: Mapping[str, str], limits: ValidationLimits) -> str:
    """The text of a settings file with this pinned repository in it. Raises SchemaInvalid if it must be edited by
    hand.
    """
    settings = parse_document(text.encode(), "the settings", limits) or {}
    lines = [f"{name}: {value!r}" for name, value in entry.items()]
    item = "    - " + "\n      ".join(lines) + "\n"
    if "headwater" in settings:
        own = settings["headwater"]
        known = own.get("repositories") if isinstance(own, dict) else None
        if any(one.get("path") == entry["path"] for one in known or []):
            return _with_new_hash(text, known or [], entry)
        block = re.search(r"^headwater:\n((?:  .*\n)*?)  repositories:\n", text, re.MULTILINE)
        if block is None:
            raise SchemaInvalid("The settings have a `headwater` key of another form.", hint=f"Add by hand:\n{item}")
        return text[: block.end()] + item + text[block.end() :]
    return text + ("" if text.endswith("\n") or not text else "\n") + "headwater:\n  repositories:\n" + item


def _with_new_hash(text: str, known: Sequence[Mapping[str, Any]], entry: Mapping[str, str]) -> str:
    for one in known:
        if one.get("path") == entry["path"] and isinstance(one.get("sha256"), str):
            text = text.replace(one["sha256"], entry["sha256"])
        if one.get("path") == entry["path"] and isinstance(one.get("origin"), str) and "origin" in entry:
            text = text.replace(one["origin"], entry["origin"])
    return text
