"""Rows of a batch: which one of a key is kept, and which ones a database does not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.rows import latest_rows, refused_rows
from headwater.errors import JobInvalid

COLUMNS = (Column("k", "text", "k"), Column("v", "text", "v"), Column("n", "integer", "n"), Column("j", "json", "j"))
VERSIONED = TableShape("t", COLUMNS, ("k",), version="v")


class Database:
    """Takes no number twice, and none that is forbidden; an even one only behind an odd one."""

    def __init__(self, forbidden: set[int]) -> None:
        self._forbidden = forbidden
        self.attempts = 0

    def refusal(self, rows: Sequence[tuple[Any, ...]]) -> Exception | None:
        self.attempts += 1
        seen: set[int] = set()
        for (number,) in rows:
            if number in self._forbidden or number in seen or (number % 2 == 0 and not any(one % 2 for one in seen)):
                return ValueError(str(number))
            seen.add(number)
        return None


def one_by_one(numbers: Sequence[int], database: Database) -> dict[int, str]:
    taken: list[tuple[int]] = []
    refused = {}
    for at, number in enumerate(numbers):
        if (error := database.refusal([*taken, (number,)])) is None:
            taken.append((number,))
        else:
            refused[at] = str(error)
    return refused


@given(st.lists(st.integers(0, 30), max_size=60), st.sets(st.integers(0, 30)))
def test_the_rows_that_are_refused_are_those_that_are_refused_one_by_one(
    numbers: list[int], forbidden: set[int]
) -> None:
    rows = [(at, (number,)) for at, number in enumerate(numbers)]
    found = refused_rows(rows, Database(forbidden).refusal, refused_max=1000)
    assert {at: str(error) for at, error in found.items()} == one_by_one(numbers, Database(forbidden))


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 5))
def test_no_more_rows_are_looked_for_than_asked(numbers: list[int], refused_max: int) -> None:
    rows = [(at, (number,)) for at, number in enumerate(numbers)]
    found = refused_rows(rows, Database({3}).refusal, refused_max=refused_max)
    expected = one_by_one(numbers, Database({3}))
    assert list(found) == list(expected)[:refused_max]


def test_one_row_among_many_is_found_in_few_attempts() -> None:
    database = Database({777})
    refused_rows([(at, (2 * at + 1,)) for at in range(1000)], database.refusal, refused_max=100)
    assert database.attempts < 40


@given(st.permutations([(f"2026-01-01T00:00:0{second}{part}Z", second) for second in range(3) for part in ("", ".5")]))
def test_of_times_the_latest_wins_however_precise_they_are(order: list[tuple[str, int]]) -> None:
    rows, rejected = latest_rows(VERSIONED, [Delivery({"k": "a", "v": time, "n": n}) for time, n in order])
    assert rejected == {}
    assert [values[:3] for _, values in rows] == [("a", "2026-01-01T00:00:02.5Z", 2)]


def test_events_that_cannot_be_rows_are_named_by_their_place() -> None:
    events = [{"k": "a", "v": "1"}, {"k": "a", "v": "2", "n": "x"}, {"k": "b"}, {"v": "1"}, {"k": "b", "v": "3"}]
    rows, rejected = latest_rows(VERSIONED, [Delivery(event) for event in events])
    assert [at for at, _ in rows] == [0, 4]
    assert list(rejected) == [1, 2, 3]
    assert "version" in str(rejected[2])


@pytest.mark.parametrize(("key", "version"), [((), "v"), (("k",), "k"), (("k",), "j"), (("k",), "absent")])
def test_a_version_that_cannot_be_is_refused(key: tuple[str, ...], version: str) -> None:
    with pytest.raises(JobInvalid, match="version of table t"):
        TableShape("t", COLUMNS, key, version=version)
