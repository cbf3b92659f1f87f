"""Jobs with state on a log that keeps none: a transactional outbox in a file, relayed in the log's transactions.

How this works: a commit goes into a `StateFile` first: state, position and events in one transaction of that file. A
task relays the events: those of one or several commits, in order, in one transaction of the log that also commits the
number of the last of them, as part of the token of the job's group. After a crash, the relay resumes after the commit
that the token names: readers of committed events see each once, and none is lost. Taking the group over first makes
sure that no transaction of a predecessor can still end. A file that does not fit the token (it was lost, or is an old
copy) is refused: resuming from it would lose or repeat events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from headwater.connectors.contract import Delivery
from headwater.errors import EventTooLarge, KeyFieldMissing, StateMismatch, StateUnavailable
from headwater.file_names import file_name
from headwater.log.contract import Commit, Log, LogWriter, Position, Record, StateChange
from headwater.processing.stores.contract import OnRefused, RowTarget
from headwater.processing.stores.state_file import Outgoing, StateFile

# No topic has such a name; its "offset" is the number of the last commit that was relayed.
OUTBOX = "outbox/"
COMMITS_WAITING_MAX = 32
RELAYED_RECORDS_MAX = 5_000

_T = TypeVar("_T")


def state_file(directory: Path, job: str) -> Path:
    """The file in which the job of this name keeps its state, in the directory for all of them."""
    return directory / f"{file_name(job, 'job')}.db"


def published_token(token: str, file_id: str, number: int) -> str:
    """The token of a job's group in the log: the input's position, and the last commit of its file that was relayed."""
    return Position({**Position.parse(token).offsets, (OUTBOX + file_id, 0): number}).token()


def parse_published(token: str | None) -> tuple[Position, dict[str, int]]:
    """The input's position in such a token, and the number for each file, by its id. Raises TokenInvalid."""
    offsets = Position.parse(token).offsets if token else {}
    boxes = {place[0].removeprefix(OUTBOX): number for place, number in offsets.items() if place[0].startswith(OUTBOX)}
    return Position({place: at for place, at in offsets.items() if not place[0].startswith(OUTBOX)}), boxes


