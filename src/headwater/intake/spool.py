"""The spool: a first-in, first-out queue of events in files, for `hasty` events while the log does not keep up.

How this works: events are appended in *frames* (length, checksum, the events as msgpack) to *segment* files, and read
back in the same order. The first bytes of a segment record how far it was drained, so a segment is all that is needed
to resume after a restart, and is removed once it is drained. What was appended survives the process at once and the
machine after `sync`. A torn or damaged frame ends its segment: what precedes it is delivered, the rest is counted as
lost. A process owns a numbered directory by a file lock, and takes over the segments of directories without an owner.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from headwater.errors import ConfigInvalid, LogFull, LogUnavailable
from headwater.log.sqlite.file_lock import FileLock
from headwater.private_files import make_private_directory

SEGMENT_BYTES_MAX = 8_388_608
FRAME_BYTES_MAX = 1_048_576
SUFFIX = ".spool"

_MAGIC = b"HWSPOOL1"
# Up to which byte the segment was drained, and the checksum of that number.
_HEAD = struct.Struct(">8sQI")
_FRAME = struct.Struct(">II")
_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class Batch(NamedTuple):
    """Events from the front of the queue, at least one; `mark` is what `advance` takes once they are delivered."""

    events: list[bytes]
    mark: int


@dataclass(slots=True)
class _Segment:
    path: Path
    descriptor: int
    size: int
    drained: int = field(default=_HEAD.size)


class Spool:
    """A bounded queue of events on disk. Not for use from several threads; its calls block on the file system."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        """`directory` may be shared by several processes, each of which may keep `bytes_max` bytes in it."""
        self._root = directory
        self._bytes_max = bytes_max
        self._segment_bytes_max = min(SEGMENT_BYTES_MAX, max(4096, bytes_max // 4))
        self._segments: deque[_Segment] = deque()
        # The segment that is appended to, always the last one; None: the next append begins one.
        self._writing: _Segment | None = None
        self._own: Path | None = None
        self._lock: FileLock | None = None
        self._numbers = itertools.count(1)
        self._unsynced: list[_Segment] = []
        self.bytes_stored = 0
        self.bytes_damaged = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything appended was delivered."""
        return not self._segments

    def open(self) -> None:
        """Find what an earlier process left. Raises ConfigInvalid where the directory cannot be used."""
        try:
            make_private_directory(self._root)
            for number in itertools.count():
                place = self._root / str(number)
                if self._own is not None and not place.is_dir():
                    break
                lock = _locked(place)
                if lock is None:
                    continue
                if self._own is None:
                    self._own, self._lock = place, lock
                    self._take_over(place)
                else:
                    self._take_over(place)
                    lock.release()
        except OSError as error:
            self.close()
            raise ConfigInvalid(
                f"The spool {self._root} cannot be used: {error.strerror or error}.",
                hint="Make the directory writable, or name another in intake.hasty_spool_path.",
            ) from None

    def close(self) -> None:
        """Make everything durable and give up the directory; idempotent. What is left waits for the next process."""
        self.sync()
        for segment in self._segments:
            os.close(segment.descriptor)
        self._segments.clear()
        self._writing = None
        if self._lock is not None:
            self._lock.release()
        self._own = self._lock = None
        self.bytes_stored = 0

    def append(self, events: Sequence[bytes]) -> None:
        """Queue `events`, all or none; they survive the end of the process.

        Raises LogUnavailable where the spool is full, LogFull where the disk is.
        """
        data = b"".join(_frames(events))
        if self.bytes_stored + len(data) + _HEAD.size > self._bytes_max:
            raise LogUnavailable(
                f"The spool of fire-and-forget events is full ({self._bytes_max} bytes).",
                hint="Send them again a little later.",
            )
        segment = None
        try:
            segment = self._segment_for(len(data))
            _write(segment.descriptor, data, segment.size)
        except OSError as error:
            if segment is not None:
                os.ftruncate(segment.descriptor, segment.size)
            kind = LogFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else LogUnavailable
            raise kind(
                f"The spool {self._root} cannot be written: {error.strerror or error}.", hint="Make room for it."
            ) from None
        segment.size += len(data)
        self.bytes_stored += len(data)
        if segment not in self._unsynced:
            self._unsynced.append(segment)

    def peek(self, events_max: int, bytes_max: int) -> Batch | None:
        """The oldest events, in order; None if there are none. They stay until `advance`.

        More than requested only if one frame has more (up to 1 MB, or one event).
        """
        while self._segments:
            segment = self._segments[0]
            events: list[bytes] = []
            mark = segment.drained
            while mark < segment.size and len(events) < events_max and mark - segment.drained < bytes_max:
                frame = _frame_at(segment, mark)
                if frame is None:
                    self._give_up(segment, mark)
                    break
                events += frame[0]
                mark = frame[1]
            if events:
                return Batch(events, mark)
            self._remove(segment)
        return None

    def advance(self, mark: int) -> None:
        """Forget the events of the batch with this `mark`: they are delivered."""
        segment = self._segments[0]
        segment.drained = mark
        if mark >= segment.size:
            self._remove(segment)
            return
        try:
            _write(segment.descriptor, _head(mark), 0)
        except OSError as error:
            _log.warning("%s: what was delivered could not be noted and may be repeated: %s", segment.path, error)

    def sync(self) -> None:
        """Make durable what was appended, also where the machine stops. Safe to call from another thread."""
        unsynced, self._unsynced = self._unsynced, []
        for segment in unsynced:
            try:
                os.fsync(segment.descriptor)
            except OSError as error:
                # Delivered and removed in the meantime, or a disk that fails, which the next append reports.
                _log.debug("%s: %s", segment.path, error)
        if unsynced and self._lock is not None and self._own is not None:
            # The names of new segments are kept by the directory.
            directory = os.open(self._own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(directory)
            os.close(directory)

    def _take_over(self, place: Path) -> None:
        """Queue the segments found in `place`; those of another directory are moved to our own."""
        assert self._own is not None
        for path in sorted(place.glob("[0-9]" * 16 + SUFFIX)):
            ours = self._own / f"{next(self._numbers):016d}{SUFFIX}"
            if place == self._own:
                ours = path
                self._numbers = itertools.count(int(path.stem) + 1)
            else:
                path.rename(ours)
            descriptor = os.open(ours, os.O_RDWR | os.O_CLOEXEC)
            size = os.fstat(descriptor).st_size
            drained = _drained(os.pread(descriptor, _HEAD.size, 0))
            self._segments.append(_Segment(ours, descriptor, size, min(drained, size)))
            self.bytes_stored += size

    def _segment_for(self, size: int) -> _Segment:
        segment = self._writing
        if segment is None or segment.size + size > self._segment_bytes_max:
            assert self._own is not None, "append needs an open spool"
            path = self._own / f"{next(self._numbers):016d}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            segment = _Segment(path, descriptor, _HEAD.size)
            self._segments.append(segment)
            self.bytes_stored += _HEAD.size
            self._writing = segment
            _write(descriptor, _head(_HEAD.size), 0)
        return segment

    def _give_up(self, segment: _Segment, mark: int) -> None:
        """The frame at `mark` is damaged, and nothing after it can be found."""
        lost = segment.size - mark
        self.bytes_damaged += lost
        _log.warning("%s: %d bytes at %d are damaged or torn and are lost", segment.path, lost, mark)
        if self._writing is segment:
            self._writing = None
        self.bytes_stored -= lost
        segment.size = mark

    def _remove(self, segment: _Segment) -> None:
        if self._writing is segment:
            self._writing = None
        self._segments.popleft()
        self.bytes_stored -= segment.size
        segment.path.unlink(missing_ok=True)
        os.close(segment.descriptor)


def _locked(place: Path) -> FileLock | None:
    """The lock of a directory, made where it is missing; None where another process has it."""
    place.mkdir(exist_ok=True)
    lock = FileLock(place / "lock")
    return lock if lock.acquire() else None


def _frames(events: Sequence[bytes]) -> Iterator[bytes]:
    """The events in frames of up to FRAME_BYTES_MAX, or one event."""
    group: list[bytes] = []
    size = 0
    for event in events:
        if group and size + len(event) > FRAME_BYTES_MAX:
            yield _frame(group)
            group, size = [], 0
        group.append(event)
        size += len(event)
    if group:
        yield _frame(group)


def _frame(events: list[bytes]) -> bytes:
    payload = _encode(events)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _frame_at(segment: _Segment, mark: int) -> tuple[list[bytes], int] | None:
    """The events of a frame and where the next begins; None where it is torn or damaged."""
    head = os.pread(segment.descriptor, _FRAME.size, mark)
    if len(head) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(head)
    start = mark + _FRAME.size
    if start + length > segment.size:
        return None
    payload = os.pread(segment.descriptor, length, start)
    if len(payload) < length or zlib.crc32(payload) != checksum:
        return None
    try:
        return _decode(payload), start + length
    except msgspec.DecodeError:
        return None


def _head(drained: int) -> bytes:
    return _HEAD.pack(_MAGIC, drained, zlib.crc32(drained.to_bytes(8)))


def _drained(head: bytes) -> int:
    """How far a segment was drained; its first frame where that cannot be read: rather twice than never."""
    if len(head) == _HEAD.size:
        magic, drained, checksum = _HEAD.unpack(head)
        if magic == _MAGIC and checksum == zlib.crc32(drained.to_bytes(8)) and drained >= _HEAD.size:
            return int(drained)
    return _HEAD.size


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
