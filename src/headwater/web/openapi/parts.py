"""Builds the parts of OpenAPI descriptions: operations, parameters, bodies, responses. All are plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.web.openapi.value_schemas import Node, array_of, ref, text

JSON = "application/json"
HTML = "text/html"
TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
PROBLEM = "application/problem+json"
# The name of the security scheme of API keys.
API_KEY = "api_key"
# Segments of a path: no route accepts a line break.
ONE_LINE = r"^[^\r\n]+$"


def operation(operation_id: str, tag: str, summary: str, answers: Mapping[str, Node], **more: Any) -> Node:
    """One operation. `answers`: status → response; `more` are other keys, such as `description` and `parameters`."""
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        **{name: value for name, value in more.items() if value},
        "responses": dict(sorted(answers.items())),
    }


def needing_key(described: Node, scope: str, *, always: bool = True) -> Node:
    """The operation, marked as one that needs an API key with a scope; not `always`: only for part of the response."""
    key: Node = {API_KEY: []}
    refusals = problems(
        {
            "401": "`Authorization` has no API key, or one that is unknown, revoked or expired",
            "403": f"The API key lacks the scope `{scope}`",
            "429": "The API key was used too often, or too many clients are waiting; retry after `Retry-After`",
        }
    )
    responses = dict(sorted({**refusals, **described["responses"]}.items()))
    security = [key] if always else [{}, key]
    return {**described, "security": security, "x-scope": scope, "responses": responses}


def unending(described: Node) -> Node:
    """The operation, marked for tools that try out every path to skip it, since it never ends or changes data."""
    return {**described, "x-monitor": False}


def query(name: str, description: str, schema: Node | None = None, **more: Any) -> Node:
    """A parameter of the query string, a text by default."""
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}, **more}


def repeated(name: str, description: str, item: Node | None = None) -> Node:
    """A parameter of the query string that may be repeated."""
    return query(name, description, array_of(item or text()), explode=True)


def header(name: str, description: str, schema: Node | None = None) -> Node:
    """A request header."""
    return {"name": name, "in": "header", "description": description, "schema": schema or {"type": "string"}}


def path(name: str, description: str, schema: Node | None = None) -> Node:
    """A parameter of the path; slashes in it are written %2F."""
    given = schema or {"type": "string", "minLength": 1, "pattern": ONE_LINE}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": given}


def answer(
    description: str, schemas: Mapping[str, Node] | None = None, headers: Mapping[str, str] | None = None
) -> Node:
    """A response. `schemas`: media type → schema, nothing for a response without content."""
    described: Node = {"description": description}
    if headers:
        described["headers"] = {
            name: {"description": description, "schema": text()} for name, description in headers.items()
        }
    if schemas:
        described["content"] = content(schemas)
    return described


def content(schemas: Mapping[str, Node]) -> Node:
    """Media type → schema, as in bodies and responses."""
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}


def problems(described: Mapping[str, str]) -> dict[str, Node]:
    """Status → a problem document, from status → when it occurs."""
    return {status: answer(description, {PROBLEM: ref("problem")}) for status, description in described.items()}
