"""Schemas over HTTP: bounded in time and size, from the configured host only."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import zstandard

from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas import open_repositories
from headwater.schemas.remote import REST_SECONDS, RemoteRepository

SCHEMA = b"title: test/event\n$id: /test/event/1.0.0\ntype: object\n"

# What never ends by itself lasts this long; the client of the tests gives an answer half a second.
ENDLESS_SECONDS = 40.0
ENDLESS_ROUNDS = 800

Response = tuple[int, bytes, dict[str, str]]
# By the name that is asked for below the base; a hundred megabytes of one letter are kilobytes when compressed.
ANSWERS: dict[str, Response] = {
    "test/event/1.0.0": (200, SCHEMA, {}),
    "test/event/latest": (200, SCHEMA, {}),
    "broken": (500, b"", {}),
    "large": (200, b"x" * 100_000, {}),
    "moved": (302, b"", {"location": "/base/test/event/1.0.0.yaml"}),
    "away": (302, b"", {"location": "http://localhost:9/elsewhere.yaml"}),
    "round": (302, b"", {"location": "/base/round.yaml"}),
    "no-place": (302, b"", {}),
    "odd-place": (302, b"", {"location": "http://[::1/x"}),
    "other-scheme": (302, b"", {"location": "file:///etc/hostname"}),
    "not-modified": (304, b"", {}),
    "no-content": (204, b"", {}),
    "gzip": (200, gzip.compress(b"a" * 100_000_000), {"content-encoding": "gzip"}),
    "zstd": (200, zstandard.ZstdCompressor().compress(b"a" * 100_000_000), {"content-encoding": "zstd"}),
}
RAW = {
    "endless-headers": b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 100_000,
    "nonsense": b"\x00\x01 nonsense\r\n\r\n",
    "nothing": b"",
    "short": b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\ntitle: x",
}


class Handler(BaseHTTPRequestHandler):
    """A static schema server with every fault a path of its own."""

    def do_GET(self) -> None:
        requests: list[str] = self.server.requests  # type: ignore[attr-defined]
        requests.append(self.path)
        name = self.path.removeprefix("/base/").removesuffix(".yaml")
        if name in RAW:
            self._write(RAW[name])
        elif name == "slow":
            self._trickle()
        elif name == "slow-headers":
            self._trickle_headers()
        else:
            status, body, headers = ANSWERS.get(name, (404, b"", {}))
            self._answer(status, body, headers)

    def _write(self, data: bytes) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def _trickle_headers(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(ENDLESS_ROUNDS):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(ENDLESS_SECONDS / ENDLESS_ROUNDS)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "100000")
        self.end_headers()
        try:
            for _ in range(ENDLESS_ROUNDS):
                self.wfile.write(b"x" * 70)
                self.wfile.flush()
                time.sleep(ENDLESS_SECONDS / ENDLESS_ROUNDS)
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
    with pytest.raises(SchemaUnavailable, match="endlessly"):
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
    assert time.monotonic() - started < ENDLESS_SECONDS / 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("slow-headers", "within 0.5 seconds"),
        ("endless-headers", "did not answer"),
        ("nonsense", "did not answer"),
        ("nothing", "did not answer"),
        ("short", "did not answer"),
        ("no-place", "without a target"),
        ("odd-place", "did not answer"),
        ("other-scheme", "another host"),
        ("not-modified", "answered 304"),
        ("no-content", "answered 204"),
    ],
)
def test_an_invalid_response_is_unavailable_in_time(repository: RemoteRepository, name: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(SchemaUnavailable, match=said):
        repository.get(f"/{name}")
    assert time.monotonic() - started < ENDLESS_SECONDS / 2


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_answer_is_refused_and_not_unfolded(repository: RemoteRepository, encoding: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SchemaUnavailable, match="compressed"):
            repository.get(f"/{encoding}")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_repository_that_was_late_is_left_alone_for_a_moment(repository: RemoteRepository) -> None:
    with pytest.raises(SchemaUnavailable):
        repository.get("/slow")
    started = time.monotonic()
    for number in range(100):
        with pytest.raises(SchemaUnavailable, match="did not answer within"):
            repository.get(f"/other/{number}")
    assert time.monotonic() - started < REST_SECONDS
    deadline = time.monotonic() + 10
    while True:
        try:
            assert repository.get("/test/event/1.0.0").title == "test/event"
            break
        except SchemaUnavailable:
            assert time.monotonic() < deadline


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
