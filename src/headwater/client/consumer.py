"""The consumer: reads the events of streams over HTTP, resumes after lost connections, and keeps its position.

How this works: the server's ids are exact positions, so that a connection that ends is continued without a gap. An
event is processed when the caller asks for the next one (or commits); the token of the last processed event is what is
kept. A program that is killed reads again what it had not committed: at least once. To count each event exactly once,
store `consumer.token` in the transaction that stores the result, and pass it as `token` at the start.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Self

from headwater.client.reading import ConsumerSettings, ConsumerStatistics, Notice, Reading, log_notice
from headwater.client.subscription import follow, follow_async


class Consumer:
    """The events of one or more streams, in a thread. One thread iterates; any may call `stop`.

    >>> with Consumer("http://localhost:8080", "shop.order") as consumer:      # doctest: +SKIP
    ...     for event in consumer:
    ...         print(event["product"])
    """

    def __init__(
        self,
        url: str,
        streams: str | Sequence[str],
        settings: ConsumerSettings | None = None,
        *,
        on_notice: Callable[[Notice], None] = log_notice,
    ) -> None:
        """`url`: the server. `on_notice` is called for what is not an event; an exception of it ends the iteration.

        Raises ConfigInvalid for settings that cannot be used, and for a token file of other streams.
        """
        self._reading = Reading(url, streams, settings or ConsumerSettings(), on_notice)
        self._stopping = threading.Event()

    @property
    def token(self) -> str | None:
        """The position after the last event that was committed."""
        return self._reading.token

    @property
    def statistics(self) -> ConsumerStatistics:
        """What was read."""
        return self._reading.statistics

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The events, without end; a second iteration continues after what was committed.

        Raises SubscriptionRefused when the server refuses the subscription for good, LogUnavailable when it was never
        reached in `attempts_max` attempts, and what `on_notice` raises.
        """
        with closing(follow(self._reading.url, self._reading.connecting(), self._stopping)) as messages:
            for message in messages:
                event = self._reading.take(message)
                if event is None:
                    continue
                yield event
                self._reading.processed()
                if self._stopping.is_set():
                    return

    def commit(self) -> None:
        """Count the event that was given last, and all before it, as processed; durable in the token file."""
        self._reading.commit()

    def stop(self) -> None:
        """End the iteration after the event that is being processed, or when the connection next gives anything."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and write the token file."""
        self.stop()
        self._reading.close()


class AsyncConsumer:
    """The events of one or more streams, with asyncio. One task iterates; cancel it to stop.

    >>> async with AsyncConsumer("http://localhost:8080", "shop.order") as consumer:      # doctest: +SKIP
    ...     async for event in consumer:
    ...         print(event["product"])
    """

    def __init__(
        self,
        url: str,
        streams: str | Sequence[str],
        settings: ConsumerSettings | None = None,
        *,
        on_notice: Callable[[Notice], None] = log_notice,
    ) -> None:
        """As `Consumer`."""
        self._reading = Reading(url, streams, settings or ConsumerSettings(), on_notice)

    @property
    def token(self) -> str | None:
        """The position after the last event that was committed."""
        return self._reading.token

    @property
    def statistics(self) -> ConsumerStatistics:
        """What was read."""
        return self._reading.statistics

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """The events, without end; raises as the iteration of `Consumer`."""
        async with aclosing(follow_async(self._reading.url, self._reading.connecting())) as messages:
            async for message in messages:
                event = self._reading.take(message)
                if event is None:
                    continue
                yield event
                self._reading.processed()

    def commit(self) -> None:
        """Count the event that was given last, and all before it, as processed; durable in the token file."""
        self._reading.commit()

    def close(self) -> None:
        """Write the token file."""
        self._reading.close()
