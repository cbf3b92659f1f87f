"""What a job's function raises to have its event retried or rejected, and the policy of retries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.errors import HeadwaterError, JobInvalid
from headwater.foreign import original
from headwater.jobs.durations import Duration, milliseconds

PARKS_MAX = 20
Errors = type[BaseException] | Sequence[type[BaseException]]


class NotYet(Exception):
    """The answer is not there yet: the call is retried, as `retry` says."""


class Postpone(Exception):
    """The call is made again after a time that it names itself; what it has emitted until then is written now.

    For a step whose `retry` has `park`: the event is parked, whatever the times there are, and however often it was
    parked before. It is no sign of an outage: only the function knows what it means. With `event` the call gets that
    one the next time, such as what is left to be done.
    """

    # If no more events can be parked.
    error_type = "NOT_YET"

    def __init__(self, message: str, after: Duration, *, event: Any = None) -> None:
        """`after`: a duration; `event`: a JSON value, None: the same event again. Raises JobInvalid."""
        super().__init__(message)
        self.event = event
        self.after_ms = milliseconds(after)
        # Elements, from the call to the runner.
        self.emitted: Sequence[Any] = ()


class Reject(Exception):
    """The event can never be processed: an error event at once, without a retry."""


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """Which failures are retried, and when; times are in milliseconds.

    A call is retried in place, after pauses that grow from `base_ms` to `max_ms`, until `within_ms` after its first
    attempt. Then the event is parked for each of `park_ms` in turn, and tried again after each; in that time later
    events of its key overtake it, unless `hold_key`. What fails after that is an error event.
    """

    within_ms: int
    base_ms: int
    max_ms: int
    on: tuple[type[BaseException], ...]
    park_ms: tuple[int, ...]
    hold_key: bool

    def __init__(
        self,
        within: Duration = "60s",
        base: Duration = "0.5s",
        max: Duration = "30s",  # noqa: A002 - the name that users write
        *,
        on: Errors = (),
        park: str | Sequence[Duration] = (),
        hold_key: bool = False,
    ) -> None:
        """Durations are seconds, or text like "1m"; `park` is "1m,10m,1h" or a list; `on`: more transient exceptions.

        Raises JobInvalid, which names the argument.
        """
        set_field = object.__setattr__
        set_field(self, "within_ms", _duration("within", within))
        set_field(self, "base_ms", _duration("base", base))
        set_field(self, "max_ms", _duration("max", max))
        set_field(self, "on", _exceptions(on))
        set_field(self, "park_ms", _parks(park))
        set_field(self, "hold_key", hold_key)
        if self.base_ms <= 0:
            raise JobInvalid(f"Retry: `base` is the first pause, longer than 0, not {base!r}.")
        if self.max_ms < self.base_ms:
            raise JobInvalid(f"Retry: `max`, {max!r}, is shorter than `base`, {base!r}: pauses grow from base to max.")
        if not isinstance(hold_key, bool):
            raise JobInvalid(f"Retry: `hold_key` is True or False, not {hold_key!r}.")
        if hold_key and not self.park_ms:
            raise JobInvalid("Retry: `hold_key` is about parked events.", hint='Add park=("1m", "10m", "1h").')

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same call may succeed later."""
        error = original(error)
        if isinstance(error, Reject):
            return False
        if isinstance(error, HeadwaterError):
            return error.retriable or isinstance(error, self.on)
        return isinstance(error, (NotYet, ConnectionError, TimeoutError, *self.on))


def _duration(name: str, value: Any) -> int:
    try:
        return milliseconds(value)
    except JobInvalid as error:
        raise JobInvalid(f"Retry: `{name}`: {error.detail}", hint=error.hint) from None


def _parks(park: Any) -> tuple[int, ...]:
    parts = [part.strip() for part in park.split(",")] if isinstance(park, str) else park
    if not isinstance(parts, Sequence):
        raise JobInvalid(f"Retry: `park` is a list of durations, not {park!r}.", hint='Such as ("1m", "10m", "1h").')
    if len(parts) > PARKS_MAX:
        raise JobInvalid(f"Retry: `park` has {len(parts)} durations, more than {PARKS_MAX}.")
    parked = tuple(_duration("park", part) for part in parts)
    if not all(parked):
        raise JobInvalid("Retry: `park`: an event cannot be parked for no time.", hint='Such as ("1m", "10m", "1h").')
    return parked


def _exceptions(on: Any) -> tuple[type[BaseException], ...]:
    kinds = (on,) if isinstance(on, type) else on
    if not isinstance(kinds, Sequence) or not all(
        isinstance(one, type) and issubclass(one, Exception) for one in kinds
    ):
        raise JobInvalid(f"Retry: `on` is a class of exceptions, or a list of them, not {on!r}.")
    return tuple(kinds)
