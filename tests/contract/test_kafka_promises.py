"""What the Kafka log promises beyond the contract: exact outcomes, fenced groups, shared readers, plain errors."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from headwater.errors import (
    AppendIncomplete,
    ConfigInvalid,
    EventTooLarge,
    LogUnavailable,
    PositionLost,
    TopicUnknown,
    WriterFenced,
)
from headwater.log.contract import Commit, Position, Record, TopicSettings
from headwater.testing.eventually import DEADLINE_SECONDS, eventually
from headwater.testing.suites.log import read_all, records, values

if TYPE_CHECKING:
    from headwater.log.kafka.log import KafkaLog
    from servers.kafka import KafkaCluster


@pytest.fixture
def namespace() -> str:
    return f"promise-{uuid.uuid4().hex[:10]}."


def new_log(bootstrap: str, namespace: str, **options: Any) -> KafkaLog:
    from headwater.log.kafka.log import KafkaLog

    return KafkaLog(f"kafka://{bootstrap}/{namespace}", **options)


@pytest.fixture
async def log(kafka_server: str, namespace: str) -> AsyncIterator[KafkaLog]:
    log = new_log(kafka_server, namespace)
    await log.open()
    yield log
    await log.close()


@pytest.fixture
async def other(kafka_server: str, namespace: str) -> AsyncIterator[KafkaLog]:
    """As another process would have it open."""
    log = new_log(kafka_server, namespace)
    await log.open()
    yield log
    await log.close()


def admin_of(bootstrap: str) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": bootstrap})


def set_limit(bootstrap: str, full_name: str, bytes_max: int) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, full_name, incremental_configs=[entry])
    admin = admin_of(bootstrap)
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(timeout=10)


async def test_a_record_over_the_limit_of_its_topic_is_refused_before_anything_is_stored(
    log: KafkaLog, kafka_server: str, namespace: str
) -> None:
    await log.ensure_topic("small", TopicSettings())
    await log.ensure_topic("a", TopicSettings())
    await log.close()
    set_limit(kafka_server, f"{namespace}small", 2_000)
    await log.open()
    with pytest.raises(EventTooLarge, match=r"3000 bytes is over the limit of \d{4} of the topic 'small'"):
        await log.append([*records("a", 2), Record("small", b"x" * 3_000)])
    await log.append([Record("small", b"x" * 1_500) for _ in range(100)])
    assert await read_all(log, ["a"]) == []
    assert len(await read_all(log, ["small"])) == 100


async def test_of_an_append_that_fails_in_part_every_record_has_its_own_outcome(
    kafka_server: str, namespace: str
) -> None:
    log = new_log(kafka_server, namespace, delivery_seconds_max=1.5)
    await log.open()
    try:
        await log.ensure_topic("kept", TopicSettings(partitions=3))
        await log.ensure_topic("gone", TopicSettings())
        admin = admin_of(kafka_server)
        for deleted in admin.delete_topics([f"{namespace}gone"]).values():
            deleted.result(timeout=10)
        sent = [Record("gone" if n % 3 == 1 else "kept", b"%d" % n, b"k%d" % (n % 4)) for n in range(12)]
        with pytest.raises(AppendIncomplete) as caught:
            await log.append(sent)
        assert sorted(caught.value.failures) == [n for n in range(12) if n % 3 == 1]
        assert sorted(caught.value.placements) == [n for n in range(12) if n % 3 != 1]
        found = {(r.partition, r.offset): r.value for r in await read_all(log, ["kept"])}
        assert {found[p.partition, p.offset] for p in caught.value.placements.values()} == set(found.values())
        for index, place in caught.value.placements.items():
            assert found[place.partition, place.offset] == sent[index].value
    finally:
        await log.close()


async def test_a_group_belongs_to_the_writer_that_came_last(log: KafkaLog, other: KafkaLog) -> None:
    await log.ensure_topic("a", TopicSettings())
    await log.append(records("a", 1), commit=Commit("g", "one"))
    await log.append(records("a", 1), commit=Commit("another", "1"))
    await other.append(records("a", 1, start=1), commit=Commit("g", "two"))
    for _ in range(2):
        with pytest.raises(WriterFenced, match="'g'"):
            await log.append(records("a", 1, start=7), commit=Commit("g", "three"))
    await log.append(records("a", 1, start=2), commit=Commit("another", "2"))
    assert await log.committed("g") == await other.committed("g") == "two"
    assert values(await read_all(other, ["a"])) == [b"a 0", b"a 0", b"a 1", b"a 2"]


async def test_a_transaction_left_open_ends_with_the_next_one_of_its_group(
    log: KafkaLog, kafka_server: str, namespace: str
) -> None:
    from confluent_kafka import Producer

    await log.ensure_topic("a", TopicSettings())
    crashed = Producer({"bootstrap.servers": kafka_server, "transactional.id": f"{namespace}headwater.g"})
    crashed.init_transactions(10)
    crashed.begin_transaction()
    crashed.produce(f"{namespace}a", b"never committed", partition=0)
    assert crashed.flush(10) == 0
    await log.append(records("a", 1))
    position = Position({("a", 0): 0})
    assert await log.read(position) == []
    # What is behind an open transaction waits with it, and a reader may stand there.
    assert await log.read(Position({("a", 0): 1})) == []
    assert await log.read(position, wait_seconds=0.2) == []
    with pytest.raises(PositionLost):
        await log.read(Position({("a", 0): 3}))
    following = asyncio.ensure_future(log.read(position, wait_seconds=20))
    await log.append(records("a", 1, start=1), commit=Commit("g", "t"))
    assert b"never committed" not in values(await following)
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1"]


async def test_a_reader_behind_nothing_but_markers_rests(log: KafkaLog) -> None:
    await log.ensure_topic("a", TopicSettings())
    for number in range(3):
        await log.append(records("a", 1, start=number), commit=Commit("g", f"{number}"))
    position = Position({("a", 0): (await read_all(log, ["a"]))[-1].offset + 1})
    assert position != await log.last(["a"])

    async def processor_seconds(behind: Position) -> float:
        before = time.process_time()
        assert await log.read(behind, wait_seconds=2.0) == []
        return time.process_time() - before

    at_the_end = await processor_seconds(await log.last(["a"]))
    assert await processor_seconds(position) < 1.0 + 2 * at_the_end
    waiting = asyncio.ensure_future(log.read(position, wait_seconds=DEADLINE_SECONDS))
    await asyncio.sleep(0.1)
    await log.append(records("a", 1, start=3))
    assert values(await waiting) == [b"a 3"]


async def test_tokens_are_shown_as_offsets_of_consumer_groups(
    log: KafkaLog, other: KafkaLog, kafka_server: str, namespace: str
) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions

    await log.ensure_topic("a", TopicSettings(partitions=2))
    await log.commit("job", Position({("a", 0): 0, ("a", 1): 0}).token())
    await log.commit("cursor", "page 17 of something")
    await log.append(records("a", 4), commit=Commit("job", Position({("a", 0): 3, ("a", 1): 1}).token()))
    await log.close()
    assert await other.committed("cursor") == "page 17 of something"
    assert await other.groups() == ["cursor", "job"]
    admin = admin_of(kafka_server)
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(f"{namespace}job")])
    shown = next(iter(asked.values())).result(timeout=10).topic_partitions
    assert {(one.topic, one.partition, one.offset) for one in shown} == {
        (f"{namespace}a", 0, 3),
        (f"{namespace}a", 1, 1),
    }
    assert [info.name for info in await other.topics()] == ["a"]


async def test_partitions_added_by_others_are_noticed(log: KafkaLog, other: KafkaLog) -> None:
    await log.ensure_topic("a", TopicSettings())
    assert len((await other.last(["a"])).offsets) == 1
    await log.ensure_topic("a", TopicSettings(partitions=3))

    async def all_are_noticed() -> bool:
        return len((await other.last(["a"])).offsets) == 3

    await eventually(all_are_noticed)
    await other.append([Record("a", b"%d" % n, b"%d" % n) for n in range(30)])
    assert {record.partition for record in await read_all(log, ["a"])} == {0, 1, 2}


async def test_a_topic_never_creates_itself(log: KafkaLog) -> None:
    with pytest.raises(TopicUnknown):
        await log.append(records("missing", 1))
    with pytest.raises(TopicUnknown):
        await log.read(Position({("missing", 0): 0}), wait_seconds=0.1)
    assert await log.topics() == []


async def test_many_readers_share_a_few_consumers_and_miss_nothing(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.log.kafka import feed as kafka_feed
    from headwater.log.kafka import follower as kafka_follower
    from headwater.log.kafka import reader as kafka_reader

    # Partitions are let go of and taken up again all the time.
    monkeypatch.setattr(kafka_follower, "UNREAD_SECONDS", 0.03)
    monkeypatch.setattr(kafka_follower, "SWEEP_SECONDS", 0.02)
    made: list[str] = []
    real = kafka_reader.Consumer
    for module in (kafka_reader, kafka_feed):
        monkeypatch.setattr(module, "Consumer", lambda settings: made.append("one") or real(settings))
    names = [f"t{number}" for number in range(20)]
    await asyncio.gather(*(log.ensure_topic(name, TopicSettings(partitions=2)) for name in names))
    total = 20

    async def follow(number: int) -> list[bytes]:
        own = [names[number % 20], names[(number + 1) % 20]]
        position, seen = await log.first(own), []
        while len(seen) < 2 * total:
            found = await log.read(position, records_max=1 + number % 7, wait_seconds=(number % 3) * 0.05)
            for record in found:
                position = position.after(record)
                seen.append(record.value)
            if number % 4 == 0:
                await asyncio.sleep(0.05)
        return seen

    followers = [asyncio.ensure_future(follow(number)) for number in range(40)]
    for number in range(total):
        await log.append([Record(name, b"%s %d" % (name.encode(), number), b"%d" % number) for name in names])
        await asyncio.sleep(0.005)
    for number, seen in enumerate(await asyncio.wait_for(asyncio.gather(*followers), 60)):
        own = [names[number % 20], names[(number + 1) % 20]]
        assert sorted(seen) == sorted(b"%s %d" % (name.encode(), n) for name in own for n in range(total))
    followers_made = sum(thread.name == "headwater-log-follower" for thread in threading.enumerate())
    assert followers_made <= 2
    assert len(made) < 40


async def test_many_followed_partitions_are_divided_among_feeds_that_end_without_readers(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.log.kafka import feed as kafka_feed
    from headwater.log.kafka import follower as kafka_follower

    monkeypatch.setattr(kafka_feed, "PARTITIONS_MAX", 3)
    monkeypatch.setattr(kafka_follower, "FEEDS_MAX", 2)
    before = set(threading.enumerate())

    def feeds() -> int:
        new = set(threading.enumerate()) - before
        return sum(thread.name == "headwater-log-follower" for thread in new)

    names = [f"t{number}" for number in range(8)]
    for name in names:
        await log.ensure_topic(name, TopicSettings())
    first = [
        asyncio.ensure_future(log.read(await log.last([name]), wait_seconds=2 * DEADLINE_SECONDS)) for name in names[:3]
    ]
    await eventually(lambda: feeds() == 1)
    rest = [
        asyncio.ensure_future(log.read(await log.last([name]), wait_seconds=2 * DEADLINE_SECONDS)) for name in names[3:]
    ]
    await eventually(lambda: feeds() == 2)
    # One of each feed, of which the second has more than it should; nobody else wakes.
    for name in (names[1], names[7]):
        await log.append([Record(name, name.encode())])
        # Sooner than its wait ends.
        [found] = await asyncio.wait_for((first + rest)[int(name[1:])], DEADLINE_SECONDS)
        assert (found.topic, found.value) == (name, name.encode())
    assert [name for name, task in zip(names, first + rest, strict=True) if task.done()] == [names[1], names[7]]
    for task in first + rest:
        task.cancel()
    await asyncio.gather(*first, *rest, return_exceptions=True)
    monkeypatch.setattr(kafka_follower, "UNREAD_SECONDS", 0.0)
    await eventually(lambda: not feeds())


async def test_readers_that_wait_for_long_are_confirmed_together_and_send_no_requests(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.log.kafka import follower as kafka_follower
    from headwater.log.kafka import log as kafka

    monkeypatch.setattr(kafka, "CHECK_SECONDS", 1.5)
    monkeypatch.setattr(kafka, "TRUSTED_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(kafka_follower, "CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(kafka_follower, "SWEEP_SECONDS", 0.2)
    names = [f"t{number}" for number in range(10)]
    for name in names:
        await log.ensure_topic(name, TopicSettings())
    ends = {name: await log.last([name]) for name in names}

    async def wait_again_and_again(name: str) -> None:
        for _ in range(10):
            assert await log.read(ends[name], wait_seconds=0.3) == []

    await asyncio.gather(*(log.read(ends[name], wait_seconds=0.3) for name in names))
    requests, offsets = log.counts.offset_requests, log.counts.offsets
    await asyncio.gather(*(wait_again_and_again(name) for name in names))
    # Each on its own would ask for one offset in each request, at least twice for each wait.
    assert log.counts.offsets - offsets > 2 * (log.counts.offset_requests - requests) > 0
    await log.append([Record(names[0], b"x")])
    assert [record.value for record in await log.read(ends[names[0]], wait_seconds=DEADLINE_SECONDS)] == [b"x"]


async def test_brokers_that_stand_still_are_answered_for_and_used_again_when_they_go_on(
    kafka_cluster: KafkaCluster, namespace: str
) -> None:
    log = new_log(kafka_cluster.bootstrap, namespace, delivery_seconds_max=2.0, queue_bytes_max=1_048_576)
    await log.open()
    try:
        await log.ensure_topic("a", TopicSettings(partitions=3))
        await log.append(records("a", 3))
        for node in (1, 2):
            kafka_cluster.pause(node)
        sent = [asyncio.ensure_future(log.append([Record("a", b"x" * 100_000, b"%d" % n)])) for n in range(10)]
        await asyncio.sleep(0.2)
        with pytest.raises(LogUnavailable, match="bytes are waiting") as full:
            await log.append([Record("a", b"x" * 100_000)])
        assert full.value.retry_after_seconds >= 1
        outcomes = await asyncio.wait_for(asyncio.gather(*sent, return_exceptions=True), DEADLINE_SECONDS)
        assert {type(outcome) for outcome in outcomes} == {AppendIncomplete}
        # It goes to whoever sent the event.
        assert not [one for one in outcomes if "127.0.0.1" in str(one)]
        for node in (1, 2):
            kafka_cluster.resume(node)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                await log.append([Record("a", b"after")])
                break
            except LogUnavailable:
                assert time.monotonic() < deadline, "the log did not recover"
        assert values(await read_all(log, ["a"])).count(b"after") >= 1
    finally:
        await log.close()


async def test_a_broker_that_is_not_there_is_named_and_no_secret_is(unused_tcp_port: int) -> None:
    log = new_log(f"127.0.0.1:{unused_tcp_port}", "", options={"sasl.password": "swordfish"})
    with pytest.raises(LogUnavailable, match=rf"no Kafka broker answers at 127.0.0.1:{unused_tcp_port}") as caught:
        await log.open()
    assert "swordfish" not in str(caught.value)
    assert "swordfish" not in repr(log.__dict__)
    with pytest.raises(LogUnavailable, match="not open"):
        await log.append(records("a", 1))
    await log.close()


async def test_an_option_the_client_does_not_know_is_named_and_its_value_is_not(kafka_server: str) -> None:
    for options in ({"linger.msec": "swordfish"}, {"socket.timeout.ms": "swordfish"}):
        log = new_log(kafka_server, "", options=options)
        with pytest.raises(ConfigInvalid, match=next(iter(options))) as caught:
            await log.open()
        assert "swordfish" not in str(caught.value)
        await log.close()


@pytest.fixture
def unused_tcp_port() -> int:
    from servers.places import free_ports

    return free_ports(1)[0]
