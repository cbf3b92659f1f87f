"""The producer: `send` queues an event and returns immediately; a background thread batches, posts and retries.

How this works: every event gets a `meta.id` before it is queued, so that retrying a batch after a lost response stores
nothing twice as long as the intake remembers the ids. Batches are sent one after the other, in order; while the intake
is busy or unavailable, the first batch is retried with backoff and jitter, or as the intake asks. A refused event is
reported once and never retried. At exit the queue is flushed; events that cannot be sent are kept in the buffer
directory, if there is one, and otherwise counted as lost and logged.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from headwater.backoff import Backoff
from headwater.client.answer import Answer, Refusal, Waiting, read_answer
from headwater.client.outbox import Outbox
from headwater.client.stream_settings import StreamSettings
from headwater.errors import ConfigInvalid, EventMalformed, EventTooLarge, HeadwaterError, LogUnavailable
from headwater.event import encode_event
from headwater.foreign import contain
from headwater.streams.sampling import decide
from headwater.times import ms_of, utc_milliseconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """The settings of a producer. `hasty`: the intake responds before it has stored the events, which may be lost.

    `sampling`: whether streams' sampling settings are read from the service and applied. `buffer_directory`: for
    events that do not fit into memory or are left at exit; each process needs its own.
    """

    batch_events_max: int = 100
    batch_bytes_max: int = 1_000_000
    linger_seconds: float = 0.1
    queue_events_max: int = 10_000
    queue_bytes_max: int = 33_554_432
    buffer_directory: Path | None = None
    buffer_bytes_max: int = 268_435_456
    backoff_seconds_first: float = 0.1
    backoff_seconds_max: float = 30.0
    request_seconds_max: float = 30.0
    close_seconds_max: float = 10.0
    hasty: bool = False
    sampling: bool = True
    settings_seconds: float = 30.0
    headers: Mapping[str, str] | None = None


@dataclass(slots=True)
class Statistics:
    """Running totals of a producer. `lost`: left in memory at the end."""

    queued: int = 0
    sampled_out: int = 0
    accepted: int = 0
    refused: int = 0
    repeated_requests: int = 0
    lost: int = 0


class Producer:
    """Sends events to one intake. Threads may share it; a forked process must create its own.

    >>> with Producer("http://localhost:8080") as producer:      # doctest: +SKIP
    ...     producer.send("shop.order", {"$schema": "/shop/order/1.0.0", "product": "tea", "pieces": 2})
    """

    def __init__(
        self,
        url: str,
        settings: ProducerSettings | None = None,
        *,
        on_refused: Callable[[Refusal], None] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url`: the server, or its events URL. `on_refused` is called by the sending thread for each refusal."""
        self.settings = settings or ProducerSettings()
        self.statistics = Statistics()
        self._events_url, self._base_url = _addresses(url, hasty=self.settings.hasty)
        self._on_refused = on_refused
        headers = {"content-type": "application/json", **(self.settings.headers or {})}
        self._http = httpx.Client(headers=headers, timeout=self.settings.request_seconds_max, transport=transport)
        self._outbox = Outbox(
            events_max=self.settings.queue_events_max,
            bytes_max=self.settings.queue_bytes_max,
            directory=self.settings.buffer_directory,
            directory_bytes_max=self.settings.buffer_bytes_max,
        )
        self._streams = StreamSettings(self._base_url, self._http, self.settings.settings_seconds)
        if self.settings.sampling:
            self._streams.start()
        self._closing = threading.Event()
        self._give_up_at = float("inf")
        self._idle = threading.Condition()
        self._unanswered = len(self._outbox)
        self._thread = threading.Thread(target=self._run, name="headwater-producer", daemon=True)
        self._thread.start()
        self._at_exit = weakref.ref(self)
        atexit.register(_close, self._at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def send(self, stream: str, event: Mapping[str, Any], *, unit_ids: Mapping[str, str] | None = None) -> bool:
        """Queue an event for `stream`; False if the stream's sampling excludes it.

        `unit_ids`: {"session": …, "pageview": …, "device": …}, the units by which the stream may be sampled.
        `meta.stream` is set, `meta.id` and `dt` if absent. Raises EventMalformed, EventTooLarge, and LogUnavailable
        when the queue is full.
        """
        if self._closing.is_set():
            raise LogUnavailable("The producer is closed.", hint="Create a new one.")
        sampled = decide(stream, self._streams.sample(stream), unit_ids or {})
        if not sampled.included:
            self.statistics.sampled_out += 1
            return False
        one = _prepared(stream, event, sampled.applied)
        if len(one.data) > self.settings.batch_bytes_max:
            raise EventTooLarge(
                f"The event has {len(one.data)} bytes; the limit for a batch is {self.settings.batch_bytes_max}.",
                hint="Send a smaller event, or increase `batch_bytes_max`, up to the limit of the intake.",
            )
        with self._idle:
            self._outbox.put(one)
            self._unanswered += 1
            self.statistics.queued += 1
        return True

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything queued so far is answered; False after the timeout."""
        with self._idle:
            return self._idle.wait_for(lambda: self._unanswered <= 0 or not self._thread.is_alive(), timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> None:
        """Send what is queued, for `close_seconds_max` at most, and end; idempotent."""
        if self._closing.is_set():
            self._thread.join()
            return
        limit = self.settings.close_seconds_max if timeout_seconds is None else timeout_seconds
        self._give_up_at = time.monotonic() + limit
        self._closing.set()
        self._outbox.close()
        self._streams.stop()
        self._thread.join(limit + self.settings.request_seconds_max)
        lost = self._outbox.keep()
        if lost:
            self.statistics.lost += lost
            _log.error("%d events could not be sent to %s before the end and are lost", lost, self._events_url)
        self._http.close()
        atexit.unregister(_close)

    def _run(self) -> None:
        settings = self.settings
        while True:
            batch = self._outbox.take(settings.batch_events_max, settings.batch_bytes_max, settings.linger_seconds)
            if not batch:
                break
            left = self._deliver(batch)
            self._outbox.answered(len(batch) - len(left))
            with self._idle:
                self._unanswered -= len(batch) - len(left)
                self._idle.notify_all()
            if left:
                self._outbox.put_back(left)
                break

    def _deliver(self, batch: list[Waiting]) -> list[Waiting]:
        """Post a batch until all of it is answered; returns the events that are not at the timeout."""
        backoff = Backoff(self.settings.backoff_seconds_first, self.settings.backoff_seconds_max, spread=(0, 1))
        is_first = True
        while batch:
            answer = self._post(batch, self._give_up_at - time.monotonic())
            self.statistics.accepted += answer.accepted
            for refusal in answer.refused:
                self._refuse(refusal)
            batch = answer.again
            if not batch:
                break
            if is_first:
                _log.warning("%s: %s; retrying", self._events_url, answer.reason or "no response")
            is_first = False
            pause = self._pause(backoff, answer.pause_seconds)
            self.statistics.repeated_requests += 1
            if time.monotonic() + pause > self._give_up_at:
                return batch
            if self._closing.is_set():
                time.sleep(pause)
            else:
                self._closing.wait(pause)
            if time.monotonic() > self._give_up_at:
                return batch
        return []

    def _post(self, batch: list[Waiting], seconds_left: float) -> Answer:
        body = b"[" + b",".join([one.data for one in batch]) + b"]"
        timeout = max(0.1, min(self.settings.request_seconds_max, seconds_left))
        try:
            return read_answer(self._http.post(self._events_url, content=body, timeout=timeout), batch)
        except httpx.HTTPError as error:
            return Answer(again=batch, reason=f"{type(error).__name__}: {error}")

    def _pause(self, backoff: Backoff, asked: float | None) -> float:
        """Full jitter below a doubling limit; if the server asks for a pause, at least that and a little more."""
        own = backoff.next_pause()
        return own if asked is None else min(asked, self.settings.backoff_seconds_max) + 0.1 * own

    def _refuse(self, refusal: Refusal) -> None:
        self.statistics.refused += 1
        if self._on_refused is None:
            _log.warning("event %s for %s was refused: %s", refusal.event_id, refusal.stream, refusal.reason)
            return
        try:
            self._on_refused(refusal)
        except BaseException as error:
            contain(error)
            _log.exception("on_refused failed")


def _prepared(stream: str, event: Mapping[str, Any], applied: Mapping[str, Any] | None) -> Waiting:
    meta = event.get("meta")
    meta = dict(meta) if isinstance(meta, Mapping) else {}
    meta["stream"] = stream
    if not str(meta.get("id") or "").strip():
        meta["id"] = str(uuid.uuid4())
    event_id = meta["id"]
    if applied is not None:
        meta["sample"] = applied
    value = {**event, "meta": meta}
    if "dt" not in value and "client_dt" not in value:
        value["dt"] = utc_milliseconds(ms_of(time.time()))
    if not isinstance(value.get("$schema"), str):
        raise EventMalformed("The event has no `$schema`.", hint='Set it to a schema URI, such as "/demo/edit/1.0.0".')
    return Waiting(str(event_id), stream, encode_event(value)[0])


def _addresses(url: str, *, hasty: bool) -> tuple[str, str]:
    """(events URL, server URL) from either of the two."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigInvalid(f"{url!r} is not a URL: {error}.") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigInvalid(f"{url!r} is not a server address.", hint="Use an address such as http://localhost:8080.")
    path = parsed.path.rstrip("/")
    base = path
    if path.lower().endswith("/events"):
        base = path.rsplit("/", 2)[0]
    else:
        path += "/v1/events"
    events = parsed.copy_with(path=path, params={"hasty": "true"} if hasty else None)
    return str(events), str(parsed.copy_with(path=base or "/", query=None)).rstrip("/")


def _close(reference: weakref.ref[Producer]) -> None:
    producer = reference()
    if producer is not None:
        with contextlib.suppress(HeadwaterError):
            producer.close()
