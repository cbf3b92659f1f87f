"""The family of errors: whose fault an error is, and whether to retry; and those of an installation."""

from __future__ import annotations

import enum
from typing import ClassVar

# The longest back-off that a target is granted, whatever it asks for.
BACK_OFF_SECONDS_MAX = 300.0


class Fault(enum.Enum):
    """Who must act before the same call can succeed."""

    PRODUCER = "producer"
    CONSUMER = "consumer"
    OPERATOR = "operator"
    PLATFORM = "platform"


class HeadwaterError(Exception):
    """Base of the family.

    `code` is stable and public (metrics, problem documents, documentation), `fault` says who must act, `retriable`
    whether the identical call may succeed later. `hint` says what to do.
    """

    code: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = Fault.PLATFORM
    retriable: ClassVar[bool] = False
    # Whether the log is unreachable. The log reports the beginning and the end of that itself, so callers need not.
    is_away: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class ConfigInvalid(HeadwaterError):
    """A configuration or declaration file is wrong; the message names the file, the line (1-based) and the nearest
    known key."""

    code = "config_invalid"
    fault = Fault.OPERATOR

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, hint=hint)
        # The message without file and line.
        self.detail = message
        self.file = file
        self.line = line


class ExtraMissing(HeadwaterError):
    """An optional dependency is not installed; the hint names the extra to install."""

    code = "extra_missing"
    fault = Fault.OPERATOR
