"""The service that the jobs of the campaign ask: it fails in every way, but each number in the same one.

How this works: the number in the path decides how often it is refused, how, and what is answered in the end. The
service runs in the process of the campaign, so that it remains when those that ask it are killed, and counts what it
was asked, as a real one would not forget either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter

FAILURES = ("429", "503", "timeout", "disconnects", "not JSON", "maxlag", "half an answer")
# A job that waits for long is never left without an answer.
FAILURES_OF_PATIENT = tuple(failure for failure in FAILURES if failure != "timeout")
# Longer than the other jobs wait.
SLOW_SECONDS = 0.5


def is_missing(number: int) -> bool:
    """Whether the service never has the number: 404."""
    return number % 23 == 11


def never_answers(job: str, number: int) -> bool:
    """Whether the service refuses the number for ever; jobs that retry for long do not ask for one of those."""
    return job == "parked" and number % 97 == 13


def value_of(number: int) -> int:
    """The answer."""
    return number * 7 % 1000


def failures_of(job: str, number: int) -> list[str]:
    """How the first requests for a number fail."""
    count = 0 if number % 9 else 1 + number // 9 % 2
    failures = FAILURES_OF_PATIENT if job == "parked" else FAILURES
    return [failures[(number // 9 + index * 3) % len(failures)] for index in range(count)]


class UnreliableService:
    """The service; `asked` counts the requests by job and number."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.failed: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Returns the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def forget(self) -> None:
        """Begin again, for other processes that ask the same."""
        self.asked.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, ValueError):
                while await self._answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"), writer):
                    await writer.drain()
        finally:
            writer.close()
            self._serving.discard(task)

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Returns whether the connection stays open."""
        _, job, text = head.split(" ", 2)[1].split("/")
        number = int(text)
        before = self.asked[job, number]
        self.asked[job, number] += 1
        failures = ["503"] * (before + 1) if never_answers(job, number) else failures_of(job, number)
        if before < len(failures):
            self.failed[failures[before]] += 1
            return await _fail(failures[before], writer)
        # So that calls overlap, and end in another order than they began in.
        await asyncio.sleep(number % 5 * 0.003)
        found = json.dumps({"value": value_of(number)}).encode()
        writer.write(_response(404, b"{}") if is_missing(number) else _response(200, found))
        return True


async def _fail(failure: str, writer: asyncio.StreamWriter) -> bool:
    """Fail in this way. Returns whether the connection stays open."""
    if (answer := _ANSWERS.get(failure)) is not None:
        writer.write(answer)
        return True
    if failure == "timeout":
        await asyncio.sleep(SLOW_SECONDS)
    elif failure == "half an answer":
        writer.write(_response(200, b'{"value": 1}')[:-6])
    return False


def _response(status: int, body: bytes, header: str = "") -> bytes:
    headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" + (f"{header}\r\n" if header else "")
    return f"HTTP/1.1 {status} X\r\n{headers}\r\n".encode() + body


_ANSWERS = {
    "429": _response(429, b"{}", "Retry-After: 0"),
    "503": _response(503, b"<html>down</html>"),
    "not JSON": _response(200, b"<html>"),
    "maxlag": _response(200, b'{"error": {"code": "maxlag"}}'),
}
