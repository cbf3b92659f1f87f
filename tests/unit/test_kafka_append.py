"""Of the records of one append to Kafka, each is told where it went or why it did not, in whatever order."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import EventTooLarge, LogUnavailable
from headwater.log.contract import Record
from headwater.log.record_batch import partition_of_key

if TYPE_CHECKING:
    from headwater.log.kafka_append import PendingAppend

COUNTS = {"one": 1, "three": 3}
NAMESPACE = "staging."

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
    from headwater.log.kafka_append import PendingAppend

    partitions = [-1 if r.key is not None and COUNTS[r.topic] > 1 else COUNTS[r.topic] - 1 for r in records]
    return PendingAppend(records, partitions, 0, time_ms=7, finished=[])


def report(pending: PendingAppend, fates: list[str]) -> dict[int, tuple[int, int] | None]:
    """Report each record's fate in the order of its partition; answers where each went, None for a failure."""
    from confluent_kafka import KafkaError, Message

    everything_in_one = {r.topic for r in pending.records} == {"one"}
    told = pending.delivered if everything_in_one else pending.placed
    ends: dict[tuple[str, int], int] = {}
    went: dict[int, tuple[int, int] | None] = {}
    for index, (record, fate) in enumerate(zip(pending.records, fates, strict=True)):
        partition = pending.partitions[index]
        if partition < 0:
            partition = partition_of_key(record.key or b"", COUNTS[record.topic])
        about: dict[str, Any] = {"topic": NAMESPACE + record.topic, "key": record.key, "value": record.value}
        if fate == "stored":
            offset = ends.get((record.topic, partition), 100)
            ends[record.topic, partition] = offset + 3
            went[index] = (partition, offset)
            told(None, Message(partition=partition, offset=offset, **about))
        else:
            went[index] = None
            code = KafkaError.MSG_SIZE_TOO_LARGE if fate == "too large" else KafkaError._MSG_TIMED_OUT
            told(KafkaError(code), Message(partition=partition, **about))
    return went


@given(new_records)
def test_records_that_were_all_stored_have_the_places_that_were_reported(records: list[Record]) -> None:
    from headwater.log.kafka_append import place_records

    pending = pending_of(records)
    went = report(pending, ["stored"] * len(records))
    placed = place_records(pending, len(NAMESPACE))
    assert {index: (p.partition, p.offset) for index, p in placed.items()} == went
    assert [placed[index].topic for index in range(len(records))] == [record.topic for record in records]
    assert pending.finished == [pending]


@given(new_records, st.data())
def test_of_records_that_failed_in_part_each_has_its_own_outcome(records: list[Record], data: st.DataObject) -> None:
    from headwater.log.kafka_append import incomplete

    fates = [data.draw(st.sampled_from(["stored", "too large", "timed out"])) for _ in records]
    if set(fates) == {"stored"}:
        fates[0] = "timed out"
    pending = pending_of(records)
    went = report(pending, fates)
    told = incomplete(pending, len(NAMESPACE), "broker:9092")
    assert sorted([*told.failures, *told.placements]) == list(range(len(records)))

    def outcomes(of: Callable[[int], object]) -> list[tuple[str, bytes | None, bytes, str]]:
        """Equal records stand for one another."""
        return sorted((r.topic, r.key or b"-", r.value, str(of(index))) for index, r in enumerate(records))

    def ours(index: int) -> object:
        if index in told.failures:
            return type(told.failures[index]).__name__
        place = told.placements[index]
        return (place.partition, place.offset)

    names = {"too large": EventTooLarge.__name__, "timed out": LogUnavailable.__name__}
    assert outcomes(ours) == outcomes(lambda index: went[index] or names[fates[index]])


@given(new_records, st.integers(0, 12))
def test_records_of_which_nothing_was_told_have_failed(records: list[Record], told: int) -> None:
    from confluent_kafka import KafkaError

    from headwater.log.kafka_append import incomplete

    told = min(told, len(records) - 1)
    pending = pending_of(records)
    whole, pending.records = pending.records, records[:told]
    went = report(pending, ["stored"] * told)
    pending.records = whole
    pending.untold(pending.left, KafkaError(KafkaError._FATAL))
    error = incomplete(pending, len(NAMESPACE), "broker:9092")
    assert pending.finished == [pending]
    assert len(error.failures) == len(records) - told
    assert sorted((p.partition, p.offset) for p in error.placements.values()) == sorted(w for w in went.values() if w)


def test_where_records_went_is_a_sequence_like_any_other() -> None:
    from headwater.log.kafka_append import Placements

    async def placements() -> Placements:
        pending = pending_of([Record("one", b"%d" % n) for n in range(3)])
        report(pending, ["stored"] * 3)
        return Placements(pending, len(NAMESPACE))

    found = asyncio.run(placements())
    assert len(found) == 3
    assert [place.offset for place in found] == [100, 103, 106]
    assert found[-1] == list(found)[2]
    assert found[1:] == list(found)[1:]
    assert found == list(found)
