"""Which recent changes of a wiki are edits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The list of recent changes has these besides edits and new pages.
NOT_EDITS = frozenset({"log", "categorize", "external"})


def is_edit(change: Mapping[str, Any]) -> bool:
    """Whether it is an edit, including the one that creates a page."""
    return change.get("type") not in NOT_EDITS
