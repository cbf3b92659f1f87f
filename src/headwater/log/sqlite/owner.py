"""Which process runs the server of an embedded log: one at a time; a second one gets an error that names the first.

How this works: the owner holds a lock on a file next to the log (`events.db.lock`), the same for every path or symbolic
link to the log, and writes into it which process it is. Only the lock counts: the content that a killed process has
left locks no other process out. Processes that only read, or append a batch, need no lock.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from headwater.errors import LogInUse, LogUnavailable
from headwater.log.sqlite.file_lock import FileLock, is_locked
from headwater.log.sqlite.medium import obstacle_to_writing, unwritable
from headwater.private_files import make_private_directory
from headwater.times import ms_of, utc_seconds

# For a moment another process may only be checking the lock, or be about to end.
PATIENCE_SECONDS = 0.5
PAUSE_SECONDS = 0.02
TEXT_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that owns a log, as it wrote itself. `since` is ISO 8601; `address` where it serves, once it does."""

    command: str
    pid: int
    host: str
    since: str
    address: str | None = None

    def __str__(self) -> str:
        served = f", at {self.address}" if self.address else ""
        return f"`headwater {self.command}`, process {self.pid} on {self.host} since {self.since}{served}"


class LogOwner:
    """The right to run the server of one log. `acquire` before the log is opened, `release` after it is closed."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._lock = FileLock(lock_path(log))
        self._holder: Holder | None = None

    def acquire(self, command: str) -> None:
        """Become the owner, as `headwater COMMAND`, if we are not yet; may wait for PATIENCE_SECONDS.

        Raises LogInUse where another process is, LogUnavailable where the file of the lock cannot be made.
        """
        if self._holder is not None:
            return
        try:
            make_private_directory(self._lock.path.parent)
            until = time.monotonic() + PATIENCE_SECONDS
            while not self._lock.acquire():
                if time.monotonic() > until:
                    raise in_use(self.log)
                time.sleep(PAUSE_SECONDS)
        except OSError as error:
            obstacle = obstacle_to_writing(self._lock.path)
            if obstacle in ("read_only", "forbidden"):
                raise unwritable(self.log, "becoming its server", obstacle) from None
            raise LogUnavailable(
                f"{self.log} cannot be owned by this process: {self._lock.path} cannot be locked"
                f" ({error.strerror or error}).",
                hint="A server writes its log: keep it where this user may write, on a local disk."
                " `headwater log read` and `log verify` work without.",
            ) from None
        since = utc_seconds(ms_of(time.time()))
        self._say(Holder(command, os.getpid(), platform.node() or "an unnamed host", since))

    def serves_at(self, address: str) -> None:
        """Let later processes know where the server is."""
        if self._holder is not None:
            self._say(Holder(**{**asdict(self._holder), "address": address}))

    def release(self) -> None:
        """Let others have it; idempotent."""
        self._holder = None
        self._lock.release()

    def _say(self, holder: Holder) -> None:
        self._holder = holder
        # Only for the message of others: on a full disk the lock holds all the same.
        with contextlib.suppress(OSError):
            self._lock.write(orjson.dumps(asdict(holder)))


def lock_path(log: Path) -> Path:
    """The lock's file: next to the real file of the log, so that all its names lead to one lock."""
    real = log.resolve()
    return real.with_name(f"{real.name}.lock")


def require_unowned(log: Path) -> None:
    """Raise LogInUse if a process owns this log now. Creates nothing, locks nothing."""
    if is_locked(lock_path(log)):
        raise in_use(log)


def in_use(log: Path) -> LogInUse:
    """The error that names the owner of the log."""
    holder = _holder_of(log)
    who = f": {holder}" if holder else ""
    return LogInUse(
        f"The log {log} is in use by another process{who}.",
        hint="A log on SQLite has one server at a time. Use that one, or stop it: this one can start when it has ended."
        " Commands that only read work at the same time.",
    )


def server_address(log: Path) -> str | None:
    """Where the owner of the log serves, such as http://127.0.0.1:8080; None if it does not, or nobody owns it."""
    holder = _holder_of(log)
    return None if holder is None or holder.address is None else holder.address.rstrip("/")


def _holder_of(log: Path) -> Holder | None:
    """The owner as written in the file; None if that cannot be read, or is left from one that has ended."""
    try:
        with lock_path(log).open("rb") as file:
            holder = Holder(**orjson.loads(file.read(TEXT_BYTES_MAX)))
    except (OSError, ValueError, TypeError):
        return None
    return holder if holder.host != platform.node() or _lives(holder.pid) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, TypeError):
        return True
    return True
