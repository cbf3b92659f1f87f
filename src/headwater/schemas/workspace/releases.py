"""Checks that released versions do not change: compares version files with Git's history or a file of hashes.

How this works: a version is released by the commit that first adds its file (or by being in another revision, if one is
named). The content of its file is compared with its content then; a difference is graded by its effect on data. A lock
file serves the same purpose without a history: one line of hash for each version, and for a deliberate correction the
reason.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headwater.errors import ConfigInvalid, HeadwaterError
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import read_source
from headwater.schemas.workspace.git_changes import git_output
from headwater.schemas.workspace.working_copy import WorkingCopy

if TYPE_CHECKING:
    from headwater.schemas.compatibility import Comparison

LOCK_FILE = "schemas.lock"
Effect = Literal["text", "documentation", "rules", "unreadable", "removed"]


@dataclass(frozen=True, slots=True)
class ReleaseChange:
    """A released version that was changed.

    `effect`: only its "text" (spacing, key order), its "documentation", the "rules" for data, "unreadable" now, or
    "removed". `uri` is the schema's, `since` the commit or lock file it is compared with, and `erratum` the reason that
    a lock file gives for a deliberate correction (None: no reason).
    """

    uri: str
    file: str
    effect: Effect
    since: str
    sentence: str
    fix: str
    comparison: Comparison | None = None
    erratum: str | None = None

    @property
    def severity(self) -> Literal["error", "warning", "notice"]:
        if self.effect == "text" or self.erratum is not None:
            return "notice"
        return "warning" if self.effect == "documentation" else "error"


def changed_since_release(
    copy: WorkingCopy, *, base: str | None = None, titles: Collection[str] | None = None
) -> list[ReleaseChange]:
    """Released versions whose files differ from Git's, by URI.

    Compared with the commit that first added each file, or with revision `base` if one is given (a pull request's
    target, so that versions the request itself adds may still be edited). `titles` limits what is compared. Raises
    SchemaUnavailable outside Git.
    """
    within = [f"./{title}/" for title in titles] if titles is not None else ["."]
    if not within:
        return []
    released = _at_revision(copy.base, base, within) if base is not None else _first_added(copy.base, within)
    wanted = {path: origin for path, origin in released.items() if _is_version_file(path)}
    contents = _contents(copy.base, wanted)
    found = []
    for path, (commit, _) in sorted(wanted.items()):
        then = contents.get(path)
        file = copy.base / path
        now = file.read_bytes() if file.is_file() else None
        if then is not None and now != then:
            found.append(_graded(path, then, now, commit[:12], copy.limits))
    return found


def write_lock(copy: WorkingCopy, file: Path, *, errata: Mapping[str, str] | None = None) -> list[str]:
    """Write the hashes of all versions; returns the URIs that were not in the file before.

    A version that is already in the file keeps its hash; `errata` (URI → reason) accepts the present content of those
    versions and records the reason. Raises ConfigInvalid for a file that is not a lock file.
    """
    lock = read_lock(file)
    added = []
    for uri, path in _versions(copy):
        reason = (errata or {}).get(uri)
        if uri not in lock or reason is not None:
            added += [uri] if uri not in lock else []
            lock[uri] = {"sha256": _sha256(path.read_bytes())} | ({"erratum": reason} if reason else {})
    text = json.dumps(dict(sorted(lock.items())), indent=1, ensure_ascii=False) + "\n"
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    return added


def read_lock(file: Path) -> dict[str, dict[str, str]]:
    """URI → `sha256` and optionally `erratum`; empty if there is no file. Raises ConfigInvalid."""
    if not file.is_file():
        return {}
    try:
        lock = json.loads(file.read_bytes())
        valid = isinstance(lock, dict) and all(isinstance(one, dict) and "sha256" in one for one in lock.values())
    except ValueError:
        lock, valid = {}, False
    if not valid:
        raise ConfigInvalid(
            "This is not a lock file of schema versions.",
            file=str(file),
            hint="Restore it from Git, or write it again.",
        )
    return {str(uri): {str(key): str(value) for key, value in one.items()} for uri, one in lock.items()}


def changed_since_lock(copy: WorkingCopy, file: Path) -> list[ReleaseChange]:
    """Versions whose files differ from the hash in the lock file, and missing ones. By URI."""
    present = dict(_versions(copy))
    found = []
    for uri, entry in sorted(read_lock(file).items()):
        path = present.get(uri)
        if path is None:
            found.append(_removed(uri, uri, file.name))
        elif _sha256(path.read_bytes()) != entry["sha256"]:
            what = f"The released version {uri} differs from the lock file."
            found.append(ReleaseChange(uri, copy.shown(path), "rules", file.name, what, _FIX))
    return found


_FIX = "Restore the file and release the change as a new version; or record it as an erratum with its reason."


def _versions(copy: WorkingCopy) -> Iterator[tuple[str, Path]]:
    for folder in copy.schemas.values():
        yield from ((folder.uri(version), path) for version, path in folder.versions.items())


def _graded(path: str, then: bytes, now: bytes | None, commit: str, limits: ValidationLimits) -> ReleaseChange:
    uri = "/" + path.rpartition(".")[0]
    if now is None:
        return _removed(uri, path, commit)
    # In most runs nothing has changed, and the engine is the largest part of this package.
    from headwater.schemas.compatibility import compare

    try:
        before, after = (read_source(data, path, limits).content for data in (then, now))
        comparison = compare(before, after)
    except HeadwaterError as error:
        return ReleaseChange(uri, path, "unreadable", commit, f"{uri} was changed: {error.message}", _FIX)
    if before == after:
        return ReleaseChange(uri, path, "text", commit, f"The text of {uri} changed, but not its content.", _FIX)
    if comparison.annotations_only:
        what = f"The documentation of the released version {uri} changed."
        return ReleaseChange(uri, path, "documentation", commit, what, _FIX, comparison)
    verdicts = f"backward {comparison.backward.verdict}, forward {comparison.forward.verdict}"
    what = f"The rules of the released version {uri} changed ({verdicts}): readers that have loaded it keep the "
    "former ones."
    return ReleaseChange(uri, path, "rules", commit, what, _FIX, comparison)


def _removed(uri: str, file: str, since: str) -> ReleaseChange:
    what = f"The released version {uri} is missing: events that name it can no longer be validated."
    return ReleaseChange(uri, file, "removed", since, what, "Restore the file; versions are permanent.")


def _is_version_file(path: str) -> bool:
    from headwater.schemas.uri import version_of

    name, _, extension = path.rpartition("/")[2].rpartition(".")
    return extension in ("yaml", "json") and version_of(name) is not None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


Origins = dict[str, tuple[str, str]]


def _first_added(base: Path, within: Sequence[str]) -> Origins:
    """Path below `base` → (commit that first added it, path in that commit), from one walk of the history."""
    log = git_output(
        ["log", "--diff-filter=A", "--name-only", "--no-renames", "-z", "--relative", "--format=%x01%H", "--", *within],
        base,
    )
    found: Origins = {}
    commit = ""
    for part in log.decode(errors="replace").split("\0"):
        text = part.lstrip("\n")
        if text.startswith("\1"):
            commit, _, text = text[1:].partition("\n")
        # The log runs backwards, so the last entry is the first commit.
        if text.strip("\n"):
            found[text.strip("\n")] = (commit, text.strip("\n"))
    return found


def _at_revision(base: Path, revision: str, within: Sequence[str]) -> Origins:
    names = git_output(["ls-tree", "-r", "-z", "--name-only", revision, "--", *within], base).decode(errors="replace")
    return {name: (revision, name) for name in names.split("\0") if name}


def _contents(base: Path, origins: Origins) -> dict[str, bytes]:
    """The content of each file at its origin. Symbolic links (whose content is a name) are left out by their size of
    one line.
    """
    prefix = git_output(["rev-parse", "--show-prefix"], base).decode().strip()
    paths = sorted(origins)
    asked = "".join(f"{origins[path][0]}:{prefix}{origins[path][1]}\n" for path in paths)
    answer = git_output(["cat-file", "--batch"], base, asked.encode())
    found: dict[str, bytes] = {}
    at = 0
    for path in paths:
        end = answer.index(b"\n", at)
        header = answer[at:end].split()
        at = end + 1
        if len(header) == 3 and header[1] == b"blob":
            size = int(header[2])
            found[path] = answer[at : at + size]
            at += size + 1
    return found
