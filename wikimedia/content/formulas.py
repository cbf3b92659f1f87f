"""The formulas of a page, and which of them an edit added or removed; run in a process of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import mwparserfromhell
from pylatexenc.latexwalker import LatexWalker, LatexWalkerParseError

_KINDS = {"math": "math", "chem": "chem", "ce": "chem"}
_MACRO = re.compile(r"\\([A-Za-z]+)")
_UNESCAPED_PERCENT = re.compile(r"(?<!\\)(?:\\\\)*%")


def formulas_change(before: str, after: str, macros: list[str]) -> dict[str, Any] | None:
    """`added` and `removed` formulas, `chem_added` and `chem_removed` those of chemistry; None if they are the same.

    `macros` are what wikis know and LaTeX does not, or reads differently.
    """
    old, new = _counted(before), _counted(after)
    if old == new:
        return None
    added, removed = sorted((new - old).elements()), sorted((old - new).elements())
    return {
        "added": [_checked(tex, frozenset(macros)) for kind, tex in added if kind == "math"],
        "removed": [tex for kind, tex in removed if kind == "math"],
        "chem_added": [tex for kind, tex in added if kind == "chem"],
        "chem_removed": [tex for kind, tex in removed if kind == "chem"],
    }


def _counted(text: str) -> Counter[tuple[str, str]]:
    """Kind and content of each formula, without white space around it, and how often the page has it."""
    return Counter(_formulas(text))


def _formulas(text: str) -> Iterator[tuple[str, str]]:
    # The parser takes what is in a comment, or in an element such as nowiki or pre, for text.
    for tag in mwparserfromhell.parse(text).ifilter_tags():
        kind = _KINDS.get(str(tag.tag).strip().lower())
        if kind is not None and tag.contents is not None and not tag.self_closing:
            yield kind, str(tag.contents).strip()


def _checked(tex: str, macros: frozenset[str]) -> dict[str, Any]:
    """The formula, and where its syntax is wrong: as a warning if that may be due to what only wikis know."""
    at = _error_at(tex)
    if at is None:
        return {"tex": tex, "syntax_error": None}
    # A percent sign begins a comment in LaTeX, and is one in a wiki.
    doubtful = bool(_UNESCAPED_PERCENT.search(tex)) or not macros.isdisjoint(_MACRO.findall(tex))
    return {"tex": tex, "syntax_error": {"pos": at}, "severity": "warning" if doubtful else "error"}


def _error_at(tex: str) -> int | None:
    """The position of the first error, in characters from 0; None without one."""
    try:
        LatexWalker(tex, tolerant_parsing=False).get_latex_nodes()
    except LatexWalkerParseError as error:
        return len(tex) if error.pos is None else int(error.pos)
    except IndexError:
        # The library reads past the end of a macro that is cut off.
        return len(tex)
    return None
