"""`headwater up` before its brokers: it waits, says so, answers 503 meanwhile, and begins when they answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from end_to_end.test_kafka_outages import Server, edit
from headwater.testing.eventually import DEADLINE_SECONDS, eventually_blocking
from servers.kafka import KafkaCluster
from servers.places import free_ports


@contextlib.contextmanager
def started(project: Path, url: str) -> Iterator[Server]:
    server = Server(project, url)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def check_waiting(server: Server, bootstrap: str) -> None:
    eventually_blocking(lambda: server.ready() == 503)
    assert server.ask("/healthz")[0] == 200
    for path, body in (("/v1/events", edit(1)), ("/v2/stream/edit", None), ("/", None)):
        status, headers, text = server.ask(path, body)
        assert (status, "retry-after" in {name.lower() for name in headers}) == (503, True)
        assert bootstrap not in text
    assert len([line for line in server.said if "Waiting for it" in line]) == 1


def test_a_server_that_starts_before_its_brokers_waits_for_them(tmp_path: Path, kafka_alone: KafkaCluster) -> None:
    kafka_alone.kill(1)
    is_back = False
    try:
        with started(tmp_path, f"kafka://{kafka_alone.bootstrap}/started-early.") as server:
            check_waiting(server, kafka_alone.bootstrap)
            kafka_alone.restart(1)
            is_back = True
            answers = set()
            deadline = time.monotonic() + DEADLINE_SECONDS
            while (status := server.ready()) != 200:
                answers.add(status)
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # Nobody is refused a connection in between.
            assert answers <= {503}
            assert server.ask("/v1/events", edit(1))[0] == 201
            assert [line for line in server.said if "The log is available" in line]
            assert server.stop() < 13
    finally:
        if not is_back:
            kafka_alone.restart(1)


def test_a_server_that_waits_for_its_brokers_stops_at_once(tmp_path: Path) -> None:
    bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    with started(tmp_path, f"kafka://{bootstrap}") as server:
        check_waiting(server, bootstrap)
        assert server.stop() < 8
        assert server.process.returncode == 0
        assert not [line for line in server.said if "Traceback" in line]
