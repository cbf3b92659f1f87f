"""A lock that a process holds on a file until it releases it or ends, in whatever way.

How this works: an advisory `flock` belongs to an open file, so the system releases it when the process is killed, and
the file that is left locks no other process out. A forked child would inherit the lock and could outlive its parent: it
releases the lock at once.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path


class FileLock:
    """The lock on one file. Two of these exclude each other, also within one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether the lock is ours now; does not wait. Raises OSError where the file cannot be made or locked."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _HELD.add(self)
        return True

    def release(self) -> None:
        """Release the lock; idempotent. The file stays: a process that waits for the lock has it open."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _HELD.discard(self)
            os.close(descriptor)

    def write(self, text: bytes) -> None:
        """Replace the content of the file, while it is locked. Raises OSError."""
        assert self._descriptor is not None, "only the holder of the lock may write"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file now; creates no file. False if that cannot be determined."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two processes that check do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


_HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _let_go() -> None:
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_let_go)
