"""Redrives the selected errors of a job one batch after the other, at a bounded pace, for the command line and HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from headwater.processing.failures.redrive import Outcome, Redriver
from headwater.processing.failures.stored import StoredError

# Called with how many events were redriven since the last call, and more about them.
Advance = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How many events, and how many per second. `dry`: nothing is redriven."""

    dry: bool = False
    limit: int | None = None
    rate: float | None = None

    @property
    def is_slow(self) -> bool:
        return self.rate is not None and not self.dry

    def is_over(self, events: int) -> bool:
        return self.limit is not None and events >= self.limit

    async def wait(self, events: int, started: float) -> None:
        if self.rate is not None and not self.dry:
            await asyncio.sleep(max(0.0, started + events / self.rate - time.monotonic()))


async def redrive(
    redriver: Redriver, errors: AsyncIterator[StoredError], pace: Pace, advance: Advance = lambda *_: None
) -> bool:
    """Redrive these errors; whether it came to their end. Nobody else redrives errors of the job meanwhile.

    Stopped at any moment, it continues when it is repeated. Raises what the redriver raises.
    """
    await redriver.open(dry=pace.dry)
    try:
        return await _redrive(redriver, errors, pace, advance)
    finally:
        # What was read before a mapper failed is redriven.
        await redriver.flush(dry=pace.dry)
        await redriver.close()


async def _redrive(redriver: Redriver, errors: AsyncIterator[StoredError], pace: Pace, advance: Advance) -> bool:
    started, outcome = time.monotonic(), redriver.outcome
    shown = 0
    async for error in errors:
        if pace.is_over(outcome.events):
            return False
        await redriver.add(error, dry=pace.dry)
        if redriver.is_full or (pace.is_slow and outcome.events > shown):
            await redriver.flush(dry=pace.dry)
            advance(outcome.events - shown, f"{outcome.before:,} redriven before")
            shown = outcome.events
            await pace.wait(outcome.events, started)
    return True


def described_outcome(outcome: Outcome, job: str, *, dry: bool) -> dict[str, Any]:
    """What became of the selected errors, as JSON values."""
    return {
        "job": job,
        "dry_run": dry,
        "errors": outcome.redriven,
        "events": outcome.events,
        "redriven_before": outcome.before,
        "left_out": outcome.left_out,
        "impossible": outcome.impossible,
        "reasons": [{"error": error, "reason": why} for error, why in outcome.reasons],
    }
