"""The rows of a key are a mapping in order of its names, and know what changed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.jobs.rows import ROW_NAME_CHARS_MAX, KeyRows

NAMES = st.sampled_from(["", "a", "a\0b", "ab", "b", "é", "\U0001f600", "zz"])
CHANGES = st.lists(st.tuples(NAMES, st.one_of(st.none(), st.integers(0, 9), st.text(max_size=3))), max_size=12)


def changed(rows: KeyRows, changes: list[tuple[str, Any]]) -> dict[str, Any]:
    """Apply the changes, None to delete; what a dictionary has after the same."""
    expected = dict(rows)
    for name, value in changes:
        if value is None:
            rows.pop(name, None)
            expected.pop(name, None)
        else:
            rows[name] = expected[name] = value
    return expected


@given(CHANGES, CHANGES, CHANGES)
def test_it_is_what_a_sorted_dictionary_is(first: Any, second: Any, failing: Any) -> None:
    rows = KeyRows()
    changed(rows, first)
    rows.keep()
    rows.committed()
    stored = {name: orjson.dumps(value) for name, value in rows.items()}
    expected = changed(rows, second)
    rows.keep()
    changed(rows, failing)
    rows.undo()
    assert list(rows) == sorted(expected)
    assert dict(rows) == expected
    assert len(rows) == len(expected)
    for name, encoded in rows.changes():
        stored.pop(name, None)
        if encoded is not None:
            stored[name] = encoded
    again = KeyRows(stored.items())
    assert dict(again) == expected
    assert again.size_bytes == rows.size_bytes


def test_a_value_that_was_read_is_a_copy() -> None:
    rows = KeyRows()
    rows["a"] = {"n": 1}
    rows["a"]["n"] = 2
    assert rows["a"] == {"n": 1}


def test_names_are_found_by_range_and_prefix() -> None:
    rows = KeyRows([(name, b"1") for name in ("a1", "a2", "a3", "b1", "c1")])
    assert rows.between("a2", "b2") == ["a2", "a3", "b1"]
    assert list(rows.after("a2", "b2")) == ["a2", "a3", "b1"]
    assert (rows.first("b"), rows.first("bb"), rows.first("d")) == ("b1", None, None)
    assert (rows.last_before("a", "a3"), rows.last_before("a", "a1"), rows.last_before("a", "c1")) == ("a2", None, None)
    assert (rows.count("a"), rows.count("c"), rows.count("d")) == (3, 1, 0)


def test_clearing_deletes_every_row_and_can_be_undone() -> None:
    rows = KeyRows([("a", b"1"), ("b", b"2")])
    rows.clear()
    assert dict(rows) == {}
    assert dict(rows.changes()) == {"a": None, "b": None}
    rows.undo()
    assert dict(rows) == {"a": 1, "b": 2}
    assert dict(rows.changes()) == {}


@pytest.mark.parametrize("name", [1, None, "x" * (ROW_NAME_CHARS_MAX + 1), "\ud800"])
def test_a_name_that_cannot_be_stored_is_refused(name: Any) -> None:
    with pytest.raises(JobInvalid, match="row"):
        KeyRows()[name] = 1


def test_a_value_that_is_not_json_is_refused_and_changes_nothing() -> None:
    rows = KeyRows()
    with pytest.raises(Exception, match="set"):
        rows["a"] = {1, 2}
    assert dict(rows) == {}
