"""What the tests of failed events share: reads the error events of a kit's job, and redrives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.processing.failures.redrive import Mapper, Order, Outcome, Redriver
from headwater.processing.failures.stored import StoredError, stored_errors
from headwater.testing.job_kit import JobKit


async def errors_of(kit: JobKit) -> list[StoredError]:
    """The error events of the kit's job."""
    stream = kit.job.writes().errors
    return [error async for error in stored_errors(kit.log, kit.job.name, [stream])]


async def redrive(
    kit: JobKit, *, mapper: Mapper | None = None, only: Callable[[StoredError], bool] = lambda error: True
) -> Outcome:
    """Redrive the errors of the kit's job, as the command does."""
    redriver = Redriver(kit.log, Order(kit.job.name, "somebody@here"), mapper=mapper, clock=kit.clock)
    await redriver.open()
    for error in await errors_of(kit):
        if only(error):
            await redriver.add(error)
        if redriver.is_full:
            await redriver.flush()
    await redriver.flush()
    await redriver.close()
    return redriver.outcome


def edit(number: int, **fields: Any) -> dict[str, Any]:
    """An event of the stream `edits`."""
    meta = {"id": f"id-{number}", "stream": "edits", "dt": f"2026-01-01T00:00:{number % 60:02}Z", "domain": "w.org"}
    return {"$schema": "/edit/1.0.0", "meta": meta, "dt": meta["dt"], "number": number, **fields}


class Switch:
    """What makes a function fail, until it is repaired."""

    def __init__(self) -> None:
        self.is_broken = True
