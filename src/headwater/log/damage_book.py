"""Records the damage that readers have found in a log since it was opened: each is logged once, and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable

from headwater.errors import DamagedOffsets, LogCorrupt

# A log that is damaged everywhere needs no complete list.
DAMAGES_MAX = 1_000

_log = logging.getLogger(__name__)


class DamageBook:
    """Used from one event loop."""

    def __init__(self, report: Callable[[LogCorrupt], None] | None = None) -> None:
        """`report`: receives what would be logged, in a process whose findings another one keeps."""
        self._found: set[DamagedOffsets] = set()
        self._report = report or _write

    def note(self, error: LogCorrupt) -> None:
        """Record and log the damage, unless it is known."""
        damaged = error.damaged
        if damaged is None:
            # Positions and state of jobs: the job concerned stops and reports it again.
            self._report(error)
            return
        if damaged in self._found or len(self._found) >= DAMAGES_MAX:
            return
        self._found.add(damaged)
        self._report(error)

    @property
    def offsets(self) -> int:
        """How many offsets were found damaged, in the first `DAMAGES_MAX` places."""
        return sum(one.last_offset - one.first_offset + 1 for one in self._found)

    def summary(self) -> str | None:
        """One sentence without names of topics; None if nothing is damaged."""
        if not self._found:
            return None
        places = f"{len(self._found):,} {'place' if len(self._found) == 1 else 'places'}"
        return (
            f"{places} of the log with {self.offsets:,} offsets cannot be read: the server's own log and `headwater log"
            " verify` name them, `headwater log repair` sets them aside."
        )


def _write(error: LogCorrupt) -> None:
    if error.damaged is None:
        _log.error("%s", error)
    else:
        _log.error("%s Everything else is read and written as before.", error)
