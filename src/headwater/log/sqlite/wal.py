"""Distinguishes damage in the write-ahead log of a SQLite file from an unfinished write, which SQLite does not.

How this works: after an unclean stop SQLite reads the write-ahead log up to the first frame whose checksum fails and
treats the rest as a commit that never finished. Usually it is. But with durability "fsync" the frames of a commit are
written only after the commit before them is on the disk. So if more than one commit follows the end that SQLite has
found, the failing frame had been on the disk, its records had been acknowledged, and it was damaged since: opening the
log must not drop them. The checksums are left to SQLite, through a connection that may not write (and so does not
delete the write-ahead log when it closes); only frame headers are read here, before, and what SQLite found, after.

Two kinds of damage make SQLite ignore the rest: a broken header, with which the whole write-ahead log counts as empty,
and a missing or empty file, for which it is deleted. Then the frames show what would be lost: the salt, which all
frames of a round share, shows which belong together, and the pages which of them are already in the file. The page size
is in the header; if that is broken, in the file, or else it is the size at which the salts agree.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from headwater.errors import LogCorrupt
from headwater.log.sqlite.tables import PAGE_BYTES

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_INDEX = struct.Struct("=16xI12x8s")
_MAGICS = (0x377F0682, 0x377F0683)
_FILE_MAGIC = b"SQLite format 3\0"
_FILE_PAGE = struct.Struct(">16sH")
_PAGE_BYTES_MAX = 65_536
# The embedded log's, and SQLite's default.
_PAGE_LENGTHS = (PAGE_BYTES, 4_096)
HINT = (
    "Restore both files from a copy; or let `headwater log repair` set the write-ahead log aside, to continue without"
    " its content. Until then nothing is changed."
)


class _Survey(NamedTuple):
    """The frames (from 1) of the current round, which the salt identifies, and those that end a commit.

    `pages` has the number of the last committed frame of each page.
    """

    salt: bytes
    commits: list[int]
    header_sound: bool
    pages: dict[int, int]
    page_bytes: int


def wal_of(path: Path) -> Path:
    """The write-ahead log that belongs to a SQLite file."""
    return path.with_name(f"{path.name}-wal")


def check_wal(path: Path, *, ordered: bool) -> None:
    """Raises LogCorrupt when acknowledged commits in the write-ahead log of `path` would be dropped.

    `ordered`: each commit was on the disk before the next one was written.
    """
    wal = wal_of(path)
    try:
        survey = _surveyed(wal, path)
    except (OSError, struct.error):
        return
    if survey.commits and not (path.exists() and path.stat().st_size):
        raise LogCorrupt(
            f"{path} is {'empty' if path.exists() else 'missing'}, and {wal.name} next to it has"
            f" {_counted(survey.commits)} of it, which would be lost.",
            hint=f"Restore {path.name} as it was when {wal.name} was written; or move {wal.name} away to begin with an"
            " empty log.",
        )
    if not survey.header_sound:
        _check_headless(path, wal, survey)
    elif ordered and len(survey.commits) > 1:
        _check_end(path, wal, survey)


def _check_headless(path: Path, wal: Path, survey: _Survey) -> None:
    """With a broken header the write-ahead log counts as empty for SQLite: raise if the file lacks its content."""
    with path.open("rb") as file, wal.open("rb") as log:
        length = survey.page_bytes
        missing = sum(_page(log, frame, length) != _stored(file, page, length) for page, frame in survey.pages.items())
    if missing:
        raise LogCorrupt(
            f"{wal} is damaged at its beginning: {_counted(survey.commits)} that follow would be lost, of which"
            f" {path.name} lacks {missing:,} pages.",
            hint=HINT,
        )


def _check_end(path: Path, wal: Path, survey: _Survey) -> None:
    """Raise where SQLite ends before commits that had been on the disk."""
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    ) as connection:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        try:
            found, salt = _INDEX.unpack_from(path.with_name(f"{path.name}-shm").read_bytes())
        except (OSError, struct.error):
            return
    if salt != survey.salt:
        # Another process writes and has begun a new round: there is nothing to recover.
        return
    dropped = [frame for frame in survey.commits if frame > found]
    if len(dropped) > 1:
        raise LogCorrupt(
            f"{wal} is damaged in the middle: {_counted(dropped)} after the damage would be lost.", hint=HINT
        )


def _counted(commits: list[int]) -> str:
    return f"{len(commits):,} {'commit' if len(commits) == 1 else 'commits'}"


def _surveyed(wal: Path, path: Path) -> _Survey:
    with open(wal, "rb") as file:
        magic, _, page_bytes, _, _, _, sum1, sum2 = header = _HEADER.unpack(file.read(_HEADER.size))
        sound = magic in _MAGICS and _header_sum(header) == (sum1, sum2)
        lengths = (page_bytes or _PAGE_BYTES_MAX,) if sound else _page_lengths(path)
        salt, frames = (0, 0), []
        for page_bytes in lengths:
            frames = _frames(file, page_bytes)
            # Frames of earlier rounds follow those of the current one. Without a sound header the first two that agree
            # say it.
            salts = [salt for _, _, _, salt in frames]
            agreed = next((one for one, other in itertools.pairwise(salts) if one == other != (0, 0)), (0, 0))
            salt = (header[4], header[5]) if sound else agreed
            if salt != (0, 0):
                break
    commits: list[int] = []
    pages: dict[int, int] = {}
    latest: dict[int, int] = {}
    for number, page, pages_after_commit, own in frames:
        if own == salt != (0, 0):
            latest[page] = number
            if pages_after_commit:
                commits.append(number)
                # What a commit has cut off needs not be in the file.
                pages = {one: frame for one, frame in {**pages, **latest}.items() if one <= pages_after_commit}
                latest = {}
    return _Survey(struct.pack(">2I", *salt), commits, sound, pages, page_bytes)


def _page_lengths(path: Path) -> tuple[int, ...]:
    """The possible page sizes if the header of the write-ahead log is broken: that of the file, if it has one."""
    try:
        with path.open("rb") as file:
            magic, length = _FILE_PAGE.unpack(file.read(_FILE_PAGE.size))
    except (OSError, struct.error):
        return _PAGE_LENGTHS
    if magic != _FILE_MAGIC:
        return _PAGE_LENGTHS
    return (_PAGE_BYTES_MAX if length == 1 else length,)


def _frames(file: BinaryIO, page_bytes: int) -> list[tuple[int, int, int, tuple[int, int]]]:
    """Of each frame its number from 1, its page, how many pages the file has after its commit or 0, and its salt."""
    stride = _FRAME.size + page_bytes
    frames = []
    for number in range(1, (os.fstat(file.fileno()).st_size - _HEADER.size) // stride + 1):
        file.seek(_HEADER.size + (number - 1) * stride)
        page, pages_after_commit, salt1, salt2, _, _ = _FRAME.unpack(file.read(_FRAME.size))
        frames.append((number, page, pages_after_commit, (salt1, salt2)))
    return frames


def _page(wal: BinaryIO, frame: int, page_bytes: int) -> bytes:
    wal.seek(_HEADER.size + (frame - 1) * (_FRAME.size + page_bytes) + _FRAME.size)
    return wal.read(page_bytes)


def _stored(file: BinaryIO, page: int, page_bytes: int) -> bytes:
    file.seek((page - 1) * page_bytes)
    return file.read(page_bytes)


def _header_sum(header: tuple[int, ...]) -> tuple[int, int]:
    words = header[:6]
    if header[0] == _MAGICS[0]:
        words = tuple(int.from_bytes(word.to_bytes(4, "big"), "little") for word in words)
    first = second = 0
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
