"""Asks Git about a schema repository: which files an author has changed; adds materialized files to the index."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from headwater.errors import SchemaUnavailable

_TIMEOUT_SECONDS = 60


def changed_files(directory: Path, *, staged: bool) -> list[Path]:
    """Absolute paths of files below `directory` that are added, changed or renamed, ascending.

    `staged` True: between the last commit and the index; False: anything not committed, untracked files too. Raises
    SchemaUnavailable if this is not a Git repository.
    """
    filters = ["--name-only", "-z", "--no-renames", "--diff-filter=ACM", "--relative"]
    if staged:
        names = _names(["diff", "--cached", *filters, "--", "."], directory)
    else:
        has_commit = _run(["rev-parse", "--verify", "-q", "HEAD"], directory, check=False).returncode == 0
        names = _names(["diff", *(["HEAD"] if has_commit else []), *filters, "--", "."], directory)
        names += _names(["ls-files", "-z", "--others", "--exclude-standard", "--", "."], directory)
        if not has_commit:
            names += _names(["ls-files", "-z", "--cached", "--", "."], directory)
    return [directory / name for name in sorted(set(names))]


def modified_files(directory: Path, *, staged: bool) -> list[Path]:
    """Absolute paths below `directory` of what `git diff` names, ascending, as jsonschema-tools calls it.

    `staged` True: between the last commit and the index; False: between the index and what is on disk, so neither
    untracked files nor changes that are already staged. Raises SchemaUnavailable.
    """
    cached = ["--cached"] if staged else []
    names = _names(["diff", *cached, "--name-only", "-z", "--diff-filter=ACM", "--relative", "--", "."], directory)
    return [directory / name for name in sorted(set(names))]


def partly_staged(directory: Path, files: Sequence[Path]) -> list[Path]:
    """Those of `files` whose content on disk differs from the index."""
    names = set(_names(["diff", "--name-only", "-z", "--relative", "--", "."], directory))
    return [file for file in files if file.relative_to(directory).as_posix() in names]


def add_to_index(directory: Path, files: Iterable[Path]) -> None:
    """`git add` the files. Raises SchemaUnavailable."""
    names = [str(file) for file in files]
    if names:
        _run(["add", "--pathspec-from-file=-", "--pathspec-file-nul"], directory, given="\0".join(names).encode())


def commit_of(directory: Path) -> str | None:
    """The full id of the commit that is checked out; None outside Git or before the first commit."""
    try:
        return _run(["rev-parse", "--verify", "-q", "HEAD"], directory).stdout.decode().strip() or None
    except SchemaUnavailable:
        return None


def git_output(arguments: Sequence[str], directory: Path, given: bytes | None = None) -> bytes:
    """The output of a Git command that is run in `directory` with `given` as its input. Raises SchemaUnavailable."""
    return _run(arguments, directory, given=given).stdout


def git_path(directory: Path, name: str) -> Path:
    """The configured path of a directory of Git (`hooks`). Raises SchemaUnavailable."""
    return (directory / _run(["rev-parse", "--git-path", name], directory).stdout.decode().strip()).resolve()


def files_changed_since(directory: Path, commit: str) -> list[Path]:
    """Absolute paths of files below `directory` added or changed between a commit and what is on disk."""
    if commit.startswith("-"):
        raise SchemaUnavailable(f"{commit!r} is not a commit.")
    arguments = ["diff", "--name-only", "-z", "--no-renames", "--diff-filter=ACM", "--relative", commit, "--", "."]
    return [directory / name for name in _names(arguments, directory)]


def _names(arguments: Sequence[str], directory: Path) -> list[str]:
    return [name for name in _run(arguments, directory).stdout.decode().split("\0") if name]


def _run(
    arguments: Sequence[str], directory: Path, *, check: bool = True, given: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=directory, input=given, capture_output=True, check=check, timeout=_TIMEOUT_SECONDS
        )
    except FileNotFoundError:
        raise SchemaUnavailable("The command `git` was not found.", hint="Install Git, or name the files.") from None
    except subprocess.SubprocessError as error:
        reason = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip()
        raise SchemaUnavailable(f"Git failed in {directory}: {reason[:300]}") from None
