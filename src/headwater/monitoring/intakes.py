"""Which intake accepts the canaries of a stream for a datacenter: this process's own, or another one by its address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headwater.config import Config
from headwater.declaration import Declaration, read_declaration
from headwater.streams.files import SERVICES_FILE

EVENTS_PATH = "/v1/events"


class Intakes:
    """The addresses in `services.yaml`: intake → datacenter → URL. Without the file no intake is known."""

    def __init__(self, addresses: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """`addresses`: None without such a file; a datacenter is a topic prefix without its dot."""
        self._addresses = addresses

    @classmethod
    def load(cls, config: Config) -> Intakes:
        """Read the project's `services.yaml`. Raises ConfigInvalid with file and line."""
        path = config.path(config.streams.path)
        return cls(read_intakes((path if path.is_dir() else path.parent) / SERVICES_FILE))

    def knows(self, name: str) -> bool:
        """Whether an intake of this name may exist."""
        return self._addresses is None or name in self._addresses

    def url(self, name: str, prefix: str) -> str | None:
        """Where events for the datacenter with this topic prefix are posted; None if no address is given.

        Without a prefix any datacenter is suitable: the first one is used.
        """
        found = (self._addresses or {}).get(name, {})
        return found.get(prefix.rstrip(".")) if prefix else next(iter(found.values()), None)


def read_intakes(file: Path) -> dict[str, dict[str, str]] | None:
    """`{intake: {datacenter: URL of its /v1/events}}`; None without such a file. Raises ConfigInvalid."""
    if not file.exists():
        return None
    declaration = read_declaration(file)
    tree = declaration.value or {}
    if isinstance(tree, list):
        return {str(name): {} for name in tree}
    if not isinstance(tree, dict):
        raise declaration.refusal(
            (), "must be a mapping of intakes.", hint="Write `eventgate-main: {eqiad: http://…}`."
        )
    return {name: _addresses_of(declaration, name, value) for name, value in tree.items()}


def _addresses_of(declaration: Declaration, name: str, value: Any) -> dict[str, str]:
    if value is None or isinstance(value, str):
        value = {"": value} if value else {}
    if not isinstance(value, dict):
        raise declaration.refusal((name,), f"{name} must be a mapping of datacenter to URL.")
    return {dc: _events_url(declaration, (name, dc), url) for dc, url in value.items()}


def _events_url(declaration: Declaration, path: tuple[str, str], url: Any) -> str:
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
        raise declaration.refusal(path, f"{'.'.join(path)} must be the URL of an intake, such as http://intake:8080.")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{EVENTS_PATH}"
