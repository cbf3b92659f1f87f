"""One request as the stand-in sees it, and one answer as the server is to send it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

JSON = "application/json; charset=utf-8"
HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded, `query` is as it was sent; names of headers are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def domain(self) -> str:
        """The wiki asked: the `Host`, or `X-Fake-Domain` where the host is this machine."""
        host = _without_port(self.headers.get("host", ""))
        if host in ("", "localhost", "::1") or host.startswith("127."):
            return _without_port(self.headers.get("x-fake-domain", "")) or host
        return host


def _without_port(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send, and how: after `delay_seconds`, or not to the end.

    `reset`: nothing is sent, and the connection is reset. `body_bytes_sent`: the connection ends after so many bytes of
    the body, of which the head promises all.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    delay_seconds: float = 0.0
    reset: bool = False
    body_bytes_sent: int | None = None


@dataclass(frozen=True, slots=True)
class ServedBy:
    """The wiki and the name of the server, which errors of the Action API name."""

    domain: str
    server: str


class ApiRefusal(Exception):
    """A request that the Action API answers with an error: status 200, `error.code`, and the code in a header."""

    def __init__(
        self, code: str, info: str, *, extra: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(info)
        self.code = code
        self.info = info
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def answer(self, wiki: ServedBy) -> Answer:
        """The error as the wiki sends it."""
        docref = f"See https://{wiki.domain}/w/api.php for API usage."
        error = {"code": self.code, "info": self.info, **self.extra, "docref": docref}
        headers = {**self.headers, "MediaWiki-API-Error": self.code}
        return json_answer({"error": error, "servedby": wiki.server}, headers=headers)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """The value as UTF-8 JSON."""
    return Answer(status, {"Content-Type": JSON, **(headers or {})}, orjson.dumps(value))


def html_error(status: int, sentence: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """A page as caches and web servers send it in place of an answer; it is never JSON."""
    name = phrase(status)
    text = sentence or f"Error: {status}, {name}"
    page = (
        f"<!DOCTYPE html>\n<html><head><title>{name}</title></head>\n<body><h1>{name}</h1><p>{text}</p></body></html>\n"
    )
    return Answer(status, {"Content-Type": HTML, **(headers or {})}, page.encode())


def phrase(status: int) -> str:
    """The status in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
