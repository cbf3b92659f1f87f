"""Reads what a job asks for, the arguments of `ctx.http`, into a request that can be sent and recognised."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict
from urllib.parse import quote, quote_plus, urlsplit

import orjson

from headwater.declaration import suggestion
from headwater.errors import LookupRefused
from headwater.times import duration_ms

Duration = float | int | str
# Methods that may be sent again although the first one may have arrived.
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
URL_CHARS_MAX = 65_536
# Headers that differ between requests for the same thing.
TRACE_HEADERS = frozenset({"x-request-id", "traceparent", "tracestate"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENDS = re.compile(r"[\s'\"<>]")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is sent. `shown` names it in messages: without its query, which may hold secrets."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    shown: str


class Options(TypedDict, total=False):
    """The options of a request.

    `params`: the query; a list repeats its name, None leaves it out. `headers`. `json`: a body as JSON. `data`: a body
    as it is (bytes or text), or a form (a mapping). `timeout`: for everything, also for waiting and retries; seconds or
    text like "5s". `cache`: for how long an answer may be used again, such as "10m". `accept`: statuses that are
    returned although they are errors, or "any". `attempts`: how often it may be sent; given, also a method that is not
    repeated otherwise.
    """

    params: Mapping[str, Any]
    headers: Mapping[str, str]
    json: Any
    data: bytes | str | Mapping[str, Any]
    timeout: Duration
    cache: Duration
    accept: Collection[int] | Literal["any"]
    attempts: int


_KNOWN = tuple(Options.__annotations__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, and how it is to be treated. `key` is equal for requests that ask for the same thing."""

    request: Request
    host: str
    key: Hashable
    seconds: float | None
    cache_seconds: float
    accept: Collection[int] | Literal["any"]
    attempts: int | None

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again although the first one may have arrived."""
        return (
            self.attempts is not None or self.request.method in REPEATABLE or "idempotency-key" in _names(self.request)
        )

    def accepts(self, status: int) -> bool:
        """Whether the caller wants an answer with this status, whatever it means."""
        return 200 <= status < 300 or self.accept == "any" or status in self.accept


def read_options(method: str, url: str, options: Options) -> Wanted:
    """The request that `options` describe. Raises LookupRefused, ValueError and TypeError."""
    for name in options:
        if name not in _KNOWN:
            raise TypeError(f"{method.lower()}() has no option {name!r}. {suggestion(name, _KNOWN)}")
    method = method.upper()
    headers = dict(options.get("headers") or {})
    body = _body(options, headers)
    url = with_params(url, options.get("params"))
    if len(url) > URL_CHARS_MAX:
        raise LookupRefused(f"An address of {len(url):,} characters is longer than {URL_CHARS_MAX:,}.")
    origin, shown = _place(method, url.partition("?")[0])
    if _CONTROL.search(url):
        raise LookupRefused(f"{shown}: the address contains a control character.", hint="Quote what comes from events.")
    asked = next((value for name, value in headers.items() if name.lower() == "host"), None)
    matter = sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in TRACE_HEADERS)
    cache = options.get("cache")
    timeout = options.get("timeout")
    return Wanted(
        Request(method, url, headers, body, shown),
        f"{asked} ({origin})" if asked else origin,
        (method, url, tuple(matter), None if body is None else hashlib.sha256(body).digest()),
        None if timeout is None else seconds_of("timeout", timeout),
        0.0 if cache is None else seconds_of("cache", cache),
        options.get("accept", ()),
        options.get("attempts"),
    )


def with_params(url: str, params: Mapping[str, Any] | None) -> str:
    """The URL with `params` added to its query, and without a fragment."""
    url = url.partition("#")[0]
    query = form_of(params or {})
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def form_of(params: Mapping[str, Any]) -> str:
    """Names and values as in a query or a form; a list repeats its name, None leaves it out."""
    pairs = []
    for name, value in params.items():
        if isinstance(value, (list, tuple)):
            pairs += [f"{_quoted(name)}={_quoted(_text(one))}" for one in value]
        elif value is not None:
            pairs.append(f"{_quoted(name)}={_quoted(_text(value))}")
    return "&".join(pairs)


def seconds_of(name: str, duration: Duration) -> float:
    """A duration in seconds. Raises ValueError, which names the option."""
    seconds: float | None = None
    if isinstance(duration, str):
        milliseconds = duration_ms(duration.strip())
        seconds = None if milliseconds is None else milliseconds / 1000
    elif type(duration) in (int, float):
        seconds = float(duration)
    if seconds is None or not 0 <= seconds < math.inf:
        raise ValueError(f'{name}: {duration!r} is not a duration. Write seconds, or text like "5s" or "10m".')
    return seconds


def _text(value: Any) -> Any:
    if isinstance(value, (str, bytes)):
        return value
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


def _quoted(text: Any) -> str:
    # Most names and values have nothing to quote, and looking is cheap.
    return text if isinstance(text, str) and text.isascii() and text.isalnum() else quote_plus(text)


def _body(options: Options, headers: dict[str, str]) -> bytes | None:
    if "json" in options and "data" in options:
        raise TypeError("a request has either `json` or `data`.")
    kind = None
    body: bytes | None = None
    if "json" in options:
        kind, body = "application/json", orjson.dumps(options["json"])
    elif "data" in options:
        data = options["data"]
        if isinstance(data, bytes):
            body = data
        elif isinstance(data, str):
            body = data.encode()
        else:
            kind, body = _FORM, form_of(data).encode()
    if kind is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = kind
    return body


@functools.lru_cache(maxsize=1_024)
def _place(method: str, url: str) -> tuple[str, str]:
    """The origin of a URL without its query, and how the request is named in messages. Raises LookupRefused."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = False
    if not usable:
        raise LookupRefused(f"{url[:200]!r} is not the address of a service over HTTP.")
    if parts.username is not None or parts.password is not None:
        raise LookupRefused(
            f"The address of {parts.hostname} contains a user or password.",
            hint="Send it in a header: headers={'Authorization': …}.",
        )
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    # What ends an address in a text is quoted: the errors of one cause are recognised by what is the same in them.
    path = _ENDS.sub(lambda found: quote(found.group()), parts.path[:200])
    return origin, f"{method} {origin}{path}"


def _names(request: Request) -> set[str]:
    return {name.lower() for name in request.headers}
