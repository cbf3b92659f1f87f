"""A service over HTTP that records what it is asked, and answers as a test says."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request, `at` by the monotonic clock, in seconds; names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    at: float
    body: bytes = b""


class RecordingService:
    """`answer`: the status for the request of this number, from 0; or the JSON that is answered with the status 200."""

    def __init__(self, answer: Callable[[int, Asked], int | dict[str, Any]]) -> None:
        self.requests: list[Asked] = []
        self.url = ""
        self._answer = answer
        self._lock = threading.Lock()

    def answer_to(self, asked: Asked) -> int | dict[str, Any]:
        with self._lock:
            number = len(self.requests)
            self.requests.append(asked)
        return self._answer(number, asked)


@contextlib.contextmanager
def recording(
    answer: Callable[[int, Asked], int | dict[str, Any]] = lambda number, asked: 200,
) -> Iterator[RecordingService]:
    """The service, as long as the block runs."""
    service = RecordingService(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            sent = self.rfile.read(int(headers.get("content-length", 0)))
            answer = service.answer_to(Asked(self.command, self.path, headers, time.monotonic(), sent))
            body = b"" if isinstance(answer, int) else json.dumps(answer).encode()
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PURGE = respond  # noqa: N815 - the names that the library calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
