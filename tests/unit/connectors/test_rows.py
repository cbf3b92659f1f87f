"""Rows of a batch: which one of a key is kept, and which ones a database does not take."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.rows import CHECKED_MAX, RowReader, is_newer, latest_rows, refused_rows
from headwater.errors import EventMalformed, JobInvalid

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


DELETED = TableShape("t", COLUMNS, ("k",), version="v", delete_when=(("gone", (True,)),))
EVENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "k": st.sampled_from(["a", "b", 1]),
            "v": st.sampled_from(["1", "2", None]),
            "n": st.sampled_from([1, 2.0, "x", True]),
            "j": st.sampled_from([{"a": [1]}, "text"]),
            "gone": st.booleans(),
        },
    ),
    max_size=12,
)


@given(EVENTS, st.sampled_from([VERSIONED, DELETED, TableShape("t", COLUMNS), TableShape("t", COLUMNS, ("k", "n"))]))
def test_a_batch_is_the_same_whether_its_events_were_checked_or_not(
    events: list[dict[str, Any]], shape: TableShape
) -> None:
    deliveries = [Delivery(event) for event in events]
    reader = RowReader(shape)
    refused = {}
    for at, delivery in enumerate(deliveries):
        try:
            reader.check(delivery)
        except EventMalformed as error:
            refused[at] = str(error)
    checked, unchecked = reader.batch(deliveries), RowReader(shape).batch(deliveries)
    assert (checked.rows, checked.deletes) == (unchecked.rows, unchecked.deletes)
    assert refused == {at: str(error) for at, error in checked.rejected.items()}
    assert refused == {at: str(error) for at, error in unchecked.rejected.items()}


@given(EVENTS)
def test_the_row_of_a_key_is_the_one_that_no_other_replaces(events: list[dict[str, Any]]) -> None:
    batch = RowReader(VERSIONED).batch([Delivery(event) for event in events])
    rows = [RowReader(VERSIONED).row(Delivery(event)) for at, event in enumerate(events) if at not in batch.rejected]
    for _, kept in batch.rows:
        last = [row for row in rows if row[0] == kept[0] and is_newer(VERSIONED, row, kept)][-1]
        assert last == kept
    assert {row[0] for row in rows} == {kept[0] for _, kept in batch.rows}


def test_another_event_at_the_place_of_one_that_was_checked_is_read() -> None:
    reader = RowReader(VERSIONED)
    for number in range(CHECKED_MAX + 10):
        # Each is freed at once, but for what is kept.
        reader.check(Delivery({"k": "old", "v": str(number)}))
    assert [values[0] for _, values in reader.batch([Delivery({"k": "new", "v": "1"})]).rows] == ["new"]


def test_values_that_were_checked_are_those_of_the_next_batch_only() -> None:
    reader, event = RowReader(VERSIONED), {"k": "a", "v": "1", "n": 1}
    delivery = Delivery(event)
    reader.check(delivery)
    assert reader.batch([delivery]).rows == [(0, ("a", "1", 1, None))]
    event["n"] = 2
    assert reader.batch([delivery]).rows == [(0, ("a", "1", 2, None))]


def test_columns_are_read_from_any_depth_and_any_mapping() -> None:
    shape = TableShape("t", (Column("a", "text", "a"), Column("b", "integer", "x.y.z")))
    reader = RowReader(shape)
    read = [
        reader.row(Delivery(event))
        for event in (
            {"a": "1", "x": {"y": {"z": 2}}},
            MappingProxyType({"a": "1", "x": MappingProxyType({"y": {"z": 2}})}),
            {"x": {"y": [1]}},
            {"a": None, "x": "text"},
        )
    ]
    assert read == [("1", 2), ("1", 2), (None, None), (None, None)]
