"""Tells damage in the write-ahead log from an unfinished write, which SQLite alone does not.

How this works: after an unclean stop SQLite reads the write-ahead log up to the first frame whose checksum fails and
takes the rest for a commit that never finished. Usually it is. But with durability "fsync" the frames of a commit are
written only after the commit before them is on the disk. So when more than one commit follows the end that SQLite has
found, the failing frame had been on the disk, its records had been acknowledged, and it was damaged since: opening the
log must not drop them. The checksums are left to SQLite, through a connection that may not write (and so does not
clear the log away when it closes); only frame headers are read here, before, and what SQLite found, after.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from pathlib import Path
from typing import NamedTuple

from headwater.errors import LogCorrupt
from headwater.log.sqlite_schema import PAGE_BYTES

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_INDEX = struct.Struct("=16xI12x8s")
_MAGICS = (0x377F0682, 0x377F0683)


class _Survey(NamedTuple):
    """The frames (from 1) that end a commit of the log's present round, which its salt names."""

    salt: bytes
    commits: list[int]
    header_sound: bool


def check_wal(path: Path) -> None:
    """Raises LogCorrupt when acknowledged commits in the write-ahead log of `path` would be dropped."""
    wal = path.with_name(f"{path.name}-wal")
    try:
        survey = _surveyed(wal)
    except (OSError, struct.error):
        return
    if len(survey.commits) < 2:
        return
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    ) as connection:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        try:
            found, salt = _INDEX.unpack_from(path.with_name(f"{path.name}-shm").read_bytes())
        except (OSError, struct.error):
            return
    if survey.header_sound and salt != survey.salt:
        # Another process writes and has begun a new round: there is nothing to recover.
        return
    dropped = sum(frame > found for frame in survey.commits)
    if dropped > 1:
        raise LogCorrupt(
            f"{wal} is damaged in the middle: {dropped} commits after the damage would be lost.",
            hint="Restore it from a copy; or move the -wal file away to go on without what is in it.",
        )


def _surveyed(wal: Path) -> _Survey:
    with open(wal, "rb") as file:
        magic, _, page_bytes, _, _, _, sum1, sum2 = header = _HEADER.unpack(file.read(_HEADER.size))
        size = os.fstat(file.fileno()).st_size
        sound = magic in _MAGICS and page_bytes == PAGE_BYTES and _header_sum(header) == (sum1, sum2)
        salt = header[4:6] if sound else None
        commits = []
        stride = _FRAME.size + PAGE_BYTES
        for number in range(1, (size - _HEADER.size) // stride + 1):
            file.seek(_HEADER.size + (number - 1) * stride)
            _, pages_after_commit, *own_salt, _, _ = _FRAME.unpack(file.read(_FRAME.size))
            # Without a sound header the first frame must say which round this is.
            salt = salt or tuple(own_salt)
            if pages_after_commit and tuple(own_salt) == salt:
                commits.append(number)
    return _Survey(struct.pack(">2I", *(salt or (0, 0))), commits, sound)


def _header_sum(header: tuple[int, ...]) -> tuple[int, int]:
    words = header[:6]
    if header[0] == _MAGICS[0]:
        words = tuple(int.from_bytes(word.to_bytes(4, "big"), "little") for word in words)
    first = second = 0
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
