"""`headwater up --workers N`: one port, several processes, replaced when they die, stopped together."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from end_to_end.running import HEADWATER, RunningServer
from headwater.cli.init import write_project
from headwater.testing.eventually import eventually_blocking

WORKER_BYTES_MAX = 100_000_000


def made_project(directory: Path) -> Path:
    write_project(directory)
    # What is said here is said of workers, whatever jobs they run.
    shutil.rmtree(directory / "jobs")
    return directory


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, kafka_server: str) -> Iterator[Up]:
    """Two workers, for the tests that leave them as they are."""
    with up(made_project(tmp_path_factory.mktemp("workers") / "mine"), kafka_server, 2) as running:
        yield running


class Up(RunningServer):
    """A running `headwater up`, and the processes of its workers."""

    def workers(self) -> dict[int, int]:
        """Worker number → process id, of those that run."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and _parent(entry) == self.process.pid:
                    command = (entry / "cmdline").read_bytes().split(b"\0")
                    found[int(orjson.loads(command[-2])["number"])] = int(entry.name)
        return found

    def metric(self, name: str) -> dict[str, float]:
        """The values of a metric, by the text between its braces."""
        text = httpx.get(f"{self.address}/metrics").text
        return {found[1]: float(found[2]) for found in re.finditer(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)}


def _parent(process: Path) -> int:
    return int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])


@contextlib.contextmanager
def up(project: Path, kafka: str, workers: int, *options: str) -> Iterator[Up]:
    # A prefix of their own for the topics of each test.
    log = f"kafka://{kafka}/{uuid.uuid4().hex[:8]}."
    # A canary would be counted with the events of a test that takes long enough.
    environment = {"HEADWATER_LOG": log, "HEADWATER_MONITORING_CANARIES": "false"}
    server = Up(project, "--workers", str(workers), *options, environment=environment)
    try:
        yield server
    finally:
        server.stop()


def edit(number: int) -> dict[str, object]:
    return {
        "$schema": "/demo/edit/1.0.0",
        "meta": {"stream": "demo.edit", "id": f"{number:032x}"},
        "dt": "2026-01-31T12:00:00Z",
        "wiki": "enwiki",
        "title": f"Page {number}",
        "user": "Ada",
        "bot": False,
        "bytes": number,
    }


