"""Caches that are asked to forget a resource: each with its own lanes, retries and pauses, so that none delays others.

How this works: a server that did not answer, retries included, is left alone for a while; what it would have been sent
is counted as skipped. The time of an entry in it ends anyway, so nothing waits for a server that is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from headwater.errors import HeadwaterError
from headwater.jobs import Context

DOWN_SECONDS = 30.0
# Between two attempts.
PAUSE_SECONDS = 0.2


class CacheServer:
    """One server, at `url`, which is sent at most `workers` requests at a time. Belongs to one event loop."""

    def __init__(self, url: str, workers: int, attempts: int, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._lanes = asyncio.Semaphore(workers)
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._down_until = 0.0

    async def purge(self, host: str, target: str, context: Context) -> bool:
        """Whether it has forgotten the resource, or had none."""
        async with self._lanes:
            loop = asyncio.get_running_loop()
            if loop.time() < self._down_until:
                context.metrics.counter("purges_skipped")
                return False
            for attempt in range(self._attempts):
                if attempt:
                    context.metrics.counter("purges_retried")
                    await asyncio.sleep(PAUSE_SECONDS)
                if await self._answers(host, target, context):
                    context.metrics.counter("purges_sent")
                    self._down_until = 0.0
                    return True
            context.metrics.counter("purges_failed")
            self._down_until = loop.time() + DOWN_SECONDS
            context.log.warning("The cache %s does not purge; it is left alone for %g s.", self._url, DOWN_SECONDS)
            return False

    async def _answers(self, host: str, target: str, context: Context) -> bool:
        try:
            answer = await context.http.request(
                "PURGE",
                f"{self._url}{target}",
                headers={"Host": host},
                accept="any",
                attempts=1,
                timeout=self._timeout_seconds,
            )
        except HeadwaterError as error:
            context.log.debug("A purge failed: %s", error)
            return False
        # Caches answer 404 for what they do not have.
        return bool(answer.status < 500)


class CacheLayers:
    """The backends and the frontends, which are purged `delay_seconds` later: they fill themselves from the former."""

    def __init__(self, backends: Sequence[CacheServer], frontends: Sequence[CacheServer], delay_seconds: float) -> None:
        self._backends = backends
        self._frontends = frontends
        self._delay_seconds = delay_seconds

    def __bool__(self) -> bool:
        return bool(self._backends or self._frontends)

    async def purge(self, host: str, target: str, context: Context) -> int:
        """How many servers could not be asked."""
        failed = await _all(self._backends, host, target, context)
        if self._backends and self._frontends:
            await asyncio.sleep(self._delay_seconds)
        return failed + await _all(self._frontends, host, target, context)


async def _all(servers: Sequence[CacheServer], host: str, target: str, context: Context) -> int:
    answers: list[Any] = await asyncio.gather(*(server.purge(host, target, context) for server in servers))
    return answers.count(False)
