"""Errors outside endpoints, in the format of their path: the registry's JSON, a problem document, or a page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from headwater.errors import HeadwaterError
from headwater.web.problems import MEDIA_TYPE, ProblemResponse, request_uri, status_of

REGISTRY_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# The paths of the schema registry's clients, with everything below them.
_REGISTRY = ("/subjects", "/schemas", "/config", "/mode", "/compatibility", "/contexts", "/exporters", "/v1/metadata")
# The paths of programs; elsewhere an unknown path gets the page of EventGate's framework.
_PROGRAMS = (
    *("/v1/streams", "/v1/stream-changes", "/v1/canaries", "/v1/completeness", "/v1/reconciliation", "/v1/_page"),
    *("/v1/webhooks", "/v1/served"),
    *("/asyncapi", "/clients", "/repositories", "/_info", "/healthz", "/readyz"),
)
# The registry's own code for a failure of its backend.
_BACKEND = 50001


def is_registry(path: str) -> bool:
    """Whether a path belongs to the schema registry API."""
    return _is_in(path, _REGISTRY)


def exception_handlers() -> dict[Any, Any]:
    """Exception class → handler, for an application."""
    return {
        HTTPException: _unrouted,
        HeadwaterError: _failed,
        ClientDisconnect: _abandoned,
        Exception: _broken,
    }


def registry_failure(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the schema registry's format."""
    return Response(
        orjson.dumps({"error_code": code, "message": message}),
        status_code=status,
        media_type=REGISTRY_MEDIA_TYPE,
        headers={"access-control-allow-origin": "*", **(headers or {})},
    )


def error_answer(error: HeadwaterError, method: str, uri: str) -> Response:
    """A failed request, in the format of its path."""
    if not is_registry(uri.partition("?")[0]):
        return ProblemResponse(error, method=method, uri=uri)
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return registry_failure(status, _BACKEND, f"Error in the backend data store: {error}")
    return registry_failure(status, status, str(error))


def page_of_error(status: int, method: str, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """The page of EventGate's framework for an unknown path or method."""
    sentence = escape(f"Cannot {method} {path}")
    # Part of such a page regardless of the configuration, as in EventGate's framework.
    own = {"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"}
    return HTMLResponse(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
        f"<body>\n<pre>{sentence}</pre>\n</body>\n</html>\n",
        status_code=status,
        headers={**own, **(headers or {})},
    )


async def _unrouted(request: Request, error: HTTPException) -> Response:
    """The framework's own errors: no such path, or not this method."""
    path = request.scope["path"]
    # A wrong method is an unknown route in EventGate.
    status = HTTPStatus(404 if error.status_code == 405 and path == "/v1/_test/events" else error.status_code)
    if is_registry(path):
        return registry_failure(status, status, f"HTTP {status.value} {status.phrase}", error.headers)
    if not _is_in(path, _PROGRAMS) or _wants_page(request):
        return page_of_error(status, request.method, path, error.headers)
    return _problem(request, status, f"Cannot {request.method} {request_uri(request.scope)}", error.headers)


async def _failed(request: Request, error: HeadwaterError) -> Response:
    return error_answer(error, request.method, request_uri(request.scope))


async def _abandoned(request: Request, error: ClientDisconnect) -> Response:
    """An empty response, since the client has gone."""
    return Response(status_code=400)


async def _broken(request: Request, error: Exception) -> Response:
    """A fault of ours; the server logs it."""
    if is_registry(request.scope["path"]):
        return registry_failure(500, _BACKEND, "Error in the backend data store")
    return _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "The request could not be answered.")


def _problem(request: Request, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    document = {
        "status": status.value,
        "type": status.phrase.lower().replace(" ", "_"),
        "title": status.phrase,
        "detail": detail,
        "method": request.method,
        "uri": request_uri(request.scope),
    }
    return Response(orjson.dumps(document), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _is_in(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _wants_page(request: Request) -> bool:
    return request.scope["path"].startswith("/repositories") and "text/html" in request.headers.get("accept", "")
