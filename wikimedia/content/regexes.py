"""Searches a text for regular expressions; run in a process of its own, because some take for ever."""

from __future__ import annotations

import re


def search(patterns: list[str], text: str) -> dict[str, int]:
    """Where each pattern that is in the text starts."""
    found = {pattern: re.search(pattern, text) for pattern in patterns}
    return {pattern: match.start() for pattern, match in found.items() if match is not None}
