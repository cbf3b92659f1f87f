"""A log whose appends fail or wait on request, for tests of the code that uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from headwater.errors import HeadwaterError
from headwater.log.contract import Commit, Placement, Record
from headwater.testing.oracle_log import OracleLog


class FaultyLog(OracleLog):
    """An oracle log with three switches.

    `failure` is raised by every append while it is set; `gate` delays every append until it is set again; `appends`
    counts the attempted appends.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock=clock)
        self.failure: HeadwaterError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends = 0

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        self.appends += 1
        # Decided on arrival, so that a test can let one append fail while the next one waits.
        failure = self.failure
        await self.gate.wait()
        if failure is not None:
            raise failure
        return await super().append(records, commit=commit)
