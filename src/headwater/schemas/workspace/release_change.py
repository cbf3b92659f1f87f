"""The effect of a set of changes on each schema: a comparison with its last released version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.errors import HeadwaterError
from headwater.schemas.source import read_source
from headwater.schemas.uri import version_of
from headwater.schemas.workspace.git_changes import git_output
from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.next_version import BumpAdvice, advise_bump
from headwater.schemas.workspace.working_copy import Version, WorkingCopy, version_text

if TYPE_CHECKING:
    from headwater.schemas.compatibility import Comparison
    from headwater.schemas.compatibility.semantic_diff import Change


@dataclass(frozen=True)
class SchemaChange:
    """One schema after a change.

    `old_version` is the greatest version that the revision had, None for a new schema; `new_version` what the current
    file names now. `comparison`, `changes` and `advice` are about that step; None, empty and None if there is none.
    `problem` says why a schema cannot be compared.
    """

    title: str
    old_version: str | None
    new_version: str | None
    changes: Sequence[Change] = ()
    comparison: Comparison | None = None
    advice: BumpAdvice | None = None
    problem: str | None = None

    @property
    def is_breaking(self) -> bool:
        """Whether events of the old version would be refused, or its tables could not be kept."""
        return self.advice is not None and self.advice.level == "major"

    @property
    def bump_is_enough(self) -> bool | None:
        """Whether the new version is as far from the old one as the change requires; None if it requires nothing."""
        if self.advice is None or self.advice.level == "none" or not self.old_version or not self.new_version:
            return None
        old, new = version_of(self.old_version), version_of(self.new_version)
        depth = {"major": 1, "minor": 2, "patch": 3}[self.advice.level]
        return old is not None and new is not None and new[:depth] > old[:depth]


def schema_changes(copy: WorkingCopy, titles: Iterable[str], since: str) -> list[SchemaChange]:
    """The step of each schema from revision `since` to the present files. Raises SchemaUnavailable."""
    materializer = Materializer(copy, list(titles))
    found = []
    for title in titles:
        try:
            found.append(_change(copy, materializer, title, _released(copy, title, since)))
        except HeadwaterError as error:
            found.append(SchemaChange(title, None, None, problem=error.message))
    return found


def _change(
    copy: WorkingCopy, materializer: Materializer, title: str, released: tuple[Version, Mapping[str, Any]] | None
) -> SchemaChange:
    from headwater.schemas.compatibility import compare
    from headwater.schemas.compatibility.semantic_diff import changes

    folder = copy.folder(title)
    if folder.current is not None:
        made = materializer.folder(folder)
        version, document = made.version, made.document
    else:
        assert folder.latest is not None
        version, document = folder.latest, copy.read(folder.versions[folder.latest])
    if released is None:
        return SchemaChange(title, None, version_text(version))
    old_version, old = released
    return SchemaChange(
        title,
        version_text(old_version),
        version_text(version),
        # Every version has another `$id`, and every example names it.
        [change for change in changes(old, document) if change.schema_pointer not in ("/$id", "/examples")],
        compare(old, document),
        advise_bump(old, document),
    )


def _released(copy: WorkingCopy, title: str, since: str) -> tuple[Version, Mapping[str, Any]] | None:
    """The greatest version of a schema in a revision."""
    names = git_output(["ls-tree", "-z", "--name-only", since, "--", f"./{title}/"], copy.base).decode(errors="replace")
    versions: dict[Version, str] = {}
    for path in names.split("\0"):
        stem, _, extension = path.rpartition("/")[2].rpartition(".")
        version = version_of(stem)
        if version is not None and extension in ("yaml", "json"):
            versions.setdefault(version, path)
    if not versions:
        return None
    path = versions[max(versions)]
    data = git_output(["show", f"{since}:./{path}"], copy.base)
    return max(versions), read_source(data, f"{since}:{path}", copy.limits).content
