"""Which requests need an API key, and with which scope: the one decision, taken before a request gets to any endpoint.

How this works: `DECISIONS` says for each path, or for all that begin so, what is done there: sending events, reading
events, or reading what else the platform tells. `intake.keys` and `consumption.keys` say whether a key is needed for
that. A path that is not in the table is read like the rest, so a stranger is given one answer for what there is and for
what there is not. Which keys may change things is decided by the endpoints of control, with keys only, always.

A browser sends a password that its user has given along with whatever any page has it send here. So a password counts
where something is read, and where something is sent only if the page that sends it is one of ours.
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
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Use(enum.Enum):
    """What is done at a path."""

    ALIVE = "says that the process lives, and nothing else"
    SEND = "takes events"
    TRY = "sends the configured test events"
    EVENTS = "gives events"
    READ = "tells anything else"


# Exact paths; and beginnings, which end in a slash.
DECISIONS: Mapping[str, Use] = {
    "/healthz": Use.ALIVE,
    "/v1/events": Use.SEND,
    "/v2/events": Use.SEND,
    "/v1/_test/events": Use.TRY,
    STREAM_PATH: Use.EVENTS,
    **dict.fromkeys(
        (
            *("/", "/static/", "/v1/_page/", "/clients/", "/robots.txt", "/_info", "/_info/", "/readyz", "/metrics"),
            *("/monitoring", "/v1/canaries", "/v1/completeness", "/v1/reconciliation"),
            *("/v1/streams", "/v1/streams/", "/v1/stream-changes", "/v1/stream-changes/"),
            *("/w/api.php", "/api.php", "/v1/stream-configs", "/v1/stream-configs/"),
            *("/asyncapi.json", "/asyncapi/", "/repositories", "/repositories/"),
            *("/subjects", "/subjects/", "/schemas", "/schemas/", "/config", "/config/", "/mode", "/mode/"),
        ),
        Use.READ,
    ),
}
EVENTS_PATHS = frozenset(path for path, use in DECISIONS.items() if use is Use.SEND)


def is_events_path(path: str) -> bool:
    """Whether events are sent there, in any of the ways in which the path may be written."""
    return path in EVENTS_PATHS or path.rstrip("/").lower() in EVENTS_PATHS


def decided(path: str) -> Use | None:
    """What is done at a path; None where nobody has decided that."""
    if path in DECISIONS:
        return DECISIONS[path]
    if is_events_path(path):
        return Use.SEND
    beginnings = [known for known in DECISIONS if known != "/" and known.endswith("/") and path.startswith(known)]
    return DECISIONS[max(beginnings, key=len)] if beginnings else None


class Doors:
    """Lets the requests to one platform pass, or not. `reads_with_key`: everything but liveness needs a key."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._keys = platform.keys
        self._address_header = platform.config.consumption.client_address_header
        self.reads_with_key = platform.config.consumption.keys == "required"
        self._tries_with_key = self.reads_with_key or platform.config.intake.keys == "required"

    def check(self, scope: Scope) -> None:
        """Raise KeyRequired, ScopeMissing, KeysDamaged or TooManyRequests where a request may not pass.

        Those that send events pass: `check_sender` is asked about them where their answer is made.
        """
        if not self._tries_with_key:
            return
        path, method = scope["path"], scope["method"]
        use = decided(path) or Use.READ
        peer = scope["client"][0] if scope.get("client") else None
        if use is Use.TRY:
            self._admit(scope["headers"], peer, (EVENTS_WRITE,), sends=True)
        elif not self.reads_with_key or (use is Use.SEND and method == "POST"):
            return
        elif use is not Use.ALIVE or method not in _SAFE_METHODS:
            if use is Use.EVENTS and method in _SAFE_METHODS and self._is_open_stream(path):
                return
            scopes = (EVENTS_READ,) if use is Use.EVENTS else READING
            self._admit(scope["headers"], peer, scopes, sends=method not in _SAFE_METHODS)

    def refusal(self, scope: Scope) -> HeadwaterError | None:
        """Why a request may not pass; None where it may."""
        try:
            self.check(scope)
        except HeadwaterError as error:
            return error
        return None

    @property
    def senders(self) -> KeysOfSenders:
        """Whose events need a key at present."""
        return self._platform.gate.streams.outside.keys

    def check_sender(self, headers: RawHeaders, peer: str | None) -> bool:
        """Whether who sends events has a key for it, where some streams ask for one.

        Raises KeyRequired where all streams do, and where the key that was sent is not good; ScopeMissing,
        KeysDamaged, TooManyRequests.
        """
        if self.senders is KeysOfSenders.SOMETIMES and not any(name == b"authorization" for name, _ in headers):
            return False
        self._admit(headers, peer, (EVENTS_WRITE,), sends=True)
        return True

    def _admit(self, headers: RawHeaders, peer: str | None, scopes: tuple[str, ...], *, sends: bool) -> None:
        authorization = _text(headers, b"authorization")
        if sends and is_basic(authorization) and _is_from_elsewhere(headers):
            raise KeyRequired(
                "A password is not taken from a page of another origin.",
                hint="Send the key as `Authorization: Bearer …`.",
            )
        self._keys.admit(authorization, scopes, client_address(headers, peer, self._address_header))

    def _is_open_stream(self, path: str) -> bool:
        """Whether all streams that are asked for need no key, by their stream files."""
        try:
            self._platform.hub.resolve(path.removeprefix(STREAM_PATH).split(","), Sight.PUBLIC)
        except (StreamUnknown, KeyRequired):
            return False
        return True


def _text(headers: RawHeaders, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name == wanted), None)


def _is_from_elsewhere(headers: RawHeaders) -> bool:
    """Whether a browser says that a page of another origin sends this. Programs say nothing about that."""
    site = _text(headers, b"sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = _text(headers, b"origin")
    return origin is not None and urlsplit(origin).netloc.lower() != (_text(headers, b"host") or "").lower()
