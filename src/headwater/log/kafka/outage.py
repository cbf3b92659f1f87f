"""Logs once that the brokers are unreachable or refuse something, and once that this is over; bounds closing.

How this works: each caller of the brokers reports the result. The first failure of a kind is logged, those that follow
are not; the first success after some quiet seconds is logged too. A cluster of which a part is down alternates between
errors and answers, so each time a problem returns soon, a longer quiet time is required before it counts as over. Only
what is logged waits for that: whether the log can serve follows the last result. While the brokers do not answer,
nothing else is logged; what still fails afterwards is logged then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headwater.errors import HeadwaterError, LogUnavailable

QUIET_SECONDS = 4.0
QUIET_SECONDS_MAX = 120.0
# A problem that returns within this time is the same one.
AGAIN_SECONDS = 300.0
AWAY = "the brokers"
STORING = "Storing in "
READING = "Reading "
OWN_TOPICS = ("headwater.", "__")

_log = logging.getLogger(__name__)
# That the brokers are away, and are back: of several processes that use the same brokers, one is enough to say it.
_away_log = logging.getLogger(f"{__name__}.away")


@dataclass(slots=True)
class _Trouble:
    began: float
    last: float
    message: str
    # The first success after the last failure.
    answered: float | None = None
    is_logged: bool = False


class Outages:
    """The current problems of one log with its brokers. Belongs to one event loop."""

    def __init__(self, servers: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._servers = servers
        self._clock = clock
        self._open: dict[str, _Trouble] = {}
        self._stored_at = float("-inf")
        self._quiet: dict[str, tuple[float, float]] = {}
        # The caller of `open` gets the error anyway.
        self.is_muted = True
        # Called while the brokers are unreachable, to find out when they are back.
        self.on_away: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        """Whether there is any problem now; cheap enough to check for every append."""
        return bool(self._open)

    @property
    def is_away(self) -> bool:
        """Whether the brokers do not answer."""
        return AWAY in self._open

    def current(self) -> list[str]:
        """The current problems, as sentences."""
        return [trouble.message for trouble in self._open.values()]

    def troubles(self) -> list[str]:
        """What does not work for some topics, without their names."""
        found = []
        for doing, sentence in ((STORING, "be stored"), (READING, "be read")):
            count = sum(key.startswith(doing) for key in self._open)
            if count:
                found.append(f"Events of {count} topics cannot {sentence}.")
        return found

    def cannot_serve(self) -> str | None:
        """Why nothing works, or nothing was stored since the first such problem; None if something was."""
        away = self._open.get(AWAY)
        if away is not None and away.answered is None:
            return "the brokers do not answer"
        began = min((trouble.began for key, trouble in self._open.items() if key.startswith(STORING)), default=None)
        return "no event can be stored" if began is not None and self._stored_at < began else None

    def stored(self, topic: str) -> None:
        """An event for `topic` was stored."""
        if not topic.startswith(OWN_TOPICS):
            self._stored_at = self._clock()
        self.worked(STORING + repr(topic))

    def failed(self, what: str, error: HeadwaterError) -> None:
        """`what`, such as "Storing in 't'", ended with `error`. An error caused by the request itself is ignored."""
        if self.is_muted or not isinstance(error, LogUnavailable):
            return
        key = AWAY if error.is_away else what
        now = self._clock()
        trouble = self._open.get(key)
        if trouble is None:
            message = error.message if not error.is_away else f"No Kafka broker answers at {self._servers}."
            trouble = self._open[key] = _Trouble(now, now, message)
        trouble.last, trouble.answered = now, None
        if trouble.is_logged or (self.is_away and key != AWAY):
            return
        trouble.is_logged = True
        if error.is_away:
            _away_log.warning(
                "The Kafka brokers at %s do not answer: waiting for them. %s", self._servers, error.message
            )
            self.on_away()
        else:
            _log.warning("%s", error)

    def worked(self, what: str) -> None:
        """`what` succeeded. Costs nothing while there is no problem."""
        if not self._open:
            return
        for key in [key for key in (AWAY, what) if key in self._open]:
            now, trouble = self._clock(), self._open[key]
            if trouble.answered is None:
                trouble.answered = now
            if now - trouble.last < self._quiet_seconds(key, trouble.began):
                continue
            del self._open[key]
            self._quiet[key] = (now, self._quiet_seconds(key, trouble.began))
            seconds = max(1, round(trouble.answered - trouble.began))
            if not trouble.is_logged:
                continue
            if key == AWAY:
                _away_log.warning("The Kafka brokers at %s answer again, after %d s.", self._servers, seconds)
            else:
                _log.warning("%s works again, after %d s.", what, seconds)

    def all_worked(self, all_of_it: Iterable[str]) -> None:
        """`worked`, for each."""
        for what in all_of_it:
            self.worked(what)

    def _quiet_seconds(self, key: str, began: float) -> float:
        if key != AWAY:
            # What was refused is now accepted: no other line reports it.
            return 0.0
        ended, seconds = self._quiet.get(key, (float("-inf"), 0.0))
        return min(QUIET_SECONDS_MAX, 2 * seconds) if seconds and began - ended < AGAIN_SECONDS else QUIET_SECONDS


class Closing:
    """Until when a log that is being closed may still wait for its brokers. Read by threads, too."""

    def __init__(self) -> None:
        self._at = float("inf")

    def begin(self, seconds_max: float) -> None:
        """From now on, for at most this time."""
        self._at = min(self._at, time.monotonic() + seconds_max)

    def reset(self) -> None:
        """The log is open again."""
        self._at = float("inf")

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._at

    def left(self, seconds: float) -> float:
        """`seconds`, or what is left of the time."""
        return max(0.0, min(seconds, self._at - time.monotonic()))
