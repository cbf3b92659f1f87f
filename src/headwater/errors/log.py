"""Errors of the log: it is away, full, damaged, in use, or has no such records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from headwater.errors.family import Fault, HeadwaterError


class TopicUnknown(HeadwaterError):
    """The log has no such topic."""

    code = "topic_unknown"
    fault = Fault.CONSUMER


class PositionLost(HeadwaterError):
    """The position is no longer (or was never) in the log; `earliest` is the token from which reading can resume."""

    code = "position_lost"
    fault = Fault.CONSUMER

    def __init__(self, message: str, *, hint: str | None = None, earliest: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.earliest = earliest


class LogUnavailable(HeadwaterError):
    """The log cannot store or read records now; nothing of the failed call was stored."""

    code = "log_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after_seconds: int = 1, is_away: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds
        self.is_away = is_away


class LogFull(LogUnavailable):
    """The disk of the log is full; reads continue, and writes resume when there is space again."""

    code = "log_full"
    fault = Fault.OPERATOR


class LogInUse(HeadwaterError):
    """Another process already runs the server of this log, which allows only one; the message names that process."""

    code = "log_in_use"
    fault = Fault.OPERATOR


class AppendIncomplete(LogUnavailable):
    """Some records of one append were stored and some were not, in a log that stores each record separately.

    `failures` says by index which records were not stored, and why; `placements` where the others are.
    """

    code = "append_incomplete"

    def __init__(self, failures: Mapping[int, HeadwaterError], placements: Mapping[int, Any]) -> None:
        first = next(iter(failures.values()))
        super().__init__(f"{len(failures)} of {len(failures) + len(placements)} records were not stored: {first}")
        self.failures = failures
        self.placements = placements
        self.is_away = all(error.is_away for error in failures.values())


class WriterFenced(HeadwaterError):
    """Another process has taken over the group, or the table, of a transaction; nothing of it was stored."""

    code = "writer_fenced"
    fault = Fault.OPERATOR


class FeatureUnsupported(HeadwaterError):
    """The log does not declare the feature that this needs (`Features`); the hint says what to do instead."""

    code = "feature_unsupported"
    fault = Fault.OPERATOR


class DamagedOffsets(NamedTuple):
    """The offsets of one partition that were lost to damage, both ends included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class LogCorrupt(HeadwaterError):
    """Stored bytes do not match their checksum; the message names topic, partition and offsets.

    `damaged` are the offsets that cannot be read, if only they are affected and later ones can be read.
    """

    code = "log_corrupt"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, damaged: DamagedOffsets | None = None) -> None:
        super().__init__(message, hint=hint)
        self.damaged = damaged


class CopyRefused(HeadwaterError):
    """Records cannot be copied into a log without losing some of them or mixing them with others."""

    code = "copy_refused"
    fault = Fault.OPERATOR
