"""What an event about a purge asks for: of which host which resource, and whether it still matters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from headwater.event import get_path
from headwater.times import time_ms

Status = Literal["ok", "expired", "filtered", "discarded"]
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
# What a path and a query may have; others are percent-encoded.
_SAFE = "%/:?#[]@!$&'()*+,;=~-._"


@dataclass(frozen=True)
class Purge:
    """What is to be done about an event. `host` and `target`, path and query, are empty if it names no resource."""

    status: Status
    host: str = ""
    target: str = ""


def purge_of(event: Mapping[str, Any], hosts: re.Pattern[str] | None, age_ms: int, age_ms_max: int) -> Purge:
    """`hosts`: those whose resources are in the caches; None: all are. `age_ms`: of the event."""
    resource = _resource(get_path(event, "meta.uri"))
    if resource is None:
        return Purge("discarded")
    host, target = resource
    if hosts is not None and hosts.search(host) is None:
        return Purge("filtered", host, target)
    return Purge("expired" if age_ms > age_ms_max else "ok", host, target)


def age_ms(event: Mapping[str, Any], now_ms: int) -> int:
    """How old the event at the beginning of the chain is; what has no time that can be read is from now."""
    root = event.get("root_event")
    text = root.get("dt") if isinstance(root, Mapping) and root.get("dt") is not None else get_path(event, "meta.dt")
    at = time_ms(text) if isinstance(text, str) else None
    return 0 if at is None else now_ms - at


def _resource(uri: Any) -> tuple[str, str] | None:
    """The host, and the path with the query, without a fragment; None if `uri` is no address over HTTP."""
    if not isinstance(uri, str) or _CONTROL.search(uri):
        return None
    try:
        parts = urlsplit(uri)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        return None
    if not usable or not parts.netloc.isascii():
        return None
    query = f"?{parts.query}" if parts.query else ""
    return parts.netloc.rpartition("@")[2], quote(f"{parts.path or '/'}{query}", safe=_SAFE, errors="surrogatepass")
