"""Clients that connect and disconnect: aborted streams and uploads, requests sent in part, long polls, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from headwater.testing.whole_platform.connection import Connection, ConnectionEnded
from headwater.testing.whole_platform.project import ORDERS, PASSED, PER_MINUTE, order

CLIENTS = 12
PAUSE_SECONDS_MAX = 0.5
STAY_SECONDS_MAX = 3.0
STALL_SECONDS_MAX = 10.0
# Some of them read the log hundreds of times, which takes long next to other clients.
PAGE_SECONDS_MAX = 30.0
_FILTERS = ('shop == "shop1"', "amount > 50 and slot < 900", 'shop ~ "shop*" or not text', "slot in [1, 2, 3]", "((")
_PAGES = ("/", "/monitoring", "/metrics", "/?spec", "/v1/completeness?stream=orders", "/v1/reconciliation", "/none")
_ID = re.compile(rb"^id: (.+)$", re.MULTILINE)

Visit = Callable[[Connection], Awaitable[None]]


class Churn:
    """CLIENTS at a time, each with a random kind of visit on a connection of its own, which it drops."""

    def __init__(self, address: tuple[str, int], seed: int, faults: Counter[str]) -> None:
        self._address = address
        self._random = random.Random(seed)
        self._faults = faults
        self._last_id = ""
        self.visits: Counter[str] = Counter()
        self._kinds: dict[str, Visit] = {
            "stream": self._stream,
            "resumed": self._resumed,
            "lines": self._lines,
            "stalled": self._stalled,
            "upload given up": self._upload_given_up,
            "chunks given up": self._chunks_given_up,
            "head given up": self._head_given_up,
            "wait": self._wait,
            "feed": self._feed,
            "page": self._page,
            "refused": self._refused,
        }

    async def run(self) -> None:
        """Run until it is cancelled."""
        await asyncio.gather(*(self._come_and_go() for _ in range(CLIENTS)))

    async def _come_and_go(self) -> None:
        while True:
            await asyncio.sleep(self._random.random() * PAUSE_SECONDS_MAX)
            kind = self._random.choice(list(self._kinds))
            connection = Connection(*self._address)
            try:
                await self._kinds[kind](connection)
            except (OSError, ConnectionEnded) as error:
                self._faults[f"a client ({kind}): {type(error).__name__} {error}"[:120]] += 1
            finally:
                connection.abort()
            self.visits[kind] += 1

    async def _stream(self, connection: Connection) -> None:
        names = self._random.choice((ORDERS, f"{ORDERS},{PASSED}", PER_MINUTE))
        text = self._random.choice((*_FILTERS, ""))
        asked = f"?filter={quote(text)}" if text else "?positions=true"
        for found in _ID.findall(await self._read(connection, f"/v2/stream/{names}{asked}")):
            self._last_id = found.decode().strip()

    async def _resumed(self, connection: Connection) -> None:
        await self._read(connection, f"/v2/stream/{ORDERS}", f"Last-Event-ID: {self._last_id}\r\n")

    async def _lines(self, connection: Connection) -> None:
        since = int(time.time() - self._random.random() * 30)
        await self._read(connection, f"/v2/stream/{ORDERS}?since={since}", "Accept: application/x-ndjson\r\n")

    async def _stalled(self, connection: Connection) -> None:
        """Request everything and read none of it."""
        await connection.send(self._head("GET", f"/v2/stream/{ORDERS}?since=2020-01-01"))
        await asyncio.sleep(self._random.random() * STALL_SECONDS_MAX)

    async def _upload_given_up(self, connection: Connection) -> None:
        body = json.dumps([order("given-up", "2026-01-31T12:00:00Z", "shop1", n, 1) for n in range(2_000)]).encode()
        sent = body[: self._random.randrange(len(body))]
        await connection.send(self._head("POST", "/v1/events", f"Content-Length: {len(body)}\r\n") + sent)
        await asyncio.sleep(self._random.random())

    async def _chunks_given_up(self, connection: Connection) -> None:
        await connection.send(self._head("POST", "/v1/events", "Transfer-Encoding: chunked\r\n"))
        for _ in range(self._random.randrange(20)):
            await connection.send(b"1000\r\n" + b"[" * 4096 + b"\r\n")
        await asyncio.sleep(self._random.random())

    async def _head_given_up(self, connection: Connection) -> None:
        head = self._head("POST", "/v1/events")
        await connection.send(head[: self._random.randrange(1, len(head) - 2)])
        await asyncio.sleep(self._random.random() * STAY_SECONDS_MAX)

    async def _wait(self, connection: Connection) -> None:
        """Wait for a change of the streams that does not come, and disconnect before the wait is over."""
        answer = b""
        await connection.send(self._head("GET", "/v1/streams"))
        async with asyncio.timeout(STALL_SECONDS_MAX):
            answer = await connection.received()
        found = re.search(rb"(?im)^etag: *(\S+)", answer)
        connection.abort()
        if found is not None:
            matched = f"If-None-Match: {found[1].decode()}\r\n"
            await connection.send(self._head("GET", f"/v1/streams?wait={self._random.randint(1, 5)}", matched))
            await asyncio.sleep(self._random.random() * STAY_SECONDS_MAX)

    async def _feed(self, connection: Connection) -> None:
        await self._read(connection, "/v1/_page/feed")

    async def _page(self, connection: Connection) -> None:
        path = self._random.choice(_PAGES)
        await connection.send(self._head("GET", path, "Connection: close\r\n"))
        answer = b""
        try:
            async with asyncio.timeout(PAGE_SECONDS_MAX):
                while data := await connection.received():
                    answer = answer or data
        except TimeoutError:
            self._faults[f"{path} took more than {PAGE_SECONDS_MAX:g} s; of the answer there was {answer[:40]!r}"] += 1
            return
        if not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 3")):
            self._faults[f"{path} was answered {answer[:40]!r}"] += 1

    async def _refused(self, connection: Connection) -> None:
        number = self._random.randrange(1_000_000)
        one = order(f"refused-{number}", "yesterday", f"shop{number}", number, 1)
        two = one | {"meta": {"stream": f"none.{number}", "id": f"none-{number}"}}
        answer = await connection.request("POST", "/v1/events", json.dumps([one, two, {"$schema": number}]).encode())
        if answer.status != 400:
            self._faults[f"a request that must be refused was answered {answer.status}"] += 1

    async def _read(self, connection: Connection, path: str, headers: str = "") -> bytes:
        """Read for a while; returns the received bytes."""
        await connection.send(self._head("GET", path, headers))
        read = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._random.random() * STAY_SECONDS_MAX):
                while data := await connection.received():
                    read = data
        if read.startswith(b"HTTP/1.1 5"):
            self._faults[f"{path} was answered {read[:40]!r}"] += 1
        return read

    def _head(self, method: str, path: str, headers: str = "") -> bytes:
        host, port = self._address
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n{headers}\r\n"
        ).encode()
