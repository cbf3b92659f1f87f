"""Keeps the memory of a long-running process near what it needs: memory freed after a large request is returned.

How this works: the allocator of glibc returns only what is free at the end of a heap. A large request is many small
pieces, and a few that are still in use above the others would keep hundreds of free megabytes in the process.
`malloc_trim` returns them; it is called when the process has grown and is nearly idle, and rarely under load. It does
not trim the end of the heaps of threads, so their number, and how much may be free at their end, is limited.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

LOOK_SECONDS = 2.0
GROWTH_BYTES_MIN = 8_388_608
# Above this share of a processor, the memory is likely to be needed again soon.
BUSY_PART = 0.25
BUSY_SECONDS_MAX = 60.0
# Of processor time: with less work since the last time, too little can have been freed to be worth it.
WORK_SECONDS_MIN = 0.1

# Settings of the allocator: number of heaps for all threads; size from which a piece has pages of its own; bytes that
# may be free at the end of a heap. Unset, the last two grow up to 32 and 64 MB when large pieces are freed.
HEAPS_MAX = 2
PIECE_BYTES_MAX = 1_048_576
FREE_END_BYTES_MAX = 4_194_304
# Their constants in <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

_STATM = Path("/proc/self/statm")


def bound_free_memory() -> None:
    """Limit how much free memory glibc's allocator keeps. Call it before starting threads; a no-op elsewhere."""
    if (library := _glibc()) is not None:
        library.mallopt(_M_ARENA_MAX, HEAPS_MAX)
        library.mallopt(_M_MMAP_THRESHOLD, PIECE_BYTES_MAX)
        library.mallopt(_M_TRIM_THRESHOLD, FREE_END_BYTES_MAX)


@contextlib.asynccontextmanager
async def returning_memory() -> AsyncIterator[None]:
    """Return free memory to the system during the block, if the system and its allocator support that."""
    library = _glibc()
    if library is None:
        yield
        return
    task = asyncio.create_task(_return_memory(library, _resident_bytes()), name="return-memory")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _return_memory(library: ctypes.CDLL, smallest: int) -> None:
    """`smallest`: the bytes of memory that the process had when it was idle."""
    used, returned_at = time.process_time(), time.monotonic()
    used_at_return = 0.0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        before, used = used, time.process_time()
        is_busy = used - before > LOOK_SECONDS * BUSY_PART
        if is_busy and time.monotonic() - returned_at < BUSY_SECONDS_MAX:
            continue
        resident = _resident_bytes()
        smallest = min(smallest, resident)
        if resident < smallest + GROWTH_BYTES_MIN or used - used_at_return < WORK_SECONDS_MIN:
            continue
        await asyncio.to_thread(_return_free, library)
        returned_at = time.monotonic()
        # If much was returned, memory that was still in use may follow: try again.
        if resident - _resident_bytes() < GROWTH_BYTES_MIN:
            used_at_return = time.process_time()


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc and the system reports the memory of a process."""
    if not _STATM.exists():
        return None
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return None
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    library.malloc_trim.argtypes = [ctypes.c_size_t]
    return library


def _return_free(library: ctypes.CDLL) -> None:
    # Objects that only the collector can free would otherwise stay until much work has been done.
    gc.collect()
    library.malloc_trim(0)


def _resident_bytes() -> int:
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
