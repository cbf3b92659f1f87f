"""Rules for what may be shown of rows fail closed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.row_changes.sanitizing import Condition, Sanitizer, TableRules, read_rules
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid

RULES: dict[str, Any] = {
    "columns": ["id", "size", "hash", "author", "flags", "address"],
    "withhold": [
        {"columns": ["size", "hash"], "when": "flags & 1"},
        {"columns": ["author"], "when": "flags & 4"},
        {"columns": ["address"]},
    ],
}
ROW = {"id": 7, "size": 10, "hash": "h", "author": 3, "flags": 0, "address": "192.0.2.1"}


def rules(**more: Any) -> TableRules:
    return read_rules({**RULES, **more}, Declaration("rules.yaml", {}), ())


def change(row: dict[str, Any], operation: Any = "update", table: str = "w.revision") -> RowChange:
    return RowChange(table, operation, row, ("id",), 1, "0/1")


def shown(row: dict[str, Any], operation: Any = "update", **more: Any) -> tuple[str, dict[str, Any]] | None:
    made = Sanitizer({"w.revision": rules(**more)}).sanitized(change(row, operation))
    return None if made is None else (made.operation, dict(made.row))


@pytest.mark.parametrize(
    ("flags", "hidden"),
    [
        (0, {"address"}),
        (1, {"address", "size", "hash"}),
        (2, {"address"}),
        (4, {"address", "author"}),
        (5, {"address", "size", "hash", "author"}),
        (8, {"address"}),
        (15, {"address", "size", "hash", "author"}),
    ],
)
def test_values_are_withheld_by_the_bits_of_a_flag(flags: int, hidden: set[str]) -> None:
    row = {**ROW, "flags": flags}
    assert shown(row) == ("update", {name: None if name in hidden else value for name, value in row.items()})


@pytest.mark.parametrize("flag", [None, "4", 4.0, True, [4]])
def test_a_row_whose_flag_cannot_be_read_is_replaced_by_its_deletion(flag: Any) -> None:
    assert shown({**ROW, "flags": flag}) == ("delete", {"id": 7})


def test_a_row_without_the_flag_is_replaced_by_its_deletion() -> None:
    assert shown({name: value for name, value in ROW.items() if name != "flags"}) == ("delete", {"id": 7})


def test_a_dropped_row_is_replaced_by_its_deletion() -> None:
    assert shown({**ROW, "flags": 4}, drop_when="flags & 4") == ("delete", {"id": 7})
    assert shown({**ROW, "flags": 2}, drop_when=["flags & 4", "flags & 2"]) == ("delete", {"id": 7})


@pytest.mark.parametrize("operation", ["insert", "update"])
def test_an_unknown_column_is_withheld_and_the_row_goes_on(operation: str) -> None:
    reports: list[tuple[str, str, str]] = []
    sanitizer = Sanitizer({"w.revision": rules()}, lambda *about: reports.append(about))
    for _ in range(3):
        made = sanitizer.sanitized(change({**ROW, "new": "secret"}, operation))
        assert made is not None
        assert "new" not in made.row
    assert reports == [("w.revision", "new", "no rule lists this column")]
    assert sanitizer.counts == {("w.revision", "new"): 3}


@pytest.mark.parametrize("operation", ["insert", "update", "delete", "truncate"])
def test_an_unknown_table_is_withheld_as_a_whole(operation: str) -> None:
    reports: list[tuple[str, str, str]] = []
    sanitizer = Sanitizer({"w.revision": rules()}, lambda *about: reports.append(about))
    assert sanitizer.sanitized(change(ROW, operation, "w.user")) is None
    assert reports == [("w.user", "*", "no rule names this table")]


def test_a_deletion_has_nothing_but_the_key() -> None:
    assert shown({**ROW, "flags": 0}, "delete") == ("delete", {"id": 7})


@pytest.mark.parametrize(
    ("row", "visible"),
    [
        ({"flags": 0, "size": 1, "author": 2}, ["size", "author"]),
        ({"flags": 1, "size": 1, "author": 2}, ["author"]),
        ({"flags": 5, "size": 1, "author": 2}, []),
        ({"flags": 0, "size": None, "author": 2}, ["size", "author"]),
        ({"flags": 8, "size": 1, "author": 2}, []),
        ({"flags": None, "size": 1, "author": 2}, []),
        ({"size": 1, "author": 2}, []),
        ({"flags": 0, "size": 1, "author": 2, "address": "192.0.2.1", "secret": 3}, ["size", "author"]),
    ],
)
def test_values_of_a_row_that_may_be_shown(row: dict[str, Any], visible: list[str]) -> None:
    made = rules(drop_when="flags & 8")
    assert made.tested == {"flags"}
    assert made.visible([name for name in row if name != "flags"], row) == visible


def test_a_row_without_its_key_is_withheld() -> None:
    assert shown({"flags": 0}) is None
    assert shown({"flags": 0}, "delete") is None


@given(st.dictionaries(st.sampled_from([*ROW, "x", "y"]), st.integers() | st.none() | st.text(), max_size=8))
def test_nothing_is_ever_shown_that_no_rule_allows(row: dict[str, Any]) -> None:
    made = shown(row)
    if made is None:
        return
    values = made[1]
    assert set(values) <= set(RULES["columns"])
    assert values.get("address") is None
    flags = row.get("flags")
    if type(flags) is not int:
        assert set(values) <= {"id"}
    elif flags & 1:
        assert values.get("size") is None
        assert values.get("hash") is None


@pytest.mark.parametrize("text", ["flags & 4", "flags&0x4", " state = 'hidden' ", "open != true", "n = -1"])
def test_conditions_are_read(text: str) -> None:
    assert Condition.parse(str(Condition.parse(text))) == Condition.parse(text)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"drop_when": "flags &"}, "not a condition"),
        ({"drop_when": "flags & 0"}, "above zero"),
        ({"drop_when": "flags & 'a'"}, "tests bits"),
        ({"drop_when": [5]}, "not a condition"),
        ({"withhold": [{"when": "flags & 1"}]}, "must have `columns`"),
        ({"withhold": [{"columns": ["none"]}]}, "not listed"),
        ({"withhold": [{"columns": ["size"], "wen": "flags & 1"}]}, 'Did you mean "when"'),
        ({"withhold": "size"}, "must be a list"),
        ({"columns": []}, "list of names"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        rules(**more)
