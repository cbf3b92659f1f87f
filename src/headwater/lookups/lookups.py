"""Opens and closes what jobs ask other services with: one HTTP client for all jobs of a process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from headwater.lookups.client import HttpClient
from headwater.lookups.measures import Measures
from headwater.lookups.mediawiki.lookup import MediaWiki
from headwater.lookups.request import Options
from headwater.lookups.response import Response
from headwater.settings import LookupsConfig
from headwater.telemetry import Telemetry

if TYPE_CHECKING:
    from headwater.lookups.transport import Transport


class Lookups:
    """The `http` of a job's context: requests to other services, and lookups in wikis (`mediawiki`).

    Making one costs nothing: connections are opened by the first request. Belongs to the event loop of that request;
    limits, pauses and the cache are shared by all who use it, so a process has one for all of its jobs.
    """

    def __init__(
        self,
        settings: LookupsConfig | None = None,
        telemetry: Telemetry | None = None,
        *,
        transport: Transport | None = None,
        over_history: bool = False,
    ) -> None:
        """`transport`: sends the requests, if not over connections of its own. `over_history`: for a job over old
        events, whose `context.age` is always 0: what a wiki does not have now, it will not have later."""
        self.settings = settings or LookupsConfig()
        self._client = HttpClient(self.settings, Measures(telemetry or Telemetry()), transport=transport)
        self.mediawiki = MediaWiki(self._client, self.settings.mediawiki, over_history=over_history)

    async def get(self, url: str, **options: Unpack[Options]) -> Response:
        """The answer to a GET; see `request`."""
        return await self._client.request("GET", url, **options)

    async def post(self, url: str, **options: Unpack[Options]) -> Response:
        """The answer to a POST, which is not repeated once it may have arrived; see `request`."""
        return await self._client.request("POST", url, **options)

    async def request(self, method: str, url: str, **options: Unpack[Options]) -> Response:
        """The answer to one request, with a status of the 2xx or one that `accept` names; see `Options`.

        Raises LookupUnavailable if the service cannot answer now: no connection, no answer in time, 408, 425, 429, 5xx;
        LookupNotFound for 404 and 410; LookupRefused for everything else that is final; AnswerInvalid for an answer
        that is too large.
        """
        return await self._client.request(method, url, **options)

    @property
    def cached_bytes(self) -> int:
        """How many bytes of answers are kept for lookups with `cache`, those of `mediawiki` not counted."""
        return self._client.cached_bytes

    async def close(self) -> None:
        """End all lookups and close all connections."""
        await self.mediawiki.close()
        await self._client.close()


@asynccontextmanager
async def open_lookups(
    settings: LookupsConfig | None = None, telemetry: Telemetry | None = None
) -> AsyncIterator[Lookups]:
    """Lookups for as long as the block runs."""
    lookups = Lookups(settings, telemetry)
    try:
        yield lookups
    finally:
        await lookups.close()
