"""GET /metrics: what the platform counts about itself, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headwater.telemetry import CONTENT_TYPE


async def metrics(request: Request) -> Response:
    return Response(request.app.state.platform.telemetry.render(), headers={"content-type": CONTENT_TYPE})
