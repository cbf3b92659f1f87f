"""Words of a page that a dictionary does not have, and what they may be meant to be; run in a process of its own."""

from __future__ import annotations

import functools
import re
from typing import Any

import mwparserfromhell
from spellchecker import SpellChecker

LETTERS_MIN = 4
SENTENCE_CHARS_MAX = 300
# In English, words with other letters are foreign ones.
_WORDS = {"en": re.compile(rf"[A-Za-z]{{{LETTERS_MIN},}}")}
_ANY_WORD = re.compile(rf"[^\W\d_]{{{LETTERS_MIN},}}")
_SENTENCE_END = re.compile(r"[.!?。]\s|\n")


def spelling(text: str, language: str, known: list[str], suggested_max: int) -> dict[str, Any]:
    """`supported`: whether there is a dictionary; `findings`: a record for each unknown word, in order of the words.

    Words are those in lower case, as names are not, outside of templates, references and links to files. `known` are
    words that are right, too. Corrections, one letter away, are looked for in at most `suggested_max` words.
    """
    dictionary = _dictionary(language)
    if dictionary is None:
        return {"supported": False, "findings": []}
    plain = _plain(text)
    places: dict[str, list[int]] = {}
    for found in _WORDS.get(language, _ANY_WORD).finditer(plain):
        if found[0].islower():
            places.setdefault(found[0], []).append(found.start())
    unknown = sorted(dictionary.unknown(places) - set(known))
    return {
        "supported": True,
        "findings": [
            {
                "word": word,
                "count": len(places[word]),
                "offset": places[word][0],
                "sentence": _sentence(plain, places[word][0]),
                "suggestions": _suggestions(dictionary, word) if number < suggested_max else [],
            }
            for number, word in enumerate(unknown)
        ],
    }


def _plain(text: str) -> str:
    parsed = mwparserfromhell.parse(text)
    for tag in parsed.filter_tags(recursive=False):
        if str(tag.tag).strip().lower() == "ref":
            parsed.remove(tag)
    return str(parsed.strip_code())


@functools.cache
def _dictionary(language: str) -> SpellChecker | None:
    if language not in SpellChecker.languages():
        return None
    # More than one letter away takes seconds for a word.
    return SpellChecker(language=language, distance=1)


def _suggestions(dictionary: SpellChecker, word: str) -> list[str]:
    """The most frequent word that is one letter away, if there is one."""
    correction = dictionary.correction(word)
    return [] if correction in (None, word) else [correction]


def _sentence(plain: str, at: int) -> str:
    """The sentence around a position, or a part of a long one."""
    start = max((end.end() for end in _SENTENCE_END.finditer(plain, max(0, at - SENTENCE_CHARS_MAX), at)), default=0)
    start = max(start, at - SENTENCE_CHARS_MAX)
    ends = _SENTENCE_END.search(plain, at)
    end = len(plain) if ends is None else ends.start() + 1
    return plain[start : min(end, start + 2 * SENTENCE_CHARS_MAX)].strip()
