"""What the client of a request may see: every endpoint that shows streams asks here, and shows no others."""

from __future__ import annotations

from starlette.requests import Request

from headwater.streams.seen import SeenStreams
from headwater.streams.visibility import Sight
from headwater.web.http.headers import client_address


def sight_of(request: Request, *, again: bool = False) -> Sight:
    """What the API key of a request lets the client see. Raises KeyRequired for an invalid key.

    `again`: a repeated check of the same request, which does not count as an attempt.
    """
    keys = request.app.state.platform.keys
    sight: Sight = keys.sight(request.headers.get("authorization"), None if again else address_of(request))
    return sight


def address_of(request: Request) -> str:
    """Where a request comes from: the connection, or what `consumption.client_address_header` names."""
    named: str | None = request.app.state.platform.config.consumption.client_address_header
    return client_address(request.scope["headers"], request.client.host if request.client else None, named)


def seen(request: Request, *, again: bool = False) -> SeenStreams:
    """The streams that the client of a request may see. Raises KeyRequired."""
    streams: SeenStreams = request.app.state.platform.seen(sight_of(request, again=again))
    return streams
