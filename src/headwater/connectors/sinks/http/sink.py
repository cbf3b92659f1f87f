"""Sends a request for each event, some at once, and reads from the answer what becomes of the event.

How this works: events of one key are sent one after the other, others at the same time. A status of success ends an
event; one of `retry_on` makes it, and the later ones of its key, wait for the next attempt; any other makes it an error
event. After an answer that asks for time, or without a connection, nothing more is sent to that host in this write. A
process that is killed between the answer and the commit of the position sends the events of its last batch again; the
service can recognise them by `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
from yarl import URL

from headwater import __version__
from headwater.connectors.contract import Delivery, EventShape, SinkFeatures
from headwater.connectors.secrets import Secrets
from headwater.connectors.sinks.http.repeats import Repeats
from headwater.connectors.sinks.http.requests import HttpOptions, Prepared, RequestMaker
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.tables import TargetState
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.event import get_path
from headwater.retry_after import retry_after_seconds
from headwater.schemas.json_value import identity

FEATURES = SinkFeatures(token_in_target=False, upsert=False, reads_back=False, deletes=False)
# Statuses of a service that has no time, and how long it is left alone if it does not say how long.
BUSY = frozenset((429, 503))
BUSY_BACK_OFF_SECONDS = 1.0
LATE_MAX = 3
# How much of an answer is read, to show why a request was refused.
ANSWER_BYTES_MAX = 2000


@dataclass(slots=True)
class _Outcome:
    """What has become of the events of one write, by their index."""

    sent: int = 0
    rejected: dict[int, Exception] = field(default_factory=dict)
    retry: dict[int, str] = field(default_factory=dict)
    back_off_seconds: float = 0.0
    # Host → why nothing more is sent to it; and how many requests to it have had no answer in time since the last one.
    away: dict[str, str] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)


class _Answer(NamedTuple):
    """What is needed of an answer; `text` is its beginning, if it is no success."""

    status: int
    headers: Mapping[str, str]
    text: bytes


class HttpSink:
    """Sends the events of one stream."""

    features = FEATURES

    def __init__(self, options: HttpOptions, shape: EventShape) -> None:
        self.shape = shape
        self._options = options
        self._requests = RequestMaker(options)
        self._secrets = Secrets((options.secret_url, options.authorization, options.secret_headers, options.sign_with))
        self._session: aiohttp.ClientSession | None = None
        # When the next request may begin, by the loop's clock.
        self._next_at = 0.0
        seconds = options.repeat_after_seconds
        self._repeats = None if seconds is None else Repeats(seconds, time.monotonic)

    async def open(self) -> str | None:
        """Raises nothing: whether the service is there is seen when the first event is sent."""
        await self.close()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._options.concurrency),
            timeout=aiohttp.ClientTimeout(total=self._options.timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"Headwater/{__version__}"},
            trust_env=False,
        )
        return None

    def check(self, delivery: Delivery) -> None:
        self._requests.made(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        session = self._opened()
        outcome = _Outcome()
        slots = asyncio.Semaphore(self._options.concurrency)

        async def in_order(indices: Sequence[int]) -> None:
            async with slots:
                for index in indices:
                    if not await self._send_once(session, index, deliveries[index], outcome):
                        outcome.retry.update({later: "" for later in indices if later > index})
                        return

        async with asyncio.TaskGroup() as sending:
            for indices in self._by_key(deliveries):
                sending.create_task(in_order(indices))
        self._raise(outcome)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _by_key(self, deliveries: Sequence[Delivery]) -> Sequence[Sequence[int]]:
        """The indices of the events of each key, in order; without a key each event is one of its own."""
        groups: dict[bytes | int, list[int]] = defaultdict(list)
        for index, delivery in enumerate(deliveries):
            key = self._key_of(delivery) if self.shape.key or self._repeats is not None else None
            groups[index if key is None else key].append(index)
        return list(groups.values())

    def _key_of(self, delivery: Delivery) -> bytes | None:
        """What the event is about; None if it does not say."""
        values = [get_path(delivery.value, path) for path in self.shape.key or ("meta.id",)]
        return None if all(value is None for value in values) else identity(values)

    async def _send_once(
        self, session: aiohttp.ClientSession, index: int, delivery: Delivery, outcome: _Outcome
    ) -> bool:
        """As `_send`; leaves out what was sent lately."""
        key = None if self._repeats is None else self._key_of(delivery)
        if self._repeats is None or key is None:
            return await self._send(session, index, delivery, outcome)
        if self._repeats.is_repeat(key):
            return True
        may_continue = await self._send(session, index, delivery, outcome)
        if index not in outcome.rejected and index not in outcome.retry:
            self._repeats.sent(key)
        return may_continue

    async def _send(self, session: aiohttp.ClientSession, index: int, delivery: Delivery, outcome: _Outcome) -> bool:
        """Send one event. Returns whether the next one of its key may be sent."""
        try:
            request = self._requests.made(delivery)
        except EventMalformed as error:
            outcome.rejected[index] = error
            return True
        await self._pace()
        if (why := outcome.away.get(request.host)) is not None:
            outcome.retry[index] = why
            return False
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=request.url.isascii()),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
            ) as answer:
                text = b"" if answer.status < 300 else await answer.content.read(ANSWER_BYTES_MAX)
                found = _Answer(answer.status, answer.headers, text)
        except TimeoutError:
            why = outcome.retry[index] = f"{request.shown}: no answer within {self._options.timeout_seconds:g} s."
            late = outcome.late[request.host] = outcome.late.get(request.host, 0) + 1
            # One event may be what a service never answers; several in a row are a service that hangs.
            if late >= LATE_MAX:
                outcome.away[request.host] = why
            return False
        except (aiohttp.InvalidURL, ValueError) as error:
            outcome.rejected[index] = EventMalformed(f"{request.shown} cannot be sent ({type(error).__name__}).")
            return True
        except (aiohttp.ClientError, OSError) as error:
            reason = self._secrets.removed(f"{type(error).__name__}: {error}"[:300])
            outcome.away[request.host] = outcome.retry[index] = f"{request.shown}: no answer ({reason})."
            return False
        outcome.late.pop(request.host, None)
        return self._settle(index, request, outcome, found)

    def _settle(self, index: int, request: Prepared, outcome: _Outcome, answer: _Answer) -> bool:
        options = self._options
        status, headers = answer.status, answer.headers
        if 200 <= status < 300 or status in options.succeed_on:
            outcome.sent += 1
            return True
        said = self._secrets.removed(answer.text.decode(errors="replace").strip()[:300])
        what = f"{request.shown} was answered with {status}{': ' + said if said else ''}"
        if status not in options.retry_on:
            hint = None
            if 300 <= status < 400:
                place = self._secrets.removed(headers.get("Location", "an unnamed place")[:200])
                hint = f"It is redirected to {place}; redirects are not followed."
            outcome.rejected[index] = EventMalformed(f"{what}.", hint=hint)
            return True
        outcome.retry[index] = f"{what}."
        asked = retry_after_seconds(headers, time.time())
        if asked is not None or status in BUSY:
            outcome.away[request.host] = outcome.retry[index]
            wait = BUSY_BACK_OFF_SECONDS if asked is None else asked
            outcome.back_off_seconds = max(outcome.back_off_seconds, wait)
        return False

    async def _pace(self) -> None:
        """Wait until another request may begin."""
        rate = self._options.requests_per_second_max
        if rate is None:
            return
        loop = asyncio.get_running_loop()
        begins = max(self._next_at, loop.time())
        self._next_at = begins + 1 / rate
        await asyncio.sleep(begins - loop.time())

    def _raise(self, outcome: _Outcome) -> None:
        """Report what was not sent."""
        if not outcome.rejected and not outcome.retry:
            return
        why = next((reason for reason in outcome.retry.values() if reason), "")
        if outcome.away and not outcome.sent and not outcome.rejected:
            raise SinkUnavailable(why, back_off_seconds=outcome.back_off_seconds)
        raise WriteIncomplete(
            rejected=outcome.rejected,
            retry=outcome.retry.keys(),
            back_off_seconds=outcome.back_off_seconds,
            message=why,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise SinkUnavailable(f"The sink {self.shape.name} is not open.")
        return self._session


SPEC = SinkSpec(
    name="http",
    summary="A request for each event, by any method: to a service, a web hook or a cache.",
    options=HttpOptions,
    make=lambda options, shape, directory: HttpSink(options, shape),
    features=FEATURES,
    target=lambda options, shape, directory: TargetState(
        f"each event is a request {options.method} {options.url or 'to `secret_url`'}; nothing is made in advance"
    ),
    form="events",
    example='url: "https://shop.example/orders/{id}"',
    batch=BatchDefaults(rows_max=500, bytes_max=4_194_304, seconds_max=0.1),
    fields=lambda options: RequestMaker(options).fields,
)
