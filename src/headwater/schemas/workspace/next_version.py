"""Determines the version that a changed schema should have: the size of the change, and the resulting number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.schemas.json_value import json_equal
from headwater.schemas.workspace.working_copy import Version

_REASONS_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class BumpAdvice:
    """`level` is "major", "minor", "patch" or "none" (no change); `reasons` are sentences."""

    level: str
    reasons: tuple[str, ...] = ()


NOTHING_CHANGED = BumpAdvice("none", ("Nothing has changed but the version.",))


def advise_bump(released: Mapping[str, Any], new: Mapping[str, Any]) -> BumpAdvice:
    """The size of the step from a released version to a new one; both materialized.

    Major if events of the released version would be refused or a table could not be kept, patch if only documentation
    differs, else minor. What cannot be decided counts as major. Raises SchemaInvalid.
    """
    if json_equal(_without_version(released), _without_version(new)):
        return NOTHING_CHANGED
    # The engine is the largest part of this package; most runs never need it.
    from headwater.schemas.compatibility import compare, suggest_bump

    comparison = compare(released, new)
    level = suggest_bump(comparison)
    if level == "patch":
        return BumpAdvice(level, ("Only documentation differs.",))
    if level == "minor":
        return BumpAdvice(level, ("Events of the released version are still accepted, and tables can be kept.",))
    answers = (comparison.backward, comparison.storage)
    reasons = [reason.sentence for answer in answers for reason in answer.reasons]
    reasons += [f"Unknown, because {answer.doubt}." for answer in answers if answer.verdict == "unknown"]
    return BumpAdvice(level, tuple(reasons[:_REASONS_SHOWN_MAX]))


def next_version(version: Version, level: str) -> Version:
    """The version after a change of this size; "none" keeps the version."""
    major, minor, patch = version
    steps = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}
    return steps.get(level, version)


def _without_version(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without the parts that repeat its version."""
    identifier = document.get("$id")
    examples = document.get("examples")
    plain = {name: value for name, value in document.items() if name not in ("$id", "examples")}
    plain["examples"] = [
        {name: value for name, value in one.items() if name != "$schema" or value != identifier}
        if isinstance(one, dict)
        else one
        for one in (examples if isinstance(examples, list) else [])
    ]
    return plain
