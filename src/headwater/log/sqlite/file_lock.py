"""A lock that a process holds on a file until it lets go or ends, however it ends.

How this works: an advisory `flock` belongs to an open file, so the system releases it when the process is killed, and
what is left of the file locks nobody out. A forked child would hold it too, and outlive its parent: it lets go at once.
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
        """Let go; idempotent. The file stays: whoever waits for it has it open."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _HELD.discard(self)
            os.close(descriptor)

    def write(self, text: bytes) -> None:
        """Replace what the file says, while it is locked. Raises OSError."""
        assert self._descriptor is not None, "only who holds the lock may write"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file now; makes no file. False where that cannot be found out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who ask do not see each other.
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
