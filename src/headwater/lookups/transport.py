"""Sends one request and reads its answer, with bounds on time and size: the only module that knows the HTTP library."""

from __future__ import annotations

import asyncio
from collections import deque

import aiohttp
from yarl import URL

from headwater import __version__
from headwater.errors import AnswerInvalid, LookupRefused, LookupUnavailable
from headwater.lookups.request import Request
from headwater.lookups.response import Response
from headwater.settings import LookupsConfig

# Smaller answers are not counted against `answers_bytes_max`.
SMALL_BYTES = 65_536
_KEPT_ALIVE_SECONDS = 15.0
_NAMES_KEPT_SECONDS = 30


class Transport:
    """The connections of one event loop; made at the first request."""

    def __init__(self, settings: LookupsConfig) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._answers = _Reading(settings.answers_bytes_max)

    async def exchange(self, request: Request, seconds: float) -> Response:
        """Send `request`, and read its answer within `seconds`.

        Raises LookupUnavailable if there is none, AnswerInvalid if it is too large, LookupRefused if the request cannot
        be sent at all.
        """
        session = self._session or self._open()
        limits = self._settings
        timeout = aiohttp.ClientTimeout(
            total=seconds, sock_connect=limits.connect_seconds_max, sock_read=limits.read_seconds_max
        )
        try:
            async with session.request(
                request.method,
                # What is written as people read it, with letters of other alphabets or spaces, is encoded.
                URL(request.url, encoded=request.url.isascii() and " " not in request.url),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                body = await self._body(answer, request)
                return Response(answer.status, answer.headers, body, request.url.partition("?")[0])
        except TimeoutError as error:
            raise self._late(request, error, seconds) from None
        except aiohttp.ClientConnectorError as error:
            reason = _reason(getattr(error, "os_error", error))
            raise LookupUnavailable(f"{request.shown}: no connection ({reason}).", was_sent=False) from None
        except (aiohttp.InvalidURL, ValueError) as error:
            raise LookupRefused(f"{request.shown} cannot be sent ({type(error).__name__}).") from None
        except (aiohttp.ClientError, OSError) as error:
            raise LookupUnavailable(f"{request.shown}: the connection failed ({_reason(error)}).") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        contact = self._settings.contact or "no contact configured"
        self._session = aiohttp.ClientSession(
            # The hosts' own limits are the only ones.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEPT_ALIVE_SECONDS, ttl_dns_cache=_NAMES_KEPT_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"Headwater/{__version__} ({contact}) aiohttp/{aiohttp.__version__}"},
            trust_env=False,
        )
        return self._session

    async def _body(self, answer: aiohttp.ClientResponse, request: Request) -> bytes:
        announced = answer.content_length
        if announced is not None and announced > self._settings.answer_bytes_max:
            raise self._too_large(request, answer.status)
        if announced is not None and "Content-Encoding" not in answer.headers:
            share = self._answers.of(announced)
            try:
                await share.take()
                body: bytes = await answer.read()
                return body
            finally:
                share.give()
        # Its size is unknown. If it is not small, it is counted as large as it may become.
        read, share = bytearray(), self._answers.of(self._settings.answer_bytes_max)
        try:
            async for chunk in answer.content.iter_any():
                read += chunk
                if len(read) > self._settings.answer_bytes_max:
                    raise self._too_large(request, answer.status)
                if len(read) > SMALL_BYTES:
                    await share.take()
            return bytes(read)
        finally:
            share.give()

    def _too_large(self, request: Request, status: int) -> AnswerInvalid:
        return AnswerInvalid(
            f"{request.shown} answered with more than {self._settings.answer_bytes_max:,} bytes.",
            hint="The setting `lookups.answer_bytes_max` is the limit.",
            status=status,
        )

    def _late(self, request: Request, error: BaseException, seconds: float) -> LookupUnavailable:
        limits = self._settings
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return LookupUnavailable(
                f"{request.shown}: no connection within {limits.connect_seconds_max:g} seconds.", was_sent=False
            )
        if isinstance(error, aiohttp.SocketTimeoutError):
            return LookupUnavailable(f"{request.shown} sent nothing for {limits.read_seconds_max:g} seconds.")
        return LookupUnavailable(f"{request.shown} did not answer within {seconds:.3g} seconds.")


class _Reading:
    """How many bytes of answers are being read; an answer always fits if no other is counted."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def of(self, size: int) -> _Share:
        return _Share(self, size if size > SMALL_BYTES else 0)

    async def take(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._bytes += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give(size)
            raise

    def give(self, size: int) -> None:
        self._bytes -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._bytes += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._bytes_max


class _Share:
    """A part of `_Reading`, taken at most once, and given back."""

    __slots__ = ("_is_taken", "_reading", "_size")

    def __init__(self, reading: _Reading, size: int) -> None:
        self._reading = reading
        self._size = size
        self._is_taken = False

    async def take(self) -> None:
        if self._size and not self._is_taken:
            await self._reading.take(self._size)
            self._is_taken = True

    def give(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._reading.give(self._size)


def _reason(error: BaseException) -> str:
    """What is known of a failure, without addresses and queries."""
    text = getattr(error, "strerror", None)
    return text if isinstance(text, str) and text else type(error).__name__
