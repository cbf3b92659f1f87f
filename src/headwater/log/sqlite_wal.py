"""Tells damage in the write-ahead log from an unfinished write, which SQLite alone does not.

How this works: after an unclean stop SQLite reads the write-ahead log up to the first frame whose checksum fails and
takes the rest for a commit that never finished. Usually it is. But with durability "fsync" the frames of a commit are
written only after the commit before them is on the disk. So when whole commits follow the failing frame, that frame
had been on the disk, its records had been acknowledged, and it was damaged since: opening the log must not drop them.
"""

from __future__ import annotations

import struct
from pathlib import Path

from headwater.errors import LogCorrupt

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC_BIG = 0x377F0683
_MAGIC_LITTLE = 0x377F0682


def check_wal(path: Path) -> None:
    """Raises LogCorrupt when acknowledged commits in the write-ahead log of `path` would be dropped."""
    wal = path.with_name(path.name + "-wal")
    try:
        with open(wal, "rb") as file:
            commits = _commits_after_damage(file.read())
    except OSError:
        return
    if commits > 1:
        raise LogCorrupt(
            f"{wal} is damaged in the middle: {commits} commits after the damage would be lost.",
            hint="Restore both files from a copy; or move the -wal file away to go on without these commits.",
        )


def _commits_after_damage(data: bytes) -> int:
    """How many commits follow the first damaged frame; 0 when none is damaged."""
    if len(data) < _HEADER.size:
        return 0
    magic, _, page_bytes, _, salt1, salt2, sum1, sum2 = _HEADER.unpack_from(data)
    if magic not in (_MAGIC_BIG, _MAGIC_LITTLE) or not 512 <= page_bytes <= 65_536:
        return 0
    words = ">" if magic == _MAGIC_BIG else "<"
    sums = _checksum(words, data[:24], (0, 0))
    if sums != (sum1, sum2):
        return 0
    commits, sound = 0, True
    for start in range(_HEADER.size, len(data) - _FRAME.size - page_bytes + 1, _FRAME.size + page_bytes):
        _, size_after_commit, frame_salt1, frame_salt2, sum1, sum2 = _FRAME.unpack_from(data, start)
        if sound:
            if (frame_salt1, frame_salt2) != (salt1, salt2):
                # Left from before the log last started over, unless the damage is in the salt itself.
                sound = False
            else:
                sums = _checksum(words, data[start : start + 8], sums)
                sums = _checksum(words, data[start + 24 : start + 24 + page_bytes], sums)
                sound = sums == (sum1, sum2)
        if not sound and size_after_commit and (frame_salt1, frame_salt2) == (salt1, salt2):
            commits += 1
    return commits


def _checksum(words: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    for one, two in struct.iter_unpack(words + "II", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
