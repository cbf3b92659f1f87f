"""Posts events to an intake over HTTP for produce, replay and demo: batches, retries while the server is busy, a tally.

How this works: a batch is one request. The response lists refused events in input order, so each refusal is matched
with its line in one pass over the batch. Refusals are final; events that the server could not store, and requests
without a response, are retried with backoff until `patience_seconds` have passed. A retry after a lost response is
harmless while the intake still remembers the events' `meta.id`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx
import orjson

from headwater.backoff import Backoff
from headwater.errors import ConfigInvalid, EventMalformed, EventTooLarge, HeadwaterError, LogUnavailable
from headwater.event import decode_event
from headwater.event_lines import require_whole

REFUSALS_LISTED_MAX = 20
_ABSENT = object()
PAUSE_SECONDS_FIRST = 0.2
PAUSE_SECONDS_MAX = 10.0
PAUSE_SPREAD = (0.7, 1.3)
BUSY = frozenset({429, 502, 503, 504, 507})

# The response has EventGate's format, which has no codes: they are derived from its fixed phrases.
UNKNOWN_CODE = "error"
_CODES_BY_PHRASE = {
    "Failed loading schema at ": "schema_not_found",
    " is not configured.": "stream_unknown",
    "schema title": "stream_schema_mismatch",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One event to send: its 1-based number in the input, and its JSON text."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one event was not accepted. `code` is stable, `reason` is for people."""

    number: int | None
    code: str
    reason: str


@dataclass(slots=True)
class Tally:
    """The outcome of everything sent. `refusals` holds the first few; `refused_by_code` counts all of them."""

    accepted: int = 0
    refused: int = 0
    failed: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    refused_by_code: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.accepted + self.refused + self.failed

    @property
    def all_accepted(self) -> bool:
        return self.refused == 0 and self.failed == 0

    def refuse(self, refusal: Refusal) -> None:
        self.refused += 1
        self.refused_by_code[refusal.code] += 1
        if len(self.refusals) < REFUSALS_LISTED_MAX:
            self.refusals.append(refusal)

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "failed": self.failed,
            "refused_by_code": dict(self.refused_by_code),
            "requests": self.requests,
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "refusals": [{"line": r.number, "code": r.code, "reason": r.reason} for r in self.refusals],
        }


