"""Finds which schema refers to which version of which schema, and which references are out of date."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import SchemaInvalid
from headwater.schemas.uri import version_of
from headwater.schemas.violation import pointer_step
from headwater.schemas.workspace.working_copy import Version, WorkingCopy, version_text
from headwater.schemas.workspace.working_settings import WorkingSettings


@dataclass(frozen=True, slots=True)
class FragmentUse:
    """One `$ref` from a schema's current file (or its latest version if it has none) to another schema.

    `user` and `used` are titles, `pointer` is the place of the `$ref` in the user. `version` is None for a reference
    that names no version, `latest` is None for a schema that this repository does not have.
    """

    user: str
    pointer: str
    reference: str
    used: str
    version: Version | None
    latest: Version | None

    @property
    def is_behind(self) -> bool:
        """Whether a later version than the one referred to is released here."""
        return self.version is not None and self.latest is not None and self.version < self.latest

    def as_json(self) -> dict[str, Any]:
        """The plain values that `--json` prints."""
        return {
            "user": self.user,
            "pointer": self.pointer,
            "reference": self.reference,
            "used": self.used,
            "version": version_text(self.version) if self.version else None,
            "latest": version_text(self.latest) if self.latest else None,
            "behind": self.is_behind,
        }


def fragment_uses(copy: WorkingCopy, titles: Collection[str] | None = None) -> list[FragmentUse]:
    """Every reference between schemas of the repository, by user and place.

    Raises SchemaInvalid if one of `titles` (None: any schema) cannot be read; the others are skipped.
    """
    found = []
    elsewhere = _latest_in_pinned(copy)
    for title, folder in copy.schemas.items():
        file = folder.current or folder.versions[max(folder.versions)]
        try:
            document = copy.read(file)
        except SchemaInvalid:
            if titles is None or title in titles:
                raise
            continue
        for pointer, reference in references(document):
            used, version = named_by(reference)
            if used and used != title:
                latest = copy.schemas[used].latest if used in copy.schemas else elsewhere.get(used)
                found.append(FragmentUse(title, pointer, reference, used, version, latest))
    return found


def _latest_in_pinned(copy: WorkingCopy) -> dict[str, Version]:
    """The latest versions in pinned directories; the first directory with a title wins."""
    found: dict[str, Version] = {}
    for pinned in copy.settings.pinned:
        if pinned.commit is None and pinned.path.is_dir():
            other = WorkingCopy(pinned.path, WorkingSettings(base_path=pinned.path.resolve()), copy.limits)
            latest = ((title, folder.latest) for title, folder in other.schemas.items())
            found = {title: version for title, version in latest if version is not None} | found
    return found


def references(document: Any) -> Iterator[tuple[str, str]]:
    """Every `$ref` of a document with the pointer of the object that holds it."""
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        pointer, value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield pointer, value["$ref"]
            children = [(pointer + pointer_step(name), child) for name, child in value.items()]
        elif isinstance(value, list):
            children = [(f"{pointer}/{index}", child) for index, child in enumerate(value)]
        else:
            continue
        stack.extend(reversed(children))


def named_by(reference: str) -> tuple[str | None, Version | None]:
    """The title and version a `$ref` names: ("fragment/common", (1, 0, 0)); (None, None) for one within its file."""
    path = reference.partition("#")[0]
    if not path.startswith("/"):
        return None, None
    title, _, name = path.strip("/").rpartition("/")
    version = version_of(name.removesuffix(".yaml").removesuffix(".json"))
    return (title, version) if title else (None, None)


def users_of(title: str, uses: Iterable[FragmentUse]) -> Mapping[str, bool]:
    """Titles that refer to `title`, and whether directly (True) or only through others (False); titles ascending."""
    by_used: dict[str, set[str]] = {}
    for use in uses:
        by_used.setdefault(use.used, set()).add(use.user)
    found: dict[str, bool] = dict.fromkeys(by_used.get(title, ()), True)
    pending = list(found)
    while pending:
        for user in by_used.get(pending.pop(), ()):
            if user not in found and user != title:
                found[user] = False
                pending.append(user)
    return dict(sorted(found.items()))
