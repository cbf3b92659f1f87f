"""Prints a message when files of a running project have changed, since they only take effect after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.console import say

if TYPE_CHECKING:
    from headwater.config import Config

LOOK_SECONDS = 2.0
# At most this many files are watched, and at most this many names printed.
FILES_MAX = 20_000
NAMES_MAX = 3

Seen = Mapping[Path, tuple[int, int]]


class ChangedFiles:
    """The settings, streams and jobs of a project as they are now, just before they are read."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known = _seen(config)

    async def tell(self, pause_seconds: float = LOOK_SECONDS) -> None:
        """Watch the files until cancelled; each change is reported once, when the files have settled."""
        before = self._known
        while True:
            now = await asyncio.to_thread(_seen, self._config)
            # An editor, or a checkout, writes several files one after the other.
            if now == before and now != self._known:
                changed = sorted(path for path in {*self._known, *now} if self._known.get(path) != now.get(path))
                self._known = now
                say(_sentence(self._config, changed))
            before = now
            await asyncio.sleep(pause_seconds)


def _sentence(config: Config, changed: list[Path]) -> str:
    names = [path.relative_to(config.project_dir).as_posix() for path in changed[:NAMES_MAX]]
    more = f" and {len(changed) - NAMES_MAX} more" if len(changed) > NAMES_MAX else ""
    have = "has" if len(changed) == 1 else "have"
    return f"{', '.join(names)}{more} {have} changed. Restart the platform to apply the changes."


def _seen(config: Config) -> Seen:
    """Each file that is read only at the start, with its size and when it was changed."""
    seen: dict[Path, tuple[int, int]] = {}
    for path in _files(config):
        try:
            found = path.stat()
        except OSError:
            continue
        seen[path] = (found.st_mtime_ns, found.st_size)
        if len(seen) >= FILES_MAX:
            break
    return seen


def _files(config: Config) -> Iterator[Path]:
    from headwater.config import CONFIG_FILE

    yield config.project_dir / CONFIG_FILE
    streams = config.path(config.streams.path)
    found = streams.rglob("*") if streams.is_dir() else (streams,)
    yield from (path for path in found if path.suffix in (".yaml", ".yml", ".json"))
    yield from config.path(config.jobs.path).glob("*.py")
