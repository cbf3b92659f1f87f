"""GET /metrics: the metrics of the platform, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from headwater.monitoring.canaries import JOB_HOP
from headwater.platform import Platform
from headwater.streams.seen import SeenStreams
from headwater.telemetry import CONTENT_TYPE
from headwater.web.sight import address_of


async def metrics(request: Request) -> Response:
    """All samples; without a key, those of private streams and their jobs are aggregated."""
    body = await metrics_text(request.app.state.platform, request.headers.get("authorization"), address_of(request))
    return Response(body, headers={"content-type": CONTENT_TYPE})


async def metrics_text(platform: Platform, authorization: str | None, address: str = "") -> bytes:
    """The metrics of one process, for a client with this header. Raises KeyRequired."""
    return await platform.metrics(concealing(platform.seen(platform.keys.sight(authorization, address))))


def concealing(streams: SeenStreams) -> Callable[[str, str], bool] | None:
    """Whether the value of a label must be hidden from a reader; None if none must be."""
    visibility, sight = streams.visibility, streams.sight
    if streams.sees_all:
        return None

    def conceals(label: str, value: str) -> bool:
        if label == "stream":
            return value != "" and visibility.knows(value) and value not in streams
        if label == "hop" and value.startswith(JOB_HOP):
            return not visibility.names_job(value.removeprefix(JOB_HOP), sight)
        return label == "job" and not visibility.names_job(value, sight)

    return conceals
