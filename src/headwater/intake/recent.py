"""The last outcomes of the intake, for the page: a bounded memory, cheap to write and rarely read.

How this works: the outcomes of the last two minutes are counted by second as they occur, so that a new viewer gets all
of them at once, while nothing runs without viewers. Canaries are only counted, and separately.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from headwater.event import CANARY_MARK, is_canary
from headwater.intake.outcome import Admitted, Refused

OUTCOMES_MAX = 100
KEPT_PER_REQUEST_MAX = 5
TEXT_BYTES_MAX = 4_000
STREAM_CHARS_MAX = 256
SECONDS_MAX = 120
CANARY_TIMES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class RecentOutcome:
    """One outcome: `number` grows by one with each; `code` and `message` are the reason why an event was refused."""

    number: int
    at: float
    accepted: bool
    stream: str | None
    event_text: str
    code: str | None = None
    message: str | None = None


class RecentOutcomes:
    """The last accepted and refused events, each kind with its own limit, so that neither displaces the other."""

    def __init__(self, clock: Callable[[], float], outcomes_max: int = OUTCOMES_MAX) -> None:
        self._clock = clock
        # Bytes are cut on the way in: a few hundred events of the largest size would fill the memory.
        self._accepted: deque[tuple[int, float, str, bytes]] = deque(maxlen=outcomes_max)
        self._refused: deque[RecentOutcome] = deque(maxlen=outcomes_max)
        # [second of the epoch, accepted, refused], ascending; seconds without outcomes are left out.
        self._seconds: deque[list[int]] = deque(maxlen=SECONDS_MAX + 1)
        self.number = 0
        self.accepted_total = 0
        self.refused_total = 0
        # By stream.
        self.canaries: dict[str, int] = {}
        self._canary_times: deque[tuple[float, str]] = deque(maxlen=CANARY_TIMES_MAX)

    def accepted(self, admitted: Sequence[Admitted]) -> None:
        now = self._clock()
        if any(CANARY_MARK in one.record.value for one in admitted):
            admitted = [one for one in admitted if not self._is_canary(now, one.stream.name, one.record.value)]
        # A few of a large request are enough to see what comes in; keeping each would cost every event.
        skipped = max(0, len(admitted) - KEPT_PER_REQUEST_MAX)
        self.number += skipped
        for one in admitted[skipped:]:
            self._keep(now, one.stream.name, one.record.value)
        self._count(now, len(admitted), 0)

    def refused(self, refused: Refused, received: bytes) -> None:
        reason = refused.reason
        self._keep_refused(self._clock(), refused.stream_name, _text(received), reason.code, str(reason)[:2000])

    def recall(self, outcomes: Iterable[Recalled]) -> None:
        """Load the outcomes of an earlier process, oldest first, before this one decides anything."""
        for one in outcomes:
            if one.message is not None:
                self._keep_refused(one.at, one.stream, _text(one.event), None, one.message)
            elif one.stream is not None and not self._is_canary(one.at, one.stream, one.event):
                self._count(one.at, 1, 0)
                self._keep(one.at, one.stream, one.event)

    def since(self, number: int = 0) -> list[RecentOutcome]:
        """Outcomes after `number`, oldest first."""
        found = [
            RecentOutcome(own, at, True, stream, _text(encoded))
            for own, at, stream, encoded in self._accepted
            if own > number
        ]
        found += [outcome for outcome in self._refused if outcome.number > number]
        return sorted(found, key=lambda outcome: outcome.number)

    def per_second(self) -> list[tuple[int, int]]:
        """Accepted and refused events of each of the last whole seconds, oldest first, without canaries."""
        now = int(self._clock())
        counted = {second: (accepted, refused) for second, accepted, refused in self._seconds}
        return [counted.get(second, (0, 0)) for second in range(now - SECONDS_MAX, now)]

    def canaries_since(self, at: float, stream: str) -> int:
        """How many canaries came to a stream since then (epoch), as far as is remembered."""
        return sum(name == stream and came >= at for came, name in self._canary_times)

    def _keep(self, at: float, stream: str, encoded: bytes) -> None:
        self.number += 1
        self._accepted.append((self.number, at, stream, encoded[:TEXT_BYTES_MAX]))

    def _keep_refused(self, at: float, stream: str | None, text: str, code: str | None, message: str) -> None:
        self.number += 1
        shown = None if stream is None else stream[:STREAM_CHARS_MAX]
        self._refused.append(RecentOutcome(self.number, at, False, shown, text, code, message))
        self._count(at, 0, 1)

    def _is_canary(self, at: float, stream: str, encoded: bytes) -> bool:
        found = is_canary(encoded)
        if found:
            self.canaries[stream] = self.canaries.get(stream, 0) + 1
            self._canary_times.append((at, stream))
        return found

    def _count(self, at: float, accepted: int, refused: int) -> None:
        self.accepted_total += accepted
        self.refused_total += refused
        second = int(at)
        last = self._seconds[-1] if self._seconds else None
        if last is not None and last[0] == second:
            last[1] += accepted
            last[2] += refused
            return
        if last is not None and last[0] > second:
            # The clock was set back: what is counted for a time that is yet to come would be counted twice.
            self._seconds.clear()
        self._seconds.append([second, accepted, refused])


@dataclass(frozen=True, slots=True)
class Recalled:
    """An outcome that an earlier process left in the log; with `message`, a refusal. `at` is its receipt (epoch)."""

    at: float
    stream: str | None
    event: bytes
    message: str | None = None


def _text(encoded: bytes) -> str:
    return encoded[:TEXT_BYTES_MAX].decode("utf-8", "replace")
