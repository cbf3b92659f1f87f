"""The consumers of the Python client against a real server: nothing is skipped and nothing is read twice."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import headwater
from headwater.client import (
    AsyncConsumer,
    AsyncProducer,
    Consumer,
    ConsumerSettings,
    Notice,
    Producer,
    ProducerSettings,
    SubscriptionRefused,
)
from headwater.errors import ConfigInvalid, LogUnavailable
from headwater.testing.eventually import eventually
from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

QUICK = ProducerSettings(linger_seconds=0.01, sampling=False)
OLDEST = "2020-01-01T00:00:00Z"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_notes(tmp_path, note_schema(dt={"type": "string"}))
    return tmp_path


@pytest.fixture
def address(project: Path) -> Iterator[str]:
    with served_project(project) as (address, _):
        yield address


def note(text: Any, **meta: str) -> dict[str, Any]:
    return {"$schema": "/note/1.0.0", "text": text, **({"meta": meta} if meta else {})}


def send(address: str, *texts: str) -> None:
    with Producer(address, QUICK) as producer:
        for text in texts:
            producer.send("notes", note(text))


def texts(consumer: Consumer, count: int) -> list[str]:
    with contextlib.closing(iter(consumer)) as events:  # type: ignore[type-var]
        return [event["text"] for event in islice(events, count)]


def test_a_new_consumer_continues_where_the_last_one_had_processed(address: str, tmp_path: Path) -> None:
    send(address, *"abcde")
    settings = ConsumerSettings(since=OLDEST, token_file=tmp_path / "of" / "notes.json")
    with Consumer(address, "notes", settings) as consumer:
        # The third event is given but not processed: the next one is never asked for.
        assert texts(consumer, 3) == ["a", "b", "c"]
    with Consumer(address, "notes", settings) as consumer:
        assert texts(consumer, 1) == ["c"]
        consumer.commit()
    with Consumer(address, "notes", settings) as consumer:
        assert texts(consumer, 1) == ["d"]


def test_without_auto_commit_only_what_was_committed_is_passed(address: str, tmp_path: Path) -> None:
    send(address, *"abcd")
    settings = ConsumerSettings(since=OLDEST, token_file=tmp_path / "notes.json", auto_commit=False)
    with Consumer(address, "notes", settings) as consumer:
        for event in consumer:
            if event["text"] == "b":
                consumer.commit()
            if event["text"] == "d":
                break
    with Consumer(address, "notes", settings) as consumer:
        assert texts(consumer, 2) == ["c", "d"]


def test_a_consumer_survives_a_restart_of_the_server(project: Path) -> None:
    found: list[str] = []
    got_two = threading.Event()

    def read(consumer: Consumer) -> None:
        for event in consumer:
            found.append(event["text"])
            if len(found) == 2:
                got_two.set()
            if len(found) == 4:
                consumer.commit()
                return

    with served_project(project) as (address, _):
        send(address, "a", "b")
        consumer = Consumer(address, "notes", ConsumerSettings(since=OLDEST))
        thread = threading.Thread(target=read, args=[consumer])
        thread.start()
        assert got_two.wait(20)
    port = int(address.rpartition(":")[2])
    with served_project(project, web={"port": port}) as (again, _):
        send(again, "c", "d")
        thread.join(30)
        assert found == ["a", "b", "c", "d"]
    consumer.close()


def test_an_id_that_was_seen_is_dropped_unless_that_is_switched_off(address: str) -> None:
    with Producer(address, QUICK) as producer:
        # The intake itself drops a repeated id for a while; another stream's event with the same id is another event.
        producer.send("notes", note("a", id="one"))
        producer.send("notes", note("b", id="two"))
    with Consumer(address, ["notes", "notes"], ConsumerSettings(since=OLDEST)) as consumer:
        assert texts(consumer, 2) == ["a", "b"]
        # A second pass over the same events, from the beginning.
        consumer._reading.token = None
        send(address, "c")
        assert texts(consumer, 1) == ["c"]
        assert consumer.statistics.repeated == 2


def test_the_server_filters(address: str) -> None:
    send(address, "a", "b", "c")
    settings = ConsumerSettings(since=OLDEST, filter='text != "b"')
    with Consumer(address, "notes", settings) as consumer:
        assert texts(consumer, 2) == ["a", "c"]


async def test_the_position_moves_past_events_that_the_filter_excludes(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    settings = ConsumerSettings(since=OLDEST, filter='text == "z"', token_file=file, commit_seconds=0)
    quick = {"heartbeat_seconds": 0.1, "heartbeat_seconds_min": 0.1}
    with served_project(project, consumption=quick) as (address, _):
        send(address, "a", "b")
        with Consumer(address, "notes", settings) as consumer:
            thread = threading.Thread(target=texts, args=[consumer, 1])
            thread.start()
            # The mark of the log is followed by the partition and its offset.
            await eventually(lambda: (consumer.token or "").endswith(":0=2"), seconds=20)
            send(address, "z")
            await asyncio.to_thread(thread.join, 20)
        # The token stands before "z", which was not processed, and after the others.
        with Consumer(address, "notes", ConsumerSettings(token_file=file)) as again:
            assert await asyncio.to_thread(texts, again, 1) == ["z"]


@pytest.mark.parametrize(
    ("streams", "settings", "message"),
    [
        ("notess", ConsumerSettings(), "Invalid streams"),
        ("notes", ConsumerSettings(filter="text =="), "column"),
        ("notes", ConsumerSettings(since="when"), "since"),
        ("notes", ConsumerSettings(token="nonsense"), "400"),
    ],
)
def test_a_refusal_says_why(address: str, streams: str, settings: ConsumerSettings, message: str) -> None:
    with Consumer(address, streams, settings) as consumer, pytest.raises(SubscriptionRefused, match=message):
        next(iter(consumer))


def test_a_server_that_is_not_there_is_tried_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.client.subscription.PAUSE_SECONDS_FIRST", 0.01)
    consumer = Consumer("localhost:1", "notes", ConsumerSettings(attempts_max=2))
    with pytest.raises(LogUnavailable, match="does not answer"):
        next(iter(consumer))


def test_settings_that_cannot_be_used_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="at least one stream"):
        Consumer("http://localhost:8080", " , ")
    with pytest.raises(ConfigInvalid, match="not a server address"):
        Consumer("ftp://localhost", "notes")
    with pytest.raises(ConfigInvalid, match="not both"):
        Consumer("localhost:8080", "notes", ConsumerSettings(token="a", token_file=tmp_path / "a"))
    (tmp_path / "other.json").write_text('{"token": "hw1;", "streams": ["others"]}')
    with pytest.raises(ConfigInvalid, match="keeps a position in others, not in notes"):
        Consumer("localhost:8080", "notes", ConsumerSettings(token_file=tmp_path / "other.json"))
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(ConfigInvalid, match="not the file of a consumer"):
        Consumer("localhost:8080", "notes", ConsumerSettings(token_file=tmp_path / "damaged.json"))


def test_a_position_of_another_log_is_reported_and_can_end_the_reading(address: str) -> None:
    send(address, "a")
    with Consumer(address, "notes", ConsumerSettings(since=OLDEST)) as consumer:
        texts(consumer, 1)
        consumer.commit()
        assert consumer.token is not None
        mark = consumer.token.partition("@")[2][:8]
        settings = ConsumerSettings(since=OLDEST, token=consumer.token.replace(mark, "00000000"))
    reported: list[Notice] = []
    with Consumer(address, "notes", settings, on_notice=reported.append) as consumer:
        assert texts(consumer, 1) == ["a"]
    assert [(one.kind, one.data["reason"]) for one in reported] == [("position-lost", "log_replaced")]

    def refuse(notice: Notice) -> None:
        raise RuntimeError(notice.message)

    with Consumer(address, "notes", settings, on_notice=refuse) as consumer, pytest.raises(RuntimeError, match="log"):
        next(iter(consumer))


async def test_both_sides_work_with_asyncio(address: str, tmp_path: Path) -> None:
    settings = ConsumerSettings(since=OLDEST, token_file=tmp_path / "notes.json")
    small = ProducerSettings(linger_seconds=0.01, sampling=False, queue_events_max=5)
    found = []
    async with AsyncProducer(address, small) as producer, AsyncConsumer(address, "notes", settings) as consumer:
        # The queue holds five: `send` waits until there is room.
        for number in range(50):
            assert await producer.send("notes", note(f"{number}"))
        assert await producer.flush()
        async for event in consumer:
            found.append(event["text"])
            if len(found) == 50:
                consumer.commit()
                break
        await producer.close()
        with pytest.raises(LogUnavailable, match="closed"):
            await producer.send("notes", note("late"))
    assert found == [f"{number}" for number in range(50)]
    assert producer.statistics.accepted == 50
    assert consumer.statistics.events == 50


def test_the_package_offers_its_parts_by_one_import(project: Path) -> None:
    assert headwater.Consumer is Consumer
    assert headwater.AsyncProducer is AsyncProducer
    assert callable(headwater.job)
    with pytest.raises(AttributeError, match="no attribute 'Konsumer'"):
        _ = headwater.Konsumer