def intake_url(address: str) -> str:
    """The events URL of the server at `address` (`localhost:8080`, `http://host/base`, or in full)."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigInvalid(
            f"{address!r} is not a server address.", hint="Use an address such as http://localhost:8080."
        )
    path = parts.path.rstrip("/")
    if not path.lower().endswith("/events"):
        path += "/v1/events"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


class Delivery:
    """Sends batches one after the other, in order, and keeps the tally. An async context manager."""

    def __init__(
        self, address: str, *, patience_seconds: float = 60.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = intake_url(address)
        self.tally = Tally()
        self._patience_seconds = patience_seconds
        self._client = httpx.AsyncClient(
            headers={"content-type": "application/json", **(headers or {})}, timeout=httpx.Timeout(60.0, connect=5.0)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, lines: Sequence[Line]) -> None:
        """Post `lines` as one request (or smaller ones if the server answers that it is too large).

        Raises LogUnavailable when the server was unreachable or busy for longer than `patience_seconds`.
        """
        started = time.perf_counter()
        try:
            await self._send_patiently([one for line in lines if (one := self._read(line)) is not None])
        finally:
            self.tally.seconds += time.perf_counter() - started

    def _read(self, line: Line) -> Line | None:
        """The line as the intake would store it; None, with the reason in the tally, if the intake would refuse it.

        One malformed line could make the whole request unreadable, so it is refused here and the others are sent.
        """
        try:
            require_whole(line.data)
            value, text, _ = decode_event(line.data)
            if not isinstance(value, dict):
                raise EventMalformed("The line is JSON, but not an object.")
        except (EventMalformed, EventTooLarge) as error:
            self.tally.refuse(Refusal(line.number, error.code, str(error)))
            return None
        return Line(line.number, text)

    async def _send_patiently(self, lines: Sequence[Line]) -> None:
        backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX, spread=PAUSE_SPREAD)
        deadline = time.monotonic() + self._patience_seconds
        while lines:
            response, trouble = await self._post(lines)
            if response is not None and response.status_code == 413 and len(lines) > 1:
                middle = len(lines) // 2
                await self._send_patiently(lines[:middle])
                lines = lines[middle:]
                continue
            if response is not None and response.status_code not in BUSY:
                lines = self._account(lines, response)
                if not lines:
                    return
                trouble = "The server could not store some events."
            pause = max(backoff.next_pause(), _retry_after(response))
            if time.monotonic() + pause > deadline:
                self.tally.failed += len(lines)
                raise LogUnavailable(
                    f"{self.url} did not accept the events within {self._patience_seconds:g} seconds: {trouble}",
                    hint="Is the server running? Start one with `headwater up`.",
                )
            self.tally.retries += 1
            await asyncio.sleep(pause)

    async def _post(self, lines: Sequence[Line]) -> tuple[httpx.Response | None, str]:
        self.tally.requests += 1
        try:
            response = await self._client.post(self.url, content=b"[" + b",".join(line.data for line in lines) + b"]")
        except httpx.TransportError as error:
            return None, f"{type(error).__name__} {error}".strip()
        return response, f"{response.status_code} {response.reason_phrase}"

    def _account(self, lines: Sequence[Line], response: httpx.Response) -> list[Line]:
        """Count one response; the lines to retry."""
        if response.status_code in {200, 201, 202}:
            self.tally.accepted += len(lines)
            return []
        body = _object(response)
        elements = [*(body.get("invalid") or []), *(body.get("error") or [])]
        if not elements:
            reason = str(body.get("detail") or body.get("title") or response.reason_phrase or "no reason given")
            for line in lines:
                self.tally.refuse(Refusal(line.number, f"http_{response.status_code}", reason))
            return []
        located = {id(e): line for group in ("invalid", "error") for e, line in _located(body.get(group) or [], lines)}
        again: list[Line] = []
        for element in elements:
            place = located.get(id(element))
            code, reason = reason_of(element)
            # Only a response that asks for a retry lists events that were not stored because of a fault of the server.
            if code == UNKNOWN_CODE and place is not None and "retry-after" in response.headers:
                again.append(place)
            else:
                self.tally.refuse(Refusal(place.number if place else None, code, reason))
        self.tally.accepted += len(lines) - len(elements)
        return again


def reason_of(element: Mapping[str, Any]) -> tuple[str, str]:
    """The code and the sentence of one element of an answer's `invalid` or `error` list."""
    context = element.get("context") or {}
    if "errors" in context:
        return "event_invalid", str(context.get("errorsText") or "is invalid")
    message = str(context.get("message") or "no reason given")
    return next((code for phrase, code in _CODES_BY_PHRASE.items() if phrase in message), UNKNOWN_CODE), message


def _located(elements: Sequence[Any], lines: Sequence[Line]) -> Iterator[tuple[Any, Line]]:
    remaining = iter(lines)
    for element in elements:
        answered = element.get("event") if isinstance(element, dict) else None
        for line in remaining:
            if _is_filled_in(orjson.loads(line.data), answered):
                yield element, line
                break


def _is_filled_in(sent: Any, answered: Any) -> bool:
    """Whether `answered` is `sent` after the server set defaults: nothing lost, `meta.dt` perhaps overwritten."""
    if isinstance(sent, dict) and isinstance(answered, dict):
        pairs = ((key, value, answered.get(key, _ABSENT)) for key, value in sent.items())
        return all(key == "dt" or (other is not _ABSENT and _is_filled_in(value, other)) for key, value, other in pairs)
    return bool(sent == answered)


def _object(response: httpx.Response) -> dict[str, Any]:
    with contextlib.suppress(orjson.JSONDecodeError):
        body = orjson.loads(response.content)
        if isinstance(body, dict):
            return body
    return {}


def _retry_after(response: httpx.Response | None) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), PAUSE_SECONDS_MAX) if response is not None else 0.0
    except ValueError:
        return 0.0


def unanswered(error: httpx.HTTPError, address: str) -> HeadwaterError:
    """The error for a server that does not answer."""
    return LogUnavailable(
        f"{address} does not answer: {str(error) or type(error).__name__}.",
        hint="Is the server running? Start one with `headwater up`.",
    )
