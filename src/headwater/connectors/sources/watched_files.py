"""The files of a path that is watched: how far each was read, whatever it is called by now.

How this works: a file is known by its number (inode), so that it may be renamed while it is read, as logs are when they
are rotated. Since numbers are used again after a file is deleted, a checksum of what it begins with is kept, and one of
its name: a file of that number with another beginning is another file if it has another name, and the same one,
rewritten, if it has not.
"""

from __future__ import annotations

import fnmatch
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from headwater.errors import PositionLost, SourceUnavailable, TokenInvalid

HEAD_BYTES = 256
# More would make tokens too long.
FILES_MAX = 2_000
FORGOTTEN_FROM = 1_000
_TOKEN = "1"

OnTruncated = Literal["stop", "restart"]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one file was read: the next byte or row, and checksums of its first bytes and of its name."""

    at: int
    head: int
    name: int


# The number of a file → how far it was read.
Marks = Mapping[int, Mark]


@dataclass(frozen=True, slots=True)
class WatchedFile:
    """A file as it is now. `at`: where to continue. `is_whole`: it was written as a whole, and is never appended to."""

    path: Path
    number: int
    size: int
    changed_ns: int
    at: int
    head: bytes
    is_whole: bool


def token_of(marks: Marks) -> str:
    """The marks as a token, of characters that need no quoting."""
    texts = (f"{number:x}-{one.at:x}-{one.head:x}-{one.name:x}" for number, one in sorted(marks.items()))
    return ".".join((_TOKEN, *texts))


def parsed(token: str) -> dict[int, Mark]:
    """The marks of a token. Raises TokenInvalid."""
    version, *texts = token.split(".")
    try:
        if version != _TOKEN:
            raise ValueError
        found = {}
        for text in texts:
            number, at, head, name = (int(part, 16) for part in text.split("-"))
            found[number] = Mark(at, head, name)
        return found
    except ValueError:
        raise TokenInvalid(f"{token[:80]!r} is no token of watched files.") from None


def mark_of(file: WatchedFile, at: int) -> Mark:
    """How far a file is read: up to before this byte, or this row of a whole file."""
    head = file.head if file.is_whole else file.head[:at]
    return Mark(at, zlib.crc32(head), zlib.crc32(file.path.name.encode()))


def known_of(marks: Marks, files: Sequence[WatchedFile]) -> dict[int, Mark]:
    """The marks without those of files that are gone, once there are many.

    Not before: a file may be missed by one look because it is being renamed.
    """
    if len(marks) <= FORGOTTEN_FROM:
        return dict(marks)
    numbers = {file.number for file in files}
    return {number: mark for number, mark in marks.items() if number in numbers}


def look(
    path: Path, pattern: str, marks: Marks, on_truncated: OnTruncated, is_whole: Callable[[Path], bool]
) -> list[WatchedFile]:
    """The files now, the one that was not changed for the longest time first. Blocks.

    `path`: a file, a directory whose files match `pattern`, or a path whose last part is a pattern itself. `is_whole`:
    whether a file is one that is never appended to. Raises SourceUnavailable, and PositionLost for a file that was
    truncated or rewritten.
    """
    found = []
    for one in _paths(path, pattern):
        try:
            with one.open("rb") as opened:
                # In this order: what is read of it ends at this size, although it may grow.
                status = os.fstat(opened.fileno())
                head = opened.read(HEAD_BYTES)
        except FileNotFoundError:
            continue  # renamed or deleted meanwhile: the next look has it
        except OSError as error:
            raise SourceUnavailable(f"{one} cannot be read: {error.strerror}.") from None
        mark = marks.get(status.st_ino)
        file = WatchedFile(one, status.st_ino, status.st_size, status.st_mtime_ns, 0, head, is_whole(one))
        found.append(file if mark is None else replace(file, at=_at(file, mark, on_truncated)))
    if len(found) > FILES_MAX:
        raise SourceUnavailable(
            f"{path} has {len(found):,} files, and at most {FILES_MAX:,} can be watched.",
            hint="Remove files that were read, or watch fewer with `pattern`.",
        )
    return sorted(found, key=lambda file: (file.changed_ns, file.path.name))


def _at(file: WatchedFile, mark: Mark, on_truncated: OnTruncated) -> int:
    """Where to continue in a file whose number is known."""
    now = mark_of(file, mark.at)
    if (file.is_whole or file.size >= mark.at) and now.head == mark.head:
        return mark.at
    if now.name != mark.name or on_truncated == "restart":
        # With another name it is another file, which was given the number of one that is gone.
        return 0
    raise PositionLost(
        f"{file.path} was truncated or rewritten after it was read up to {mark.at:,}.",
        hint="Append to files, or replace them by others; `on_truncated: restart` reads it from its beginning.",
    )


def _paths(path: Path, pattern: str) -> list[Path]:
    if path.is_dir():
        return [one for one in path.iterdir() if fnmatch.fnmatch(one.name, pattern) and one.is_file()]
    if any(sign in path.name for sign in "*?["):
        return [one for one in path.parent.glob(path.name) if one.is_file()] if path.parent.is_dir() else []
    return [path] if path.is_file() else []
