"""What a log offers, beside being a log, on which several processes can share the partitions of topics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from headwater.errors import HeadwaterError
from headwater.log.contract import Log, Record, TopicPartition


class Membership(Protocol):
    """One process's part in a group whose members share partitions. A hint and no lock: who writes is fenced."""

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The (topic, partition) pairs this process is to work on now."""
        ...

    async def changes(self) -> frozenset[TopicPartition]:
        """Wait for the next change of `assigned`, and answer it. Raises LogUnavailable."""
        ...

    async def close(self) -> None:
        """Leave at once; idempotent."""
        ...


@runtime_checkable
class GroupLog(Log, Protocol):
    """A log on which the processes of a group can share the partitions of topics."""

    async def join(self, group: str, topics: Iterable[str], *, stall_seconds_max: float = 60.0) -> Membership:
        """Take part in `group`, while the event loop stands still no longer than `stall_seconds_max`: after that the
        partitions are the others', until it goes on. Raises LogUnavailable, ConfigInvalid."""
        ...

    async def release(self, group: str) -> None:
        """Let a claimed group go, after what is under way for it; it can be claimed again, also where it was fenced."""
        ...

    async def groups(self) -> Sequence[str]:
        """The groups that have committed a token, sorted. Raises LogUnavailable."""
        ...

    async def refusal(self, record: Record) -> HeadwaterError | None:
        """Why the log will not take the record however often it is tried; None where it will."""
        ...
