"""Events that jobs could not process, over HTTP: /v1/errors lists causes, shows one error, and redrives.

How this works: error events are read from the log, as `headwater errors` does, a small part at a time, so that the
event loop is never busy with it for long; one request after the other does so, and each only for a limited time. A
client sees the errors of a job if it may read the job's error stream, and the event that failed if it may read the
streams that the job reads and writes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.consumption.redaction import redaction
from headwater.declaration import suggestion
from headwater.errors import (
    ChangeRefused,
    FailureUnknown,
    FilterInvalid,
    JobUnknown,
    KeyRequired,
    ScopeMissing,
    TooManyRequests,
)
from headwater.event import encode_json
from headwater.log.open import redriving_alone
from headwater.platform import Platform
from headwater.processing.failures.descriptions import described_error, described_groups, find_error
from headwater.processing.failures.redrive import Order, Redriver
from headwater.processing.failures.redriving import Pace, described_outcome, redrive
from headwater.processing.failures.selection import Selection, selected_errors, selection
from headwater.processing.failures.stored import Reading
from headwater.streams.seen import SeenStreams
from headwater.streams.visibility import Sight
from headwater.web.http.headers import is_on
from headwater.web.http.json_body import json_body
from headwater.web.http.route import Route
from headwater.web.sight import address_of, seen

# The event loop parses so much at once: less than a millisecond.
BYTES_AT_ONCE = 131_072
READ_EVENTS_MAX = 200_000
READ_SECONDS_MAX = 20.0
WAITING_MAX = 16
GROUPS_DEFAULT = 100
GROUPS_MAX = 1_000
REDRIVEN_DEFAULT = 1_000
REDRIVEN_MAX = 10_000
NAME_CHARS_MAX = 1_000
_FILTERS = ("group", "where", "since", "until")
_KEYS = ("job", *_FILTERS, "limit")
_EXAMPLE = 'It is {"job": "NAME", "group": "GROUP"}, for example.'


class FailuresApi:
    """The endpoints, over one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._redact = redaction(platform.config.consumption.redacted_pages)
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    def routes(self) -> list[BaseRoute]:
        """The endpoints."""
        return [
            Route("/v1/errors", self.groups, methods=["GET"]),
            Route("/v1/errors/redrive", self.redrive, methods=["POST"]),
            Route("/v1/errors/{name:path}", self.one, methods=["GET"]),
        ]

    async def groups(self, request: Request) -> Response:
        """The causes, by job and the most frequent first: `limit` of them, from behind `after` on."""
        asked = request.query_params
        jobs = self._asked(request)
        wanted = selection(asked.get("group"), asked.getlist("where"), asked.get("since"), asked.get("until"))
        limit, after = _limit(asked.get("limit")), _after(asked.get("after"))
        rows: list[dict[str, Any]] = []
        async with self._reading() as reading:
            for name, topics in sorted(jobs.items()):
                if after is None or name >= after[0]:
                    rows += await described_groups(self._platform.log, name, topics, wanted, reading)
        rows = [row for row in rows if after is None or _place(row) > after]
        return _json(
            {
                "jobs": sorted(jobs),
                "groups": rows[:limit],
                "next": _token(_place(rows[limit - 1])) if len(rows) > limit else None,
                "complete": reading.is_complete,
            }
        )

    async def one(self, request: Request) -> Response:
        """The newest error of a group, or the one with this id, of the error event or of the event that failed."""
        name, jobs = request.path_params["name"], self._asked(request)
        streams, log = seen(request, again=True), self._platform.log
        async with self._reading() as reading:
            found = await find_error(log, name, sorted(jobs.items()), reading)
            if found.newest is None:
                more = "" if reading.is_complete else f" among the first {reading.events:,} that were read"
                raise FailureUnknown(
                    f"There is no error {name[:NAME_CHARS_MAX]!r}{more}.",
                    hint="GET /v1/errors lists the groups, with the id of an error of each.",
                )
            whole = streams.visibility.reads_job(found.newest.job, streams.sight)
            described = await described_error(log, found.newest, found.count, whole=whole)
        self._hide(described["event"])
        return _json({**described, "complete": reading.is_complete})

    async def redrive(self, request: Request) -> Response:
        """`{"job", "group", "where", "since", "until", "limit"}`; `dry_run=true`: only count."""
        actor = self._platform.keys.check(request.headers.get("authorization"), "streams:write", address_of(request))
        written = await json_body(request)
        if unknown := sorted(set(written) - set(_KEYS)):
            hint = "Use ?dry_run=true." if unknown[0] == "dry_run" else suggestion(unknown[0], _KEYS)
            raise ChangeRefused(f"The body has no key {unknown[0]!r:.200}.", hint=hint)
        name, topics, reads = self._job(written.get("job"), seen(request, again=True))
        wanted = _selection(written)
        if not reads and (wanted.test is not None or wanted.fields):
            raise ScopeMissing(
                "`where` looks at error events, and needs an API key with the scope events:read as well.",
                hint="Select by `group`, `since` and `until`, or use such a key.",
            )
        limit, dry = _redriven_max(written.get("limit")), is_on(request.query_params.getlist("dry_run"))
        filters = {part: written[part] for part in (*_FILTERS, "limit") if written.get(part)}
        log = self._platform.log
        redriver = Redriver(log, Order(name, actor, filters))
        async with self._reading(math.inf) as reading:
            errors = selected_errors(log, name, topics, wanted, reading)
            # In this process, it is the turn; other processes must not either.
            with contextlib.nullcontext() if dry else redriving_alone(self._platform.config):
                at_end = await redrive(redriver, errors, Pace(dry=dry, limit=limit))
        described = described_outcome(redriver.outcome, name, dry=dry)
        if not reads:
            described["reasons"] = []
        return _json({**described, "complete": at_end and reading.is_complete}, 200 if dry else 202)

    def _asked(self, request: Request) -> dict[str, Sequence[str]]:
        """The jobs whose errors are asked for and the client may read, with the topics of their error streams.

        Raises JobUnknown, KeyRequired, ScopeMissing.
        """
        names, streams = request.query_params.getlist("job"), seen(request)
        known = {job.name: self._job(job.name, streams) for job in self._platform.jobs if _is_named(job.name, streams)}
        for name in names:
            if name not in known:
                raise JobUnknown(f"There is no job {name!r:.200}.", hint=suggestion(name, known))
            if not known[name][2]:
                needs = f"Errors of the job {name} are only shown to API keys with the scope events:read."
                raise KeyRequired(needs) if streams.sight is Sight.PUBLIC else ScopeMissing(needs)
        return {name: topics for name, topics, reads in known.values() if reads and (not names or name in names)}

    def _job(self, name: Any, streams: SeenStreams) -> tuple[str, Sequence[str], bool]:
        """A job by name, the topics of its error stream, and whether the client may read those. Raises JobUnknown."""
        jobs = {job.name: job for job in self._platform.jobs if _is_named(job.name, streams)}
        if not isinstance(name, str):
            raise ChangeRefused("`job` must be the name of a job.", hint=_EXAMPLE)
        if name not in jobs:
            raise JobUnknown(f"There is no job {name!r:.200}.", hint=suggestion(name, jobs))
        stream = self._platform.streams.get(jobs[name].writes().errors)
        return name, stream.topics, streams.visibility.reads(stream, streams.sight)

    @contextlib.asynccontextmanager
    async def _reading(self, events_max: float = READ_EVENTS_MAX) -> AsyncIterator[Reading]:
        """The turn of a request to read error events. Raises TooManyRequests."""
        if self._waiting >= WAITING_MAX:
            raise TooManyRequests("Too many requests for errors are waiting.", hint="Try again in a few seconds.")
        self._waiting += 1
        try:
            async with self._turn:
                yield Reading(BYTES_AT_ONCE, events_max, READ_SECONDS_MAX)
        finally:
            self._waiting -= 1

    def _hide(self, event: dict[str, Any]) -> None:
        """Leave out of an event what no reader of its stream gets."""
        value = event["value"]
        if self._redact is None or not isinstance(value, dict):
            return
        before = encode_json(value)
        self._redact(value)
        if (after := encode_json(value)) != before:
            event["raw"] = after.decode()


