"""Converts errors to HTTP responses: the class → status table, and problem documents (RFC 9457)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from headwater import errors
from headwater.errors import HeadwaterError
from headwater.event import json_bytes

MEDIA_TYPE = "application/problem+json"

# The nearest base class counts, so a subclass needs a row only if it differs.
STATUS: dict[type[HeadwaterError], int] = {
    HeadwaterError: 500,
    errors.ConfigInvalid: 500,
    errors.EventMalformed: 400,
    errors.EventInvalid: 400,
    errors.EventTooLarge: 413,
    errors.RequestTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.RequestTooSlow: 408,
    errors.ContentUnsupported: 415,
    errors.SchemaNotFound: 404,
    errors.SchemaUriRefused: 400,
    errors.SchemaInvalid: 500,
    errors.SchemaUnavailable: 503,
    errors.StreamUnknown: 404,
    errors.RevisionUnknown: 404,
    errors.JobUnknown: 404,
    errors.FailureUnknown: 404,
    errors.TableUnknown: 404,
    errors.RowUnknown: 404,
    errors.RowsTooMany: 400,
    errors.StreamDisabled: 400,
    errors.StreamClosed: 400,
    errors.TooManyStreams: 400,
    errors.ChangeRefused: 422,
    errors.ChangeConflict: 412,
    errors.SourceUnknown: 404,
    errors.SignatureInvalid: 401,
    errors.KeyRequired: 401,
    errors.KeysDamaged: 503,
    errors.ScopeMissing: 403,
    errors.HostUnknown: 421,
    errors.HeaderRepeated: 400,
    errors.TooManyRequests: 429,
    errors.StreamSchemaMismatch: 400,
    errors.KeyFieldMissing: 400,
    errors.TopicUnknown: 404,
    errors.TokenInvalid: 400,
    errors.PositionLost: 410,
    errors.FilterInvalid: 400,
    errors.TimestampInvalid: 400,
    errors.TooManyConnections: 429,
    errors.ConsumerTooSlow: 503,
    errors.LogUnavailable: 503,
    errors.LogFull: 507,
    errors.LogInUse: 503,
    errors.LogCorrupt: 500,
    errors.WriterFenced: 503,
    errors.FeatureUnsupported: 501,
    errors.FlinkUnavailable: 503,
    errors.FlinkRefused: 409,
    errors.JobInvalid: 500,
    errors.SinkUnavailable: 503,
    errors.StateUnavailable: 503,
    errors.ExtraMissing: 501,
}

RETRY_AFTER_SECONDS_DEFAULT = 1


def status_of(error: HeadwaterError) -> int:
    """The HTTP status of `error`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_document(error: HeadwaterError, *, method: str, uri: str) -> dict[str, Any]:
    """`{status, type, title, detail, method, uri}`, and `hint` if there is one. `type` is the error's code."""
    document = {
        "status": status_of(error),
        "type": error.code,
        "title": _title(error),
        "detail": error.message,
        "method": method,
        "uri": uri,
    }
    if error.hint:
        document["hint"] = error.hint
    return document


# How to send a key: for programs, and for browsers, which ask their user for a name and a password.
CHALLENGES = ('Bearer realm="Headwater"', 'Basic realm="Headwater", charset="UTF-8"')


def challenge_headers(error: HeadwaterError) -> list[tuple[bytes, bytes]]:
    """`www-authenticate`, one for each scheme, for what needs an API key; shared caches must not store it."""
    if not isinstance(error, errors.KeyRequired):
        return []
    return [*((b"www-authenticate", one.encode()) for one in CHALLENGES), (b"cache-control", b"no-store")]


def problem_headers(error: HeadwaterError) -> dict[str, str]:
    """`retry-after` for errors that a retry may resolve."""
    if not error.retriable:
        return {}
    return {"retry-after": str(getattr(error, "retry_after_seconds", RETRY_AFTER_SECONDS_DEFAULT))}


class ProblemResponse(Response):
    """The response to a request that failed with `error`."""

    media_type = MEDIA_TYPE

    def __init__(self, error: HeadwaterError, *, method: str, uri: str, status: int | None = None) -> None:
        document = problem_document(error, method=method, uri=uri)
        document["status"] = status or document["status"]
        super().__init__(json_bytes(document), status_code=document["status"], headers=problem_headers(error))
        self.raw_headers.extend(challenge_headers(error))


def request_uri(scope: Any) -> str:
    """Path and query of an ASGI request as the client wrote them."""
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    query = scope.get("query_string", b"")
    return str(path + b"?" + query if query else path, "latin-1")


def _title(error: HeadwaterError) -> str:
    """`schema_not_found` → `Schema not found`."""
    return error.code.replace("_", " ").capitalize()
