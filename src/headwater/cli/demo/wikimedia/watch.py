"""Follows the edits of the demo through the platform, as its clients do, and looks into the stores while some wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from headwater.cli.demo.wikimedia.journeys import Journeys, Stored
from headwater.cli.demo.wikimedia.stations import HOURS, PURGES, STORES, stations
from headwater.cli.demo.wikimedia.stores import StoreReader
from headwater.client.reading import stream_url
from headwater.client.subscription import Connecting, follow_async

LOOK_SECONDS = 0.1
# How many edits are reported to the page of the demo.
REPORTED_MAX = 500


class Watch:
    """One demonstration. `follow` and `keep_looking` run until they are cancelled."""

    def __init__(self, address: str, reader: StoreReader, journeys: Journeys) -> None:
        self.journeys = journeys
        self.stored = Stored({store.name: {} for store in STORES}, Counter())
        # Of each hour and wiki the count of edits, as the job counts them.
        self.hours: list[int] = []
        self._reader = reader
        own = [] if journeys.live else [PURGES, HOURS]
        streams = [*dict.fromkeys(station.stream for station in stations(live=journeys.live)), *own]
        self._url = stream_url(address, ",".join(streams))

    async def follow(self, since: str, on_event: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        """Take every event of the stations that arrives since then."""
        messages = follow_async(self._url, Connecting({"since": since}, attempts_max=3))
        async with contextlib.aclosing(messages):
            async for message in messages:
                if message.event == "message":
                    event = orjson.loads(message.data)
                    if event["meta"]["stream"] == HOURS:
                        self.hours.append(event["edits"])
                    self.journeys.take(event, time.time() * 1000)
                    if on_event is not None:
                        on_event(event)

    async def keep_looking(self, report: Callable[[Mapping[str, Any]], Any] | None = None) -> None:
        """Look into the stores while an edit is not there yet; `report` is given what is there, for the page."""
        while True:
            if self.journeys.waits_for_stores():
                await self.look()
                if report is not None:
                    await report({"stored": self.reported()})
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look into the stores once."""
        self.stored = await self._reader.stored()
        self.journeys.look(self.stored, time.time() * 1000)

    def reported(self) -> dict[str, dict[str, int]]:
        """Of each store, the milliseconds in which the last edits came there, by revision."""
        found: dict[str, dict[str, int]] = {}
        for store in STORES:
            arrived = self.journeys.arrived.get(store.name, {})
            last = sorted(arrived)[-REPORTED_MAX:]
            found[store.name] = {
                str(rev_id): max(0, round(arrived[rev_id] - self.journeys.saved[rev_id].at_ms)) for rev_id in last
            }
        return found
