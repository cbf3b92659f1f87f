"""What both consumers do: the settings, the request, what a message means, and where to resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from headwater.client.positions import SeenIds, TokenFile
from headwater.client.subscription import CONNECT_SECONDS_MAX, POSITION, SILENCE_SECONDS_MAX, Connecting
from headwater.errors import ConfigInvalid, EventMalformed
from headwater.event import decode_json
from headwater.event_stream import Message
from headwater.times import utc_microseconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the server reports about a stream, other than an event.

    `position-lost`: the log no longer has events that were to be read; `skipped`: records that cannot be read were left
    out; `error`: the server ended the connection, which is opened again. `data`: the fields that the server sent.
    """

    kind: Literal["position-lost", "skipped", "error"]
    message: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """The settings of a consumer.

    `since`: where to start without a token, a time (ISO 8601, epoch milliseconds, or a datetime with a zone); default:
    with the events from now on. `filter`: only events for which the expression is true, evaluated by the server.
    `canaries`: whether canary events are read. `token_file`: keeps the position; `token`: the position, for a caller
    that keeps it. `auto_commit`: an event counts as processed when the next one is asked for; otherwise when `commit`
    is called. `commit_seconds`: the token file is written this often at most, and at the end. `seen_ids_max`: how many
    `meta.id`s are remembered, to drop events that a producer has sent twice; 0: none is dropped. `attempts_max`: how
    often a server that was never reached is tried; None: without limit. `headers`: such as `authorization`.
    """

    since: str | datetime | None = None
    filter: str | None = None
    canaries: bool = False
    token_file: Path | None = None
    token: str | None = None
    auto_commit: bool = True
    commit_seconds: float = 1.0
    seen_ids_max: int = 10_000
    attempts_max: int | None = None
    connect_seconds_max: float = CONNECT_SECONDS_MAX
    silence_seconds_max: float = SILENCE_SECONDS_MAX
    headers: Mapping[str, str] | None = None


@dataclass(slots=True)
class ConsumerStatistics:
    """Running totals of a consumer. `repeated`: events dropped because their id was seen before."""

    events: int = 0
    repeated: int = 0
    notices: int = 0


class Reading:
    """One consumer's streams, its position, and what it has read. It does no I/O but for the token file."""

    def __init__(
        self, url: str, streams: str | Sequence[str], settings: ConsumerSettings, on_notice: Callable[[Notice], None]
    ) -> None:
        names = [streams] if isinstance(streams, str) else list(streams)
        self.streams = [name.strip() for one in names for name in one.split(",") if name.strip()]
        if not self.streams:
            raise ConfigInvalid(
                "A consumer needs at least one stream.", hint="List them with `headwater streams list`."
            )
        if settings.token_file is not None and settings.token is not None:
            raise ConfigInvalid("Give either `token` or `token_file`, not both.")
        self.url = stream_url(url, ",".join(self.streams))
        self.statistics = ConsumerStatistics()
        self._settings = settings
        self._on_notice = on_notice
        self._file = None if settings.token_file is None else TokenFile(settings.token_file, self.streams)
        self.token = settings.token if self._file is None else self._file.read()
        self._written = self.token
        self._handed: str | None = None
        self._seen = SeenIds(settings.seen_ids_max)
        self._next_write = 0.0

    def connecting(self) -> Connecting:
        """The connection that continues at the position."""
        settings = self._settings
        params = {"positions": "true"}
        if settings.since is not None:
            params["since"] = _since_text(settings.since)
        if settings.filter is not None:
            params["filter"] = settings.filter
        if settings.canaries:
            params["canaries"] = "true"
        return Connecting(
            params,
            settings.headers,
            self.token,
            settings.attempts_max,
            positions=True,
            connect_seconds_max=settings.connect_seconds_max,
            silence_seconds_max=settings.silence_seconds_max,
        )

    def take(self, message: Message) -> dict[str, Any] | None:
        """The event of a message, or None. Raises what `on_notice` raises."""
        event = self._event(message)
        if event is None:
            self._passed(message.id)
            return None
        self.statistics.events += 1
        self._handed = message.id
        return event

    def processed(self) -> None:
        """The event that was taken last was processed, as far as `auto_commit` is concerned."""
        if self._settings.auto_commit:
            self.commit(at_once=False)

    def commit(self, *, at_once: bool = True) -> None:
        """The event that was taken last, and all before it, were processed. Raises OSError."""
        if self._handed is not None:
            self.token, self._handed = self._handed, None
        now = time.monotonic()
        if self._file is None or self.token is None or self.token == self._written:
            return
        if at_once or now >= self._next_write:
            self._file.write(self.token)
            self._written = self.token
            self._next_write = now + self._settings.commit_seconds

    def close(self) -> None:
        """Write the token of what was committed. Raises OSError."""
        self._handed = None
        self.commit()

    def _passed(self, last_id: str | None) -> None:
        """The position moved past what is no event, unless an event before it is still to be committed."""
        if last_id is not None and self._handed is None:
            self.token = last_id
            self.commit(at_once=False)

    def _event(self, message: Message) -> dict[str, Any] | None:
        if message.event == POSITION:
            return None
        if message.event != "message":
            self._notify(notice_of(message))
            return None
        event = decode_json(message.data)
        if not isinstance(event, dict):
            raise EventMalformed(f"{self.url} sent a message that is not an event: {message.data[:100]}")
        if self._is_repeated(event.get("meta")):
            self.statistics.repeated += 1
            return None
        return event

    def _is_repeated(self, meta: object) -> bool:
        if not isinstance(meta, dict) or not isinstance(meta.get("id"), str):
            return False
        return self._seen.is_repeated(str(meta.get("stream")), meta["id"])

    def _notify(self, notice: Notice | None) -> None:
        if notice is not None:
            self.statistics.notices += 1
            self._on_notice(notice)


def log_notice(notice: Notice) -> None:
    """What is done with a notice by default."""
    _log.warning("%s", notice.message)


def notice_of(message: Message) -> Notice | None:
    """What a message that is not an event of the stream reports; None for one of an unknown type."""
    if message.event not in {"position-lost", "error"}:
        return None
    data = decode_json(message.data)
    fields = data if isinstance(data, dict) else {}
    if message.event == "position-lost":
        why = "that position is from another log" if fields.get("reason") else "the log no longer has that position"
        where = f"{fields.get('topic')}/{fields.get('partition')}"
        text = (
            f"{where}: {why} ({_number(fields.get('asked'))}). Reading resumes at {_number(fields.get('resumed'))};"
            " use --since, or `since`, to start at a time."
        )
        return Notice("position-lost", text, fields)
    why = str(fields.get("message", message.data))
    if "first_offset" in fields:
        return Notice("skipped", f"Skipped: {why}", fields)
    return Notice("error", f"The server ended the stream: {why}", fields)


def stream_url(address: str, streams: str) -> str:
    """The address of `streams` on a server named by `address`. Raises ConfigInvalid."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigInvalid(
            f"{address!r} is not a server address.", hint="Use an address such as http://localhost:8080."
        )
    path = f"{parts.path.rstrip('/')}/v2/stream/{quote(streams, safe=',')}"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _since_text(since: str | datetime) -> str:
    if isinstance(since, str):
        return since
    if since.tzinfo is None:
        raise ConfigInvalid(f"`since` has no time zone: {since}.", hint="Give one, such as datetime.UTC.")
    return utc_microseconds(since)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
