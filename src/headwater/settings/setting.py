"""One setting of a section: its default, its meaning and the restrictions on its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# Marks a setting without a default: it must be written.
REQUIRED: Any = dataclasses.MISSING


def setting(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    starts_with: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    """A field of a section: its default, its meaning, and the restrictions on its values beyond the type.

    A `secret` setting may hold passwords, so it is left out of the section's text.
    """
    metadata = {"meaning": meaning, "at_least": at_least, "at_most": at_most, "starts_with": tuple(starts_with)}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)
