"""The producer for asyncio: waits while the queue is full instead of raising, and never blocks the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from headwater.backoff import Backoff
from headwater.client.answer import Refusal
from headwater.client.producer import Producer, ProducerSettings, Statistics
from headwater.errors import LogUnavailable

PAUSE_SECONDS_FIRST = 0.005
PAUSE_SECONDS_MAX = 0.2


class AsyncProducer:
    """Sends events to one intake, from the tasks of one event loop; a thread posts them.

    >>> async with AsyncProducer("http://localhost:8080") as producer:      # doctest: +SKIP
    ...     await producer.send("shop.order", {"$schema": "/shop/order/1.0.0", "product": "tea", "pieces": 2})
    """

    def __init__(
        self,
        url: str,
        settings: ProducerSettings | None = None,
        *,
        on_refused: Callable[[Refusal], None] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """As `Producer`; `on_refused` is called by the sending thread."""
        self._producer = Producer(url, settings, on_refused=on_refused, transport=transport)
        self._is_closed = False

    @property
    def statistics(self) -> Statistics:
        """What was sent."""
        return self._producer.statistics

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, stream: str, event: Mapping[str, Any], *, unit_ids: Mapping[str, str] | None = None) -> bool:
        """Queue an event for `stream`, when there is room; False if the stream's sampling excludes it.

        Raises EventMalformed, EventTooLarge, and LogUnavailable if the producer is closed.
        """
        backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX)
        while True:
            try:
                return self._producer.send(stream, event, unit_ids=unit_ids)
            except LogUnavailable:
                if self._is_closed:
                    raise
            await asyncio.sleep(backoff.next_pause())

    async def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything queued so far is answered; False after the timeout."""
        return await asyncio.to_thread(self._producer.flush, timeout_seconds)

    async def close(self, timeout_seconds: float | None = None) -> None:
        """Send what is queued, for `close_seconds_max` at most, and end; idempotent."""
        self._is_closed = True
        await asyncio.to_thread(self._producer.close, timeout_seconds)
