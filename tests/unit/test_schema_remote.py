"""Schemas over HTTP: bounded in time and size, from the configured host only."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas import open_repositories
from headwater.schemas.remote import RemoteRepository

SCHEMA = b"title: test/event\n$id: /test/event/1.0.0\ntype: object\n"


class Handler(BaseHTTPRequestHandler):
    """A static schema server with every fault a path of its own."""

    def do_GET(self) -> None:
        requests: list[str] = self.server.requests  # type: ignore[attr-defined]
        requests.append(self.path)
        if self.path in ("/base/test/event/1.0.0.yaml", "/base/test/event/latest.yaml"):
            self._answer(200, SCHEMA)
        elif self.path == "/base/broken.yaml":
            self._answer(500, b"")
        elif self.path == "/base/large.yaml":
            self._answer(200, b"x" * 100_000)
        elif self.path == "/base/moved.yaml":
            self._answer(302, b"", location="/base/test/event/1.0.0.yaml")
        elif self.path == "/base/away.yaml":
            self._answer(302, b"", location="http://localhost:9/elsewhere.yaml")
        elif self.path == "/base/round.yaml":
            self._answer(302, b"", location="/base/round.yaml")
        elif self.path == "/base/slow.yaml":
            self._trickle()
        else:
            self._answer(404, b"")

    def _answer(self, status: int, body: bytes, location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "100000")
        self.end_headers()
        try:
            for _ in range(40):
                self.wfile.write(b"x" * 70)
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def repository(server: ThreadingHTTPServer) -> Iterator[RemoteRepository]:
    repository = RemoteRepository(f"http://127.0.0.1:{server.server_port}/base/", 0.5, 50_000)
    yield repository
    repository.close()


def test_a_schema_is_fetched_below_the_base(repository: RemoteRepository) -> None:
    assert repository.get("/test/event/1.0.0").title == "test/event"
    assert list(repository.uris()) == []


def test_latest_is_known_by_its_id(repository: RemoteRepository) -> None:
    assert repository.get("/test/event/latest").uri == "/test/event/1.0.0"


def test_a_redirect_is_followed_only_to_the_same_host(repository: RemoteRepository) -> None:
    assert repository.get("/moved").title == "test/event"
    with pytest.raises(SchemaUnavailable, match="another host"):
        repository.get("/away")
    with pytest.raises(SchemaUnavailable, match="without end"):
        repository.get("/round")


def test_each_failure_has_its_own_error(repository: RemoteRepository) -> None:
    with pytest.raises(SchemaNotFound):
        repository.get("/nothing/1.0.0")
    with pytest.raises(SchemaUnavailable, match="500"):
        repository.get("/broken")
    with pytest.raises(SchemaInvalid, match="larger"):
        repository.get("/large")


def test_a_slow_answer_is_cut_off_as_a_whole(repository: RemoteRepository) -> None:
    started = time.monotonic()
    with pytest.raises(SchemaUnavailable):
        repository.get("/slow")
    assert time.monotonic() - started < 1.5


def test_an_absent_server_is_unavailable() -> None:
    repository = RemoteRepository("http://127.0.0.1:9/base", 0.5, 50_000)
    with pytest.raises(SchemaUnavailable):
        repository.get("/test/event/1.0.0")
    repository.close()


def test_an_answer_is_kept_and_a_failure_is_not(server: ThreadingHTTPServer) -> None:
    repository = open_repositories([f"http://127.0.0.1:{server.server_port}/base"])
    for _ in range(2):
        repository.get("/test/event/1.0.0")
        with pytest.raises(SchemaNotFound):
            repository.get("/nothing/1.0.0")
    requests: list[str] = server.requests  # type: ignore[attr-defined]
    assert requests.count("/base/test/event/1.0.0.yaml") == 1
    assert requests.count("/base/nothing/1.0.0.yaml") == 2
    repository.close()
