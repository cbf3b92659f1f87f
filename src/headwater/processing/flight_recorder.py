"""Records which events a process of jobs is working on, where the platform finds it after the process has ended.

How this works: the two share memory. For each job it has the offsets that the job has read, written before each batch,
and the places of the records that it processes alone, as those are that may have ended a process. While the job's own
code runs on such a record, the memory also names the record: an event loop runs one function at a time. However the
process ends, what it has written last is there. A text that is being written has no length, and is not read.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from headwater.log.contract import Position, StoredRecord, TopicPartition

T = TypeVar("T")
# Topic, partition and offset of a record.
Place = tuple[str, int, int]

_LENGTH = struct.Struct("<I")
# What runs, and for each job what is tried and what was read: a job whose texts are longer is not known.
_RUNNING_BYTES = 4_096
_TRIED_BYTES = 32_768
_READ_BYTES = 262_144
_JOB_BYTES = _TRIED_BYTES + _READ_BYTES


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What earlier processes were working on when they ended.

    `until`: the last offset of each partition whose records are to be processed one by one; `ended`: the records that
    have ended so many processes that they are not tried any more, with the reason.
    """

    until: Mapping[TopicPartition, int] = field(default_factory=dict)
    ended: Mapping[Place, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flight:
    """What a job was working on: `read`: the last offset of each partition that it has read; `tried`: records alone."""

    read: Mapping[TopicPartition, int]
    tried: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Flights:
    """What a process was working on; `running`: the job, and the record on which its code ran."""

    jobs: Mapping[str, Flight]
    running: tuple[str, Place] | None


class JobFlight:
    """What one runner of a job is working on. Without a recorder nothing is recorded."""

    def __init__(self, record: _JobRecord | None = None, suspicion: Suspicion | None = None) -> None:
        self.suspicion = suspicion or Suspicion()
        self.is_trying = False
        self._record = record
        self._place: Place | None = None
        self._running = b""

    def reads(self, position: Position) -> None:
        """The records before `position` are read, and about to be processed."""
        if self._record is not None:
            self._record.reads(position)

    def tries(self, record: StoredRecord) -> None:
        """A record is processed alone, until `tried`."""
        if self._record is None:
            return
        self.tried()
        self.is_trying = True
        self._place = (record.topic, record.partition, record.offset)
        self._running = self._record.running(self._place)
        self._record.tries(self._place)

    def tried(self) -> None:
        """It was committed, or the run has ended; or what follows is not done because of it, such as due timers."""
        if self._record is not None and self._place is not None:
            self._record.tried(self._place)
        self.is_trying, self._place = False, None

    @contextlib.contextmanager
    def trying(self, record: StoredRecord | None) -> Iterator[None]:
        """`tries` until the end of the block; None: nothing."""
        if record is None:
            yield
            return
        self.tries(record)
        try:
            yield
        finally:
            self.tried()

    @contextlib.contextmanager
    def runs(self) -> Iterator[None]:
        """The job's code runs on the record that is tried, and nothing else does until the end of the block."""
        if not self.is_trying or self._record is None:
            yield
            return
        self._record.runs(self._running)
        try:
            yield
        finally:
            self._record.runs(b"")

    async def marked(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, whose code runs on the record that is tried, except while it waits."""
        found: T = await _Marked(work, self.runs)
        return found


class FlightRecorder:
    """The writing end, in the process. `memory` is shared, and was zero."""

    def __init__(self, memory: mmap.mmap | bytearray, jobs: Sequence[str], suspicions: Mapping[str, Suspicion]) -> None:
        self._memory = memory
        self._jobs = {job: _JobRecord(memory, job, number) for number, job in enumerate(jobs)}
        self._suspicions = suspicions

    def of(self, job: str) -> JobFlight:
        """For one runner of a job."""
        return JobFlight(self._jobs[job], self._suspicions.get(job))

    def close(self) -> None:
        """The jobs are stopped as they are to be: nothing is in flight any more."""
        for record in self._jobs.values():
            record.close()


class _JobRecord:
    """The part of the memory for one job, which may have several runners."""

    def __init__(self, memory: mmap.mmap | bytearray, job: str, number: int) -> None:
        self._memory = memory
        self._job = job
        self._at = _RUNNING_BYTES + number * _JOB_BYTES
        self._read: dict[TopicPartition, int] = {}
        self._tried: list[Place] = []

    def reads(self, position: Position) -> None:
        self._read.update(position.offsets)
        read = [(topic, partition, offset - 1) for (topic, partition), offset in self._read.items()]
        _write(self._memory, self._at + _TRIED_BYTES, _READ_BYTES, msgspec.msgpack.encode(read))

    def tries(self, place: Place) -> None:
        self._tried.append(place)
        self._write_tried()

    def tried(self, place: Place) -> None:
        self._tried.remove(place)
        self._write_tried()

    def running(self, place: Place) -> bytes:
        return msgspec.msgpack.encode((self._job, place))

    def runs(self, running: bytes) -> None:
        _write(self._memory, 0, _RUNNING_BYTES, running)

    def close(self) -> None:
        self._read, self._tried = {}, []
        for at in (self._at, self._at + _TRIED_BYTES):
            _write(self._memory, at, _JOB_BYTES, b"")

    def _write_tried(self) -> None:
        _write(self._memory, self._at, _TRIED_BYTES, msgspec.msgpack.encode(self._tried))


def memory_bytes(jobs: int) -> int:
    """How much memory is to be shared for so many jobs; what is not written takes none."""
    return _RUNNING_BYTES + jobs * _JOB_BYTES


def flights_in(memory: mmap.mmap | bytearray, jobs: Sequence[str]) -> Flights:
    """What a process that has ended was working on."""
    found: dict[str, Flight] = {}
    for number, job in enumerate(jobs):
        at = _RUNNING_BYTES + number * _JOB_BYTES
        tried = _read(memory, at, _TRIED_BYTES, list[Place])
        read = _read(memory, at + _TRIED_BYTES, _READ_BYTES, list[Place])
        found[job] = Flight({(topic, partition): offset for topic, partition, offset in read or ()}, tried or [])
    return Flights(found, _read(memory, 0, _RUNNING_BYTES, tuple[str, Place]))


def _write(memory: mmap.mmap | bytearray, at: int, room: int, data: bytes) -> None:
    _LENGTH.pack_into(memory, at, 0)
    if data and len(data) <= room - _LENGTH.size:
        memory[at + _LENGTH.size : at + _LENGTH.size + len(data)] = data
        _LENGTH.pack_into(memory, at, len(data))


def _read(memory: mmap.mmap | bytearray, at: int, room: int, kind: type[T]) -> T | None:
    (length,) = _LENGTH.unpack_from(memory, at)
    if not 0 < length <= room - _LENGTH.size:
        return None
    try:
        return msgspec.msgpack.decode(memory[at + _LENGTH.size : at + _LENGTH.size + length], type=kind)
    except msgspec.MsgspecError:
        return None


class _Marked(Awaitable[T]):
    """A coroutine that is marked as running from when it is continued until it waits again."""

    def __init__(self, work: Coroutine[Any, Any, T], runs: Callable[[], contextlib.AbstractContextManager[None]]):
        self._work = work
        self._runs = runs

    def __await__(self) -> Generator[Any, Any, T]:
        work, value, error = self._work, None, None
        while True:
            try:
                with self._runs():
                    waits_for = work.send(value) if error is None else work.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            value, error = None, None
            try:
                value = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as raised:  # is raised where the coroutine waits
                error = raised
