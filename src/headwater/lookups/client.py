"""The HTTP client of jobs, `ctx.http`: polite to hosts, bounded in everything, with errors that say whether to retry.

How this works: a request waits until its host may be asked (`hosts.py`), is sent (`transport.py`), and its answer is
classified. An answer that the caller can use is returned. A refusal for now pauses the host, and the request is sent
again after the pause. Other failures that may pass are repeated a few times, if the request may be repeated and retries
of that host are left. What is left becomes an error: LookupUnavailable, which a job's `retry` repeats, or
LookupRefused, which it does not.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, Unpack
from urllib.parse import urljoin, urlsplit

from headwater.backoff import Backoff
from headwater.errors import LookupNotFound, LookupRefused, LookupUnavailable
from headwater.lookups.cache import Cache
from headwater.lookups.hosts import Host, Hosts
from headwater.lookups.measures import Measures
from headwater.lookups.request import Options, Request, Wanted, read_options
from headwater.lookups.response import Response
from headwater.retry_after import retry_after_seconds
from headwater.settings import LookupsConfig

if TYPE_CHECKING:
    from headwater.lookups.transport import Transport

_T = TypeVar("_T")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Answers of the 5xx that repeating does not change.
_PERMANENT = frozenset({501, 505})
_TRANSIENT = frozenset({408, 425, 429})
_MISSING = frozenset({404, 410})
RETRY_SECONDS_MAX = 10.0
# Headers that only the host that was asked may see.
_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization", "host"})


class HttpClient:
    """Requests to other services. Belongs to one event loop; usable by any number of tasks at once."""

    def __init__(
        self,
        settings: LookupsConfig,
        measures: Measures,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.hosts = Hosts(settings, clock)
        self._made: Transport | None = transport
        self._measures = measures
        self._clock = clock
        self._wall_clock = wall_clock
        self._cache: Cache[Response] = Cache(settings.cache_bytes_max, clock, _kept_bytes)
        self._run = uuid.uuid4().hex[:12]
        self._numbers = itertools.count(1)

    async def request(self, method: str, url: str, **options: Unpack[Options]) -> Response:
        """The answer to one request, with a status of the 2xx or one that `accept` names.

        Raises LookupUnavailable if the service cannot answer now: no connection, no answer in time, 408, 425, 429, 5xx;
        LookupNotFound for 404 and 410; LookupRefused for everything else that is final; AnswerInvalid for an answer
        that is too large.
        """
        wanted = read_options(method, url, options)
        if not wanted.cache_seconds:
            return await self.send(wanted)
        self._measures.cached()
        response = await self._cache.get(wanted.key, wanted.cache_seconds, lambda: self.send(wanted))
        return response.remembered(lambda: self._cache.forget(wanted.key))

    async def send(self, wanted: Wanted) -> Response:
        """The answer to `wanted`, not from the cache; see `request`."""
        host = self.hosts.host(wanted.host)
        deadline = self.deadline(wanted.seconds)
        attempts_left = self.settings.attempts_max if wanted.attempts is None else wanted.attempts
        backoff = Backoff(self.settings.retry_first_seconds, RETRY_SECONDS_MAX)
        may_send = host.retries.may_send(wanted.key)
        while True:
            if not may_send:
                raise self.withheld(wanted.request.shown, host)
            try:
                return await self.attempt(wanted, host, deadline, _as_it_is)
            except LookupUnavailable as error:
                if error.back_off_seconds:
                    # It is no attempt if the host asked to wait; the next one waits for the end of the pause.
                    if not (wanted.is_repeatable or error.status == 429) or not host.may_be_asked_before(deadline):
                        raise
                    continue
                attempts_left -= 1
                pause = backoff.next_pause()
                is_repeatable = wanted.is_repeatable or not error.was_sent
                if attempts_left < 1 or not is_repeatable or self._clock() + pause >= deadline:
                    raise
                may_send = host.retries.may_send(wanted.key)
                if not may_send:
                    self._measures.withheld()
                    raise
            await asyncio.sleep(pause)

    @property
    def cached_bytes(self) -> int:
        """How many bytes the cache holds."""
        return self._cache.bytes

    def now(self) -> float:
        """The time that deadlines are in."""
        return self._clock()

    def deadline(self, seconds: float | None) -> float:
        """When a lookup must be over that may take `seconds`, by default as long as the settings say."""
        return self._clock() + (self.settings.total_seconds_max if seconds is None else seconds)

    async def attempt(self, wanted: Wanted, host: Host, deadline: float, read: Callable[[Response], _T]) -> _T:
        """Send it once, as soon as the host may be asked, and `read` the answer, which may raise errors of its own.

        Raises as `request` does; a refusal for now, which pauses the host, has `back_off_seconds`.
        """
        await host.enter(deadline)
        began = self._clock()
        self._measures.began()
        try:
            answer = await self._followed(wanted, deadline)
            self._check_status(wanted, host, answer, began)
            made = read(answer)
            if answer.status != 429 and answer.status < 500:
                host.succeeded(wanted.key)
            self._measures.answered()
            return made
        except LookupUnavailable as error:
            if not error.back_off_seconds:
                host.retries.failed(wanted.key)
            self._measures.unavailable(throttled=error.back_off_seconds > 0)
            raise
        except LookupRefused:
            # The host works.
            host.succeeded(wanted.key)
            self._measures.refused()
            raise
        finally:
            host.leave()
            self._measures.ended(self._clock() - began)

    def withheld(self, what: str, host: Host) -> LookupUnavailable:
        """The error about a retry that is not sent, since too many failed."""
        self._measures.withheld()
        return LookupUnavailable(
            f"{what} failed before, and {host.name} fails too often to be asked again now.",
            hint="The setting `lookups.retries_percent_max` is the limit.",
            back_off_seconds=max(0.1, host.retries.seconds_to_wait()),
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._made is not None:
            await self._made.close()

    @property
    def _transport(self) -> Transport:
        if self._made is None:
            # Most processes make no request, and the library takes a while to import.
            from headwater.lookups.transport import Transport

            self._made = Transport(self.settings)
        return self._made

    def _check_status(self, wanted: Wanted, host: Host, answer: Response, sent_at: float) -> None:
        """Raise for a status that the caller does not want; pause the host if it asks for it."""
        status = answer.status
        asked = retry_after_seconds(answer.headers, self._wall_clock()) if status in (429, 503) else None
        if status == 429 or asked is not None:
            asked = host.pause(asked, sent_at)
        if wanted.accepts(status):
            return
        message = f"{wanted.request.shown} answered {status}."
        if status in _TRANSIENT or (status >= 500 and status not in _PERMANENT):
            raise LookupUnavailable(message, status=status, back_off_seconds=asked or 0.0)
        if status in _MISSING:
            raise LookupNotFound(message, status=status)
        raise LookupRefused(
            message,
            status=status,
            hint="Answers of this status are returned if `accept` names it." if status >= 300 else None,
        )

    async def _followed(self, wanted: Wanted, deadline: float) -> Response:
        """The answer to a request, and to those that it is redirected to."""
        request = self._traced(wanted.request)
        for _ in range(self.settings.redirects_max + 1):
            answer = await self._transport.exchange(request, max(0.001, deadline - self._clock()))
            if answer.status not in REDIRECTS or wanted.accepts(answer.status):
                return answer
            request = _redirected(request, answer)
        raise LookupRefused(
            f"{wanted.request.shown} is redirected more than {self.settings.redirects_max} times.",
            hint="The setting `lookups.redirects_max` is the limit.",
        )

    def _traced(self, request: Request) -> Request:
        headers = request.headers
        if any(name.lower() == "x-request-id" for name in headers):
            return request
        traced = {**headers, "X-Request-Id": f"{self._run}-{next(self._numbers)}"}
        return Request(request.method, request.url, traced, request.body, request.shown)


def _as_it_is(answer: Response) -> Response:
    return answer


def _redirected(request: Request, answer: Response) -> Request:
    """The request that a redirect leads to. Raises LookupRefused for one that is not followed."""
    target = urljoin(request.url, answer.headers.get("Location", "")).partition("#")[0]
    came, leads = urlsplit(request.url), urlsplit(target)
    if target == request.url or leads.scheme not in ("http", "https") or leads.username is not None:
        raise LookupRefused(f"{request.shown} answered {answer.status} without a usable target.", status=answer.status)
    if (came.scheme, leads.scheme) == ("https", "http"):
        raise LookupRefused(f"{request.shown} is redirected to an address without TLS.", status=answer.status)
    headers = request.headers
    if came[:2] != leads[:2]:
        headers = {name: value for name, value in headers.items() if name.lower() not in _PRIVATE}
    method, body = request.method, request.body
    if method not in ("GET", "HEAD") and answer.status in (301, 302, 303):
        # As browsers do.
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    return Request(method, target, headers, body, request.shown)


def _kept_bytes(response: Response) -> int | None:
    """The size of an answer in the cache; None for one that is not kept."""
    if not 200 <= response.status < 300 or "no-store" in response.headers.get("Cache-Control", "").lower():
        return None
    return len(response.bytes) + sum(len(name) + len(value) for name, value in response.headers.items())
