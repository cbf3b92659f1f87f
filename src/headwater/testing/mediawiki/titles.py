"""Titles of pages as MediaWiki normalizes them, and the namespaces their prefixes name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

TITLE_BYTES_MAX = 255
# The names every wiki understands; a wiki's own names are learned from its pages.
NAMESPACES = {
    -2: "Media",
    -1: "Special",
    0: "",
    1: "Talk",
    2: "User",
    3: "User talk",
    4: "Project",
    5: "Project talk",
    6: "File",
    7: "File talk",
    8: "MediaWiki",
    9: "MediaWiki talk",
    10: "Template",
    11: "Template talk",
    12: "Help",
    13: "Help talk",
    14: "Category",
    15: "Category talk",
}
ALIASES = {"image": (6, "File"), "image talk": (7, "File talk")}
STANDARD_PREFIXES: Mapping[str, tuple[int, str]] = {
    **{name.lower(): (number, name) for number, name in NAMESPACES.items() if name},
    **ALIASES,
}
_SPACES = re.compile("[ _\u00a0\u1680\u180e\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_NEVER = re.compile("[<>\\[\\]|{}\u0000-\u001f\u007f\ufffd]")


class InvalidTitle(ValueError):
    """No page can have this title; the text of the error is the API's reason."""


@dataclass(frozen=True, slots=True)
class Title:
    """A namespace, and the whole title with its prefix: the first letter is a capital, spaces are no underscores."""

    ns: int
    text: str


def normalize(text: str, prefixes: Mapping[str, tuple[int, str]] = STANDARD_PREFIXES) -> Title:
    """The title somebody means. `prefixes`: names of namespaces in lower case → number, and the name as it is shown.

    :raises InvalidTitle: no page can have it.
    """
    title = _SPACES.sub(" ", text).partition("#")[0].strip().removeprefix(":").strip()
    wrong = _NEVER.search(title)
    if wrong:
        raise InvalidTitle(f'The requested page title contains invalid characters: "{wrong[0]}".')
    prefix, colon, rest = title.partition(":")
    ns, name = prefixes.get(prefix.strip().lower(), (0, "")) if colon else (0, "")
    local = rest.strip() if name else title
    if not local:
        raise InvalidTitle("The requested page title is empty or contains only the name of a namespace.")
    if len(local.encode("utf-8", "replace")) > TITLE_BYTES_MAX:
        raise InvalidTitle(f"The requested page title is too long. It must be no longer than {TITLE_BYTES_MAX} bytes.")
    first = local[0].upper()
    local = (first if len(first) == 1 else local[0]) + local[1:]
    return Title(ns, f"{name}:{local}" if name else local)
