"""Names of objects in Kubernetes, made of the names of projects and jobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from headwater.errors import ConfigInvalid

LABEL_CHARACTERS_MAX = 63
# The operator adds to the name of an application, for its services and pods.
APPLICATION_CHARACTERS_MAX = 45
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_OTHERS = re.compile(r"[^a-z0-9]+")
_HASH_CHARACTERS = 8


def label(*parts: str, characters_max: int = LABEL_CHARACTERS_MAX) -> str:
    """The parts as one DNS label that begins with a letter: in lower case, `-` for other characters.

    One that would be too long is cut, and ends in a hash of the whole, so that two long names remain two.
    """
    written = "-".join(parts)
    made = _OTHERS.sub("-", written.lower()).strip("-")
    if not made or not made[0].isalpha():
        made = f"x-{made}".rstrip("-")
    if len(made) <= characters_max:
        return made
    digest = hashlib.sha256(written.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{made[: characters_max - _HASH_CHARACTERS - 1].rstrip('-')}-{digest}"


def require_distinct(names: Iterable[str], what: str) -> None:
    """Raise ConfigInvalid if two of these names become one label; `what` says what they name, in the plural."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(label(name), name)
        if other != name:
            raise ConfigInvalid(
                f"The {what} {other} and {name} would have the same name in Kubernetes, {label(name)}.",
                hint="Rename one of them: letters in lower case and digits count, all else is written as `-`.",
            )
