"""The condition of streams: /v1/canaries, /v1/completeness and /v1/reconciliation as JSON, /monitoring as a page."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from headwater import __version__
from headwater.catalog.job_diagram import size_text
from headwater.declaration import suggestion
from headwater.errors import FilterInvalid, RequestTooLarge, StreamUnknown
from headwater.event import json_bytes
from headwater.monitoring.canaries import JOB_HOP
from headwater.monitoring.completeness import StreamHour
from headwater.monitoring.health import CONDITIONS, StreamHealth
from headwater.monitoring.hours import hour_text, read_hour, time_text
from headwater.platform import Platform
from headwater.streams.seen import SeenStreams
from headwater.streams.stream import Stream
from headwater.times import brief_duration, rough_duration
from headwater.web.http.headers import is_on
from headwater.web.http.route import Route
from headwater.web.http.threads import in_thread
from headwater.web.jobs.views import job_views
from headwater.web.pages.page import PAGE_HEADERS, breakable
from headwater.web.sight import seen

HOURS_DEFAULT = 24
# One response holds a day of many streams, or a month of one.
CELLS_MAX = 20_000
# How many streams are processed before the event loop runs other tasks.
IN_A_TURN_MAX = 50
HOURS_IN_A_TURN_MAX = 250
BASES = ("event", "receipt")
# Conditions that need attention come first.
_ORDER = {condition: place for place, condition in enumerate(CONDITIONS)}


class Monitoring:
    """The endpoints and the page, over one platform."""

    def __init__(self, platform: Platform, notice: str | None = None) -> None:
        self._platform = platform
        self._notice = notice
        environment = Environment(
            loader=PackageLoader("headwater.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        environment.filters["count"] = lambda number: f"{number:,}"
        environment.filters["breakable"] = breakable
        environment.filters["span"] = brief_duration
        environment.filters["size"] = size_text
        environment.filters["ago"] = _ago
        environment.filters["iso"] = time_text
        environment.filters["lead"] = lambda lead_ms: rough_duration(lead_ms / 1000)
        self._template = environment.get_template("monitoring.html")

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/monitoring", self.page, methods=["GET"]),
            Route("/v1/canaries", self.canaries, methods=["GET"]),
            Route("/v1/completeness", self.completeness, methods=["GET"]),
            Route("/v1/reconciliation", self.reconciliation, methods=["GET"]),
        ]

    async def canaries(self, request: Request) -> Response:
        """The condition of streams, and how far their canaries get; `stream` and `condition` (repeatable) select."""
        names = [stream.name for stream in self._asked(request)] if "stream" in request.query_params else None
        conditions = request.query_params.getlist("condition")
        for condition in conditions:
            _one_of("condition", condition, CONDITIONS)
        found = await self._found(request)
        shown = [
            one
            for one in found
            if (names is None or one.name in names) and (not conditions or one.condition in conditions)
        ]
        return _json(
            {
                "at": time_text(int(time.time() * 1000)),
                "sending": self._platform.config.monitoring.canaries,
                "conditions": dict(Counter(one.condition for one in found)),
                "streams": [one.as_dict() for one in shown],
            }
        )

    async def completeness(self, request: Request) -> Response:
        """The hours of one stream or several: complete, empty, missing, unknown or open."""
        monitor = self._platform.monitor
        streams = self._asked(request)
        if not streams:
            raise StreamUnknown("No stream is named.", hint="Use ?stream=NAME; it may be repeated.")
        by = cast("Literal['event', 'receipt']", _one_of("by", request.query_params.get("by", "event"), BASES))
        first, last = _range(request, len(streams))
        found = []
        for stream in streams:
            whole, hours = True, []
            for start in range(first, last, HOURS_IN_A_TURN_MAX):
                part = monitor.hours(stream, start, min(start + HOURS_IN_A_TURN_MAX, last), by=by)
                whole = whole and all(hour.is_whole for hour in part)
                hours += [hour.as_dict() for hour in part]
                await asyncio.sleep(0)
            found.append(
                {
                    "stream": stream.name,
                    "whole": whole,
                    "max_lateness_seconds": monitor.max_lateness_ms(stream) / 1000 if by == "event" else 0,
                    "hours": hours,
                }
            )
        return _json({"by": by, "counted_until": time_text(monitor.book.counted_until_ms), "streams": found})

    async def reconciliation(self, request: Request) -> Response:
        """Accepted, stored and delivered, by hour of receipt; with `differing` only hours in which they differ."""
        monitor = self._platform.monitor
        streams = self._asked(request) or list(seen(request).all())
        first, last = _range(request, len(streams))
        found = await monitor.reconciled(streams, first, last)
        only = is_on(request.query_params.getlist("differing"))
        counted_until = time_text(monitor.book.counted_until_ms)

        def response() -> Response:
            differing = [one for one in found if one.differences]
            return _json(
                {
                    "from": hour_text(first),
                    "to": hour_text(last),
                    "counted_until": counted_until,
                    "agrees": not differing,
                    "compared": len(found),
                    "hours": [one.as_dict() for one in (differing if only else found)],
                }
            )

        return await in_thread(response)

    async def page(self, request: Request) -> Response:
        """The streams by condition, with their last hours; `show` selects one condition."""
        found = sorted(await self._found(request), key=lambda one: (_ORDER[one.condition], one.name))
        show = request.query_params.get("show", "")
        now = int(time.time() * 1000)
        last = now // 3_600_000 + 1
        shown = [one for one in found if show in ("", one.condition)]
        rows = [{"health": one, "hours": await self._hours(one, last)} for one in shown]
        jobs = job_views(self._platform, seen(request))
        render = functools.partial(
            self._template.render,
            title=self._platform.config.intake.service_name,
            version=__version__,
            notice=self._notice,
            conditions=CONDITIONS,
            counts=Counter(one.condition for one in found),
            total=len(found),
            show=show if show in CONDITIONS else "",
            rows=rows,
            jobs=sorted(jobs, key=lambda job: (job["trouble"] is None, job["name"])),
            now=now,
            sending=self._platform.config.monitoring.canaries,
            counting=self._platform.config.monitoring.completeness,
        )
        content = await in_thread(render)
        return HTMLResponse(content, headers=PAGE_HEADERS)

    async def _hours(self, health: StreamHealth, last: int) -> Sequence[StreamHour]:
        """The last day, by receipt; empty if nothing is known about it."""
        if not health.topics:
            return ()
        await asyncio.sleep(0)
        stream = self._platform.streams.get(health.name)
        return self._platform.monitor.hours(stream, last - HOURS_DEFAULT, last, by="receipt")

    def _asked(self, request: Request) -> list[Stream]:
        """The named streams. Raises StreamUnknown."""
        streams = seen(request)
        return [streams.get(name) for name in request.query_params.getlist("stream")]

    async def _found(self, request: Request) -> list[StreamHealth]:
        """The condition of the streams that the client may see, with the jobs among their hops that it may see."""
        streams = seen(request)
        names = {stream.name for stream in (*streams.all(), *streams.families())}
        found = []
        for number, one in enumerate(self._platform.monitor.streams(), 1):
            if one.name in names:
                found.append(one.without_hops(lambda hop: not _is_named(streams, hop)))
            if number % IN_A_TURN_MAX == 0:
                await asyncio.sleep(0)
        return found


def _range(request: Request, streams: int) -> tuple[int, int]:
    """The requested hours, the last one excluded: `hour`, or `from` and `to`, else the last day up to now."""
    asked = request.query_params
    now = int(time.time()) // 3600
    if "hour" in asked:
        first = read_hour(asked["hour"])
        last = first + 1
    else:
        last = read_hour(asked["to"]) if "to" in asked else now + 1
        first = read_hour(asked["from"]) if "from" in asked else last - HOURS_DEFAULT
    if (last - first) * streams > CELLS_MAX:
        raise RequestTooLarge(
            f"{last - first} hours of {streams} streams are more than one response can hold ({CELLS_MAX}).",
            hint="Request fewer hours or fewer streams.",
        )
    return first, last


def _one_of(name: str, value: str, known: Iterable[str]) -> str:
    if value not in known:
        raise FilterInvalid(
            f"{name} must be one of {', '.join(known)}, not {value[:80]!r}.", hint=suggestion(value, known)
        )
    return value


def _is_named(streams: SeenStreams, hop: str) -> bool:
    return not hop.startswith(JOB_HOP) or streams.visibility.names_job(hop.removeprefix(JOB_HOP), streams.sight)


def _json(body: Any) -> Response:
    return Response(json_bytes(body), headers={"content-type": "application/json", "cache-control": "no-store"})


def _ago(at_ms: int | None, now_ms: int) -> str:
    """`5 s ago`, `3 min ago`, `2 h ago`, `4 days ago`; `never` for None."""
    return "never" if at_ms is None else f"{rough_duration(max(0, now_ms - at_ms) / 1000)} ago"
