"""The filter language: what matches, what is refused and where, and that no expression costs much."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumption.filter import DEPTH_MAX, TEXT_CHARS_MAX, TOKENS_MAX, parse_filter
from headwater.errors import FilterInvalid

EVENT = {
    "$schema": "/page/change/1.0.0",
    "meta": {"domain": "en.wikipedia.org", "stream": "page_change"},
    "page": {"title": "Main Page", "namespace": 0, "is_redirect": False},
    "tags": ["mobile", "visual", 7],
    "revision": {"size": 120.5, "parent": None},
    "performer": {"groups": [{"name": "bot"}]},
    "user-agent": "x",
}

MATCHING = [
    'meta.domain == "en.wikipedia.org"',
    "meta.domain=='en'".replace("'", '"') + ' or page.title=="Main Page"',
    "page.namespace == 0",
    "page.namespace == 0.0",
    "page.namespace in [0, 4]",
    'meta.domain in ["de.wikipedia.org", "en.wikipedia.org"]',
    "revision.size > 100 and revision.size <= 120.5",
    "revision.size >= 1.2e2",
    "not page.is_redirect",
    "!page.is_redirect && page.title",
    "page.is_redirect == false",
    "page.namespace != false",
    "revision.parent == null",
    "no.such.field == null",
    "no.such.field != 1",
    "page.title",
    'page.title startswith "Main" and page.title endswith "Page"',
    'page.title contains "n P"',
    'tags contains "visual"',
    "tags contains 7",
    'tags.0 == "mobile"',
    'performer.groups.0.name == "bot"',
    'meta.domain ~ "*.wikipedia.org"',
    'meta.domain ~ "en*wiki*org"',
    'meta.domain ~ "*"',
    'page.title < "N"',
    '$schema == "/page/change/1.0.0"',
    'user-agent == "x"',
    '(page.namespace == 1 or page.namespace == 0) and not (tags contains "bot")',
    "page.namespace == 1 or page.namespace == 0 and page.title",
    'meta.domain == "\\u0065n.wikipedia.org"',
]
NOT_MATCHING = [
    'meta.domain == "EN.wikipedia.org"',
    'page.namespace == "0"',
    "page.namespace == false",
    "page.is_redirect == 0",
    "page.is_redirect in [0]",
    "page.namespace in []",
    "no.such.field",
    "no.such.field > 0",
    "revision.parent < 1",
    "page.title > 5",
    "page == 1",
    "page.namespace > null",
    "tags contains true",
    'tags.9 == "mobile"',
    'meta.domain ~ "*.wikidata.org"',
    'meta.domain ~ "en.wikipedia.org*org"',
    "page.title.length == 9",
    "not page.title",
    "tags in [1]",
]


@pytest.mark.parametrize("text", MATCHING)
def test_an_expression_that_is_true_of_the_event_matches(text: str) -> None:
    assert parse_filter(text).matches(EVENT) is True


@pytest.mark.parametrize("text", NOT_MATCHING)
def test_an_expression_that_is_false_of_the_event_does_not_match(text: str) -> None:
    assert parse_filter(text).matches(EVENT) is False


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "expected a field"),
        ("meta.domain ==", 15, "expected a string"),
        ('meta.domain == "a" page', 20, "expected 'and', 'or' or the end"),
        ("meta.domain == en", 16, "expected a string in double quotes"),
        ("(a == 1", 8, "expected ')'"),
        ("a == 1)", 7, "expected 'and'"),
        ("a in [1 2]", 9, "expected ','"),
        ("a in 1", 6, "expected '['"),
        ("a == 01", 6, "is not JSON"),
        ('a == "open', 6, "unexpected"),
        ("a = 1", 3, "unexpected '='"),
        ("a ~ 5", 5, "expected a string after '~'"),
        ("a startswith null", 14, "expected a string after 'startswith'"),
        ("__import__('os')", 12, "unexpected"),
        ("5 == a", 1, "expected a field"),
        ("a == 1 ; b == 2", 8, "unexpected ';'"),
    ],
)
def test_a_refusal_names_the_column_and_points_at_it(text: str, column: int, says: str) -> None:
    with pytest.raises(FilterInvalid) as caught:
        parse_filter(text)
    message, shown, pointer = str(caught.value).split("\n")
    assert f"column {column}:" in message
    assert says in message
    assert shown == f"  {text}"
    assert pointer == "  " + " " * (column - 1) + "^"


def test_filters_that_differ_only_in_spelling_are_equal_so_that_their_readers_share_one_tail() -> None:
    assert parse_filter('a=="x"&&!b') == parse_filter(' a  ==  "x" and not b ')
    assert hash(parse_filter("a")) == hash(parse_filter(" a "))
    assert parse_filter("a") != parse_filter("b")


def test_length_number_of_parts_and_depth_are_limited() -> None:
    with pytest.raises(FilterInvalid, match="characters"):
        parse_filter("a" * (TEXT_CHARS_MAX + 1))
    with pytest.raises(FilterInvalid, match="more than"):
        parse_filter(" or ".join(["a"] * (TOKENS_MAX // 2 + 1)))
    with pytest.raises(FilterInvalid, match="nested deeper"):
        parse_filter("(" * (DEPTH_MAX + 2) + "a" + ")" * (DEPTH_MAX + 2))
    with pytest.raises(FilterInvalid, match="nested deeper"):
        parse_filter("not " * (DEPTH_MAX + 2) + "a")
    assert parse_filter("(" * DEPTH_MAX + "page.title" + ")" * DEPTH_MAX).matches(EVENT)


def test_a_pattern_with_many_stars_stays_linear() -> None:
    pattern = parse_filter('a ~ "' + "*a" * 500 + '*b"')
    began = time.process_time()
    assert pattern.matches({"a": "a" * 100_000}) is False
    assert time.process_time() - began < 10


@given(st.text(max_size=200))
def test_any_text_is_either_a_filter_or_refused(text: str) -> None:
    try:
        parsed = parse_filter(text)
    except FilterInvalid:
        return
    assert parsed.matches(EVENT) in (True, False)
    assert parse_filter(parsed.text) == parsed


_WORDS = st.sampled_from(
    ["a", "meta.domain", "tags", "and", "or", "not", "in", "(", ")", "[", "]", ",", "==", "<", "~", '"x"', "1", "null"]
)


@given(
    st.lists(_WORDS, max_size=25),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "meta", "tags", "domain"]), inner),
        max_leaves=10,
    ),
)
def test_a_filter_never_fails_on_any_event(words: list[str], event: object) -> None:
    try:
        parsed = parse_filter(" ".join(words))
    except FilterInvalid:
        return
    assert parsed.matches(event) in (True, False)