class OutboxStore:
    """The file of one job, and the relay of its events into the log."""

    keeps_state = True

    def __init__(self, log: Log, group: str, path: Path, *, durability: str = "fsync") -> None:
        self.takes_events = log.features.transactional_commit
        self.rows: RowTarget | None = None
        self.refuses: LogWriter | None = log if log.features.refuses_records else None
        self._log = log
        self._group = group
        self._path = path
        self._durability = durability
        self._file: StateFile | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Outgoing] = deque()
        self._arrived = 0
        self._relaying: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._is_sure = True
        self.on_refused: OnRefused | None = None

    async def open(self) -> str | None:
        await self.close()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headwater-job-state")
        try:
            file = self._file = await self._in_thread(self._open_file)
            published = await self._log.claim(self._group)
            waiting = await self._in_thread(file.waiting)
            position, self._arrived = self._arrived_by(published, file, waiting)
        except BaseException:
            await self.close()
            raise
        self._waiting = deque(one for one in waiting if one.number > self._arrived)
        self._is_sure = True
        self._start_relay()
        return file.token if file.number else position

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return await self._in_thread(self._opened().get, namespace, keys)

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return await self._in_thread(self._opened().scan, namespace, after, rows_max)

    async def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], rows: Sequence[Delivery] = ()
    ) -> None:
        self._check_relay()
        while len(self._waiting) >= COMMITS_WAITING_MAX:
            self._moved.clear()
            await self._moved.wait()
            self._check_relay()
        file, arrived = self._opened(), self._arrived
        self._waiting.append(await self._in_thread(lambda: file.commit(records, token, changes, arrived=arrived)))
        self._start_relay()

    async def flush(self) -> None:
        self._check_relay()
        while self._waiting:
            self._moved.clear()
            await self._moved.wait()
            self._check_relay()

    async def close(self) -> None:
        relaying, self._relaying = self._relaying, None
        if relaying is not None:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
        file, self._file = self._file, None
        thread, self._thread = self._thread, None
        if thread is not None:
            if file is not None:
                await asyncio.get_running_loop().run_in_executor(thread, file.close)
            thread.shutdown(wait=False)
        self._waiting.clear()

    def _open_file(self) -> StateFile:
        return StateFile(self._path, durability=self._durability)

    def _arrived_by(
        self, published: str | None, file: StateFile, waiting: Sequence[Outgoing]
    ) -> tuple[str | None, int]:
        """The input's position by the log's token, and the number of the last commit in the log.

        Raises StateMismatch if the file and the log do not belong together.
        """
        position, boxes = parse_published(published)
        known_since = waiting[0].number - 1 if waiting else file.number
        arrived = boxes.get(file.id, 0)
        if boxes.keys() - {file.id} or (file.number and published is not None and not boxes):
            what = "is not the one that the job last used" if file.number else "is new, but the job has run before"
        elif not known_since <= arrived <= file.number:
            what = "is older than what the log has" if arrived > file.number else "is newer than what the log has"
        else:
            return (position.token() if position.offsets else None), arrived
        raise StateMismatch(
            f"The state of {self._group!r} in {file.path} does not fit the log: it {what}.",
            hint="Restore the right file, or start over with another name for the job (docs/reference/kafka.md).",
        )

    def _start_relay(self) -> None:
        task = self._relaying
        # A failure is kept until `_check_relay` has raised it.
        if self._waiting and (task is None or (task.done() and not task.cancelled() and task.exception() is None)):
            self._relaying = asyncio.get_running_loop().create_task(self._relay(), name=f"relay of {self._group}")

    def _check_relay(self) -> None:
        """Raise, once, the error that ended the relay, and restart it."""
        task = self._relaying
        if task is not None and task.done():
            self._relaying = None
            self._start_relay()
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _relay(self) -> None:
        try:
            if not self._is_sure:
                await self._make_sure()
            while self._waiting:
                taken: list[Outgoing] = []
                records: list[Record] = []
                for one in self._waiting:
                    if taken and len(records) + len(one.records) > RELAYED_RECORDS_MAX:
                        break
                    taken.append(one)
                    records += one.records
                self._is_sure = False
                token = published_token(taken[-1].token, self._opened().id, taken[-1].number)
                try:
                    await self._log.append(records, commit=Commit(self._group, token))
                except (EventTooLarge, KeyFieldMissing):
                    # Accepted when the job made them; the settings of the topic have changed since.
                    records = await self._acceptable(records)
                    await self._log.append(records, commit=Commit(self._group, token))
                self._is_sure = True
                for _ in taken:
                    self._waiting.popleft()
                self._arrived = taken[-1].number
                self._moved.set()
        finally:
            self._moved.set()

    async def _acceptable(self, records: Sequence[Record]) -> list[Record]:
        """`records`, with replacements for those that the log will never accept."""
        if self.on_refused is None or self.refuses is None:
            return list(records)
        taken: list[Record] = []
        for record in records:
            refusal = await self.refuses.refusal(record)
            taken += [record] if refusal is None else await self.on_refused(record, refusal)
        return taken

    async def _make_sure(self) -> None:
        """After an append whose answer was lost: the token shows whether its events are in the log."""
        published = await self._log.claim(self._group)
        _, self._arrived = self._arrived_by(published, self._opened(), tuple(self._waiting))
        while self._waiting and self._waiting[0].number <= self._arrived:
            self._waiting.popleft()
        self._is_sure = True

    def _opened(self) -> StateFile:
        if self._file is None:
            raise StateUnavailable(f"The state of {self._group!r} is not open.")
        return self._file

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        if self._thread is None:
            raise StateUnavailable(f"The state of {self._group!r} is not open.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
