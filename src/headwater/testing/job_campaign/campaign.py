"""Lives of platforms, one after the other, each compared with the oracle and with an uninterrupted life."""

from __future__ import annotations

import random
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.testing.job_campaign.comparison import Comparison, differences_to
from headwater.testing.job_campaign.found import Found
from headwater.testing.job_campaign.inputs import Event, events, last_events
from headwater.testing.job_campaign.life import Life, LifeReport
from headwater.testing.job_campaign.oracle import Expected
from headwater.testing.job_campaign.schedule import schedule
from headwater.testing.job_campaign.unreliable import UnreliableService

ROUNDS_EACH = 15
EVENTS_EACH = 1_200
HISTORY_SHARE = 0.5
LONGER_QUIET_SECONDS = (8.0, 25.0)
# So many lives have the same events, and share the uninterrupted one that they are compared with.
LIVES_PER_INPUT = 10

# What was found of an uninterrupted life, by the seed of its input.
Uninterrupted = dict[int, Found]


@dataclass(slots=True)
class JobCampaignReport:
    """The result of a campaign. It has passed if `problems` is empty."""

    rounds: int = 0
    lives: int = 0
    kills: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    pauses: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    outputs: int = 0
    extra_runs: int = 0
    lookups_failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    failed_seeds: list[str] = field(default_factory=list)

    def add(self, life: LifeReport, found: Found) -> None:
        self.lives += 1
        self.kills += life.kills
        self.endings += life.endings
        self.pauses += life.pauses
        self.extra_runs += life.extra_runs
        self.changes += life.changes
        self.events += life.events
        self.outputs += sum(map(len, found.events.values())) - life.events
        self.rounds += sum(life.endings.values())


class JobCampaign:
    """Lives below `directory`, which are removed when they have passed. `logs`: URLs of logs, in turn; None is SQLite.

    `processes`: the setting `jobs.processes`. `rounds_each`, `events_each`: how many kills and events each life has.
    `uninterrupted`: what other campaigns with as many events have found of lives that are not interrupted.
    """

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        logs: Sequence[str | None] = (None,),
        processes: int | None = None,
        rounds_each: int = ROUNDS_EACH,
        events_each: int = EVENTS_EACH,
        uninterrupted: Uninterrupted | None = None,
    ) -> None:
        self._directory = directory
        self._seed = seed
        self._logs = logs
        self._processes = processes
        self._rounds_each = rounds_each
        self._events_each = events_each
        self._service = UnreliableService()
        self._uninterrupted: Uninterrupted = {} if uninterrupted is None else uninterrupted
        self.report = JobCampaignReport()

    async def run(self, rounds: int, say: Callable[[str], None]) -> JobCampaignReport:
        """Lives with this many kills altogether."""
        began = time.monotonic()
        url = await self._service.start()
        try:
            life = 0
            while self.report.kills < rounds:
                seed, log = self._seed + life, self._logs[life % len(self._logs)]
                kills = min(self._rounds_each, rounds - self.report.kills)
                problems = await self._live(seed, log, kills, url)
                name = f"--seed {seed} --rounds {kills}{f' --log {log}' if log else ''}"
                if problems:
                    self.report.failed_seeds.append(name)
                    self.report.problems += [f"{name}: {problem}" for problem in problems]
                life += 1
                say(
                    f"{time.monotonic() - began:7.1f} s  {name}: {len(problems)} problems; "
                    f"{self.report.kills} kills, {self.report.events:,} events so far"
                )
        finally:
            await self._service.stop()
        self.report.lookups_failed = self._service.failed
        self.report.seconds = round(time.monotonic() - began, 1)
        return self.report

    async def _live(self, seed: int, log: str | None, kills: int, url: str) -> list[str]:
        input_seed = seed // LIVES_PER_INPUT
        count = self._events_each
        given = [*events(input_seed, count), *last_events(count)]
        uninterrupted = await self._alone(input_seed, given, url)
        directory = self._directory / f"life-{seed}"
        chance = random.Random(f"log of {seed}")
        shared = log is not None and chance.random() < 0.7
        settings = self._settings(log, shared=shared)
        on_kafka = log is not None
        processes = 2 if shared else 1
        rounds = schedule(seed, kills, processes=processes, on_kafka=on_kafka)
        self._service.forget()
        life = Life(directory, url, settings, seed=seed, processes=processes)
        # A log that keeps no state of jobs takes none over from a run over history.
        history = 0 if on_kafka or chance.random() >= HISTORY_SHARE else len(given) // 2
        found = await life.run(rounds, given, history=history)
        expected = Expected(given)

        def compared() -> list[str]:
            moved = life.report.moved
            return [*Comparison(expected, found, moved).problems(), *differences_to(uninterrupted, found, moved)]

        for quiet_seconds in LONGER_QUIET_SECONDS:
            if not compared():
                break
            # A job that waits, for example for the partitions of a process that died, does not move either.
            found = await life.continued(quiet_seconds)
        self.report.add(life.report, found)
        problems = [*life.report.problems, *life.errors_printed(), *compared()]
        if problems:
            return [*problems, *life.report.trace]
        shutil.rmtree(directory)
        return []

    async def _alone(self, input_seed: int, given: Sequence[Event], url: str) -> Found:
        """What an uninterrupted life on SQLite makes of the input."""
        if (known := self._uninterrupted.get(input_seed)) is not None:
            return known
        directory = self._directory / f"uninterrupted-{input_seed}"
        self._service.forget()
        life = Life(directory, url, self._settings(None, shared=False), seed=input_seed)
        found = await life.run([], given)
        problems = [*life.report.problems, *life.errors_printed(), *Comparison(Expected(given), found).problems()]
        self.report.problems += [f"uninterrupted, input {input_seed}: {problem}" for problem in problems]
        if not problems:
            shutil.rmtree(directory)
        self._uninterrupted.clear()
        self._uninterrupted[input_seed] = found
        return found

    def _settings(self, log: str | None, *, shared: bool) -> Mapping[str, str]:
        settings: dict[str, str] = {}
        if log is not None:
            # A namespace of its own in the same brokers.
            settings["log.url"] = f"{log.rstrip('/')}/campaign{uuid.uuid4().hex[:8]}."
            settings["jobs.shared"] = "true" if shared else "false"
        if self._processes is not None:
            settings["jobs.processes"] = str(self._processes)
        return settings
