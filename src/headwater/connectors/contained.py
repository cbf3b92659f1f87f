"""A sink as the runner sees it: whatever its code raises is an `Exception`, and ends nothing but the call."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.connectors.contract import Delivery, SetsAside, Sink
from headwater.foreign import awaited


class ContainedSink:
    """Passes everything on to `sink`; Escaped is raised for what is no `Exception`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.features = sink.features
        self.check = sink.check

    async def open(self) -> str | None:
        return await awaited(self._sink.open())

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await awaited(self._sink.write(deliveries, token))

    async def set_aside(self) -> str | None:
        """As `SetsAside`; a sink that cannot do it goes on with what it has."""
        sink = self._sink
        return await awaited(sink.set_aside()) if isinstance(sink, SetsAside) else None

    async def close(self) -> None:
        await awaited(self._sink.close())
