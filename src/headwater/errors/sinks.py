"""Errors of sinks: what the target of a write says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from headwater.errors.family import BACK_OFF_SECONDS_MAX, Fault, HeadwaterError


class SinkUnavailable(HeadwaterError):
    """The target of a sink cannot be reached; the batch was not written and can be retried.

    `back_off_seconds` is how long the target asks not to be called, at most `BACK_OFF_SECONDS_MAX`; 0 if it does not
    say.
    """

    code = "sink_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(self, message: str, *, hint: str | None = None, back_off_seconds: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.back_off_seconds = min(max(0.0, back_off_seconds), BACK_OFF_SECONDS_MAX)


class SinkFrozen(SinkUnavailable):
    """The table of a sink cannot hold the columns that its events have now; nothing is written until it can.

    The events stay in the log. The sink looks again by itself, and continues once the table, the schema or its
    configuration has been repaired; other sinks are not affected.
    """

    code = "sink_frozen"
    fault = Fault.OPERATOR


class StoreUnsuitable(SinkFrozen):
    """A store for files does not do what a sink relies on, such as to refuse a write whose condition does not hold;
    nothing is written to it.

    It was tried before the first write. The events stay in the log, and the sink tries again by itself.
    """

    code = "store_unsuitable"
    fault = Fault.OPERATOR


class WriteIncomplete(SinkUnavailable):
    """Of the events of one write, some were rejected by the target permanently, or must be written again.

    Both are identified by their index in the write: `rejected` with the reason, `retry` without one. A sink that stores
    its token in the target has then written nothing at all; any other sink has written every event that is in neither.
    """

    code = "write_incomplete"
    # Set by the store: whether fewer events remain to be written than before, and whether it counted an attempt
    # of single events, which are given up after some.
    has_progressed: bool = False
    is_counted: bool = False

    def __init__(
        self,
        *,
        rejected: Mapping[int, Exception] | None = None,
        retry: Collection[int] = (),
        back_off_seconds: float = 0.0,
        message: str = "",
    ) -> None:
        """`message`: why the target did not accept those at `retry`, a sentence."""
        self.rejected = dict(rejected or {})
        self.retry = tuple(sorted(set(retry) - self.rejected.keys()))
        self.reason = message
        counted = f"Of a write, {len(self.rejected)} events were rejected, and {len(self.retry)} must be retried."
        reason = message or "; ".join(str(error) for error in list(self.rejected.values())[:1])
        super().__init__(f"{counted} {reason}".rstrip(), back_off_seconds=back_off_seconds)


class WriteGivenUp(HeadwaterError):
    """The target of a sink asked in each of so many `attempts` to write an event again, while it accepted others.

    The event is stored as an error event with the target's last reason, and the sink continues.
    """

    code = "write_given_up"
    fault = Fault.OPERATOR

    def __init__(self, reason: str, *, attempts: int) -> None:
        super().__init__(reason or "The target asked each time that it be written again, and gave no reason.")
        self.attempts = attempts


class TableConflict(SinkFrozen):
    """A table has a column of another type than the newest schema says; it is left as it is, and the events stay in
    the log."""

    code = "table_conflict"
    fault = Fault.OPERATOR
