"""Reads a table of files as of one moment: its files are linked or copied into a directory, partition by partition."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from headwater.connectors.lake.commits import SETTLE_SECONDS_MAX, Manifest, TableDirectory
from headwater.connectors.lake.file_system import joined
from headwater.connectors.lake.layout import HOUR_MS, hour_of
from headwater.errors import SinkUnavailable

_PAUSE_SECONDS = 0.05


def copy_files(
    table: TableDirectory, to: Path, copied: Callable[[int], None], wanted: Callable[[str], bool] = lambda place: True
) -> int:
    """Link or copy the files of the `wanted` partitions into `to`; returns how many rows they have.

    `copied` is called with the size of each file that takes up space, in bytes. Raises SinkUnavailable.
    """
    rows = 0
    for place in table.places():
        if wanted(place):
            rows += _copy_place(table, place, to, copied).rows
    return rows


def within(place: str, since_ms: int | None, until_ms: int | None) -> bool:
    """Whether the hour of a partition has a moment in `since_ms` ≤ moment < `until_ms` (epoch milliseconds)."""
    known = hour_of(place)
    if known is None:
        return True
    starts_ms = known[1] * HOUR_MS
    return (since_ms is None or starts_ms + HOUR_MS > since_ms) and (until_ms is None or starts_ms < until_ms)


def _copy_place(table: TableDirectory, place: str, to: Path, copied: Callable[[int], None]) -> Manifest:
    """Files of a partition that are merged meanwhile are looked for again."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        manifest = table.manifest(place)
        done: list[Path] = []
        for name in manifest.files:
            target = to / place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() and not _copy_file(table, joined(place, name), target, copied):
                break
            done.append(target)
        else:
            return manifest
        for target in done:
            target.unlink()
        if time.monotonic() > deadline:
            raise SinkUnavailable(
                f"{joined(table.path, place)} lacks a file that its manifest names.",
                hint="Files of a table must not be deleted or renamed by others.",
            )
        time.sleep(_PAUSE_SECONDS)


def _copy_file(table: TableDirectory, path: str, target: Path, copied: Callable[[int], None]) -> bool:
    """Whether the file exists."""
    if table.files.directory is not None:
        source = Path(table.files.directory, table.path, path)
        try:
            os.link(source, target)
            return True
        except FileNotFoundError:
            return False
        except OSError:
            # The directories are not on one disk.
            try:
                copied(source.stat().st_size)
                shutil.copyfile(source, target)
                return True
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                return False
    content = table.files.read(joined(table.path, path))
    if content is None:
        return False
    copied(len(content))
    target.write_bytes(content)
    return True
