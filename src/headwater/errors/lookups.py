"""Errors of what jobs ask other services."""

from __future__ import annotations

from headwater.errors.family import BACK_OFF_SECONDS_MAX, Fault, HeadwaterError


class LookupUnavailable(HeadwaterError):
    """Another service did not answer a job's request now, or refused it for now; the same request may succeed later.

    `back_off_seconds` is how long the service asks not to be called, at most `BACK_OFF_SECONDS_MAX`; 0 if it does not
    say. `status`: of the last answer, None without one. `was_sent`: whether the service may have received the request.
    """

    code = "lookup_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        back_off_seconds: float = 0.0,
        status: int | None = None,
        was_sent: bool = True,
    ) -> None:
        super().__init__(message, hint=hint)
        self.back_off_seconds = min(max(0.0, back_off_seconds), BACK_OFF_SECONDS_MAX)
        self.status = status
        self.was_sent = was_sent


class LookupNotYet(LookupUnavailable):
    """What a job asked for is so new that the service may not know it yet."""

    code = "lookup_not_yet"


class LookupRefused(HeadwaterError):
    """A request of a job is wrong or not allowed, so that repeating it is useless; `status`: None without an answer."""

    code = "lookup_refused"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class LookupNotFound(LookupRefused):
    """What a job asked for does not exist."""

    code = "lookup_not_found"


class AnswerInvalid(LookupRefused):
    """The answer of another service cannot be used: it is not JSON, contradicts itself, is empty, or is too large."""

    code = "answer_invalid"
    # The class of the cause in error events.
    error_type: str = "UNEXPECTED_RESPONSE"
