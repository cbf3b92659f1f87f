"""The documentation uses the field's words: a short list of others is refused outside quotes and code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# Decisions are never edited, and released parts of the changelog neither.
PAGES = sorted(
    [
        *(page for page in REPOSITORY.glob("*.md") if page.name != "CHANGELOG.md"),
        *(page for page in (REPOSITORY / "docs").rglob("*.md") if "decisions" not in page.parts),
        *(REPOSITORY / "src").rglob("*.md"),
    ]
)
# What is refused, and the field's word for it.
BANNED = {
    r"told": "emitted, reported, listed",
    r"judged?|judges|judging|judge?ments?": "validate, check",
    r"anew": "again, from the beginning",
    r"whoever": "a client that, anyone who",
    r"that (?:is|are) none": "is not a …, is invalid",
    r"hasty|hastily": "fire and forget, or `hasty` as the name of the option",
}
WORDS = re.compile("|".join(rf"\b(?:{word})\b" for word in BANNED), re.IGNORECASE)
# Pages that are not clean yet: a page leaves the list when it has none of the words, and none may join.
STILL_TO_CLEAN = frozenset(
    {
        "docs/reference/recorded-differences.md",
    }
)
_UNREAD = re.compile(
    r"^```.*?^```"  # fenced blocks
    r"|<!--.*?-->"
    r"|`+[^`]+`+"  # code
    r"|\]\([^)]*\)"  # the targets of links
    r"|\"[^\"\n]*\"|“[^”]*”",  # quotes
    re.MULTILINE | re.DOTALL,
)


def _page_name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def banned_words(text: str) -> list[str]:
    """The refused words of a page in order, in lower case, without those in code, quotes and addresses."""
    return [match.lower() for match in WORDS.findall(_UNREAD.sub(" ", text))]


@pytest.mark.parametrize("page", [page for page in PAGES if _page_name(page) not in STILL_TO_CLEAN], ids=_page_name)
def test_a_page_has_none_of_the_refused_words(page: Path) -> None:
    assert banned_words(page.read_text(encoding="utf-8")) == [], f"the field says: {BANNED}"


@pytest.mark.parametrize("name", sorted(STILL_TO_CLEAN))
def test_a_page_that_is_clean_leaves_the_list(name: str) -> None:
    assert banned_words((REPOSITORY / name).read_text(encoding="utf-8")) != [], "take it off STILL_TO_CLEAN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An event is Judged,\nanew.", ["judged", "anew"]),
        ("Whoever sends a batch that is none is told.", ["whoever", "that is none", "told"]),
        ("It is answered hastily.", ["hastily"]),
        ("Retold, adjudged and a `hasty` request of [this page](hasty-events.md).", []),
        ('The original says "nothing was told".\n\n```text\nwhoever\n```\n', []),
        ("a ``judge` of`` code", []),
    ],
)
def test_the_words_are_found_outside_quotes_and_code(text: str, expected: list[str]) -> None:
    assert banned_words(text) == expected
