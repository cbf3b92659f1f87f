"""When and how each process of a campaign ends: a list derived from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Ending = Literal["killed", "killed while starting", "killed while stopping", "stopped"]

TABLE_FILES = ("tables.db", "tables.duckdb")
RUN_SECONDS_MAX = 2.5
STOPPING_SECONDS_MAX = 0.6
PAUSE_SECONDS_MAX = 1.5
_ENDINGS: dict[Ending, int] = {"killed": 5, "killed while starting": 2, "killed while stopping": 2, "stopped": 1}
_PAUSED_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end.

    `start_share`: if it is killed while starting, after which share of the start-up time. `seconds`: how long it
    serves. `pause_seconds`: how long it is paused with SIGSTOP meanwhile. `stopping_seconds`: how long after SIGTERM it
    is killed.
    """

    ending: Ending
    tables: str
    start_share: float
    seconds: float
    pause_seconds: float
    stopping_seconds: float

    @property
    def kills(self) -> bool:
        return self.ending != "stopped"


def schedule(seed: int, kills: int) -> Iterator[Run]:
    """Runs until this many of them are kills; some in between end by SIGTERM alone."""
    chance = random.Random(seed)
    done = 0
    while done < kills:
        run = Run(
            ending=chance.choices(list(_ENDINGS), list(_ENDINGS.values()))[0],
            tables=chance.choice(TABLE_FILES),
            start_share=chance.random() * 1.1,
            # Short ones are frequent: recovery from the previous kill comes first after a start.
            seconds=chance.random() ** 2 * RUN_SECONDS_MAX,
            pause_seconds=chance.random() * PAUSE_SECONDS_MAX if chance.random() < _PAUSED_SHARE else 0.0,
            stopping_seconds=chance.random() * STOPPING_SECONDS_MAX,
        )
        done += run.kills
        yield run
