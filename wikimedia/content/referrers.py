"""From which host people came, by the referrer of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

# Longer ones are no names of hosts.
HOST_CHARS_MAX = 253


def external_host(referrer: Any, internal: Iterable[str]) -> str | None:
    """The host in lower case; None without one, and if it is one of the domains `internal` or below one."""
    if not isinstance(referrer, str):
        return None
    try:
        parts = urlsplit(referrer.strip())
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not 0 < len(host) <= HOST_CHARS_MAX or not host.isprintable():
        return None
    return None if any(host == domain or host.endswith(f".{domain}") for domain in internal) else host
