"""The directory of an unfinished run: it belongs to one job, its code, one input and one set of options."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import orjson

from headwater import __version__
from headwater.private_files import make_private_directory

MANIFEST = "run.json"


class RunDirectory:
    """The directory, and whether what is in it is of the same run as `identity` (JSON) describes.

    `identity` None: the run cannot be resumed, as that of standard input.
    """

    def __init__(self, path: Path, identity: dict[str, str | None] | None) -> None:
        self.path = path
        self._identity = identity

    def found(self) -> bool:
        """Whether an interrupted run is in it."""
        return (self.path / MANIFEST).is_file()

    def changed(self) -> list[str]:
        """What is different from the interrupted run, by the names in the identity; [] if it can be resumed."""
        try:
            before = orjson.loads((self.path / MANIFEST).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return ["its state"]
        now = {**(self._identity or {}), "version": __version__}
        if not isinstance(before, dict) or self._identity is None:
            return ["its input"]
        return [name for name, value in now.items() if before.get(name) != value]

    def begin(self) -> None:
        """Start from the beginning in it. Raises OSError."""
        self.remove()
        make_private_directory(self.path)
        if self._identity is not None:
            manifest = {**self._identity, "version": __version__}
            (self.path / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))

    def remove(self) -> None:
        """Remove it with everything that is in it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)


def kept_of(directory: Path, name: str) -> str | None:
    """A part of the identity of the interrupted run in `directory`; None if there is none."""
    try:
        kept = orjson.loads((directory / MANIFEST).read_bytes()).get(name)
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return None
    return kept if isinstance(kept, str) else None


def digest_of(paths: Iterable[Path]) -> str:
    """Text that is the same as long as the contents of these files are."""
    known = hashlib.sha256()
    for path in sorted(paths):
        known.update(f"{path.name}\n".encode())
        known.update(path.read_bytes())
    return known.hexdigest()
