"""A schema repository as its authors have it on disk: which schemas there are, their current files and versions.

How this works: the base directory is walked once; a directory that holds a current file or a version file is a schema,
and its path below the base is its title. Symbolic links are neither followed nor listed as versions: `1.0.0` and
`latest` are other names of files that are listed themselves. Files are parsed on first use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from headwater.errors import ConfigInvalid, SchemaInvalid, SchemaNotFound
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import Source, parse_source
from headwater.schemas.uri import version_of
from headwater.schemas.workspace.working_settings import SETTINGS_FILE, WorkingSettings, read_settings, with_values

Version = tuple[int, int, int]

# Where a repository without a settings file usually keeps its schemas.
_USUAL_FOLDERS = ("jsonschema", "schemas")
_NEVER_SCHEMAS = frozenset({".git", "node_modules", "__pycache__"})
_VERSION_FILE = re.compile(r"(\d+\.\d+\.\d+)\.(yaml|json)")
_COERCED = re.compile(r"(?:^|[^\d])(\d{1,16})(?:\.(\d{1,16}))?(?:\.(\d{1,16}))?(?:$|[^\d])")


@dataclass(frozen=True)
class SchemaFolder:
    """One schema of a working copy.

    `title` is the directory below the base (`fragment/common`), `current` the file its author edits, and `files` each
    version's files by content type, versions ascending: `{(1, 0, 0): {"yaml": …/1.0.0.yaml}}`.
    """

    title: str
    path: Path
    current: Path | None = None
    files: Mapping[Version, Mapping[str, Path]] = field(default_factory=dict)

    @property
    def versions(self) -> Mapping[Version, Path]:
        """Each version's first file (YAML before JSON), ascending."""
        return {version: types.get("yaml") or next(iter(types.values())) for version, types in self.files.items()}

    @property
    def latest(self) -> Version | None:
        """The greatest version, or None if there is none yet."""
        return max(self.files, default=None)

    def uri(self, version: Version) -> str:
        """The repository URI of a version: `/fragment/common/1.0.0`."""
        return f"/{self.title}/{version_text(version)}"


