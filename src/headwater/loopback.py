"""Which names and addresses mean this machine."""

from __future__ import annotations

import ipaddress

_LOOPBACK_NAME = "localhost"


def is_loopback(name: str) -> bool:
    """Whether a name or address means this machine, whichever client resolves it."""
    name = name.lower().rstrip(".")
    if name == _LOOPBACK_NAME or name.endswith(f".{_LOOPBACK_NAME}"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
