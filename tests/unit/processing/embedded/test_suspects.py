"""Finding the records that make their batches fail: exactly those, in few attempts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import EventMalformed, SinkUnavailable
from headwater.log.contract import Position, StoredRecord
from headwater.processing.embedded.reading.suspects import Suspects

PART = ("pages", 0)
BATCH_MAX = 64


def record(offset: int) -> StoredRecord:
    return StoredRecord("pages", 0, offset, 0, None, (), b"{}")


def processed(total: int, poison: set[int], suspects: Suspects) -> tuple[list[int], int, int]:
    """Process `total` records as a runner does, again after each failure: what is set aside, failures, commits."""
    at, aside, failures, commits = 0, list[int](), 0, 0
    while at < total:
        size = suspects.records_max(Position({PART: at}), BATCH_MAX)
        records = [record(offset) for offset in range(at, min(at + size, total))]
        if suspects.verdict(records) is not None:
            aside.append(at)
        elif poison & {one.offset for one in records}:
            suspects.failed(records, EventMalformed("too odd"))
            failures += 1
            continue
        commits += 1
        at += len(records)
    return aside, failures, commits


@given(st.integers(0, 300), st.sets(st.integers(0, 299), max_size=5), st.integers(1, 4))
def test_exactly_the_records_that_fail_are_set_aside_in_few_attempts(
    total: int, poison: set[int], attempts: int
) -> None:
    poison = {one for one in poison if one < total}
    aside, failures, commits = processed(total, poison, Suspects(attempts))
    assert aside == sorted(poison)
    steps = 2 * math.ceil(math.log2(BATCH_MAX)) + attempts
    assert failures <= len(poison) * steps
    assert commits <= total / BATCH_MAX + 1 + len(poison) * 4 * math.ceil(math.log2(BATCH_MAX))


def test_a_target_that_is_away_makes_no_record_suspicious() -> None:
    suspects = Suspects()
    suspects.failed([record(0), record(1)], SinkUnavailable("away"))
    assert not suspects.is_searching
    assert suspects.records_max(Position({PART: 0}), BATCH_MAX) == BATCH_MAX


@pytest.mark.parametrize("attempts", [1, 3, 10])
def test_a_record_is_tried_so_often_by_itself(attempts: int) -> None:
    suspects = Suspects(attempts)
    for number in range(attempts):
        assert suspects.verdict([record(0)]) is None, number
        suspects.failed([record(0)], EventMalformed("too odd"))
    assert isinstance(suspects.verdict([record(0)]), EventMalformed)
    assert suspects.attempts == attempts
