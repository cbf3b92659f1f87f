"""`headwater up` before its brokers: it waits, says so, answers 503 meanwhile, and begins when they answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.test_kafka_outages import Server, edit, until
from servers.kafka import KafkaCluster


@pytest.fixture
def server(tmp_path: Path, kafka_alone: KafkaCluster) -> Iterator[Server]:
    kafka_alone.kill(1)
    server = Server(tmp_path, f"kafka://{kafka_alone.bootstrap}/started-early.")
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()
    kafka_alone.restart(1)


def test_a_server_that_starts_before_its_brokers_waits_for_them(server: Server, kafka_alone: KafkaCluster) -> None:
    until(lambda: server.ready() == 503)
    assert server.ask("/healthz")[0] == 200
    for path, body in (("/v1/events", edit(1)), ("/v2/stream/edit", None), ("/", None)):
        status, headers, text = server.ask(path, body)
        assert (status, "retry-after" in {name.lower() for name in headers}) == (503, True)
        assert kafka_alone.bootstrap not in text
    assert len([line for line in server.said if "Waiting for it" in line]) == 1
    kafka_alone.restart(1)
    answers = set()
    deadline = time.monotonic() + 40
    while (status := server.ready()) != 200:
        answers.add(status)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Nobody is refused a connection in between.
    assert answers <= {503}
    assert server.ask("/v1/events", edit(1))[0] == 201
    assert [line for line in server.said if "The log answers" in line]
    assert server.stop() < 13


def test_a_server_that_waits_for_its_brokers_stops_at_once(server: Server) -> None:
    until(lambda: server.ready() == 503)
    assert server.stop() < 8
    assert server.process.returncode == 0
    assert not [line for line in server.said if "Traceback" in line]
