"""Brokers that hang under a server: what its log reports, what /readyz answers, and how long it takes to stop."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import PASSED, RUNNING, SCHEMAS, write_files
from headwater.testing.eventually import eventually_blocking
from servers.kafka import KafkaCluster
from servers.places import free_ports

FILES = {
    **SCHEMAS,
    "schemas/edit/1.0.0.yaml": SCHEMAS["schemas/edit/1.0.0.yaml"]
    + "  wiki: {type: string}\n  number: {type: integer}\n",
    "streams/edit.yaml": "stream: edit\nschema_title: edit\n",
    "streams/running.yaml": "stream: running\nschema_title: count\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "jobs/jobs.py": "from headwater.jobs import job, table\n"
    + RUNNING
    + PASSED
    + 'rows = table("rows", source="edit", columns={"number": "integer"})\n',
}
# Much less than a request may wait for the brokers; a busy machine adds to the ten seconds of closing.
STOP_SECONDS_MAX = 25.0


class Server:
    """`headwater up` in a process of its own."""

    def __init__(self, project: Path, url: str) -> None:
        self.port = free_ports(1)[0]
        write_files(project, FILES)
        config = {"log": url, "web": {"host": "127.0.0.1", "port": self.port}, "intake": {"append_timeout_seconds": 30}}
        (project / "headwater.yaml").write_text(json.dumps(config))
        self._log = project / "up.log"
        with self._log.open("wb") as out:
            command = [str(Path(sys.executable).with_name("headwater")), "up", "--project", str(project)]
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    @property
    def said(self) -> list[str]:
        return [line for line in self._log.read_text().splitlines() if line.strip()]

    def ask(self, path: str, body: Any = None, seconds: float = 40.0) -> tuple[int, dict[str, str], str]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} if data else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()
        except OSError:
            return 0, {}, ""

    def ready(self) -> int:
        return self.ask("/readyz", seconds=5)[0]

    def stop(self) -> float:
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)
        return time.monotonic() - began


def edit(number: int) -> dict[str, Any]:
    return {"$schema": "/edit/1.0.0", "meta": {"stream": "edit", "id": f"e{number}"}, "wiki": "w", "number": number}


@pytest.fixture
def server(tmp_path: Path, kafka_alone: KafkaCluster, request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(tmp_path, f"kafka://{kafka_alone.bootstrap}/{request.node.name[:40]}.")
    yield server
    kafka_alone.resume(1)
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def test_an_outage_is_one_line_at_its_beginning_and_one_at_its_end(server: Server, kafka_alone: KafkaCluster) -> None:
    eventually_blocking(lambda: server.ready() == 200)
    assert server.ask("/v1/events", edit(1))[0] == 201
    before = len(server.said)
    kafka_alone.pause(1)
    eventually_blocking(lambda: server.ready() == 503)
    eventually_blocking(lambda: any("do not answer" in line for line in server.said))
    time.sleep(2)
    kafka_alone.resume(1)
    eventually_blocking(lambda: server.ready() == 200)
    eventually_blocking(lambda: any("answer again" in line for line in server.said))
    said = server.said[before:]
    kinds = [("do not answer" in line, "answer again" in line) for line in said]
    assert kinds == [(True, False), (False, True)], "\n".join(said)
    assert server.stop() < STOP_SECONDS_MAX


def test_a_server_ends_in_time_while_its_brokers_stand_still_and_answers_who_waits(
    server: Server, kafka_alone: KafkaCluster
) -> None:
    eventually_blocking(lambda: server.ready() == 200)
    assert server.ask("/v1/events", edit(1))[0] == 201
    kafka_alone.pause(1)
    waiting = http.client.HTTPConnection("127.0.0.1", server.port, timeout=40)
    waiting.request("POST", "/v1/events", json.dumps(edit(2)), {"content-type": "application/json"})
    for _ in range(2):
        # What the server has received before these is under way.
        assert server.ask("/healthz")[0] == 200
    assert server.stop() < STOP_SECONDS_MAX
    answer = waiting.getresponse()
    assert answer.status == 503
    assert answer.headers["retry-after"]
    waiting.close()
    assert server.process.returncode == 0
    assert not [line for line in server.said if "Traceback" in line]
