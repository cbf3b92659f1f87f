"""Which streams have producers whose clocks are ahead, and by how much."""

from __future__ import annotations

from typing import Any

from headwater.telemetry import Telemetry, bounded

# Less is what clocks that are kept well differ by.
LEAD_MS_MIN = 1_000


class ClocksAhead:
    """Counts accepted events whose time is more than `LEAD_MS_MIN` after their receipt."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._events = telemetry.counter(
            "headwater_intake_clock_ahead_events",
            "Accepted events from later than their receipt; they count at it.",
            (bounded("stream"),),
        )
        self._largest = telemetry.gauge(
            "headwater_intake_clock_ahead_seconds_max",
            "By how much such an event was ahead of its receipt: the largest lead since the process started.",
            (bounded("stream"),),
        )
        # Stream → (counter, gauge, the largest lead).
        self._known: dict[str, tuple[Any, Any, int]] = {}
        self._new: dict[str, tuple[int, int]] = {}

    def saw(self, stream: str, lead_ms: int) -> None:
        """An event of `stream` that is ahead by `lead_ms` was accepted."""
        if lead_ms < LEAD_MS_MIN:
            return
        known = self._known.get(stream)
        counter, gauge, largest = known or (self._events.labels(stream), self._largest.labels(stream), 0)
        counter.inc()
        if lead_ms > largest:
            gauge.set(lead_ms / 1000)
        self._known[stream] = (counter, gauge, max(largest, lead_ms))
        events, lead = self._new.get(stream, (0, 0))
        self._new[stream] = (events + 1, max(lead, lead_ms))

    def take(self) -> dict[str, tuple[int, int]]:
        """Stream → (events, the largest lead in milliseconds) since the last call."""
        taken, self._new = self._new, {}
        return taken
