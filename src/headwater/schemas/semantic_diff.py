"""What a new version of a schema changes, said in the words of the schema: fields, types, bounds, not lines of text."""

from __future__ import annotations

from typing import Any


def only_annotations_differ(old: Any, new: Any) -> bool:
    return old == new
