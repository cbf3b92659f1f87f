"""Writes materialized versions to disk: which files and links they need, what would change, and the change itself.

How this works: everything a run would write is computed before the first byte is written. A file or link is made under
another name in the same directory and renamed into place, so that concurrent readers see the old content or the new,
never a part of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import SchemaUnavailable
from headwater.schemas.uri import LATEST, version_of
from headwater.schemas.workspace.materialize import Materialized
from headwater.schemas.workspace.working_copy import Version, version_text
from headwater.schemas.workspace.working_settings import WorkingSettings


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A file with its content, or a symbolic link with its target (relative); exactly one of the two is set."""

    path: Path
    content: bytes | None = None
    target: str | None = None

    @property
    def state(self) -> str:
        """`same`, `absent`, or `different` from what is on disk."""
        if self.target is not None:
            if self.path.is_symlink():
                return "same" if os.readlink(self.path) == self.target else "different"
            return "different" if self.path.exists() else "absent"
        if self.path.is_symlink():
            return "different"
        try:
            return "same" if self.path.read_bytes() == self.content else "different"
        except FileNotFoundError:
            return "absent"
        except OSError as error:
            raise SchemaUnavailable(f"{self.path} cannot be read: {error.strerror}.") from None

    def write(self) -> None:
        """Put it into place in one step. Raises SchemaUnavailable."""
        other = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.target is not None:
                other.unlink(missing_ok=True)
                other.symlink_to(self.target)
            else:
                other.write_bytes(self.content or b"")
            other.replace(self.path)
        except OSError as error:
            other.unlink(missing_ok=True)
            raise SchemaUnavailable(f"{self.path} cannot be written: {error.strerror}.") from None


def version_files(made: Materialized, directory: Path, settings: WorkingSettings) -> list[VersionFile]:
    """The files and links of one version in `directory` (contracts/schemas.md §1)."""
    name = version_text(made.version)
    files = [
        VersionFile(directory / f"{name}.{kind}", content=text.encode("utf-8", "surrogatepass"))
        for kind, text in made.texts.items()
    ]
    first = settings.content_types[0]
    if settings.symlink_extensionless:
        # For older versions, too: this restores links that a copy has lost.
        names = {name, *(version_text(version) for version in _versions_in(directory, first))}
        files.extend(VersionFile(directory / one, target=f"{one}.{first}") for one in sorted(names))
    if settings.symlink_latest:
        for kind in settings.content_types:
            greatest = version_text(max([made.version, *_versions_in(directory, kind)]))
            files.append(VersionFile(directory / f"{LATEST}.{kind}", target=f"{greatest}.{kind}"))
            if kind == first and settings.symlink_extensionless:
                files.append(VersionFile(directory / LATEST, target=f"{greatest}.{kind}"))
    return files


def write_changed(files: Iterable[VersionFile], *, dry_run: bool = False) -> list[VersionFile]:
    """Write what is not yet on disk; returns what was (or, in a dry run, would have been) written."""
    changed = [file for file in files if file.state != "same"]
    # Files before the links to them.
    for file in sorted(changed, key=lambda file: file.target is not None):
        if not dry_run:
            file.write()
    return changed


def _versions_in(directory: Path, content_type: str) -> Sequence[Version]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    suffix = f".{content_type}"
    found = (version_of(name.removesuffix(suffix)) for name in names if name.endswith(suffix))
    return [version for version in found if version]