def _is_named(job: str, streams: SeenStreams) -> bool:
    return streams.visibility.names_job(job, streams.sight)


def _selection(written: dict[str, Any]) -> Selection:
    """The filters in the body of a request. Raises ChangeRefused, FilterInvalid, TimestampInvalid."""
    where = written.get("where") or []
    where = [where] if isinstance(where, str) else where
    if not isinstance(where, list) or not all(isinstance(one, str) for one in where):
        raise ChangeRefused("`where` must be a filter, or a list of filters.", hint='Such as "error_type=TIMEOUT".')
    for name in ("group", "since", "until"):
        if not isinstance(written.get(name), str | None):
            raise ChangeRefused(f"`{name}` must be a text.", hint=_EXAMPLE)
    return selection(written.get("group"), where, written.get("since"), written.get("until"))


def _redriven_max(limit: Any) -> int:
    limit = REDRIVEN_DEFAULT if limit is None else limit
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= REDRIVEN_MAX:
        raise ChangeRefused(
            f"`limit` must be a number from 1 to {REDRIVEN_MAX:,}.", hint="Repeat the request for more: it continues."
        )
    return limit


def _limit(text: str | None) -> int:
    text = str(GROUPS_DEFAULT) if text is None else text
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= GROUPS_MAX):
        raise FilterInvalid(f"limit must be a number from 1 to {GROUPS_MAX:,}, not {text[:80]!r}.")
    return int(text)


# Where a group is in the list: its job, then what orders the groups of a job.
Place = tuple[str, int, int, str]


def _place(row: dict[str, Any]) -> Place:
    return row["job"], -row["count"], -row["last_ms"], row["group"]


def _token(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def _after(text: str | None) -> Place | None:
    if not text:
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place: Place = msgspec.json.decode(data, type=Place)
    except (binascii.Error, ValueError):
        raise FilterInvalid(
            f"after must be the `next` of a page before, not {text[:80]!r}.", hint="Leave it out for the first page."
        ) from None
    return place


def _json(body: Any, status: int = 200) -> Response:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return Response(encode_json(body), status_code=status, headers=headers)
