"""Where fetched packages and running servers keep their files, and which ports they take."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the range from which systems hand out ports to clients: a port stays free while its server is restarted.
PORTS = range(20_000, 32_000)


def servers_home() -> Path:
    """The folder of this user for everything: HEADWATER_SERVERS_HOME, else `headwater/servers` in the cache folder."""
    named = os.environ.get("HEADWATER_SERVERS_HOME")
    if named:
        return Path(named).expanduser().resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "headwater" / "servers"


def packages_folder() -> Path:
    """Fetched packages, kept between runs."""
    return servers_home() / "packages"


def runs_folder() -> Path:
    """One folder for each running server: configuration, data, log and state."""
    return servers_home() / "runs"


def free_ports(count: int) -> list[int]:
    """`count` different ports on which nothing listens at this moment."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                found.append(port)
    return found


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Let one process at a time do what is called `name`; the others wait."""
    servers_home().mkdir(parents=True, exist_ok=True)
    with (servers_home() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
