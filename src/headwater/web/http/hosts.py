"""The host names a server accepts, so that a page cannot read from it through a name that resolves to this machine.

How this works: a browser lets a page read responses of its own origin, and an origin is a name. The owner of a name can
make it resolve to 127.0.0.1, and then the page could read the platform of its visitor (DNS rebinding). The name is
still in `Host`, so a server that listens on loopback accepts only loopback names, its own addresses, names without a
dot, which cannot be registered, and the configured names. Servers on other addresses are reached through proxies and
service names of many kinds: there only the settings decide.

A request whose target is a complete URL (`GET http://name/path`) passes, whatever the name: only a client that uses
this server as its proxy sends that, which a page cannot cause. Clients of EventStreams can be redirected here that way.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from headwater.config import WebConfig
from headwater.errors import HostUnknown
from headwater.loopback import is_loopback

ANY = "*"
# The key, in the `extensions` of a scope, of a request whose target is a complete URL.
WHOLE_TARGET = "headwater.whole_target"
# Accepted values are cached, up to this many.
KNOWN_MAX = 256
# No name with a port is longer; values derived from it are cached in more than one place.
HOST_BYTES_MAX = 260
_UNSPECIFIED = "0.0.0.0"


class Hosts:
    """The names of one server. `known`: values of `Host` that were accepted, and need no second check."""

    def __init__(self, config: WebConfig) -> None:
        self.known: set[bytes] = set()
        names = [*(config.hosts or ()), config.host, urlsplit(config.public_url or "").hostname or ""]
        self._names = {name.lower().rstrip(".") for name in names if name}
        self.is_checked = ANY not in self._names and (config.hosts is not None or is_loopback(config.host))

    def check(self, value: bytes | None, own_address: str | None) -> None:
        """Raise HostUnknown for a `Host` that is not one of our names; `own_address`: where the connection arrived."""
        if value is None or value in self.known:
            return
        if len(value) > HOST_BYTES_MAX:
            raise HostUnknown("The name of the server is too long.", hint="Names have at most 253 characters.")
        if not self.is_checked:
            return
        name = host_name(value.decode("latin-1"))
        if name != (own_address or "").lower() and name not in self._names and not is_local(name):
            raise HostUnknown(
                f"This server does not accept the host name {name[:200]!r}.",
                hint="Use one of the server's own names, or add this one to `web.hosts`.",
            )
        if len(self.known) < KNOWN_MAX:
            self.known.add(value)


def host_name(value: str) -> str:
    """The name or address in a `Host`, without its port, brackets and final dot, in lower case."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    name, colon, port = value.rpartition(":")
    return (name if colon and port.isdigit() and ":" not in name else value).rstrip(".")


def is_local(name: str) -> bool:
    """Whether a name can only refer to this machine or its network, and cannot be registered elsewhere."""
    return ("." not in name and ":" not in name) or name == _UNSPECIFIED or is_loopback(name)
