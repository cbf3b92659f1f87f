"""The JSON object in the body of a request that changes something."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from headwater.errors import ChangeRefused, RequestTooLarge
from headwater.event import read_json

BODY_BYTES_MAX = 1_048_576


async def json_body(request: Request) -> dict[str, Any]:
    """The object. Raises RequestTooLarge, ChangeRefused."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES_MAX:
            raise RequestTooLarge(f"A change is larger than {BODY_BYTES_MAX} bytes.")
    try:
        written = read_json(data)
    except ValueError as error:
        raise ChangeRefused(f"The body is not JSON: {error}.") from None
    if not isinstance(written, dict):
        raise ChangeRefused("The body must be a JSON object.")
    return written
