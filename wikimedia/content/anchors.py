"""Where a page could link to others: the first place of each text that a dictionary of anchors knows, as written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORDS_MAX = 5
CONTEXT_CHARS = 10
_WORD = re.compile(r"\w+")

Anchor = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A possible link. `at` counts in the whole text; `before` and `after` are what the part of it has around it."""

    text: str
    target: str
    score: float
    at: int
    before: str
    after: str


def places(parts: Sequence[tuple[int, str]], find: Callable[[str], Anchor | None]) -> Iterator[Place]:
    """The places of all anchors in parts of a text, each with where it begins: of each place the longest anchor.

    `find` gives target and score of a text. An anchor begins and ends with a word and has at most five.
    """
    for start, part in parts:
        words = list(_WORD.finditer(part))
        number = 0
        while number < len(words):
            count, anchor = _longest(part, words[number : number + WORDS_MAX], find)
            if anchor is not None:
                first, last = words[number].start(), words[number + count - 1].end()
                yield Place(
                    part[first:last],
                    anchor["target"],
                    float(anchor["score"]),
                    start + first,
                    part[max(0, first - CONTEXT_CHARS) : first],
                    part[last : last + CONTEXT_CHARS],
                )
            number += count


def _longest(
    part: str, words: Sequence[re.Match[str]], find: Callable[[str], Anchor | None]
) -> tuple[int, Anchor | None]:
    """How many of the words are an anchor, and what it leads to; 1 and None without one."""
    for count in range(len(words), 0, -1):
        text = part[words[0].start() : words[count - 1].end()]
        if "\n" not in text and (anchor := find(text)) is not None:
            return count, anchor
    return 1, None


def earlier(parts: Sequence[tuple[int, str]], place: Place) -> int:
    """How often the characters of the place are in the parts before it, also within words."""
    before = (part[: max(0, place.at - start)] for start, part in parts if start < place.at)
    return sum(part.count(place.text) for part in before)
