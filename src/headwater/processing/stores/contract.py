"""Where a runner commits: the output of a job, its state and its position, all of them or none.

A log that keeps keyed state is such a store by itself (`LogStore`), and so is any log with transactions for a job
without state; otherwise there is `outbox`. A job that fills a table commits in the table's database (`sink`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from headwater.connectors.contract import Delivery
from headwater.errors import HeadwaterError, WriterFenced
from headwater.log.contract import Commit, Log, LogWriter, Record, StateChange

# Called with the index of a row of the commit and the target's reason; returns the records to store about it.
OnRejected = Callable[[int, Exception], Awaitable[Sequence[Record]]]


class RowTarget(Protocol):
    """What a store that accepts rows can do in addition.

    `token_in_target`: whether the position is kept with the rows; otherwise it is in the log. `on_rejected` is called
    during a commit for each row that the target rejects.
    """

    token_in_target: bool
    on_rejected: OnRejected | None

    def check(self, delivery: Delivery) -> None:
        """Raises EventMalformed if the event can never be a row."""
        ...

    async def ready(self, token: str) -> None:
        """Raises the error with which the target refuses any write; `token` is the committed one and stays so."""
        ...

    async def set_aside(self) -> str | None:
        """Keep the existing rows under another name, which is returned, and continue empty; None without rows."""
        ...


class JobStore(Protocol):
    """What one job has committed. Used by one runner; `open` again after an error.

    `takes_events`: whether the job's output events are committed together with the position. `keeps_state`: whether its
    keyed state is. `rows`: set if it accepts rows. `refuses`: the log to ask before a commit whether it would ever
    accept a record; None if it accepts all. Every implementation passes `headwater.testing.suites.job_store`.
    """

    takes_events: bool
    keeps_state: bool
    rows: RowTarget | None
    refuses: LogWriter | None

    async def open(self) -> str | None:
        """Take the job over from its previous runner. Returns the token to resume after, None at the beginning.

        Raises LogUnavailable, StateUnavailable (try again), StateMismatch, WriterFenced.
        """
        ...

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """The current values of `keys`; absent keys are left out."""
        ...

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        """Up to `rows_max` (key, value) pairs with key > `after`, in key order."""
        ...

    async def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], rows: Sequence[Delivery] = ()
    ) -> None:
        """Make all of it durable, or nothing; a call that raised a retriable error may be repeated.

        Of several `changes` of one key the last one counts.
        A store with `rows` set, and no other, is given rows; `records` are then error events. If it raises
        WriteIncomplete, the same call continues with what is left, after the pause that the error asks for.
        """
        ...

    async def flush(self) -> None:
        """Wait until everything committed can be read in the log. Raises what kept it from getting there."""
        ...

    async def close(self) -> None:
        """Release everything; idempotent."""
        ...


OnRefused = Callable[[Record, HeadwaterError], Awaitable[Sequence[Record]]]


@runtime_checkable
class ReplacesRefused(Protocol):
    """A store that commits records before the log has accepted them: `on_refused` makes the replacement of a record
    that the log will never accept ([]: nothing)."""

    on_refused: OnRefused | None


class LogStore:
    """The log itself: events, position and state are one append."""

    def __init__(self, log: Log, group: str) -> None:
        self.takes_events = log.features.transactional_commit
        self.keeps_state = log.features.keyed_state
        self.rows: RowTarget | None = None
        self.refuses: LogWriter | None = log if log.features.refuses_records else None
        self._log = log
        self._group = group
        self._is_sure = True
        # The last committed token of the group, by this store or before it.
        self._known: str | None = None

    async def open(self) -> str | None:
        self._is_sure = True
        self._known = await self._log.claim(self._group)
        return self._known

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return await self._log.state_get(namespace, keys) if self._log.features.keyed_state else {}

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return await self._log.state_scan(namespace, after=after, rows_max=rows_max)

    async def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], rows: Sequence[Delivery] = ()
    ) -> None:
        if self._log.features.keyed_state:
            await self._log.append(records, commit=Commit(self._group, token, tuple(changes)))
            return
        # Brokers may have committed although the answer was lost; each commit of a job without state moves the token.
        found = self._known if self._is_sure else await self._log.claim(self._group)
        if found not in (token, self._known):
            raise WriterFenced(
                f"Another process has written for the group {self._group!r}; the commit of this one was not made.",
                hint="Run a job once only; restart this process to take the group back.",
            )
        if self._is_sure or found != token:
            self._is_sure = False
            await self._log.append(records, commit=Commit(self._group, token))
        self._is_sure, self._known = True, token

    async def flush(self) -> None:
        """Nothing to wait for: what was appended can be read."""

    async def close(self) -> None:
        """Nothing to release: the log is closed by its owner."""