def post(address: str, events: list[dict[str, object]]) -> int:
    # A connection for each request: which worker takes it is up to the system.
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    connection.request("POST", "/v1/events", orjson.dumps(events), {"content-type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_on_sqlite_several_workers_are_refused_with_the_reason(tmp_path: Path) -> None:
    refused = subprocess.run(
        [*HEADWATER, "up", "--project", str(made_project(tmp_path / "mine")), "--port", "0", "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 2
    assert "--workers needs a log that several processes can write, such as kafka://…" in refused.stderr
    assert "sqlite:///var/events.db" in refused.stderr


def test_workers_share_one_port_and_each_event_is_stored_once(running: Up) -> None:
    assert sorted(running.workers()) == [0, 1]
    assert {post(running.address, [edit(number)]) for number in range(60)} == {201}
    by_worker = running.metric("headwater_intake_events_total")
    assert sum(by_worker.values()) == 60
    assert {label.split(",")[0] for label in by_worker} == {'worker="0"', 'worker="1"'}
    numbers = []
    with httpx.stream("GET", f"{running.address}/v2/stream/demo.edit?since=2026-01-01", timeout=20) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                numbers.append(orjson.loads(line.removeprefix("data: "))["bytes"])
            if len(numbers) == 60:
                break
    assert sorted(numbers) == list(range(60))


def test_any_worker_gives_the_page_the_feed_and_the_metrics_of_all(running: Up) -> None:
    for _ in range(8):
        page = httpx.get(running.address)
        assert (page.status_code, "demo.edit" in page.text) == (200, True)
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert httpx.get(f"{running.address}/static/page.css").headers["content-type"].startswith("text/css")
    assert httpx.get(f"{running.address}/static/nothing").status_code == 404
    assert running.metric("headwater_worker_up") == {'worker="0"': 1.0, 'worker="1"': 1.0}
    memory = running.metric("process_resident_memory_bytes")
    assert max(memory.values()) < WORKER_BYTES_MAX, memory
    with httpx.stream("GET", f"{running.address}/v1/_page/feed", timeout=10) as feed:
        assert next(feed.iter_lines())


def test_a_worker_that_is_killed_is_replaced_and_sigterm_ends_them_all(tmp_path: Path, kafka_server: str) -> None:
    with up(made_project(tmp_path / "mine"), kafka_server, 2) as running:
        before = running.workers()
        os.kill(before[1], signal.SIGKILL)
        assert {post(running.address, [edit(number)]) for number in range(20)} == {201}
        eventually_blocking(lambda: sorted(running.workers()) == [0, 1] and running.workers()[1] != before[1])
        after = running.workers()
        assert after[0] == before[0]
        eventually_blocking(lambda: running.metric("headwater_worker_up") == {'worker="0"': 1.0, 'worker="1"': 1.0})
        assert running.process.stderr is not None
        line = running.process.stderr.readline()
        assert re.fullmatch(r"Worker 1 was ended by SIGKILL; starting another one in 0\.[01]\d* s\.\n", line)
        running.process.terminate()
        assert running.process.wait(40) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in after.values())


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path, kafka_server: str) -> None:
    with up(made_project(tmp_path / "mine"), kafka_server, 2) as running:
        pids = list(running.workers().values())
        running.process.kill()
        eventually_blocking(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_project_that_cannot_start_says_so_once_and_ends(tmp_path: Path, kafka_server: str) -> None:
    project = made_project(tmp_path / "mine")
    (project / "jobs").mkdir()
    (project / "jobs" / "broken.py").write_text("this is not Python\n")
    ended = subprocess.run(
        [*HEADWATER, "up", "--project", str(project), "--port", "0", "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HEADWATER_LOG": f"kafka://{kafka_server}/{uuid.uuid4().hex[:8]}."},
    )
    assert ended.returncode != 0
    assert ended.stderr.count("broken.py") == 1


def test_forced_workers_leave_out_what_cannot_be_read(tmp_path: Path, kafka_server: str) -> None:
    project = made_project(tmp_path / "mine")
    (project / "streams" / "odd.yaml").write_text("stream: odd\nschema_titel: demo/edit\n", encoding="utf-8")
    with up(project, kafka_server, 2, "--force") as server:
        assert "with 2 workers" in server.said
        assert "streams/odd.yaml:2" in server.said
        assert httpx.post(f"{server.address}/v1/events", json=[edit(1)], timeout=20).status_code == 201


def test_keys_are_required_by_every_worker_and_failed_ones_are_counted(tmp_path: Path, kafka_server: str) -> None:
    project = made_project(tmp_path / "mine")
    settings = "consumption: {keys: required}\nintake: {keys: required}\ncontrol: {attempts_per_minute_max: 5}\n"
    (project / "headwater.yaml").write_text(settings, encoding="utf-8")
    with up(project, kafka_server, 2) as server:
        forged = {"x-headwater-forwarded": "192.0.2.1"}
        for path in ("/", "/metrics", "/v1/streams", "/v2/stream/demo.edit", "/nothing") * 4:
            # A connection for each request: which worker takes it is up to the system.
            assert httpx.get(f"{server.address}{path}", headers=forged).status_code == 401, path
        assert {post(server.address, [edit(number)]) for number in range(20)} == {401}
        wrong = {**forged, "authorization": f"Bearer hwk_{'x' * 43}"}
        answers = [httpx.get(f"{server.address}/", headers=wrong).status_code for _ in range(60)]
        # Each of both counts for itself.
        assert 5 <= answers.count(401) <= 10
        assert set(answers) == {401, 429}
