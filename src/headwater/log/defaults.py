"""What a log does about the optional parts of the contract that it does not declare in its `Features`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headwater.errors import FeatureUnsupported, HeadwaterError
from headwater.log.contract import Membership, Record, Refusal, StateReader, TopicSettings

# By feature: what a log without it lacks, and what to do instead.
_LACKS = {
    "transactional_commit": (
        "stores no records and position together",
        "append the records first, then commit the position: after a crash they may be stored twice",
    ),
    "seek_by_time": ("finds no records by their time", "read from the first record, or from a position"),
    "keyed_state": (
        "stores no state of jobs, only records and positions",
        "a job with state stores it in a file next to the log (`jobs.state_path`)",
    ),
    "refuses_records": ("cannot say beforehand which records it would refuse", "append the record"),
    "shares_partitions": (
        "has no groups whose members share partitions",
        "run the job in one process, or use a log on Kafka (`log: kafka://HOST:PORT`)",
    ),
    "finds_damage": ("does not look for damage", "read the records: a damaged one raises LogCorrupt"),
}


def unsupported(log: object, feature: str) -> FeatureUnsupported:
    """The error for a call that needs a feature which the log does not have."""
    lacks, instead = _LACKS[feature]
    return FeatureUnsupported(
        f"{type(log).__name__} {lacks}.", hint=f"Check `features.{feature}` of the log first; without it, {instead}."
    )


class LogDefaults:
    """The methods of a log without optional features; one that declares a feature overrides what belongs to it."""

    def close_within(self, seconds_max: float) -> None:
        """Closing never waits for others."""

    def troubles(self) -> Sequence[str]:
        return ()

    def cannot_serve(self) -> str | None:
        return None

    async def refused_topics(self, declared: Mapping[str, TopicSettings]) -> Sequence[Refusal]:
        return ()

    async def smallest_limit(self, topics: Iterable[str]) -> tuple[int, str] | None:
        return None

    async def refusal(self, record: Record) -> HeadwaterError | None:
        raise unsupported(self, "refuses_records")

    async def release(self, group: str) -> None:
        """One process writes the log: there is nothing to give up."""

    async def join(self, group: str, topics: Iterable[str], *, stall_seconds_max: float = 60.0) -> Membership:
        raise unsupported(self, "shares_partitions")

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        raise unsupported(self, "keyed_state")

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        raise unsupported(self, "keyed_state")

    async def namespaces(self) -> Sequence[str]:
        raise unsupported(self, "keyed_state")

    def state_reader(self) -> StateReader:
        raise unsupported(self, "keyed_state")

    async def look(self, seconds_max: float) -> bool:
        raise unsupported(self, "finds_damage")

    def damaged_offsets(self) -> int:
        raise unsupported(self, "finds_damage")
