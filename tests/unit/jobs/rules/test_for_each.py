"""What rules make of answers that list resources: the items at a path, their addresses, and the next page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.templates import Template
from headwater.declaration import parse_declaration
from headwater.errors import ConfigInvalid
from headwater.jobs.rules.addresses import address
from headwater.jobs.rules.for_each import (
    ITEMS_MAX,
    AnswerUnusable,
    ForEach,
    events_of,
    page_of,
    root_event,
    with_parameters,
)
from headwater.jobs.rules.reading import rules_of

URI = Template.parse("https://{meta.domain}/{item}")
EXEC = "exec: {uri: 'https://s.example/{meta.id}'}"
EACH = "items: a.b, stream: s, uri: 'https://s.example/{item.id}'"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "b", "error")), inner, max_size=3)
    ),
    max_leaves=8,
)


def each(items: str, following: Any = "") -> ForEach:
    return ForEach(tuple(items.split(".")), "s", URI, (), following)


@pytest.mark.parametrize(
    ("path", "answer", "items"),
    [
        ("a", {"a": [1, 2]}, [1, 2]),
        ("a", {"a": "x"}, ["x"]),
        ("a", {"b": 1}, []),
        ("a", {"a": None}, []),
        ("a.b", {"a": [{"b": [1]}, {}, {"b": [2, 3]}, 7]}, [1, 2, 3]),
        ("a.*.b", {"a": {"11": {"b": [1]}, "12": {"b": [2]}, "13": {}}}, [1, 2]),
        ("a.*", {"a": {"x": {"id": 1}}}, [{"id": 1}]),
        ("a.b", {"a": "b"}, []),
    ],
)
def test_the_items_are_what_is_at_the_path(path: str, answer: Any, items: list[Any]) -> None:
    assert list(page_of(each(path), answer, {}).items) == items


@pytest.mark.parametrize(
    ("following", "answer", "parameters"),
    [
        ("continue", {"continue": {"ticontinue": "7|x", "continue": "||"}}, {"ticontinue": "7|x", "continue": "||"}),
        ("continue", {}, {}),
        ("continue", {"continue": None}, {}),
        ("a.next", {"a": {"next": {"page": 3}}}, {"page": "3"}),
        ({"cursor": "next.at"}, {"next": {"at": "x"}}, {"cursor": "x"}),
        ({"cursor": "next.at"}, {"next": {"at": None}}, {}),
        ("", {"continue": {"a": "1"}}, {}),
    ],
)
def test_the_parameters_of_the_next_page(following: Any, answer: Any, parameters: dict[str, str]) -> None:
    assert page_of(each("a", following), answer, {}).parameters == parameters


@pytest.mark.parametrize(
    ("answer", "is_final"),
    [
        ([], True),
        ("x", True),
        (None, True),
        ({"error": {"code": "maxlag", "info": "6 seconds"}}, False),
        ({"error": "busy"}, False),
        ({"a": list(range(ITEMS_MAX + 1))}, True),
        ({"continue": {"at": "7"}}, True),
    ],
)
def test_what_is_no_usable_answer(answer: Any, is_final: bool) -> None:
    with pytest.raises(AnswerUnusable) as raised:
        page_of(each("a", "continue"), answer, {"at": "7"})
    assert raised.value.is_final is is_final


@given(json_values, st.sampled_from(("a", "a.b", "*", "a.*", "*.*.b")), st.sampled_from(("", "a", "b.a")))
def test_any_answer_has_a_page_or_is_refused(answer: Any, path: str, following: str) -> None:
    try:
        page = page_of(each(path, following), answer, {})
    except AnswerUnusable:
        return
    assert all(item is not None and not isinstance(item, list) for item in page.items)
    assert all(isinstance(value, str) for value in page.parameters.values())


names = st.text(min_size=1, max_size=5)


@given(st.dictionaries(names, st.text(max_size=5), max_size=3), st.dictionaries(names, st.text(max_size=5), max_size=3))
def test_parameters_replace_those_of_their_names_and_nothing_else(before: dict[str, str], new: dict[str, str]) -> None:
    uri = with_parameters(with_parameters("https://s.example/a%2Fb?x=%26#end", before), new)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", "s.example", "/a%2Fb", "end")
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == {"x": "&", **before, **new}


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("https://w.example/{title:t}", "https://w.example/A_b%2Fc"),
        ("https://w.example/{t}", "https://w.example/A%20b%2Fc"),
        ("https://w.example/{+t}", "https://w.example/A b/c"),
        ("https://w.example/?{title:t}={title:n}", "https://w.example/?A_b%2Fc=7"),
    ],
)
def test_titles_have_no_spaces_in_addresses(template: str, made: str) -> None:
    assert address(Template.parse(template), {"t": "A b/c", "n": 7}) == made


def test_the_events_name_what_led_to_them() -> None:
    event = {"meta": {"domain": "w.example", "uri": "https://w.example/wiki/T", "dt": "2026-01-31T12:00:00Z"}}
    request = {"event": event, "stream": "changes", "triggered_by": "req:1,changes:https://w.example/wiki/T"}
    (made,) = events_of(each("a"), page_of(each("a"), {"a": ["x"]}, {}), request)
    assert made["meta"] == {"uri": "https://w.example/x", "domain": "w.example"}
    assert made["triggered_by"] == request["triggered_by"]
    assert made["root_event"] == root_event(event, "changes")
    first = {"signature": "s", "dt": "2026-01-01T00:00:00Z"}
    assert root_event({**event, "root_event": first}, "changes") == first
    assert root_event({"meta": {}}, "changes") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{EXEC}\nfor_each: {{{EACH}, itmes: a}}", '"items"'),
        (f"{EXEC}\nfor_each: {{stream: s, uri: 'https://s.example/'}}", "no `items`"),
        (f"{EXEC}\nfor_each: {{items: a, uri: 'https://s.example/'}}", "no `stream`"),
        (f"{EXEC}\nfor_each: {{items: a, stream: s}}", "no `uri`"),
        (f"{EXEC}\nfor_each: {{items: a..b, stream: s, uri: 'https://s.example/'}}", "dotted path"),
        (f"{EXEC}\nfor_each: {{{EACH}, continue: {{at: [1]}}}}", "dotted path"),
        (f"{EXEC}\nfor_each: {{{EACH}, tags: x}}", "list of texts"),
        (f"{EXEC}\nfor_each: {{items: a, stream: s, uri: 'ftp://s.example/'}}", "http://"),
        (f"{EXEC}\nfor_each: [a]", "is a mapping"),
        ("exec: {uri: 'https://s.example/{title:}'}", "no field of an event"),
        ("exec: {uri: 'https://s.example/', headers: {a: '{title:b}'}}", "for addresses"),
        ("exec: {uri: 'https://s.example/', headers: {a: '{+b}'}}", "for addresses"),
    ],
)
def test_an_error_says_what_to_write(text: str, says: str) -> None:
    lines = "\n".join(f"    {line}" for line in f"stream: a\n{text}".splitlines())
    with pytest.raises(ConfigInvalid) as raised:
        rules_of(parse_declaration(f"rules:\n  one:\n{lines}\n", file="rules.yaml"))
    message = f"{raised.value} {raised.value.hint or ''}"
    assert message.startswith("rules.yaml:"), message
    assert says in message
