"""Wraps a sink for the runner: whatever its code raises becomes an `Exception`, and ends only the call."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.connectors.contract import Delivery, SetsAside, Sink
from headwater.foreign import awaited


class ContainedSink:
    """Delegates to `sink`; raises Escaped for anything that is not an `Exception`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.features = sink.features
        self.check = sink.check

    async def open(self) -> str | None:
        return await awaited(self._sink.open())

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await awaited(self._sink.write(deliveries, token))

    async def set_aside(self) -> str | None:
        """As `SetsAside`; a sink that does not support it keeps its rows."""
        sink = self._sink
        return await awaited(sink.set_aside()) if isinstance(sink, SetsAside) else None

    async def close(self) -> None:
        await awaited(self._sink.close())
