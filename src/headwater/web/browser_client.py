"""GET /clients/headwater.js: the producer for web pages, so that a page loads nothing from other servers."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.web.http.route import Route

# The complete list of served files: a request's path never becomes a path on disk.
_FILES = {
    "headwater.js": "text/javascript; charset=utf-8",
    "headwater.d.ts": "text/plain; charset=utf-8",
}
# Pages of other origins may import it regardless of the intake's CORS setting: it contains nothing private.
_HEADERS = {
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "public, max-age=300, stale-while-revalidate=86400",
}


def browser_client_routes() -> list[BaseRoute]:
    """The client's files; their ETag is a hash of the content."""
    return [Route("/clients/{name}", browser_client, methods=["GET"])]


async def browser_client(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    content = read_client(name)
    etag = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'
    headers = {**_HEADERS, "etag": etag, "content-type": _FILES[name]}
    if request.headers.get("if-none-match", "").removeprefix("W/") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


@cache
def read_client(name: str) -> bytes:
    """One file of the client: of the installed package, or of the repository this runs in."""
    installed = files("headwater.web").joinpath("static", "clients", name)
    if installed.is_file():
        return installed.read_bytes()
    return (Path(__file__).resolve().parents[3] / "clients" / "js" / name).read_bytes()
