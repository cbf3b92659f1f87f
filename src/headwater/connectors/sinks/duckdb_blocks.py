"""Checks DuckDB files for damage: the checksum of every block, and whether every table can be read.

DuckDB itself compares the checksums of most blocks only when it reads them one by one, so a scan of a damaged table
may return wrong rows without an error. A file starts with three headers of 4,096 bytes; blocks of 256 KiB follow. Each
begins with its checksum.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from headwater.log.diagnostics import Damage, FileLook

HEADER_BYTES = 4_096
HEADERS = 3
BLOCK_BYTES = 262_144
MAGIC_AT = 8
MAGIC = b"DUCK"
DAMAGES_MAX = 20
_FACTOR = 0xBF58476D1CE4E5B9
_START = 5_381
_MASK = (1 << 64) - 1
_IN_USE = "lock"


def look_into(path: Path, seconds_max: float | None = None) -> FileLook:
    """The damage in a DuckDB file, which is not changed. With `seconds_max` the check may end early."""
    deadline = float("inf") if seconds_max is None else time.monotonic() + seconds_max
    damages: list[Damage] = []
    is_whole = True
    for at, problem in _blocks(path):
        if problem and len(damages) < DAMAGES_MAX:
            damages.append(Damage(str(path), f"the {problem} at byte {at:,} does not match its checksum"))
        if time.monotonic() > deadline:
            is_whole = False
            break
    rows, error = (None, None) if seconds_max is not None and damages else _read(path, count=seconds_max is None)
    if error is not None and _IN_USE in error.lower() and not damages:
        return FileLook(path, unseen="another process has it open")
    if error is not None and not damages:
        damages.append(Damage(str(path), error))
    unseen = None if is_whole else f"not all of it could be checked in {seconds_max:.1f} s"
    return FileLook(path, tuple(damages), rows, unseen)


def _read(path: Path, *, count: bool) -> tuple[int | None, str | None]:
    """The number of rows of all tables, if requested, and why the file cannot be read."""
    rows = 0
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            names = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
            for schema, name in names if count else ():
                table = ".".join('"' + str(part).replace('"', '""') + '"' for part in (schema, name))
                found = connection.execute(f"SELECT count(*), bit_xor(hash(t)) FROM {table} t").fetchall()
                rows += int(found[0][0])
    except duckdb.Error as error:
        return None, " ".join(str(error).split())[:500]
    return (rows if count else None), None


def _blocks(path: Path) -> Iterator[tuple[int, str]]:
    """The position of each block in bytes, and its kind if it is damaged, else ""."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if head[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
            # DuckDB reports what is missing.
            return
        for number in range(HEADERS):
            file.seek(number * HEADER_BYTES)
            yield number * HEADER_BYTES, "" if _is_sound(file.read(HEADER_BYTES)) else "header"
        at = HEADERS * HEADER_BYTES
        file.seek(at)
        while len(block := file.read(BLOCK_BYTES)) == BLOCK_BYTES:
            # A block that was never written is not in use.
            yield at, "" if _is_sound(block) or not block.strip(b"\0") else "block"
            at += BLOCK_BYTES


def _is_sound(block: bytes) -> bool:
    (stored,) = struct.unpack_from("<Q", block)
    computed = _START
    for (word,) in struct.iter_unpack("<Q", block[8:]):
        computed ^= (word * _FACTOR) & _MASK
    return bool(computed == stored)
