"""Facts about the running service: its identity, its health, its stream configuration, and what crawlers may do."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

import headwater
from headwater.event import json_bytes
from headwater.platform import Platform
from headwater.streams.visibility import Sight
from headwater.web.jobs.views import jobs_in_trouble
from headwater.web.sight import seen, sight_of

DESCRIPTION = "An event platform: validates events against schemas, stores them and streams them live."
HOME = "/?doc"
READY_SECONDS_MAX = 1.0


class JsonResponse(Response):
    """A JSON response with the content type that EventGate's clients expect."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


async def info(request: Request) -> Response:
    """`/_info`: name, version, description and home of the service."""
    return JsonResponse(_facts(request))


async def info_part(request: Request) -> Response:
    """`/_info/name` and `/_info/version`: one of these facts."""
    part = request.scope["path"].rstrip("/").rsplit("/", 1)[-1]
    return JsonResponse({part: _facts(request)[part]})


async def info_home(_: Request) -> Response:
    """`/_info/home`: to the documentation."""
    return RedirectResponse(HOME, status_code=301)


async def robots(_: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /\n")


async def healthz(_: Request) -> Response:
    """Liveness: answers as long as the event loop runs, whatever the state of the log."""
    return JsonResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Readiness: the log can be read, and accepts events of at least one stream. `degraded` if jobs fail, or if the log
    does not accept events of every stream: the others are still served.

    A full disk does not make it unready, since readers are still served. Where reading needs a key, those without one
    (orchestrators and load balancers send none) get the status alone.
    """
    platform = request.app.state.platform
    if platform.config.consumption.keys == "required" and sight_of(request) is Sight.PUBLIC:
        answer = await _readiness(request)
        is_ready = answer.status_code == 200
        return JsonResponse({"status": "ok" if is_ready else "unavailable"}, status_code=answer.status_code)
    return await _readiness(request)


async def _readiness(request: Request) -> Response:
    platform = request.app.state.platform
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            # Probes arrive together; concurrent checks take longer than consecutive ones.
            topics = await request.app.state.looking.awaited("topics", platform.log.topics)
    except Exception as error:
        return JsonResponse({"status": "unavailable", "reason": type(error).__name__}, status_code=503)
    if (why := platform.log.cannot_serve()) is not None:
        return JsonResponse({"status": "unavailable", "reason": why}, status_code=503)
    jobs = [
        {"name": job["name"], "reason": job["trouble"]}
        | ({"errors": job["error_groups"]} if job["error_groups"] else {})
        for job in jobs_in_trouble(platform, seen(request))
    ]
    log = _log_troubles(platform, {topic.name for topic in topics})
    if jobs or log:
        said = {name: troubles for name, troubles in (("jobs", jobs), ("log", log)) if troubles}
        return JsonResponse({"status": "degraded", "topics": len(topics), **said})
    return JsonResponse({"status": "ok", "topics": len(topics)})


def _log_troubles(platform: Platform, there: set[str]) -> list[str]:
    """What the log cannot do for some streams. Public, so the names are only in the server's own log."""
    troubles = list(platform.log.troubles())
    missing = sum(topic not in there for stream in platform.streams.all() for topic in stream.topics)
    if missing:
        troubles.append(f"{missing} declared topics are not in the log: create them with `headwater apply`.")
    return troubles


def stream_configs(request: Request) -> Response:
    """`/v1/stream-configs[/{a,b}]`: the legacy settings of all or some streams; unknown names are omitted."""
    streams = seen(request)
    named = request.path_params.get("names")
    if named is None:
        return JsonResponse({stream.name: stream.legacy_settings() for stream in (*streams.all(), *streams.families())})
    found = {}
    for name in filter(None, re.split(r"[,|]", unquote(named))):
        stream = streams.find(name)
        if stream is not None:
            found[name] = stream.legacy_settings()
    return JsonResponse(found)


def _facts(request: Request) -> dict[str, str]:
    return {
        "name": request.app.state.platform.config.intake.service_name,
        "version": headwater.__version__,
        "description": DESCRIPTION,
        "home": HOME,
    }
