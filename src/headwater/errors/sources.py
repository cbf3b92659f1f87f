"""Errors of sources: what the system says that events are read from."""

from __future__ import annotations

from headwater.errors.family import BACK_OFF_SECONDS_MAX, Fault, HeadwaterError


class SourceUnavailable(HeadwaterError):
    """The system that a source reads from does not answer, or refuses for now; nothing is lost, and it is asked again.

    `back_off_seconds` is how long it asks not to be called, at most `BACK_OFF_SECONDS_MAX`; 0 if it does not say.
    """

    code = "source_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(self, message: str, *, hint: str | None = None, back_off_seconds: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.back_off_seconds = min(max(0.0, back_off_seconds), BACK_OFF_SECONDS_MAX)


class SourceUnknown(HeadwaterError):
    """There is no source of this name to which events can be posted."""

    code = "source_unknown"
    fault = Fault.PRODUCER


class SignatureInvalid(HeadwaterError):
    """A request to a webhook is not signed as its source demands, or is too old."""

    code = "signature_invalid"
    fault = Fault.PRODUCER


class SourceRefused(HeadwaterError):
    """The system that a source reads does not allow it, or is not set up for it; the hint says what to change there."""

    code = "source_refused"
    fault = Fault.OPERATOR
