"""What the caches for the tests have in common: pages that are got through them, and the wait until they answer."""

from __future__ import annotations

import http.client
import time

from servers.failure import ServerError
from servers.places import LOOPBACK
from servers.processes import POLL_SECONDS, ServerProcess

READY_SECONDS = 60.0


def page_of(port: int, host: str, target: str) -> tuple[str, str]:
    """Get a page through the cache at a port: whether it was cached, `HIT` or `MISS`, and its text."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", target, headers={"Host": host})
        answer = connection.getresponse()
        return answer.headers["X-Cache"], answer.read().decode()
    finally:
        connection.close()


def await_pages(port: int, process: ServerProcess) -> None:
    """Wait until the cache answers.

    :raises ServerError: it ended before, or did not answer in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            page_of(port, "ready.example", f"/{time.monotonic_ns()}")
        except OSError:
            if not process.is_alive() or time.monotonic() > deadline:
                raise ServerError(f"{process.log.stem} did not get ready.{process.tail()}") from None
            time.sleep(POLL_SECONDS)
        else:
            return
