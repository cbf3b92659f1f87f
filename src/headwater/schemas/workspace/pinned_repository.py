"""Copies of other schema repositories for `$ref`s: on disk, pinned to a commit or to the hash of the content.

How this works: without a commit the copy's files are read as they are; with one, the whole directory is read from Git
in one call and kept in memory. A declared hash is checked before the first file is returned, so that a schema is made
from the same content on every machine.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from headwater.errors import SchemaUnavailable
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.workspace.working_settings import PinnedRepository

_SUFFIXES = (".yaml", ".json")
_GIT_TIMEOUT_SECONDS = 60


class SchemaSource(Protocol):
    """Bytes of schema files by their path below a repository's base."""

    def read(self, path: str, bytes_max: int) -> bytes | None:
        """The file's content, cut after `bytes_max + 1` bytes; None if there is no such file. Raises
        SchemaUnavailable.
        """
        ...

    def name(self, path: str) -> str:
        """The file as messages name it."""
        ...


class DirectorySource:
    """Files below one directory; a link that leads out of it is not followed."""

    def __init__(self, base: Path) -> None:
        self.base = base.resolve()

    def read(self, path: str, bytes_max: int) -> bytes | None:
        file = (self.base / path).resolve()
        if not file.is_relative_to(self.base) or not file.is_file():
            return None
        try:
            with file.open("rb") as opened:
                return opened.read(bytes_max + 1)
        except OSError as error:
            raise SchemaUnavailable(f"{file} cannot be read: {error.strerror}.") from None

    def name(self, path: str) -> str:
        return str(self.base / path)

    def __str__(self) -> str:
        return str(self.base)


class PinnedSource:
    """One pinned repository; opened and checked on first use."""

    def __init__(self, pinned: PinnedRepository) -> None:
        self._pinned = pinned
        self._files: Mapping[str, bytes] | None = None
        self._directory: DirectorySource | None = None

    def read(self, path: str, bytes_max: int) -> bytes | None:
        if self._files is None and self._directory is None:
            self._open()
        if self._directory is not None:
            return self._directory.read(path, bytes_max)
        assert self._files is not None
        found = self._files.get(path)
        return found if found is None else found[: bytes_max + 1]

    def name(self, path: str) -> str:
        return str(self._pinned.path / path)

    def _open(self) -> None:
        pinned = self._pinned
        if not pinned.path.is_dir():
            raise SchemaUnavailable(
                f"The pinned repository {pinned.path} does not exist.",
                hint="Fetch it with `headwater schema import --pin`, or correct `headwater.repositories`.",
            )
        files = files_at_commit(pinned.path, pinned.commit) if pinned.commit else None
        if pinned.sha256:
            found = content_hash(files if files is not None else files_below(pinned.path))
            if found != pinned.sha256:
                raise SchemaUnavailable(
                    f"The pinned repository {pinned.path} has changed: its content hash is {found}, but "
                    f"{pinned.sha256} is pinned.",
                    hint="Restore it, or review the change and pin the new hash.",
                )
        if files is None:
            self._directory = DirectorySource(pinned.path)
        self._files = files

    def __str__(self) -> str:
        return str(self._pinned.path) + (f" at {self._pinned.commit}" if self._pinned.commit else "")


def files_below(base: Path) -> dict[str, bytes]:
    """Every schema file below a directory by its path, without links."""
    return {file.relative_to(base).as_posix(): file.read_bytes() for file in _walk(base)}


def files_at_commit(path: Path, commit: str, limits: ValidationLimits | None = None) -> dict[str, bytes]:
    """Every schema file below `path` as it was at `commit`. Raises SchemaUnavailable."""
    import subprocess
    import tarfile

    if commit.startswith("-"):
        raise SchemaUnavailable(f"{commit!r} is not a commit.")
    bytes_max = (limits or ValidationLimits()).document_bytes_max
    try:
        # Run inside `path`, Git archives only what is below it.
        archive = subprocess.run(
            ["git", "archive", "--format=tar", commit, "."],
            cwd=path,
            capture_output=True,
            check=True,
            timeout=_GIT_TIMEOUT_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        raise SchemaUnavailable(
            f"The commit {commit} of {path} cannot be read: {reason.decode(errors='replace').strip()[:200]}.",
            hint="Fetch that commit, or pin another one.",
        ) from None
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            if member.isreg() and member.name.endswith(_SUFFIXES):
                content = members.extractfile(member)
                files[member.name] = content.read(bytes_max + 1) if content else b""
    return files


def content_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the schema files of a repository: `path NUL sha256-of-content LF`, paths ascending; hexadecimal."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path}\0{hashlib.sha256(files[path]).hexdigest()}\n".encode())
    return total.hexdigest()


def _walk(base: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(base):
        for name in names:
            file = Path(directory, name)
            if name.endswith(_SUFFIXES) and not file.is_symlink():
                yield file
