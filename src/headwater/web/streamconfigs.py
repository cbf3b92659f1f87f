"""GET and POST /w/api.php?action=streamconfigs: stream configuration as MediaWiki's API serves it, with validators."""

from __future__ import annotations

import hashlib
import time
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response

from headwater.errors import RequestTooLarge
from headwater.streams.legacy.api import MAX_AGE_SECONDS, Parameters, answer
from headwater.streams.visibility import Sight
from headwater.web.http.threads import in_thread
from headwater.web.sight import seen

PATHS = ("/w/api.php", "/api.php")
FORM_BYTES_MAX = 1_048_576
FORM_TYPE = "application/x-www-form-urlencoded"
ERROR_HEADER = "MediaWiki-API-Error"


async def streamconfigs(request: Request) -> Response:
    """The settings of the requested streams. Errors have status 200, too, with their code in `MediaWiki-API-Error`."""
    platform, streams = request.app.state.platform, seen(request)
    query = request.scope["query_string"].decode("latin-1")
    parameters = await in_thread(Parameters.parse, query, await _form(request))
    answered = await in_thread(answer, streams.entries(), parameters)
    headers = {"content-type": answered.content_type, "cache-control": answered.cache_control}
    if streams.sight > Sight.PUBLIC:
        headers["cache-control"] = "private, no-cache"
    if parameters.get("origin") == "*":
        headers["access-control-allow-origin"] = "*"
    if answered.error_code:
        headers[ERROR_HEADER.lower()] = answered.error_code
        return Response(answered.body, headers=headers)
    if streams.sight is Sight.PUBLIC:
        headers["expires"] = formatdate(time.time() + MAX_AGE_SECONDS, usegmt=True)
    if platform.config.streams.compatible_api_etag:
        headers["etag"] = f'"{hashlib.blake2b(answered.body, digest_size=16).hexdigest()}"'
        if request.method in ("GET", "HEAD") and _is_current(request.headers.get("if-none-match"), headers["etag"]):
            return Response(
                status_code=304, headers={name: headers[name] for name in headers if name != "content-type"}
            )
    return Response(answered.body, headers=headers)


def _is_current(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this exact response; a weak entity tag is equivalent here (RFC 9110, 13.1.2)."""
    held = [mark.strip().removeprefix("W/") for mark in (if_none_match or "").split(",")]
    return etag in held or "*" in held


async def _form(request: Request) -> str:
    if request.method != "POST" or not request.headers.get("content-type", FORM_TYPE).startswith(FORM_TYPE):
        return ""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise RequestTooLarge(f"The form is larger than {FORM_BYTES_MAX} bytes.")
    return body.decode("latin-1")
