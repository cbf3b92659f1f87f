"""Finds keywords in text whatever their case and composition: plain words by Aho-Corasick, and regular expressions.

How this works: text and words are folded in the same way (NFC, then without case, then NFC again), and all words are
searched for in one pass. Regular expressions see the text as it is; since one can take for ever, they run in a process
whose time is limited.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .bounded import Bounded

SNIPPET_CHARS = 60
REGEX_SECONDS_MAX = 1.0


class InvalidKeywords(ValueError):
    """The list of keywords cannot be used."""


@dataclass(frozen=True)
class Keyword:
    """One entry of a list: a text, maybe only as a whole word, or a regular expression."""

    text: str
    whole_word: bool = False
    regex: bool = False


@dataclass(frozen=True)
class Found:
    """The keywords of a text in the order of the list, and the text around the one that is found first."""

    keywords: list[str]
    snippet: str


def folded(text: str) -> str:
    """The text as it is compared."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class Keywords:
    """One list of keywords, ready to be searched for."""

    def __init__(self, keywords: Sequence[Keyword]) -> None:
        self._keywords = list(dict.fromkeys(keywords))
        self._regexes = [keyword.text for keyword in self._keywords if keyword.regex]
        self._words: dict[str, list[Keyword]] = {}
        for keyword in self._keywords:
            if not keyword.regex:
                self._words.setdefault(folded(keyword.text), []).append(keyword)
        self._occurrences = _searcher(list(self._words))
        self._search_regexes = Bounded(Path(__file__).parent / "regexes.py", "search", seconds=REGEX_SECONDS_MAX)

    def find(self, text: str) -> Found | None:
        """The keywords in `text`; None if there are none. Raises OverBudget, Failed for a regular expression."""
        within = folded(text)
        starts: dict[Keyword, int] = {}
        for word, start in self._occurrences(within):
            alone = not (
                _is_word(within[start - 1 : start]) or _is_word(within[start + len(word) : start + len(word) + 1])
            )
            for keyword in self._words[word]:
                if alone or not keyword.whole_word:
                    starts[keyword] = min(start, starts.get(keyword, start))
        at = {keyword: _unfolded(text, start) for keyword, start in starts.items()}
        if self._regexes and text:
            found = self._search_regexes(patterns=self._regexes, text=text)
            for keyword in self._keywords:
                if keyword.regex and found.get(keyword.text) is not None:
                    at[keyword] = found[keyword.text]
        if not at:
            return None
        first = min(at.values())
        snippet = text[max(0, first - SNIPPET_CHARS) : first + SNIPPET_CHARS].strip()
        names = dict.fromkeys(keyword.text for keyword in self._keywords if keyword in at)
        return Found(list(names), snippet)


def keywords_of(entries: Any) -> Keywords:
    """A list of texts and of mappings such as {keyword: spam, whole_word: true} and {regex: "b+ad"}.

    Raises InvalidKeywords, which names the entry.
    """
    if not isinstance(entries, list):
        raise InvalidKeywords(f"The keywords are a list, not {entries!r:.100}.")
    return Keywords([_keyword(entry) for entry in entries])


def lists_of(text: str) -> Mapping[str, Keywords]:
    """The lists of a YAML file, each by the field it is searched for in. Raises InvalidKeywords."""
    try:
        lists = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidKeywords(f"The keywords are not YAML: {error}") from None
    if not isinstance(lists, dict):
        raise InvalidKeywords("The keywords are lists by field: `comment: [spam]`.")
    return {str(field): keywords_of(entries) for field, entries in lists.items()}


def _keyword(entry: Any) -> Keyword:
    if isinstance(entry, str):
        entry = {"keyword": entry}
    if not isinstance(entry, dict) or not {"keyword", "regex"} & entry.keys() or entry.keys() - _MEMBERS:
        raise InvalidKeywords(f"{entry!r:.200} is neither a text, nor a mapping with `keyword` or `regex`.")
    if "keyword" in entry and "regex" in entry:
        raise InvalidKeywords(f"{entry!r:.200} is a keyword or a regular expression, not both.")
    regex = "regex" in entry
    text = entry["regex"] if regex else entry["keyword"]
    if not isinstance(text, str) or not text.strip():
        raise InvalidKeywords(f"{entry!r:.200}: an empty keyword would be in every text.")
    if regex:
        try:
            re.compile(text)
        except re.error as error:
            raise InvalidKeywords(f"{text!r:.200} is no regular expression: {error}") from None
    return Keyword(text, whole_word=entry.get("whole_word") is True, regex=regex)


_MEMBERS = {"keyword", "regex", "whole_word"}


def _searcher(words: Sequence[str]) -> Any:
    """A function that gives each word of `words` that is in a text, and where it starts."""
    try:
        import ahocorasick
    except ImportError:
        return lambda text: _one_by_one(words, text)
    automaton = ahocorasick.Automaton()
    for word in words:
        automaton.add_word(word, word)
    if not words:
        return lambda text: ()
    automaton.make_automaton()
    return lambda text: ((word, end - len(word) + 1) for end, word in automaton.iter(text))


def _one_by_one(words: Sequence[str], text: str) -> Iterator[tuple[str, int]]:
    """The same without the library."""
    for word in words:
        start = text.find(word)
        while start >= 0:
            yield word, start
            start = text.find(word, start + 1)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _unfolded(text: str, start: int) -> int:
    """The place in `text` of what is at `start` when it is folded: folding makes some characters longer."""
    return bisect.bisect_right(range(len(text)), start, key=lambda end: len(folded(text[:end]))) - 1
