"""The events that wait to be sent: a bounded queue in memory, backed by files if a directory is given.

How this works: events leave in the order in which they were added. While there are files, new events go behind them, to
keep the order; a file contains JSON lines, is written completely, synced and renamed into place, and is removed when
all of its events have been answered. The files of a process that died are sent by the next one that uses the directory:
the intake recognises duplicates by `meta.id`. Without a directory a full queue raises an error.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import orjson

from headwater.client.answer import Waiting
from headwater.errors import ConfigInvalid, LogUnavailable

FILE_EVENTS_MAX = 1000
_SUFFIX = ".events.jsonl"
# Files are read in the order of their numbers; gaps between them leave room for the events in memory.
_NUMBER_FIRST = 10**11
_NUMBER_STEP = 10**5

with contextlib.suppress(ImportError):
    import fcntl


class Outbox:
    """Belongs to one producer; every method may be called from any thread."""

    def __init__(
        self, *, events_max: int, bytes_max: int, directory: Path | None = None, directory_bytes_max: int = 0
    ) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._directory = directory
        self._directory_bytes_max = directory_bytes_max
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._files: deque[Path] = deque()
        self._file_bytes = 0
        self._file_events = 0
        self._number = _NUMBER_FIRST
        # The file whose events are at the front of the queue, and how many of them are unanswered.
        self._reading: tuple[Path, int] | None = None
        self._spilling: list[Waiting] = []
        self._closed = False
        self._lock: int | None = None
        if directory is not None:
            self._adopt(directory)

    def __len__(self) -> int:
        with self._changed:
            return len(self._queue) + len(self._spilling) + self._file_events

    def put(self, one: Waiting) -> None:
        """Add an event. Raises LogUnavailable when there is no room."""
        with self._changed:
            full = len(self._queue) >= self._events_max or self._bytes + len(one.data) > self._bytes_max
            behind_files = bool(self._files or self._spilling)
            if not (full or behind_files):
                self._queue.append(one)
                self._bytes += len(one.data)
                self._changed.notify_all()
                return
            if self._directory is None:
                raise LogUnavailable(
                    f"{len(self._queue)} events are already waiting to be sent.",
                    hint="The intake is slow or unavailable. Send fewer events, wait, or set a `buffer_directory`.",
                )
            spilled = self._file_bytes + sum(len(waiting.data) for waiting in self._spilling)
            if spilled + len(one.data) > self._directory_bytes_max:
                raise LogUnavailable(
                    f"{spilled} bytes are already waiting in {self._directory}.",
                    hint="The intake is unavailable. Increase `buffer_bytes_max`, or wait.",
                )
            self._spilling.append(one)
            if len(self._spilling) >= FILE_EVENTS_MAX:
                self._write_behind()
            self._changed.notify_all()

    def take(self, events_max: int, bytes_max: int, linger_seconds: float) -> list[Waiting]:
        """The next batch, when it is full or `linger_seconds` after its first event. [] when closed and empty."""
        with self._changed:
            while not self._queue and not self._refill() and not self._closed:
                self._changed.wait()
            deadline = time.monotonic() + linger_seconds
            while not self._closed and len(self._queue) < events_max and self._bytes < bytes_max:
                left = deadline - time.monotonic()
                if left <= 0 or self._files or self._spilling:
                    break
                self._changed.wait(left)
            batch: list[Waiting] = []
            size = 0
            while (
                self._queue and len(batch) < events_max and (not batch or size + len(self._queue[0].data) <= bytes_max)
            ):
                one = self._queue.popleft()
                size += len(one.data)
                batch.append(one)
            self._bytes -= size
            return batch

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Return events that could not be sent to the front."""
        with self._changed:
            self._queue.extendleft(reversed(batch))
            self._bytes += sum(len(one.data) for one in batch)

    def answered(self, count: int) -> None:
        """Remove this many events from the front, which have been answered."""
        with self._changed:
            if self._reading is not None:
                path, left = self._reading
                self._reading = (path, left - count)
                if left - count <= 0:
                    self._forget(path)
                    self._reading = None

    def close(self) -> None:
        """Accept no more events; `take` returns the remaining ones and then []."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def keep(self) -> int:
        """Write the remaining events to files, for the next process; returns how many are lost without a file."""
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
            if self._directory is None:
                return len(left) + len(self._spilling)
            self._write_behind()
            if self._reading is not None:
                # These are already in their file.
                left = left[self._reading[1] :]
            # The events in memory are older than the files.
            before = min([_number_of(path) for path in self._files], default=self._number)
            parts = [left[start : start + FILE_EVENTS_MAX] for start in range(0, len(left), FILE_EVENTS_MAX)]
            for number, part in enumerate(parts, before - len(parts)):
                self._write_file(number, part)
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            return 0

    def _refill(self) -> bool:
        """Move the events behind the queue into it; whether there were any."""
        if self._reading is not None:
            return False
        if self._files:
            path = self._files.popleft()
            events = _read(path)
            self._file_events -= len(events)
            if not events:
                self._forget(path)
                return self._refill()
            self._reading = (path, len(events))
            self._queue.extend(events)
        elif self._spilling:
            self._queue.extend(self._spilling)
            self._spilling = []
        self._bytes = sum(len(one.data) for one in self._queue)
        return bool(self._queue)

    def _adopt(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigInvalid(
                f"Another process uses {directory}.", hint="Give each producer a `buffer_directory` of its own."
            ) from None
        for path in sorted(directory.glob(f"*{_SUFFIX}")):
            self._files.append(path)
            self._file_bytes += path.stat().st_size
            self._file_events += len(_read(path))
            self._number = max(self._number, _number_of(path) + _NUMBER_STEP)

    def _write_behind(self) -> None:
        if self._spilling:
            self._files.append(self._write_file(self._number, self._spilling))
            self._number += _NUMBER_STEP
            self._file_events += len(self._spilling)
            self._spilling = []

    def _write_file(self, number: int, events: Sequence[Waiting]) -> Path:
        assert self._directory is not None
        path = self._directory / f"{number:012d}{_SUFFIX}"
        data = b"".join([one.data + b"\n" for one in events])
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        self._file_bytes += len(data)
        return path

    def _forget(self, path: Path) -> None:
        self._file_bytes -= path.stat().st_size
        path.unlink()


def _number_of(path: Path) -> int:
    return int(path.name.split(".")[0], 10)


def _read(path: Path) -> list[Waiting]:
    """The events of a file; invalid lines, as left by a damaged disk, are skipped."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            meta = orjson.loads(line)["meta"]
            found.append(Waiting(meta["id"], meta["stream"], line))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return found
