"""What a platform knows of a process that runs jobs: the last reports, what it has measured, what is wrong with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from headwater.processing.announcing import Announcements
from headwater.processing.embedded.partitioned import sum_of_reports
from headwater.processing.status import JobReport, ended
from headwater.processing.wording import counted
from headwater.telemetry import Family, combined

# Without a message for this long, a process is reported as not responding; while it starts, after the longer time.
SILENT_SECONDS = 5.0
STARTING_SECONDS = 60.0
# How long after a restart it is still mentioned.
RESTARTED_SECONDS = 10.0
NAMES_MAX = 5

_log = logging.getLogger(__name__)


class ProcessState:
    """The state of one process and of those before it. `number` is counted from 1, `jobs` are its jobs' names."""

    def __init__(self, number: int, jobs: Sequence[str]) -> None:
        self.number = number
        self.jobs = tuple(jobs)
        self.restarts = 0
        self.reports: Mapping[str, JobReport] = {}
        # Of the processes that have ended.
        self.before: dict[str, JobReport] = {}
        self.is_running = False
        self.is_silent = False
        # Which job blocks its event loop, and where in the code, as far as it could send that: a clause.
        self.place = ""
        self._families: list[Family] = []
        self._families_before: list[Family] = []
        self._announcements = Announcements()
        self._ended_by: str | None = None
        self._started_at = self._heard_at = time.monotonic()

    @property
    def name(self) -> str:
        """For messages: `job process 1 (passed, counts)`."""
        shown = ", ".join(self.jobs[:NAMES_MAX]) + (", …" if len(self.jobs) > NAMES_MAX else "")
        return f"job process {self.number} ({shown})"

    @property
    def is_up(self) -> bool:
        """Whether it has loaded the jobs, and responds."""
        return self.is_running and not self.is_silent

    @property
    def is_restarting(self) -> bool:
        """Whether the last process has ended, and the next one does not run the jobs yet."""
        return not self.is_running and self._ended_by is not None

    @property
    def families(self) -> list[Family]:
        """What the process and those before it have measured, as far as is known."""
        return [*self._families_before, *self._families]

    def problem(self) -> str | None:
        """What is wrong with the process now."""
        since = time.monotonic() - self._started_at
        if self.is_silent:
            return f"its process does not respond: {self._silence()}"
        if self.is_restarting:
            return f"restarting: its process has ended: {self._ended_by}"
        if self.is_running and self._ended_by is not None and since < RESTARTED_SECONDS:
            return f"started again: its process had ended: {self._ended_by}"
        if not self.is_running and since > STARTING_SECONDS:
            return f"starting for {since:.0f} s: the log, or something that a file of jobs imports, does not answer"
        return None

    def starts(self) -> None:
        """A process has been started."""
        self._started_at = time.monotonic()

    def reported(self, changed: Mapping[str, JobReport]) -> None:
        """The process has sent reports, or only that it responds."""
        self._heard_at = time.monotonic()
        if self.is_silent:
            _log.warning("%s responds again.", self.name)
            self.is_silent = False
        self.place = ""
        if not self.is_running:
            self.is_running = True
            if self._ended_by is not None:
                _log.warning("%s runs again, after %s.", self.name, counted(self.restarts, "restart"))
        if changed:
            self.reports = {**self.reports, **changed}

    def measured(self, families: list[Family]) -> None:
        self._families = families

    def check(self) -> None:
        """Notice that the process, which is there, does not respond."""
        silent = self.is_running and time.monotonic() - self._heard_at > SILENT_SECONDS
        if silent and not self.is_silent:
            _log.warning("%s does not respond: %s. Events are still accepted.", self.name, self._silence())
        self.is_silent = silent

    def left(self) -> None:
        """The process has ended: what it has counted is kept."""
        self.is_running = self.is_silent = False
        self.place = ""
        for name, report in self.reports.items():
            gone = ended(report)
            self.before[name] = sum_of_reports(self.before[name], gone) if name in self.before else gone
        self.reports = {}
        counts = [one for one in self._families if one.type in ("counter", "histogram")]
        self._families_before = list(combined([*self._families_before, *counts]))
        self._families = []

    def restarts_after(self, reason: str, pause_seconds: float) -> None:
        """The process has ended for this reason, and another one is started after the pause."""
        self._ended_by = reason
        self.restarts += 1
        announced = self._announcements.of(reason)
        if announced is None:
            return
        times = "" if announced.total == 1 else f" ({announced.total:,} times so far)"
        _log.warning(
            "%s has ended%s: %s. Another one starts in %.1f s; nothing is lost, and events are still accepted.",
            *(self.name, times, reason, pause_seconds),
        )

    def ran_seconds(self) -> float:
        """How long ago the last process was started."""
        return time.monotonic() - self._started_at

    def blocked(self) -> str:
        """Where it is blocked, as the end of a sentence."""
        return f"; {self.place}" if self.place else ""

    def _silence(self) -> str:
        seconds = time.monotonic() - self._heard_at
        job = f"a function of {'one of its jobs' if len(self.jobs) > 1 else self.jobs[0]} has not returned"
        return f"for {seconds:.0f} s, {self.place or job}"
