"""The rules about change: versions are compatible, fields of meta are kept, and released versions do not change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

from headwater.errors import HeadwaterError, SchemaUnavailable
from headwater.finding import Severity
from headwater.schemas.compatibility.additions import only_adds
from headwater.schemas.json_value import json_equal
from headwater.schemas.rules.rule import Breach, mapping
from headwater.schemas.violation import pointer_step
from headwater.schemas.workspace.releases import LOCK_FILE, ReleaseChange, changed_since_lock, changed_since_release
from headwater.schemas.workspace.working_copy import Version, WorkingCopy, version_text

Documents = Mapping[Version, Mapping[str, Any]]


def compatibility(documents: Documents, mode: str) -> Iterator[tuple[Version, Breach]]:
    """How versions break the mode, each with the newer version of the pair."""
    if len(documents) < 2 or mode == "NONE" or (mode == "EVENT" and _only_grow(documents)):
        return
    from headwater.schemas.compatibility import check_evolution

    texts = {version_text(version): version for version in documents}
    try:
        found = check_evolution([(text, documents[version]) for text, version in texts.items()], mode)
    except HeadwaterError as error:
        message = f"The versions cannot be compared: {error.message}"
        yield max(documents), Breach("schema-version-compatibility", "", message, error.hint)
        return
    for finding in found:
        what = finding.rule.removeprefix("compatibility.")
        yield (
            texts[finding.new_version],
            Breach(
                "schema-version-compatibility",
                finding.reason.schema_pointer or _in_schema(finding.reason.pointer),
                f"{finding.message} ({what}{': not known' if finding.verdict == 'unknown' else ''})",
                finding.reason.fix,
                finding.reason.witness,
            ),
        )


def _only_grow(documents: Documents) -> bool:
    """Whether every version within a major adds to the one before, which the quick proof decides alone."""
    ordered = sorted(documents.items())
    return all(older[0] != newer[0] or only_adds(old, new) for (older, old), (newer, new) in pairwise(ordered))


def meta_fields(documents: Documents) -> Iterator[tuple[Version, Breach]]:
    """Decision #006: fields of `meta` in a version are in all later ones, whatever their major version."""
    for (_, old), (version, new) in pairwise(sorted(documents.items())):
        before, after = (
            mapping(mapping(mapping(one.get("properties")).get("meta")).get("properties")) for one in (old, new)
        )
        for name in before:
            if after and name not in after:
                message = f'"meta.{name}" was removed; fields of meta stay (decision #006).'
                yield version, Breach("meta-is-kept", "/properties/meta", message, "Declare it again.")


def releases(
    copy: WorkingCopy, since: str | None, *, history: bool, titles: Collection[str] | None
) -> Iterator[tuple[str, str, Breach]]:
    """(URI, file, breach) of released versions that were changed.

    Compared with revision `since` (None: the last commit), the lock file if there is one, and with `history` the commit
    that first added each version. Outside Git only the lock file is used.
    """
    reported: set[str] = set()
    found: list[tuple[ReleaseChange, bool]] = []
    lock = copy.root / LOCK_FILE
    if lock.is_file():
        found += [(change, True) for change in changed_since_lock(copy, lock)]
    try:
        found += [(change, True) for change in changed_since_release(copy, base=since or "HEAD", titles=titles)]
        if history:
            found += [(change, False) for change in changed_since_release(copy, titles=titles)]
    except SchemaUnavailable:
        if since is not None:
            raise
    for change, is_new in found:
        # The history does not follow renames: a schema that was moved long ago is not a removed release.
        if change.uri in reported or (not is_new and change.effect in ("text", "removed")):
            continue
        reported.add(change.uri)
        rule = "version-immutable" if is_new else "version-was-changed"
        severity = Severity.NOTE if change.severity == "notice" else None
        message = f"{change.sentence} (since {change.since})"
        yield change.uri, change.file, Breach(rule, "", message, change.fix, _witness(change), severity)


def is_releasable(stored: Mapping[str, Any] | None, made: Mapping[str, Any]) -> bool:
    """Whether the materialized current file is a version of its own, to be compared with the others."""
    return stored is None or not json_equal(stored, made)


def _witness(change: ReleaseChange) -> Any:
    comparison = change.comparison
    return comparison.backward.witness or comparison.forward.witness if comparison else None


def _in_schema(pointer: str) -> str:
    """The place in the schema where a place in the data is usually declared."""
    steps = pointer.split("/")[1:]
    return "".join("/items" if step == "-" else f"/properties{pointer_step(step)}" for step in steps)
