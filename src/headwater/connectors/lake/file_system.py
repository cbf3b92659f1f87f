"""What the lake asks of a place for files: whole files that appear at once, with `/` between the parts of a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

# The largest file that is read into memory at once.
READ_BYTES_MAX = 2_147_483_648


class Entry(NamedTuple):
    """One file or directory in a directory, by its last part. `size` is in bytes, 0 for a directory."""

    name: str
    size: int
    is_directory: bool = False


class FileSystem(Protocol):
    """Files below one directory, the root; paths are relative to it. Calls block; they may come from any thread.

    Every method raises SinkUnavailable if the place does not answer within its time limits, or refuses; nothing is
    known then about what it has done. `creates_exclusively`: of several processes that `create` one path, one succeeds.
    `directory` is the root if it is on this machine's disk, else None.
    """

    creates_exclusively: bool
    directory: str | None

    def probe(self, directory: str) -> None:
        """Try whether `create` keeps its promise, with a file in this directory that is removed again.

        Raises StoreUnsuitable if it does not. Called before a table is written; where nothing can be wrong it does
        nothing.
        """
        ...

    def write(self, path: str, content: bytes) -> None:
        """Store a whole file, replacing an existing one; durable on return.

        Nobody ever sees a part of it, unless its name begins with a dot.
        """
        ...

    def create(self, path: str, content: bytes) -> bool:
        """As `write`, but only if there is no such file; returns whether it was stored."""
        ...

    def read(self, path: str, *, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
        """The content of a file; None if there is none. Raises SinkUnavailable if it is larger than `bytes_max`."""
        ...

    def rename(self, path: str, to: str) -> None:
        """Give a file another name, replacing a file of that name; durable on return.

        Nothing happens if there is no file at `path`, so that it can be repeated.
        """
        ...

    def rename_directory(self, path: str, to: str) -> None:
        """The same of a directory with everything in it; `to` does not exist."""
        ...

    def entries(self, path: str) -> Sequence[Entry]:
        """What is directly in a directory, by name; nothing if it does not exist."""
        ...

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        ...

    def close(self) -> None:
        """Release connections; idempotent."""
        ...


def joined(*parts: str) -> str:
    """A path of these parts, of which some may be empty."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))
