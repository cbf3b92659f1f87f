"""Errors of jobs and of their state."""

from __future__ import annotations

from headwater.errors.family import ConfigInvalid, Fault, HeadwaterError


class JobInvalid(ConfigInvalid):
    """A job file cannot be loaded or describes a job that no runner can run; the message has file and line if known."""

    code = "job_invalid"


class JobUnknown(HeadwaterError):
    """The project has no job of this name."""

    code = "job_unknown"
    fault = Fault.CONSUMER


class FailureUnknown(HeadwaterError):
    """No job has an error with this id or group, or the client may not read its error stream."""

    code = "failure_unknown"
    fault = Fault.CONSUMER


class TableUnknown(HeadwaterError):
    """The project has no materialized table of this name, or the client may not read it."""

    code = "table_unknown"
    fault = Fault.CONSUMER


class RowsTooMany(HeadwaterError):
    """A request for rows of a served table would have to read more of them than the table's limits allow."""

    code = "rows_too_many"
    fault = Fault.CONSUMER


class RowUnknown(HeadwaterError):
    """The materialized table has no row with this key now."""

    code = "row_unknown"
    fault = Fault.CONSUMER


class JobStopped(HeadwaterError):
    """A job with `on_error="stop"` failed on an event; it is stopped in front of that event until it is resumed."""

    code = "job_stopped"
    fault = Fault.OPERATOR


class ProcessEnded(HeadwaterError):
    """An event ended the process of its job each time that it was processed; it is not processed again by itself."""

    code = "process_ended"
    fault = Fault.OPERATOR


class StateUnavailable(HeadwaterError):
    """The state file of a job cannot be used now; nothing of the failed commit was stored."""

    code = "state_unavailable"
    fault = Fault.PLATFORM
    retriable = True


class StateMismatch(HeadwaterError):
    """The state file of a job does not match the job's position in the log."""

    code = "state_mismatch"
    fault = Fault.OPERATOR
