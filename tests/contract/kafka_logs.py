"""Logs on one namespace of a broker, each as another process has it open."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from headwater.log.contract import TopicSettings

if TYPE_CHECKING:
    from headwater.log.kafka.log import KafkaLog


@contextlib.asynccontextmanager
async def logs_on(kafka_server: str, **settings: Any) -> AsyncIterator[Callable[[], Awaitable[KafkaLog]]]:
    """Opens further logs of a new namespace that has the topic `a`; all are closed in the end."""
    from headwater.log.kafka.log import KafkaLog

    url = f"kafka://{kafka_server}/{uuid.uuid4().hex[:12]}."
    opened: list[KafkaLog] = []

    async def another() -> KafkaLog:
        log = KafkaLog(url, **settings)
        await log.open()
        opened.append(log)
        await log.ensure_topic("a", TopicSettings())
        return log

    try:
        yield another
    finally:
        for log in opened:
            await log.close()
