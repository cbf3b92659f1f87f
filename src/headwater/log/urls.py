"""What the URL of a Kafka log names, and whether there is a client for it; asked before the client is imported."""

from __future__ import annotations

import importlib.util
import re

from headwater.errors import ConfigInvalid, ExtraMissing

PREFIX = "kafka://"
PORT = 9092
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{0,100}")


def parse_url(url: str) -> tuple[str, str]:
    """The brokers (`host:port,…`) and the namespace in `kafka://HOST[:PORT][,…][/NAMESPACE]`. Raises ConfigInvalid."""
    hosts, _, namespace = url.removeprefix(PREFIX).partition("/")
    if "@" in hosts:
        raise ConfigInvalid(
            "The URL of a Kafka log cannot hold a user or a password.",
            hint="Give sasl.username and sasl.password under log.kafka, as references.",
        )
    servers = []
    for host in hosts.split(","):
        found = _SERVER.fullmatch(host.strip())
        if not url.startswith(PREFIX) or found is None or not 0 < int(found[2] or PORT) < 65_536:
            raise ConfigInvalid(
                f"{url!r} does not name Kafka brokers.", hint="Write kafka://HOST:PORT, more of them after commas."
            )
        servers.append(f"{found[1]}:{found[2] or PORT}")
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigInvalid(
            f"{namespace[:120]!r} in the log's URL cannot begin the names of topics.",
            hint="A namespace has letters, digits, dots, underscores and hyphens, such as kafka://host:9092/staging.",
        )
    return ",".join(servers), namespace


def require_client() -> None:
    """Raises ExtraMissing where the Kafka client is not installed."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise ExtraMissing(
            "A kafka:// log needs the Kafka client.", hint="Install the extra: pip install 'headwater[kafka]'."
        )
