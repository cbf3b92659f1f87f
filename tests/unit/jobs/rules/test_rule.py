"""What a rule sends: whatever an event has in its fields, the request goes where the rule says."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.templates import Template
from headwater.errors import EventMalformed
from headwater.jobs.rules.rule import Execution, rendered

ADDRESS = Template.parse("https://s.example/a/{field}/b?c={field}&d=1")


@given(st.text())
def test_a_field_is_only_a_part_of_a_path_or_query(text: str) -> None:
    try:
        uri = rendered(Execution("GET", ADDRESS, {}), {"field": text}).uri
    except EventMalformed:
        assert text in (".", "..")
        return
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "s.example", "")
    before, field, after = parts.path.split("/")[1:]
    assert (before, unquote(field), after) == ("a", text, "b")
    assert [pair.partition("=")[0] for pair in parts.query.split("&")] == ["c", "d"]


@given(st.text())
def test_a_header_has_no_control_characters(text: str) -> None:
    execution = Execution("GET", ADDRESS, {"name": Template.parse("{field}")})
    try:
        value = rendered(execution, {"field": text}).headers["name"]
    except EventMalformed:
        return
    assert value == text
    assert "\r" not in value
    assert "\n" not in value


@pytest.mark.parametrize("scope", [{}, {"field": None}, {"other": 1}])
def test_an_absent_field_is_an_error_that_names_it(scope: dict[str, object]) -> None:
    with pytest.raises(EventMalformed, match="field"):
        rendered(Execution("GET", ADDRESS, {}), scope)
