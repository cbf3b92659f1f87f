"""Clients that stay connected without reading: after a while their connection is dropped, with its buffered data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Message, Scope, Send

# The key, in the `extensions` of a scope, of a function that drops the connection without waiting for the client.
ABORT_EXTENSION = "headwater.abort"


class ClientStalled(Exception):
    """The client has not read for too long, and the server has no way to drop its connection."""


def abort_of(scope: Scope) -> Callable[[], None] | None:
    """The function that drops the connection of a request immediately; None if the server has none."""
    found: Callable[[], None] | None = (scope.get("extensions") or {}).get(ABORT_EXTENSION)
    return found


def unless_stalled(send: Send, scope: Scope, stall_seconds_max: float) -> Send:
    """`send`, which drops the connection if the client does not read for this long."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(stall_seconds_max):
                await send(message)
        except TimeoutError:
            abort = abort_of(scope)
            if abort is None:
                raise ClientStalled from None
            abort()
            # The task that waits for the end of the connection cancels this one.
            await asyncio.Event().wait()

    return send_in_time
