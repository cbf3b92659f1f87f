"""Offsets that the Kafka client answers without knowing them: below 0, with no error, while leaders are moving."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.consumption.offset_ranges import OffsetRange, OffsetRanges
from headwater.consumption.resume import Start, within
from headwater.errors import LogUnavailable
from headwater.log.contract import Position
from headwater.log.kafka import topics as kafka_topics
from headwater.log.kafka.settings import KafkaSettings
from headwater.log.kafka.topics import EARLIEST, LATEST, KafkaTopic, KafkaTopics, received_at
from headwater.testing.oracle_log import OracleLog

OFFSET_INVALID = -1001
PLACE = ("a", 0)


class Client:
    """An admin client that answers with one offset after the other, the last one again and again."""

    def __init__(self, *offsets: int) -> None:
        self._offsets = list(offsets)
        self.asked = 0

    def list_offsets(self, asked: Mapping[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        self.asked += 1
        offset = self._offsets.pop(0) if len(self._offsets) > 1 else self._offsets[0]
        answers: dict[Any, Future[Any]] = {}
        for partition in asked:
            future: Future[Any] = Future()
            future.set_result(SimpleNamespace(offset=offset))
            answers[partition] = future
        return answers


def topics_of(client: Client, *, answer_seconds_max: float = 10.0) -> KafkaTopics:
    topics = KafkaTopics(KafkaSettings("x:1", answer_seconds_max=answer_seconds_max), None)  # type: ignore[arg-type]
    topics._admin = SimpleNamespace(client=lambda: client)  # type: ignore[assignment]
    topics._known = {"a": KafkaTopic("a", "a", 1)}
    return topics


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_topics, "PASSING_SECONDS", 0.01)


@pytest.mark.parametrize("spec", [EARLIEST, LATEST, received_at(5)], ids=["first", "end", "time"])
async def test_an_offset_below_0_is_asked_for_again(spec: Any) -> None:
    client = Client(OFFSET_INVALID, OFFSET_INVALID, 7)
    assert await topics_of(client).ends_at([PLACE], spec) == {PLACE: 7}
    assert client.asked == 3


async def test_a_time_after_the_newest_record_has_no_offset() -> None:
    client = Client(-1)
    assert await topics_of(client).ends_at([PLACE], received_at(5)) == {PLACE: -1}
    assert client.asked == 1


async def test_an_offset_that_stays_unknown_is_a_failure_of_the_log() -> None:
    with pytest.raises(LogUnavailable, match="The offset range of 'a' is unknown") as caught:
        await topics_of(Client(OFFSET_INVALID), answer_seconds_max=0.05).ends_at([PLACE], LATEST)
    assert caught.value.is_away


@pytest.mark.parametrize(
    ("first", "end"), [(OFFSET_INVALID, OFFSET_INVALID), (0, OFFSET_INVALID), (OFFSET_INVALID, 90), (0, -1)]
)
def test_no_position_of_a_client_is_lost_by_bounds_that_are_unknown(first: int, end: int) -> None:
    start = Start(Position({PLACE: 64}))
    assert within(OffsetRange({PLACE: first}, {PLACE: end}), start) == start


@pytest.mark.parametrize("which", ["first", "last"])
async def test_an_extent_is_never_made_of_bounds_that_are_unknown(which: str) -> None:
    class Unsure(OracleLog):
        pass

    async def unknown(self: OracleLog, names: Any) -> Position:
        return Position({PLACE: OFFSET_INVALID})

    setattr(Unsure, which, unknown)
    log = Unsure()
    await log.open()
    from headwater.log.contract import TopicSettings

    await log.ensure_topic("a", TopicSettings())
    with pytest.raises(LogUnavailable, match="The offset range of"):
        await OffsetRanges(log).of(["a"])
