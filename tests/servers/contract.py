"""What a server for the tests must offer, so that the tool and the fixtures can run it.

A new server is one module with a class that has these members, and one line in `catalogue.py`.
"""

from __future__ import annotations

from typing import Protocol

from servers.run import Run


class Server(Protocol):
    """One server, or one cluster of them, not started yet."""

    name: str

    def missing(self) -> str | None:
        """What is not there and how to get it; None when `resolve` and `start` can be tried."""
        ...

    def resolve(self) -> None:
        """Fetch what the server needs and check it, or find it fetched already.

        :raises ServerError: it cannot be fetched, or is not what was pinned.
        """
        ...

    def start(self, run: Run) -> str:
        """Configure the server in the folder of `run`, start it, wait until it answers; its address `HOST:PORT`.

        :raises ServerError: it ended, or did not get ready in time; the message ends with the end of its log.
        """
        ...

    def stop(self) -> None:
        """End every process of the server. Its data goes with the folder of the run."""
        ...
