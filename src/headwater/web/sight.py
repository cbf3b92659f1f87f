"""What the sender of a request may see: every endpoint that tells of streams asks here, and shows no others."""

from __future__ import annotations

from starlette.requests import Request

from headwater.streams.seen import SeenStreams
from headwater.streams.visibility import Sight
from headwater.web.http.headers import client_address


def sight_of(request: Request, *, again: bool = False) -> Sight:
    """What the API key of a request lets its sender see. Raises KeyRequired for a key that is not good.

    `again`: it was asked before, and no attempt is counted.
    """
    keys = request.app.state.platform.keys
    sight: Sight = keys.sight(request.headers.get("authorization"), None if again else address_of(request))
    return sight


def address_of(request: Request) -> str:
    """Where a request comes from: the connection, or what `consumption.client_address_header` names."""
    named: str | None = request.app.state.platform.config.consumption.client_address_header
    return client_address(request.scope["headers"], request.client.host if request.client else None, named)


def seen(request: Request, *, again: bool = False) -> SeenStreams:
    """The streams as the sender of a request sees them. Raises KeyRequired."""
    streams: SeenStreams = request.app.state.platform.seen(sight_of(request, again=again))
    return streams
