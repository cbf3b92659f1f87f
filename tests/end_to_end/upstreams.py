"""Systems that sources read, one of each kind, which a test fills with numbers."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import psycopg
import pyarrow
from pyarrow import parquet

from contract.test_postgres_cdc import Database
from headwater.testing.eventually import eventually_blocking
from servers.foreign_topic import ForeignTopic

SECRET = "s3cret-of-the-webhook"
ANSWER_ITEMS_MAX = 200


class Upstream(Protocol):
    """One system. `kind`: the connector that reads it; `options`: how, as YAML, without the stream."""

    kind: str
    options: str

    def add(self, numbers: range) -> None:
        """Give it these numbers, each as an event."""
        ...


class Lines:
    kind, options = "jsonl", "path: in.jsonl\npoll_seconds: 0.02\n"

    def __init__(self, directory: Path) -> None:
        self._path = directory / "in.jsonl"

    def add(self, numbers: range) -> None:
        with self._path.open("ab") as file:
            file.writelines(orjson.dumps({"number": number}) + b"\n" for number in numbers)


class Tables:
    kind, options = "parquet", "path: tables\npoll_seconds: 0.02\n"

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "tables"
        self._directory.mkdir()
        self._names = itertools.count()

    def add(self, numbers: range) -> None:
        made = self._directory / "made"
        parquet.write_table(pyarrow.table({"number": list(numbers)}), made, row_group_size=7)
        made.rename(self._directory / f"{next(self._names):06}.parquet")


class Topic:
    kind = "kafka"

    def __init__(self, server: str) -> None:
        self._topic = ForeignTopic(server)
        self.options = f"servers: ['{server}']\ntopics: [{self._topic.name}]\n"

    def add(self, numbers: range) -> None:
        half = len(numbers) // 2
        self._topic.put(*({"number": number} for number in numbers[:half]))
        self._topic.put(*({"number": number} for number in numbers[half:]), partition=1)


class Rows:
    kind = "postgres_cdc"

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run("CREATE TABLE numbers (number int PRIMARY KEY)")
        self.options = (
            f"url: ${{env:CDC_URL}}\nslot: {database.slot}\n"
            "tables: {public.numbers: {stream: from.postgres_cdc, fields: {number: number}}}\n"
        )

    def add(self, numbers: range) -> None:
        with psycopg.connect(self._database.url) as connection:
            connection.cursor().executemany("INSERT INTO numbers VALUES (%s)", [(number,) for number in numbers])


class Web:
    """Numbers behind HTTP, as server-sent events and as pages of items."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - the name of the base class
                """Not in the output of tests."""

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    web.stream(self) if urlsplit(self.path).path == "/stream" else web.items(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._serving.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def add(self, numbers: range) -> None:
        self.numbers = [*self.numbers, *numbers]

    def stream(self, request: BaseHTTPRequestHandler) -> None:
        """The numbers after the last id, and all that are added, until the client is gone."""
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.end_headers()
        at = int(request.headers.get("last-event-id", -1)) + 1
        while True:
            for number in self.numbers[at:]:
                request.wfile.write(b'id: %d\ndata: {"number": %d}\n\n' % (at, number))
                at += 1
            request.wfile.write(b":\n")
            time.sleep(0.05)

    def items(self, request: BaseHTTPRequestHandler) -> None:
        """Some of the numbers from a cursor on, which is one of them."""
        after = int(parse_qs(urlsplit(request.path).query)["after"][0])
        found = [{"number": number} for number in self.numbers if number >= after][:ANSWER_ITEMS_MAX]
        request.send_response(200)
        request.send_header("content-type", "application/json")
        request.end_headers()
        request.wfile.write(orjson.dumps(found))


class Stream:
    kind = "sse"

    def __init__(self, web: Web) -> None:
        self.options = f"url: {web.url}/stream\nstart: oldest\n"
        self.add = web.add


class Polled:
    kind = "http_poll"

    def __init__(self, web: Web) -> None:
        self.options = (
            f"url: {web.url}/items\nevery_seconds: 1\nid: number\ncursor: number\ncursor_start: '-1'\n"
            "query: {after: '{cursor}'}\n"
        )
        self.add = web.add


class Posted:
    """Posts each number until it is answered with success, as services do; `url`: that of the platform."""

    kind, options = "webhook", "secret: ${env:WEBHOOK_SECRET}\nid: number\n"

    def __init__(self) -> None:
        self.url = ""

    def add(self, numbers: range) -> None:
        for number in numbers:
            eventually_blocking(lambda number=number: self._is_taken(number), seconds=120)  # type: ignore[misc]

    def _is_taken(self, number: int) -> bool:
        body = orjson.dumps({"number": number})
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-signature": signature}
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"{self.url}/v1/webhooks/webhook", content=body, headers=headers, timeout=30)
            assert answer.is_success or answer.status_code >= 500, answer.text
            return answer.is_success
        return False


@contextlib.contextmanager
def every_kind(directory: Path, kafka: str, database: Database) -> Iterator[list[Upstream]]:
    """One system of each kind; `directory` is that of the project."""
    webs = Web(), Web()
    try:
        yield [
            Lines(directory),
            Tables(directory),
            Topic(kafka),
            Rows(database),
            Stream(webs[0]),
            Polled(webs[1]),
            Posted(),
        ]
    finally:
        for web in webs:
            web.close()
