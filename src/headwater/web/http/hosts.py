"""By which names a server answers: a page that makes a name of its own point to this machine reads nothing here.

How this works: a browser lets a page read what its own origin answers, and an origin is a name. Whoever owns a name can
have it resolve to 127.0.0.1, and then the page reads the platform of whoever visits it (DNS rebinding). The name still
stands in `Host`, so a server that listens on loopback answers to loopback names, to its own addresses, to names without
a dot, which nobody can own, and to the names that the settings give, and to no others. Elsewhere proxies and service
names are legion: there the settings decide.

A request whose target is a whole URL (`GET http://name/path`) passes, whatever the name: only a client that was given
this server as its proxy writes that, which no page can have its browser do. Clients of EventStreams are led here so.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from headwater.config import WebConfig
from headwater.errors import HostUnknown
from headwater.settings import is_loopback

ANY = "*"
# The key, in the `extensions` of a scope, of a request whose target is a whole URL.
WHOLE_TARGET = "headwater.whole_target"
# Values that were admitted are remembered, up to so many.
KNOWN_MAX = 256
# No name with a port is longer; what addresses are made of is remembered in more than one place.
HOST_BYTES_MAX = 260
_UNSPECIFIED = "0.0.0.0"


class Hosts:
    """The names of one server. `known`: values of `Host` that are good, without looking at them again."""

    def __init__(self, config: WebConfig) -> None:
        self.known: set[bytes] = set()
        names = [*(config.hosts or ()), config.host, urlsplit(config.public_url or "").hostname or ""]
        self._names = {name.lower().rstrip(".") for name in names if name}
        self.is_checked = ANY not in self._names and (config.hosts is not None or is_loopback(config.host))

    def check(self, value: bytes | None, own_address: str | None) -> None:
        """Raise HostUnknown for a `Host` that is no name of ours; `own_address`: where the connection arrived."""
        if value is None or value in self.known:
            return
        if len(value) > HOST_BYTES_MAX:
            raise HostUnknown("The name of the server is too long.", hint="Names have at most 253 characters.")
        if not self.is_checked:
            return
        name = host_name(value.decode("latin-1"))
        if name != (own_address or "").lower() and name not in self._names and not is_local(name):
            raise HostUnknown(
                f"This server is not {name[:200]!r}.",
                hint="Ask for it by one of its own names; web.public_url and web.hosts say which others it has.",
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
    """Whether a name can mean this machine, or one of its network, only: nobody elsewhere decides where it points."""
    return ("." not in name and ":" not in name) or name == _UNSPECIFIED or is_loopback(name)
