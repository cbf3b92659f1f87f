"""The Python client against a real intake: everything arrives once, refusals are reported, nothing is lost
meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from foreign_failures import FAILURES
from headwater.client import Producer, ProducerSettings, Refusal
from headwater.client.answer import Waiting
from headwater.client.outbox import Outbox
from headwater.errors import ConfigInvalid, EventMalformed, EventTooLarge, LogUnavailable
from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

QUICK = ProducerSettings(linger_seconds=0.01, backoff_seconds_first=0.01, backoff_seconds_max=0.05, sampling=False)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    write_notes(tmp_path, note_schema(dt={"type": "string"}))
    with served_project(tmp_path) as (address, _):
        yield address


def note(text: Any) -> dict[str, Any]:
    return {"$schema": "/note/1.0.0", "text": text}


def stored(address: str, count: int) -> list[dict[str, Any]]:
    """The first `count` events of the stream, from its beginning, as a client of the public stream reads them."""
    found: list[dict[str, Any]] = []
    url = f"{address}/v2/stream/notes?since=2020-01-01T00:00:00Z"
    with httpx.stream("GET", url, headers={"accept": "application/x-ndjson"}, timeout=10) as response:
        for line in response.iter_lines():
            if line.strip():
                found.append(orjson.loads(line))
            if len(found) == count:
                break
    return found


class Unreliable(httpx.BaseTransport):
    """The real way to the server, on which requests or answers get lost as `fate` says."""

    def __init__(self, fate: Iterator[str]) -> None:
        self._fate = fate
        self._inner = httpx.HTTPTransport()
        self.requests = 0

    def close(self) -> None:
        self._inner.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        fate = next(self._fate, "well")
        if fate == "request lost":
            raise httpx.ConnectError("lost on the way there", request=request)
        response = self._inner.handle_request(request)
        if fate == "answer lost":
            response.read()
            response.close()
            raise httpx.ReadError("lost on the way back", request=request)
        return response


def test_everything_sent_arrives_once_and_in_order(address: str) -> None:
    with Producer(address, QUICK) as producer:
        for number in range(500):
            assert producer.send("notes", note(f"{number}"))
        assert producer.flush()
        assert producer.statistics.accepted == 500
    assert [event["text"] for event in stored(address, 500)] == [f"{number}" for number in range(500)]


def test_lost_requests_and_lost_answers_lose_and_double_nothing(address: str) -> None:
    fate = iter(["request lost", "answer lost", "well", "answer lost", "answer lost", "request lost"] * 5)
    with Producer(address, QUICK, transport=Unreliable(fate)) as producer:
        for number in range(300):
            producer.send("notes", note(f"{number}"))
        assert producer.flush(20)
        assert producer.statistics.repeated_requests > 0
        producer.send("notes", note("end"))
    texts = [event["text"] for event in stored(address, 301)]
    assert texts == [*(f"{number}" for number in range(300)), "end"]


def test_refusals_are_reported_one_by_one_and_the_rest_of_the_batch_is_stored(address: str) -> None:
    refused: list[Refusal] = []
    with Producer(address, QUICK, on_refused=refused.append) as producer:
        for text in ("a", 1, "b", None):
            producer.send("notes", note(text))
        producer.send("unknown", note("c"))
        assert producer.flush()
    assert [orjson.loads(one.data)["text"] for one in refused] == [1, None, "c"]
    assert "should be string" in refused[0].reason
    assert "not configured" in refused[2].reason
    assert [event["text"] for event in stored(address, 2)] == ["a", "b"]


@pytest.mark.parametrize("failure", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "Wordless"])
def test_whatever_is_raised_on_a_refusal_the_producer_continues(address: str, failure: str) -> None:
    with Producer(address, QUICK, on_refused=lambda refusal: FAILURES[failure]()) as producer:
        producer.send("notes", note(1))
        assert producer.flush()
        producer.send("notes", note("after"))
        assert producer.flush()
    assert [event["text"] for event in stored(address, 1)] == ["after"]


def test_what_cannot_be_an_event_is_refused_by_send_itself(address: str) -> None:
    with Producer(address, ProducerSettings(batch_bytes_max=1000, sampling=False)) as producer:
        with pytest.raises(EventMalformed, match=r"no `\$schema`"):
            producer.send("notes", {"text": "x"})
        with pytest.raises(EventMalformed, match="not JSON"):
            producer.send("notes", note({1, 2}))
        with pytest.raises(EventTooLarge, match="1000"):
            producer.send("notes", note("x" * 2000))
    with pytest.raises(ConfigInvalid, match="server address"):
        Producer("localhost:8080")


def test_a_full_queue_says_so_and_a_directory_takes_what_does_not_fit(tmp_path: Path) -> None:
    away = "http://127.0.0.1:9"
    small = ProducerSettings(queue_events_max=10, sampling=False, close_seconds_max=0.1, batch_events_max=1)
    producer = Producer(away, small)
    # One is on its way already.
    with pytest.raises(LogUnavailable, match="already waiting to be sent"):
        [producer.send("notes", note(f"{number}")) for number in range(20)]
    producer.close()
    assert producer.statistics.lost >= 10


def test_what_is_left_at_the_end_is_sent_by_the_next_process(address: str, tmp_path: Path) -> None:
    directory = tmp_path / "buffer"
    settings = ProducerSettings(queue_events_max=10, sampling=False, close_seconds_max=0.1, buffer_directory=directory)
    producer = Producer("http://127.0.0.1:9", settings)
    for number in range(2500):
        producer.send("notes", note(f"{number}"))
    with pytest.raises(ConfigInvalid, match="Another process uses"):
        Producer(address, settings)
    producer.close()
    assert producer.statistics.lost == 0
    with Producer(address, settings) as following:
        following.send("notes", note("end"))
        assert following.flush(20)
        assert following.statistics.accepted == 2501
    assert [event["text"] for event in stored(address, 2501)] == [*(f"{number}" for number in range(2500)), "end"]
    assert list(directory.glob("*.jsonl")) == []


def test_many_threads_may_share_a_producer(address: str) -> None:
    with Producer(address, QUICK) as producer:
        threads = [
            threading.Thread(target=lambda who=who: [producer.send("notes", note(f"{who} {n}")) for n in range(100)])
            for who in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert producer.flush()
    texts = [event["text"] for event in stored(address, 800)]
    assert len(set(texts)) == 800


def test_a_closed_outbox_gives_what_is_left_and_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    outbox = Outbox(events_max=2, bytes_max=1000, directory=tmp_path, directory_bytes_max=10_000)
    for number in range(5):
        data = orjson.dumps({"meta": {"id": str(number), "stream": "s"}})
        outbox.put(Waiting(str(number), "s", data))
    assert outbox.keep() == 0
    for left in tmp_path.glob("*.jsonl"):
        left.write_bytes(left.read_bytes().replace(b'{"meta":{"id":"2"', b'{"meta":{"id":?2"'))
    again = Outbox(events_max=2, bytes_max=1000, directory=tmp_path, directory_bytes_max=10_000)
    again.close()
    taken = []
    for _ in range(2):
        batch = again.take(10, 10_000, 0)
        taken += [one.event_id for one in batch]
        again.answered(len(batch))
    assert taken == ["0", "1", "3", "4"]
    assert again.take(10, 10_000, 0) == []
    assert list(tmp_path.glob("*.jsonl")) == []
