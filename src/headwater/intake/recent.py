"""The last outcomes at the door, for people who watch: a bounded memory, cheap to write and read rarely."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater.intake.outcome import Admitted, Refused

OUTCOMES_MAX = 100
KEPT_PER_REQUEST_MAX = 5
TEXT_BYTES_MAX = 4_000


@dataclass(frozen=True, slots=True)
class RecentOutcome:
    """One outcome: `number` grows by one with each; `code` and `message` say why an event was refused."""

    number: int
    at: float
    accepted: bool
    stream: str | None
    event_text: str
    code: str | None = None
    message: str | None = None


class RecentOutcomes:
    """The last accepted and refused events, each kind with its own room, so that neither drives out the other."""

    def __init__(self, clock: Callable[[], float], outcomes_max: int = OUTCOMES_MAX) -> None:
        self._clock = clock
        # Bytes are cut on the way in: a few hundred events of the largest size would fill the memory.
        self._accepted: deque[tuple[int, float, str, bytes]] = deque(maxlen=outcomes_max)
        self._refused: deque[RecentOutcome] = deque(maxlen=outcomes_max)
        self.number = 0
        self.refused_total = 0

    def accepted(self, admitted: Sequence[Admitted]) -> None:
        now = self._clock()
        # A few of a large request are enough to see what comes in; keeping each would cost every event.
        skipped = max(0, len(admitted) - KEPT_PER_REQUEST_MAX)
        self.number += skipped
        for one in admitted[skipped:]:
            self.number += 1
            self._accepted.append((self.number, now, one.stream.name, one.record.value[:TEXT_BYTES_MAX]))

    def refused(self, refused: Refused, received: bytes) -> None:
        self.number += 1
        self.refused_total += 1
        reason = refused.reason
        self._refused.append(
            RecentOutcome(
                self.number, self._clock(), False, refused.stream_name, _text(received), reason.code, str(reason)[:2000]
            )
        )

    def since(self, number: int = 0) -> list[RecentOutcome]:
        """Outcomes after `number`, oldest first."""
        found = [
            RecentOutcome(own, at, True, stream, _text(encoded))
            for own, at, stream, encoded in self._accepted
            if own > number
        ]
        found += [outcome for outcome in self._refused if outcome.number > number]
        return sorted(found, key=lambda outcome: outcome.number)


def _text(encoded: bytes) -> str:
    return encoded[:TEXT_BYTES_MAX].decode("utf-8", "replace")
