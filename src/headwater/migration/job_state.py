"""The position and state of one job in a log, to be read and replaced when the job moves to another log.

How this works: a log with keyed state has both (`LogJobState`), as has any log for a job without state. Otherwise they
are in the job's file (`FileJobState`), and the log has the number of the last commit that arrived. A replacement is
complete or absent: in a file it is one transaction; in a log it is written in pieces, and until it is complete the job
has a token that no runner accepts. A note about it is stored too, so that a job that has run since is recognised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from headwater.errors import CopyRefused, StateMismatch
from headwater.log.contract import Commit, Log, Position, StateChange
from headwater.migration.positions import FURTHER, namespaces_of
from headwater.processing.stores.outbox import OutboxStore, parse_published, published_token
from headwater.processing.stores.state_file import StateFile

ROWS_AT_ONCE = 1_000
MARK_VERSION = "state1"
UNFINISHED = "copy unfinished: the same `headwater log copy` again ends it"

_encode = msgspec.msgpack.Encoder().encode

Rows = Sequence[tuple[bytes, bytes]]
# State by namespace, in order.
AllRows = Callable[[], AsyncGenerator[tuple[str, Rows]]]
IsUnchanged = Callable[[], Awaitable[bool]]


class StateDigest(NamedTuple):
    """How many entries of state there are, and their checksum as hexadecimal text."""

    entries: int
    checksum: str


class JobSnapshot(NamedTuple):
    """Where a job is: the token of its input, None before the beginning, and the sum of its state."""

    token: str | None
    state: StateDigest


class JobState(Protocol):
    """What one log has of one job. Close it in any case."""

    file: Path | None

    async def open(self) -> None:
        """Keep others from it, where that can be done. Raises StateUnavailable (in use), StateMismatch."""
        ...

    async def flush(self) -> None:
        """Let everything that was committed arrive in the log. Raises StateMismatch, LogUnavailable."""
        ...

    async def snapshot(self) -> JobSnapshot:
        """Where the job is."""
        ...

    def rows(self) -> AsyncGenerator[tuple[str, Rows]]:
        """Its state by namespace, in order."""
        ...

    async def conflict(self) -> str | None:
        """Why what is here may not be replaced; None if it may."""
        ...

    async def replace(self, position: Position, rows: AllRows, state: StateDigest, is_still: IsUnchanged) -> bool:
        """Store this state, whose digest is `state`, and this position, or nothing if `is_still` returns False.

        Raises CopyRefused if what was written is not what was read.
        """
        ...

    async def mark_migrated(self) -> None:
        """Note that this state was migrated: until the job runs here again, it may be replaced."""
        ...

    async def close(self) -> None:
        """Release it; idempotent."""
        ...


class LogJobState:
    """A job that has everything in its log; where that keeps no state, a job that has only a position."""

    def __init__(self, log: Log, job: str) -> None:
        self.file: Path | None = None
        self._log = log
        self._group = f"job.{job}"
        self._prefix = f"job/{job}/"
        self._mark = f"headwater.copy/state/{self._group}"

    async def open(self) -> None:
        """There is nothing to open."""

    async def flush(self) -> None:
        """What was committed is there."""

    async def snapshot(self) -> JobSnapshot:
        return JobSnapshot(await self._token(), await digest_of(self.rows()))

    async def rows(self) -> AsyncGenerator[tuple[str, Rows]]:
        for namespace in await self._namespaces():
            after = b""
            while rows := await self._log.state_scan(namespace, after=after, rows_max=ROWS_AT_ONCE):
                yield namespace, rows
                after = rows[-1][0]

    async def conflict(self) -> str | None:
        mark = _parse_mark(await self._log.committed(self._mark))
        present = await self.snapshot()
        if mark is None or present.token in (None, UNFINISHED):
            return None
        return None if present == mark else FURTHER

    async def replace(self, position: Position, rows: AllRows, state: StateDigest, is_still: IsUnchanged) -> bool:
        token = position.token()
        if not self._log.features.keyed_state:
            if (still := await is_still()) and await self._token() != token:
                await self._log.commit(self._group, token)
            return still
        if not await is_still():
            return False
        if await self.snapshot() != (token, state):
            await self._replace_state(rows)
            if not await is_still():
                return False
            _check(await digest_of(self.rows()), state, self._group)
        await self._log.commit(self._mark, f"{MARK_VERSION} {state.entries} {state.checksum} {token}")
        await self._log.commit(self._group, token)
        return True

    async def mark_migrated(self) -> None:
        """Nothing to note: the log that a later copy comes from detects changes itself."""

    async def close(self) -> None:
        """The log is closed by its owner."""

    async def _namespaces(self) -> list[str]:
        return await namespaces_of(self._log, self._prefix)

    async def _token(self) -> str | None:
        """That of the job. Processes that share a job have one for each partition, and the furthest counts."""
        token = await self._log.committed(self._group)
        if not self._log.features.shares_partitions:
            return token
        offsets = dict(parse_published(token)[0].offsets)
        for group in await self._log.groups():
            if group.startswith(f"{self._group}/"):
                part = await self._log.committed(group)
                for place, offset in Position.parse(part).offsets.items() if part else ():
                    offsets[place] = max(offset, offsets.get(place, 0))
        return Position(offsets).token() if offsets else None

    async def _replace_state(self, rows: AllRows) -> None:
        await self._log.commit(self._group, UNFINISHED)
        for namespace in await self._namespaces():
            while present := await self._log.state_scan(namespace, rows_max=ROWS_AT_ONCE):
                await self._change(namespace, [(key, None) for key, _ in present])
        async for namespace, page in rows():
            await self._change(namespace, page)

    async def _change(self, namespace: str, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        changes = tuple(StateChange(namespace, key, value) for key, value in rows)
        await self._log.append((), commit=Commit(self._group, UNFINISHED, changes))


class FileJobState:
    """A job that has its state and position in a file of its own."""

    def __init__(self, log: Log, job: str, file: Path) -> None:
        self.file: Path | None = file
        self._path = file
        self._log = log
        self._group = f"job.{job}"
        self._prefix = f"job/{job}/"
        self._state: StateFile | None = None

    async def open(self) -> None:
        if self._state is None and self._path.is_file():
            self._state = await asyncio.to_thread(StateFile, self._path)

    async def flush(self) -> None:
        state = self._state
        _, boxes = parse_published(await self._log.committed(self._group))
        if state is None and not boxes:
            return
        if state is None:
            raise StateMismatch(
                f"The file {self._path} with the state of {self._group!r} is not there.",
                hint="Copy from where the job ran, or name the project it ran in with --project.",
            )
        if boxes == {state.id: state.number} or not (boxes or state.number):
            return
        # What is in the outbox goes to the log first, as it would if the job were started again.
        await self.close()
        store = OutboxStore(self._log, self._group, self._path)
        try:
            await store.open()
            await store.flush()
        finally:
            await store.close()
        await self.open()

    async def snapshot(self) -> JobSnapshot:
        state = self._state
        if state is None or not state.number:
            position, _ = parse_published(await self._log.committed(self._group))
            return JobSnapshot(position.token() if position.offsets else None, await digest_of(self.rows()))
        return JobSnapshot(state.token, await digest_of(self.rows()))

    async def rows(self) -> AsyncGenerator[tuple[str, Rows]]:
        state = self._state
        if state is None:
            return
        for namespace in await asyncio.to_thread(state.namespaces):
            after = b""
            while namespace.startswith(self._prefix):
                rows = await asyncio.to_thread(state.scan, namespace, after, ROWS_AT_ONCE)
                if not rows:
                    break
                yield namespace, rows
                after = rows[-1][0]

    async def conflict(self) -> str | None:
        state = self._state
        _, boxes = parse_published(await self._log.committed(self._group))
        own = boxes.pop(state.id, None) if state else None
        if boxes:
            return f"it has run in the target, with another file than {self._path}"
        if state is None or not state.number:
            return None
        if own is not None and own > state.number:
            return f"it has run in the target since the copy, and {self._path} is an old copy"
        if await asyncio.to_thread(state.moved_at) == state.number:
            return None
        return f"{self._path} belongs to another log: move it away and copy again" if own is None else FURTHER

    async def replace(self, position: Position, rows: AllRows, state: StateDigest, is_still: IsUnchanged) -> bool:
        token = position.token()
        if self._state is None:
            self._state = await asyncio.to_thread(StateFile, self._path)
        file = self._state
        if not file.number or await self.snapshot() != (token, state):
            await asyncio.to_thread(file.begin_replacing)
            try:
                async for namespace, page in rows():
                    await asyncio.to_thread(file.put, namespace, page)
                if not await is_still():
                    return False
                _check(await digest_of(self.rows()), state, self._group)
                await asyncio.to_thread(file.end_replacing, token)
            finally:
                await asyncio.to_thread(file.undo_replacing)
        elif not await is_still():
            return False
        published = published_token(token, file.id, file.number)
        if await self._log.committed(self._group) != published:
            await self._log.commit(self._group, published)
        return True

    async def mark_migrated(self) -> None:
        if self._state is not None and self._state.number:
            await asyncio.to_thread(self._state.mark_migrated)

    async def close(self) -> None:
        state, self._state = self._state, None
        if state is not None:
            await asyncio.to_thread(state.close)


async def digest_of(rows: AsyncGenerator[tuple[str, Rows]]) -> StateDigest:
    """The sum of state that comes in order."""
    entries, digest = 0, blake2b(digest_size=16)
    async with aclosing(rows) as pages:
        async for namespace, page in pages:
            entries += len(page)
            for key, value in page:
                digest.update(_encode((namespace, key, value)))
    return StateDigest(entries, digest.hexdigest())


def _check(found: StateDigest, expected: StateDigest, group: str) -> None:
    if found != expected:
        raise CopyRefused(
            f"The state of {group!r} was written as {found.entries:,} entries that are not the {expected.entries:,} of"
            " the source.",
            hint="Copy again; if it stays so, the disk of one of the two is damaged.",
        )


def _parse_mark(text: str | None) -> JobSnapshot | None:
    """The note that a copy has left; None without one, and for one of an earlier version."""
    version, entries, checksum, token = text.split(" ", 3) if text and text.count(" ") >= 3 else [""] * 4
    if version != MARK_VERSION or not entries.isdigit():
        return None
    return JobSnapshot(token, StateDigest(int(entries), checksum))