class WorkingCopy:
    """The schemas of one repository: `schemas` by title. Thread-safe for reading; later changes are not seen."""

    def __init__(self, root: Path, settings: WorkingSettings, limits: ValidationLimits | None = None) -> None:
        self.root = root
        self.settings = settings
        self.base = settings.base_path
        self.limits = limits or ValidationLimits()
        self._sources: dict[Path, Source] = {}
        self._checked: set[Path] = set()

    @classmethod
    def open(
        cls,
        path: Path | str = ".",
        *,
        settings_files: Sequence[Path] | None = None,
        overrides: Mapping[str, Any] | None = None,
        limits: ValidationLimits | None = None,
    ) -> WorkingCopy:
        """The repository at `path`, or that contains `path`.

        The settings file is searched in `path` and then upwards, as far as the root of the Git repository;
        `settings_files` names others (relative to `path`). `overrides` are settings in the spelling of the file. Raises
        ConfigInvalid.
        """
        start = Path(path).resolve()
        if not start.exists():
            raise ConfigInvalid(f"There is no directory {path}.", hint="Name the directory of a schema repository.")
        start = start if start.is_dir() else start.parent
        root, files = _find_root(start), settings_files
        if files is None:
            files = [root / SETTINGS_FILE]
        else:
            root = start
            files = [root / file for file in files]
        if any(file.is_file() for file in files):
            settings = read_settings(files, root=root)
        else:
            settings = WorkingSettings(base_path=_usual_base(root))
        if overrides:
            settings = with_values(settings, overrides, root=root)
        if not settings.base_path.is_dir():
            raise ConfigInvalid(
                f"There is no directory {settings.base_path}.",
                file=str(files[-1]) if files else None,
                hint="Set `schemaBasePath` to the directory that holds the schemas.",
            )
        return cls(root, replace(settings, base_path=settings.base_path.resolve()), limits)

    @cached_property
    def schemas(self) -> Mapping[str, SchemaFolder]:
        """Every schema by title, titles ascending, without those that `ignoreSchemas` hides."""
        found = {folder.title: folder for folder in self._walk(self.base)}
        if self.settings.ignore_schemas:
            found = {title: visible for title, folder in found.items() if (visible := self._visible(folder))}
        return dict(sorted(found.items()))

    def folder(self, title: str) -> SchemaFolder:
        """One schema, found without walking the whole repository. Raises SchemaNotFound."""
        title = title.strip("/")
        if "schemas" in self.__dict__ and title in self.schemas:
            return self.schemas[title]
        path = (self.base / title).resolve()
        found = None
        if path.is_relative_to(self.base) and path.is_dir():
            with os.scandir(path) as entries:
                found = self._folder(path, [entry for entry in entries if entry.is_file(follow_symlinks=False)])
        visible = self._visible(found) if found and self.settings.ignore_schemas else found
        if visible is None:
            raise SchemaNotFound(
                f"There is no schema {title!r} in {self.base}.",
                hint="The title of a schema is the path of its directory below the base.",
            )
        return visible

    def folder_of(self, file: Path) -> SchemaFolder:
        """The schema a file belongs to, whatever directory its path is relative to. Raises SchemaNotFound."""
        directory = file.resolve().parent
        if not directory.is_relative_to(self.base):
            raise SchemaNotFound(f"{file} is not below {self.base}, where the schemas are.")
        return self.folder(directory.relative_to(self.base).as_posix())

    def read(self, file: Path) -> dict[str, Any]:
        """The schema in a file, parsed once and not to be changed. Raises SchemaInvalid or SchemaNotFound."""
        return self.source(file).content

    def source(self, file: Path) -> Source:
        """A file and the schema in it. Raises SchemaInvalid, with the place, or SchemaNotFound."""
        source = self.unchecked(file)
        if file not in self._checked:
            source.check()
            self._checked.add(file)
        return source

    def unchecked(self, file: Path) -> Source:
        """A file and the object in it, which need not be a schema. Raises SchemaInvalid or SchemaNotFound."""
        if file not in self._sources:
            self._sources[file] = parse_file(file, self.shown(file), self.limits)
        return self._sources[file]

    def shown(self, file: Path) -> str:
        """A file as messages name it: relative to the repository's root if it is inside."""
        return file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else str(file)

    def version_named(self, document: Mapping[str, Any], where: str) -> str:
        """The version that a document declares, from the last segment of its version field. Raises SchemaInvalid."""
        value: Any = document
        for step in self.settings.version_field.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if not isinstance(value, str):
            raise SchemaInvalid(
                f"{where} has no `{self.settings.version_field}`, so its version is unknown.",
                hint="Write `$id: /<title>/<version>`, as in `$id: /page/edit/1.0.0`.",
            )
        version = coerced_version(value.rstrip("/#").rsplit("/", 1)[-1])
        if version is None:
            raise SchemaInvalid(
                f"{where} names no version: its `{self.settings.version_field}` is {value!r}.",
                hint="End it in a version, as in `/page/edit/1.0.0`.",
            )
        return version

    def _walk(self, directory: Path) -> Iterator[SchemaFolder]:
        pending = [directory]
        while pending:
            here = pending.pop()
            files = []
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _NEVER_SCHEMAS and not entry.name.startswith(".headwater"):
                            pending.append(here / entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        files.append(entry)
            folder = self._folder(here, files) if here != self.base else None
            if folder is not None:
                yield folder

    def _folder(self, path: Path, entries: Sequence[os.DirEntry[str]]) -> SchemaFolder | None:
        current: Path | None = None
        files: dict[Version, dict[str, Path]] = {}
        for entry in entries:
            if entry.name == self.settings.current_file:
                current = path / entry.name
            elif match := _VERSION_FILE.fullmatch(entry.name):
                version = version_of(match[1])
                assert version is not None
                files.setdefault(version, {})[match[2]] = path / entry.name
        if current is None and not files:
            return None
        title = path.relative_to(self.base).as_posix()
        return SchemaFolder(title, path, current, dict(sorted(files.items())))

    def _visible(self, folder: SchemaFolder) -> SchemaFolder | None:
        def hidden(file: Path) -> bool:
            try:
                identifier = self.unchecked(file).content.get("$id")
            except SchemaInvalid:
                # An unreadable file is reported when this schema is used, and hides no other schema.
                return False
            return isinstance(identifier, str) and self.settings.is_ignored(identifier)

        files = {version: types for version, types in folder.files.items() if not hidden(folder.versions[version])}
        current = folder.current if folder.current and not hidden(folder.current) else None
        return replace(folder, current=current, files=files) if current or files else None


def parse_file(file: Path, where: str, limits: ValidationLimits) -> Source:
    """The JSON or YAML object in `file`, which need not be a schema. Raises SchemaInvalid, SchemaNotFound."""
    try:
        with file.open("rb") as opened:
            data = opened.read(limits.document_bytes_max + 1)
    except FileNotFoundError:
        raise SchemaNotFound(f"There is no file {where}.") from None
    except OSError as error:
        raise SchemaInvalid(f"{where} cannot be read: {error.strerror}.") from None
    return parse_source(data, where, limits)


def version_text(version: Version) -> str:
    """`1.2.3`."""
    return ".".join(str(part) for part in version)


def coerced_version(text: str) -> str | None:
    """The first version-like run of numbers in a text, as `X.Y.Z` (`1.0` is 1.0.0), or None (schemas.md §2.1)."""
    match = _COERCED.search(text)
    return ".".join(str(int(part or 0)) for part in match.groups()) if match else None


def _find_root(start: Path) -> Path:
    for directory in (start, *start.parents):
        if (directory / SETTINGS_FILE).is_file():
            return directory
        if (directory / ".git").exists():
            break
    for name in _USUAL_FOLDERS:
        if (start / name / SETTINGS_FILE).is_file():
            return start / name
    return start


def _usual_base(root: Path) -> Path:
    return next((root / name for name in _USUAL_FOLDERS if (root / name).is_dir()), root)
