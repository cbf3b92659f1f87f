"""The native API of jobs: GET /v1/jobs says how they are, POST /v1/jobs/{name} pauses, resumes, resets, rewinds one."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.declaration import suggestion
from headwater.errors import ChangeRefused, JobUnknown
from headwater.event import json_bytes
from headwater.log.contract import Position
from headwater.platform import Platform
from headwater.processing.control import (
    JobControl,
    JobRequest,
    consequences,
    in_words,
    require_here,
    require_position,
)
from headwater.processing.hosting.contract import JobHost
from headwater.times import time_ms
from headwater.web.http.headers import is_on
from headwater.web.http.json_body import json_body
from headwater.web.http.route import Route
from headwater.web.jobs.views import job_views
from headwater.web.sight import address_of, seen

POSITION_CHARS_MAX = 2_000
Verb = Literal["pause", "resume", "reset", "rewind"]
VERBS: tuple[Verb, ...] = get_args(Verb)


class JobsApi:
    """The endpoints, over one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[BaseRoute]:
        """The endpoints."""
        return [
            Route("/v1/jobs", self.all, methods=["GET"]),
            Route("/v1/jobs/{name}", self.change, methods=["POST"]),
        ]

    async def all(self, request: Request) -> Response:
        """How the jobs are, and what is measured of them; `name` (repeatable) selects."""
        names = request.query_params.getlist("name")
        views = job_views(self._platform, seen(request))
        known = [view["name"] for view in views]
        for name in names:
            if name not in known:
                raise JobUnknown(f"There is no job {name!r:.200}.", hint=suggestion(name, known))
        return _json({"jobs": [view for view in views if not names or view["name"] in names]}, 200)

    async def change(self, request: Request) -> Response:
        """`{"do": "pause" | "resume" | "reset" | "rewind", "to": time}`, or a `position` to rewind to.

        `dry_run=true`: report the consequences.
        """
        actor = self._platform.keys.check(request.headers.get("authorization"), "streams:write", address_of(request))
        host = self._found(request.path_params["name"])
        written = await json_body(request)
        verb, to_ms, position = _asked(written)
        require_here(host.job.name, self._platform.on_flink)
        dry = is_on(request.query_params.getlist("dry_run"))
        moves = verb in ("reset", "rewind")
        control = host.control
        assert control is not None
        if position is not None:
            require_position(host.job.input)
        left_out = 0
        if to_ms is not None and host.job.input is None and (read := host.report().position) is not None:
            left_out = await control.left_out(to_ms, Position.parse(read))
        answer: dict[str, Any] = {
            "job": host.job.name,
            "do": verb,
            "consequences": consequences(host.job, begins_at=in_words(to_ms, position), left_out=left_out)
            if moves
            else [],
        }
        if dry:
            return _json({"dry_run": True, **answer}, 200)
        await _carry_out(control, verb, to_ms, position, actor)
        host.look()
        return _json(answer, 202)

    def _found(self, name: str) -> JobHost:
        host = self._platform.runners.get(name)
        if host is None:
            raise JobUnknown(f"There is no job {name!r:.200}.", hint=suggestion(name, self._platform.runners))
        return host


async def _carry_out(
    control: JobControl, verb: Verb, to_ms: int | None, position: str | None, actor: str
) -> JobRequest:
    if verb in ("pause", "resume"):
        return await control.pause(paused=verb == "pause", by=actor)
    return await control.move(to_ms, by=actor, position=position)


def _asked(written: dict[str, Any]) -> tuple[Verb, int | None, str | None]:
    """The verb, and the time to rewind to, or the position of an upstream. Raises ChangeRefused."""
    if unknown := sorted(set(written) - {"do", "to", "position"}):
        raise ChangeRefused(f"The body has no key {unknown[0]!r}.", hint='It is {"do": "pause"}, for example.')
    verb, to, position = written.get("do"), written.get("to"), written.get("position")
    if verb not in VERBS:
        raise ChangeRefused(f"`do` must be one of {', '.join(VERBS)}, not {verb!r:.40}.")
    if verb != "rewind":
        if to is not None:
            raise ChangeRefused(f"`to` is for a rewind, not for {verb!r}.")
        if position is not None:
            raise ChangeRefused(f"`position` is for a rewind, not for {verb!r}.")
        return cast("Verb", verb), None, None
    if position is not None:
        if not isinstance(position, str) or not 0 < len(position) <= POSITION_CHARS_MAX:
            raise ChangeRefused(f"`position` must be a text of 1 to {POSITION_CHARS_MAX:,} characters.")
        if to is not None:
            raise ChangeRefused("A rewind is to a time or to a position, not to both.", hint="Leave one of them out.")
        return "rewind", None, position
    found = time_ms(to) if isinstance(to, str) else None
    if found is None:
        raise ChangeRefused("`to` must be the time to rewind to.", hint="Such as 2026-01-31T12:00:00Z.")
    return "rewind", found, None


def _json(value: dict[str, Any], status: int) -> Response:
    return Response(json_bytes(value), status_code=status, media_type="application/json")
