"""The headers of every response (who may read it, what a browser may do with it), and numbers that clients send."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater.errors import HeaderRepeated

RawHeaders = list[tuple[bytes, bytes]]

NUMBER_DIGITS_MAX = 18
# Each affects how a request is answered: of two values, a proxy might have used the other one.
SINGLE = frozenset(
    {
        *(b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"if-match"),
        *(b"last-event-id", b"origin", b"sec-fetch-site"),
    }
)
FALSE_WORDS = frozenset({"false", "0", "no", "off"})

CSP_SERVICE = (
    b"default-src 'self'; object-src 'none'; media-src 'none'; img-src 'none'; style-src 'none'; base-uri 'self'; "
    b"frame-ancestors 'self'"
)


def make_default_headers(cors: str | None, csp: bool) -> RawHeaders:
    """CORS headers for `cors` (None: none of them), security headers if `csp`."""
    headers: RawHeaders = []
    if cors:
        headers += [
            (b"access-control-allow-origin", cors.encode("latin-1")),
            (b"access-control-allow-headers", b"accept, x-requested-with, content-type"),
            (b"access-control-expose-headers", b"etag"),
            # Lower case: Chrome's network error logging compares it literally.
            (b"access-control-allow-methods", b"post"),
        ]
    if csp:
        headers += [
            (b"x-xss-protection", b"1; mode=block"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"SAMEORIGIN"),
            (b"content-security-policy", CSP_SERVICE),
        ]
    return headers


def check_single(headers: RawHeaders) -> None:
    """Raise HeaderRepeated if one of `SINGLE` occurs more than once; an identical content type may be repeated."""
    if len(dict(headers)) == len(headers):
        return
    first: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in first and not (name == b"content-type" and value == first[name]):
            raise HeaderRepeated(f"The request has the header {name.decode()} more than once.", hint="Send it once.")
        if name in SINGLE:
            first[name] = value


def client_address(headers: RawHeaders, peer: str | None, named: str | None) -> str:
    """The client's address: the connection's `peer`, or the one that a trusted proxy puts into the header `named`.

    Of several values the last one: that is the proxy's, whatever its client sent before.
    """
    wanted = named.lower().encode("latin-1", "replace") if named else None
    said = next((value for name, value in reversed(headers) if name == wanted), b"").decode("latin-1").strip()
    return said or peer or ""


def joined(headers: RawHeaders) -> dict[str, str]:
    """The headers by name; the values of a repeated one are joined as a list, as HTTP defines."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def is_number(text: str) -> bool:
    """Whether a client's text is a whole number that `int` can read: ASCII digits, and not too many."""
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX


def is_on(given: Sequence[str]) -> bool:
    """Whether a flag of a query string is set, from all its values: `?flag` without a value sets it.

    A flag that is given more than once is set, since it is a list then (as recorded).
    """
    return len(given) > 1 or (len(given) == 1 and given[0].strip().lower() not in FALSE_WORDS)


class DefaultHeaders:
    """ASGI middleware that adds `headers` to every response that has not set them itself.

    `headers_of`: the headers of one response, if they depend on the endpoint; called when the response starts.
    """

    def __init__(
        self, app: ASGIApp, headers: RawHeaders, headers_of: Callable[[Scope], RawHeaders] | None = None
    ) -> None:
        self._app = app
        self._headers_of = headers_of or (lambda _: headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_missing(message, self._headers_of(scope))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _add_missing(message: MutableMapping[str, Any], headers: RawHeaders) -> None:
    own = MutableHeaders(raw=list(message.get("headers", ())))
    missing = [(name, value) for name, value in headers if name.decode("latin-1") not in own]
    message["headers"] = own.raw + missing
