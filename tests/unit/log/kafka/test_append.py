"""Of the records of one append to Kafka, the offset or the failure of each is reported, in whatever order."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import weakref
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import EventTooLarge, LogUnavailable
from headwater.log.contract import Record
from headwater.log.record_batch import partition_of_key

if TYPE_CHECKING:
    from headwater.log.kafka.append import PendingAppend

COUNTS = {"one": 1, "three": 3}

new_records = st.lists(
    st.builds(
        Record,
        topic=st.sampled_from(sorted(COUNTS)),
        value=st.sampled_from([b"", b"a", b"b"]),
        key=st.none() | st.sampled_from([b"", b"k", b"l"]),
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def _client(needs: Callable[[str, object, str], None]) -> None:
    needs("kafka", importlib.util.find_spec("confluent_kafka"), "install the extra: pip install 'headwater[kafka]'")


def pending_of(records: list[Record]) -> PendingAppend:
    from headwater.log.kafka.append import PendingAppend

    partitions = [-1 if r.key is not None and COUNTS[r.topic] > 1 else COUNTS[r.topic] - 1 for r in records]
    return PendingAppend(records, partitions, 0, time_ms=7, finished=[])


def report(pending: PendingAppend, fates: list[str], order: list[int]) -> dict[int, tuple[int, int] | None]:
    """Report each record's fate in this order; answers where each went, None for a failure."""
    from confluent_kafka import KafkaError, Message

    went: dict[int, tuple[int, int] | None] = {}
    for index in order:
        record, fate, partition = pending.records[index], fates[index], pending.partitions[index]
        if partition < 0:
            partition = partition_of_key(record.key or b"", COUNTS[record.topic])
        if fate == "stored":
            went[index] = (partition, 100 + 3 * index)
            pending.delivered(index, None, Message(topic=record.topic, partition=partition, offset=100 + 3 * index))
        else:
            went[index] = None
            code = KafkaError.MSG_SIZE_TOO_LARGE if fate == "too large" else KafkaError._MSG_TIMED_OUT
            pending.delivered(index, KafkaError(code), Message(topic=record.topic, partition=partition))
    return went


@given(new_records, st.randoms())
def test_records_that_were_all_stored_have_the_places_that_were_reported(records: list[Record], random: Random) -> None:
    from headwater.log.kafka.append import Placements

    pending = pending_of(records)
    went = report(pending, ["stored"] * len(records), shuffled(records, random))
    placed = Placements(pending)
    assert not pending.has_failed
    assert [(p.partition, p.offset) for p in placed] == [went[index] for index in range(len(records))]
    assert [p.topic for p in placed] == [record.topic for record in records]
    assert {p.timestamp_ms for p in placed} == {7}
    assert pending.finished == [pending]


@given(new_records, st.randoms(), st.data())
def test_of_records_that_failed_in_part_each_has_its_own_outcome(
    records: list[Record], random: Random, data: st.DataObject
) -> None:
    from confluent_kafka import KafkaError

    from headwater.log.kafka.append import incomplete

    fates = [data.draw(st.sampled_from(["stored", "too large", "timed out"])) for _ in records]
    told = data.draw(st.integers(0, len(records)))
    pending = pending_of(records)
    order = shuffled(records, random)
    went = report(pending, fates, order[:told])
    if told < len(records):
        assert pending.finished == []
        pending.unconfirmed(pending.left, KafkaError(KafkaError._FATAL))
    assert pending.finished == [pending]
    assert pending.has_failed == any(went.get(index) is None for index in range(len(records)))
    if not pending.has_failed:
        return
    error = incomplete(pending, "broker:9092")
    assert {index: (p.partition, p.offset) for index, p in error.placements.items()} == {
        index: place for index, place in went.items() if place is not None
    }
    assert {*error.failures, *error.placements} == set(range(len(records)))
    for index, reason in error.failures.items():
        too_large = index in went and fates[index] == "too large"
        assert type(reason) is (EventTooLarge if too_large else LogUnavailable)


def shuffled(records: list[Record], random: Random) -> list[int]:
    order = list(range(len(records)))
    random.shuffle(order)
    return order


def test_where_records_went_is_a_sequence_like_any_other() -> None:
    from headwater.log.kafka.append import Placements

    pending = pending_of([Record("one", b"%d" % n, timestamp_ms=n or None) for n in range(3)])
    report(pending, ["stored"] * 3, [0, 1, 2])
    found = Placements(pending)
    assert len(found) == 3
    assert [(place.offset, place.timestamp_ms) for place in found] == [(100, 7), (103, 1), (106, 2)]
    assert found[-1] == list(found)[2]
    assert found[1:] == list(found)[1:]
    assert found == list(found)
    with pytest.raises(IndexError):
        found[3]


async def test_an_append_is_freed_when_it_is_answered_and_does_not_wait_for_the_collector() -> None:
    from headwater.log.kafka.append import PendingAppend
    from headwater.log.kafka.producer import Sender
    from headwater.log.kafka.settings import KafkaSettings
    from headwater.log.kafka.topics import KafkaTopics

    settings = KafkaSettings(servers="localhost:1")
    sender = Sender(settings, KafkaTopics(settings, asyncio.to_thread), lambda: 0.0)
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    freed = weakref.ref(future)
    pending = PendingAppend([Record("one", b"a")], [0], 1, time_ms=7, finished=[], future=future)
    report(pending, ["stored"], [0])
    gc.disable()
    try:
        sender._settle(pending.finished)
        assert [place.offset for place in future.result()] == [100]
        pending.finished.clear()
        del pending, future
        assert freed() is None
    finally:
        gc.enable()
