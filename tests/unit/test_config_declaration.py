"""YAML as people write it: every complaint with its line, nothing that costs memory, scalars as meant."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.declaration import nearest, parse_declaration, read_declaration, scalar
from headwater.errors import ConfigInvalid

BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in zip("abcdef", "bcdefg", strict=True)
)


def test_every_key_and_item_knows_its_line() -> None:
    declaration = parse_declaration("a:\n  b: 1\n  c:\n  - x\n  - y: 2\n", file="f.yaml")
    assert declaration.value == {"a": {"b": 1, "c": ["x", {"y": 2}]}}
    assert [declaration.line(path) for path in (("a",), ("a", "b"), ("a", "c", 1, "y"), ("a", "absent"))] == [
        1,
        2,
        5,
        1,
    ]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 'the key "a" is already on line 1'),
        ("a: 1\nb: c: d\n", 2, "is not YAML"),
        ("a: [1\n", 2, "is not YAML"),
        ("a:\n\tb: 1\n", 2, "Indent with spaces"),
        ("a: 1\n---\nb: 2\n", 2, "more than one document"),
        ("a: !!python/object:os.system {}\n", 1, "is not supported"),
        ("a: !!timestamp 2001-01-01\n", 1, "is not supported"),
        ("\n? [a]\n: 1\n", 2, "a key must be text"),
        ("a: &a [*a]\n", 1, "no anchor"),
        ("a: 1\nb:\n  <<: 3\n", 3, "needs a mapping"),
        ("[" * 100_000, 1, "nested deeper"),
        (BOMB, None, "Use fewer aliases"),
    ],
)
def test_what_is_refused_is_refused_with_its_line(text: str, line: int | None, part: str) -> None:
    with pytest.raises(ConfigInvalid, match=part) as caught:
        parse_declaration(text, file="f.yaml")
    assert caught.value.file == "f.yaml"
    assert line in (None, caught.value.line)


def test_aliases_and_merge_keys_work_and_the_mapping_itself_wins() -> None:
    text = "base: &base {a: 1, b: 2}\none: {<<: *base, b: 3}\ntwo: *base\n"
    assert parse_declaration(text, file="f").value == {
        "base": {"a": 1, "b": 2},
        "one": {"a": 1, "b": 3},
        "two": {"a": 1, "b": 2},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("1.0.0", "1.0.0"),
        ("010", 10),
        ("0x1F", 31),
        ("10_485_760", 10_485_760),
        ("-3", -3),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("~", None),
        ("", None),
        (".", "."),
        ("9" * 30, int("9" * 30)),
        ("_9", "_9"),
    ],
)
def test_a_plain_scalar_means_what_people_mean(text: str, expected: Any) -> None:
    found = scalar(text)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("text", ["9" * 5000, "1e400", "-1e400", ".inf", "-.Inf", "+.INF", ".nan", "0x" + "f" * 300])
def test_a_number_that_json_lacks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="JSON cannot represent"):
        scalar(text)
    with pytest.raises(ConfigInvalid, match=r"^f:2: "):
        parse_declaration(f"a: 1\nb: {text}\n", file="f")
    assert parse_declaration(f"a: '{text}'\n", file="f").value == {"a": text}


def test_quoted_scalars_and_all_keys_are_text() -> None:
    assert parse_declaration("1: '2'\ntrue: \"null\"\n", file="f").value == {"1": "2", "true": "null"}


def test_bytes_that_are_not_text_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigInvalid, match=r"f\.yaml:2: is not UTF-8"):
        read_declaration(tmp_path / "f.yaml")


def test_a_file_that_is_not_there_is_a_complaint_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        read_declaration(tmp_path / "absent.yaml")


@given(st.text(alphabet=" \n-:[]{}&*!|>'\"%@`#?,abc1~<", max_size=60))
def test_any_text_gives_a_declaration_or_a_complaint(text: str) -> None:
    with suppress(ConfigInvalid):
        assert parse_declaration(text, file="f").file == "f"


def test_the_nearest_name_forgives_letters_and_case_but_does_not_guess() -> None:
    assert nearest("Topcis", ["topics", "stream"]) == "topics"
    assert nearest("xyzzy", ["topics", "stream"]) is None


def test_the_nearest_of_very_many_names_is_found_as_of_a_few() -> None:
    names = [
        f"{room}/{thing}/{number}" for room in ("web", "app", "wiki") for thing in "abcdefgh" for number in range(99)
    ]
    names += ["shop/order_placed", "shop/order_cancelled"]
    assert nearest("shop/order_palced", names) == "shop/order_placed"
    assert nearest("SHOP/Order_Placed", names) == "shop/order_placed"
    assert nearest("app/c/42x", names) == "app/c/42"
    assert nearest("zzzzzz", names) is None
    assert nearest("", names) is None
    assert nearest("x", []) is None
