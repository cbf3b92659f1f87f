"""Which requests need an API key, and with which scope: decided once, before a request reaches any endpoint.

How this works: `DECISIONS` says for each path, or for all paths with a prefix, what it is for: sending events, reading
events, or reading anything else. `intake.keys` and `consumption.keys` say whether that needs a key. A path that is not
in the table counts as reading anything else, so the response to a client without a key does not reveal which paths
exist. Changes always need a key; which one, the endpoints of control decide.

A browser attaches a saved password to every request to this server, whichever page causes it. So a password is
accepted for reading, and for sending only if the page is one of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import Scope

from headwater.access.api_keys import EVENTS_READ, EVENTS_WRITE, READING, is_basic
from headwater.errors import HeadwaterError, KeyRequired, StreamUnknown
from headwater.platform import Platform
from headwater.streams.outside import KeysOfSenders
from headwater.streams.visibility import Sight
from headwater.web.http.headers import RawHeaders, client_address

STREAM_PATH = "/v2/stream/"
WEBHOOKS_PATH = "/v1/webhooks/"
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Use(enum.Enum):
    """What a path is for."""

    ALIVE = "reports only that the process is alive"
    READY = "reports whether requests can be served, and more only to those with a key"
    SEND = "accepts events"
    HOOK = "accepts what other services post, by its signature"
    TRY = "sends the configured test events"
    EVENTS = "delivers events"
    SERVED = "serves rows of tables"
    READ = "shows anything else"


# Exact paths; and beginnings, which end in a slash.
DECISIONS: Mapping[str, Use] = {
    "/healthz": Use.ALIVE,
    "/readyz": Use.READY,
    "/v1/events": Use.SEND,
    "/v2/events": Use.SEND,
    "/v1/_test/events": Use.TRY,
    STREAM_PATH: Use.EVENTS,
    WEBHOOKS_PATH: Use.HOOK,
    "/v1/served": Use.SERVED,
    "/v1/served/": Use.SERVED,
    **dict.fromkeys(
        (
            *("/", "/static/", "/v1/_page/", "/clients/", "/robots.txt", "/_info", "/_info/", "/metrics"),
            *("/tables", "/tables/", "/v1/tables", "/v1/tables/"),
            *("/monitoring", "/v1/canaries", "/v1/completeness", "/v1/reconciliation"),
            *("/v1/streams", "/v1/streams/", "/v1/stream-changes", "/v1/stream-changes/"),
            *("/v1/errors", "/v1/errors/"),
            *("/v1/jobs", "/v1/jobs/", "/w/api.php", "/api.php", "/v1/stream-configs", "/v1/stream-configs/"),
            *("/asyncapi.json", "/asyncapi/", "/repositories", "/repositories/"),
            *("/subjects", "/subjects/", "/schemas", "/schemas/", "/config", "/config/", "/mode", "/mode/"),
        ),
        Use.READ,
    ),
}
EVENTS_PATHS = frozenset(path for path, use in DECISIONS.items() if use is Use.SEND)


def is_events_path(path: str) -> bool:
    """Whether events are sent to this path, in any of its accepted spellings."""
    return path in EVENTS_PATHS or path.rstrip("/").lower() in EVENTS_PATHS


def decided(path: str) -> Use | None:
    """What a path is for; None if it is not in the table."""
    if path in DECISIONS:
        return DECISIONS[path]
    if is_events_path(path):
        return Use.SEND
    beginnings = [known for known in DECISIONS if known != "/" and known.endswith("/") and path.startswith(known)]
    return DECISIONS[max(beginnings, key=len)] if beginnings else None


class Doors:
    """Checks the requests to one platform. `reads_with_key`: everything but liveness and readiness needs a key."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._keys = platform.keys
        self._address_header = platform.config.consumption.client_address_header
        self.reads_with_key = platform.config.consumption.keys == "required"
        self._tries_with_key = self.reads_with_key or platform.config.intake.keys == "required"

    def check(self, scope: Scope) -> None:
        """Raise KeyRequired, ScopeMissing, KeysDamaged or TooManyRequests if a request is not permitted.

        Requests that send events pass: their endpoint calls `check_sender`, or checks the signature of a webhook.
        """
        if not self._tries_with_key:
            return
        path, method = scope["path"], scope["method"]
        use = decided(path) or Use.READ
        peer = scope["client"][0] if scope.get("client") else None
        if use is Use.TRY:
            self._admit(scope["headers"], peer, (EVENTS_WRITE,), sends=True)
        elif not self.reads_with_key or (method == "POST" and (use is Use.SEND or self._is_webhook(use, path))):
            return
        elif use not in (Use.ALIVE, Use.READY) or method not in _SAFE_METHODS:
            if use is Use.EVENTS and method in _SAFE_METHODS and self._is_open_stream(path):
                return
            scopes = (EVENTS_READ,) if use is Use.EVENTS else READING
            sends = method not in _SAFE_METHODS
            self._admit(scope["headers"], peer, scopes, sends=sends, with_role=use is Use.SERVED)

    def refusal(self, scope: Scope) -> HeadwaterError | None:
        """Why a request is not permitted; None if it is."""
        try:
            self.check(scope)
        except HeadwaterError as error:
            return error
        return None

    @property
    def senders(self) -> KeysOfSenders:
        """Which events need a key at present."""
        return self._platform.gate.streams.outside.keys

    def check_sender(self, headers: RawHeaders, peer: str | None) -> bool:
        """Whether the sender of events has a key for it, if some streams require one.

        Raises KeyRequired if all streams require one, or the key is not valid; ScopeMissing, KeysDamaged,
        TooManyRequests.
        """
        if self.senders is KeysOfSenders.SOMETIMES and not any(name == b"authorization" for name, _ in headers):
            return False
        self._admit(headers, peer, (EVENTS_WRITE,), sends=True)
        return True

    def _admit(
        self, headers: RawHeaders, peer: str | None, scopes: tuple[str, ...], *, sends: bool, with_role: bool = False
    ) -> None:
        authorization = _text(headers, b"authorization")
        if sends and is_basic(authorization) and _is_from_elsewhere(headers):
            raise KeyRequired(
                "A password is not accepted from a page of another origin.",
                hint="Send the key as `Authorization: Bearer …`.",
            )
        address = client_address(headers, peer, self._address_header)
        self._keys.admit(authorization, scopes, address, with_role=with_role)

    def _is_webhook(self, use: Use, path: str) -> bool:
        """Whether this is a webhook that there is; the others are answered like unknown paths."""
        return use is Use.HOOK and path.removeprefix(WEBHOOKS_PATH) in self._platform.pushed

    def _is_open_stream(self, path: str) -> bool:
        """Whether none of the requested streams needs a key, by their stream files."""
        try:
            self._platform.hub.resolve(path.removeprefix(STREAM_PATH).split(","), Sight.PUBLIC)
        except (StreamUnknown, KeyRequired):
            return False
        return True


def _text(headers: RawHeaders, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name == wanted), None)


def _is_from_elsewhere(headers: RawHeaders) -> bool:
    """Whether a browser reports that a page of another origin sends this. Other programs do not send that header."""
    site = _text(headers, b"sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = _text(headers, b"origin")
    return origin is not None and urlsplit(origin).netloc.lower() != (_text(headers, b"host") or "").lower()
