"""What is done to the processes of one life of the platform: a list derived from its seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Ending = Literal[
    "killed",
    "killed while starting",
    "killed while stopping",
    "killed after a change",
    "parent killed",
    "child killed",
    "stopped",
]
Change = Literal["reset", "rewind", "pause"]

ENDINGS: dict[Ending, int] = {
    "killed": 4,
    "killed while starting": 3,
    "killed while stopping": 2,
    "killed after a change": 3,
    "parent killed": 2,
    "child killed": 7,
    "stopped": 1,
}
RUN_SECONDS_MAX = 2.0
STOPPING_SECONDS_MAX = 0.6
CHANGED_SECONDS_MAX = 0.4
PAUSE_SECONDS_MAX = 1.0
# Longer than the brokers wait for a member of a group, so that its partitions and jobs are taken over.
LONG_PAUSE_SECONDS = 9.0
PAUSED_SHARE = 0.15
AWAITS_JOBS_SHARE = 0.7
LONG_PAUSE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Round:
    """One process, from its start to its end; on a log that processes share, others run meanwhile.

    `slot`: which of the processes. `start_share`: if it is killed while starting, after which share of the start-up
    time. `seconds`: how long it runs, with `awaits_jobs` from when its jobs have read something; `pause_seconds`: how
    long it is stopped with SIGSTOP meanwhile, `last_seconds`: how long after a SIGTERM or a change it is killed.
    `change`: what is asked of a job before.
    """

    ending: Ending
    slot: int
    awaits_jobs: bool
    start_share: float
    seconds: float
    pause_seconds: float
    last_seconds: float
    change: Change

    @property
    def kills(self) -> bool:
        return self.ending != "stopped"


def schedule(seed: int, rounds: int, *, processes: int, on_kafka: bool) -> Sequence[Round]:
    """Rounds until so many of them are kills. `processes`: how many run at a time."""
    chance = random.Random(f"rounds of {seed}")
    made: list[Round] = []
    while sum(one.kills for one in made) < rounds:
        ending = chance.choices(list(ENDINGS), list(ENDINGS.values()))[0]
        pause = chance.random() * PAUSE_SECONDS_MAX if chance.random() < PAUSED_SHARE else 0.0
        if on_kafka and chance.random() < LONG_PAUSE_SHARE:
            pause = LONG_PAUSE_SECONDS
        last = STOPPING_SECONDS_MAX if ending == "killed while stopping" else CHANGED_SECONDS_MAX
        made.append(
            Round(
                ending,
                chance.randrange(processes),
                awaits_jobs=chance.random() < AWAITS_JOBS_SHARE,
                start_share=chance.random() * 1.1,
                # Short ones are frequent: recovery from the kill before comes first.
                seconds=chance.random() ** 2 * RUN_SECONDS_MAX,
                pause_seconds=pause,
                last_seconds=chance.random() * last,
                change=chance.choice(("reset", "rewind", "pause")),
            )
        )
    return made
