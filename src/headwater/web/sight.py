"""What the sender of a request may see: every endpoint that tells of streams asks here, and shows no others."""

from __future__ import annotations

from starlette.requests import Request

from headwater.streams.seen import SeenStreams
from headwater.streams.visibility import Sight


def sight_of(request: Request) -> Sight:
    """What the API key of a request lets its sender see. Raises KeyRequired for a key that is not good."""
    keys = request.app.state.platform.keys
    sight: Sight = keys.sight(request.headers.get("authorization"), address_of(request))
    return sight


def address_of(request: Request) -> str:
    """Where the connection of a request comes from."""
    return request.client.host if request.client else ""


def seen(request: Request) -> SeenStreams:
    """The streams as the sender of a request sees them. Raises KeyRequired."""
    streams: SeenStreams = request.app.state.platform.seen(sight_of(request))
    return streams
