"""What an id is remembered as: something short with its topic, another one for each id."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.intake.event_key import event_key, topic_mark

MARK = topic_mark("edits")
UUID = "0b5a4a9c-7f0e-4b6a-9a59-1f2e3d4c5b6a"
LONG = st.text("0123456789abcdef#-", min_size=60, max_size=90)


@pytest.mark.parametrize("event_id", [UUID, "1", "x" * 65, "x" * 4_000_000, "\ud800" * 100, "語" * 64])
def test_a_key_is_small_however_long_the_id_and_the_topic(event_id: str) -> None:
    assert sys.getsizeof(event_key(topic_mark("t" * 200), event_id)) < 500


def test_one_id_in_two_topics_is_two_events() -> None:
    assert event_key(MARK, UUID) != event_key(topic_mark("moves"), UUID)


@given(st.lists(st.text() | LONG, unique=True, min_size=2))
def test_different_ids_have_different_keys(ids: list[str]) -> None:
    assert len({event_key(MARK, one) for one in ids}) == len(ids)


def test_the_key_of_a_long_id_is_that_of_no_other() -> None:
    long = event_key(MARK, "x" * 100)
    assert event_key(MARK, long.removeprefix(MARK)) != long
