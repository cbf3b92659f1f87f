"""YAML that readers of both versions take for the same."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.declaration import parse_declaration
from headwater.deploy.written_yaml import yaml_documents, yaml_text

# What YAML 1.1, or 1.2, or a reader of Go takes for something else than a text.
NO_TEXTS = ("on", "yes", "No", "~", "null", "12:30", "1e3", "0o17", "0x1F", "1_000", ".inf", "1.0", "", "2026-01-31")


@pytest.mark.parametrize("text", NO_TEXTS)
def test_what_could_be_something_else_is_in_quotes(text: str) -> None:
    written = yaml_text({"key": text})
    assert written.rstrip("\n").split(": ", 1)[1][0] in "\"'"
    assert yaml.safe_load(written) == parse_declaration(written, file="test").value == {"key": text}


@given(
    st.recursive(
        st.text() | st.integers() | st.booleans() | st.none(),
        lambda some: st.lists(some) | st.dictionaries(st.text(), some),
        max_leaves=8,
    )
)
@example("\x85")
@example("a\u2028b\nc\u2029")
def test_what_is_written_is_read_again(value: object) -> None:
    assert yaml.safe_load(yaml_text({"value": value})) == {"value": value}


def test_a_text_of_several_lines_is_written_line_by_line() -> None:
    assert yaml_text({"file": "a: 1\nb: 2\n"}) == "file: |\n  a: 1\n  b: 2\n"


def test_documents_are_in_order() -> None:
    assert list(yaml.safe_load_all(yaml_documents([{"b": 1, "a": (1, 2)}, {"c": None}]))) == [
        {"b": 1, "a": [1, 2]},
        {"c": None},
    ]
