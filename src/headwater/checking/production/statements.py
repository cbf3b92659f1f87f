"""What no program can see of a platform in production: the statements of people, in `production.yaml`.

A statement is a sentence, an address or a day. Days get old: a backup that was restored two years ago proves nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.declaration import Declaration, read_declaration
from headwater.options import read_section
from headwater.settings import setting
from headwater.times import day_of

STATEMENTS_FILE = "production.yaml"
DAYS_MAX = 365


@dataclass(frozen=True, slots=True)
class Statements:
    """What is stated; null: nothing is."""

    contact: str | None = setting(None, "Who runs the platform: a mail address, or a page that names them.")
    on_call: str | None = setting(None, "Who is called when an alert fires, and when: a page, or a sentence.")
    proxy: str | None = setting(
        None, "The proxy in front that encrypts and authenticates, if Headwater is not to do it: its configuration."
    )
    alert_rules: str | None = setting(
        None, "The file that `headwater export prometheus` wrote and Prometheus loads, relative to the project."
    )
    alert_route: str | None = setting(None, "Where alerts go: the route of Alertmanager, a chat, a pager.")
    scrape: str | None = setting(None, "What scrapes `/metrics`: the job of Prometheus, or a PodMonitor.")
    backup: str | None = setting(None, "How the log is copied to another machine, and how often; not asked on Kafka.")
    backup_restored_on: str | None = setting(
        None, "The day on which a backup was last restored and compared; not asked on Kafka."
    )
    events_per_second_max: float | None = setting(
        None, "How many events per second the platform was seen to accept, where it runs.", at_least=0
    )
    capacity_measured_on: str | None = setting(None, "The day on which that was measured.")
    backfill_tried_on: str | None = setting(
        None, "The day on which a job was last run over history; asked if there are jobs."
    )
    redrive_tried_on: str | None = setting(
        None, "The day on which failed events were last processed again; asked if there are jobs."
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about the requirements: a project, its statements, and which day it is."""

    project: Project
    statements: Statements
    written: Declaration
    today: datetime.date

    def at(self, key: str, message: str, hint: str) -> Problem:
        """A problem with a statement, at its line; in the file, if it is not there."""
        present = isinstance(self.written.value, dict) and key in self.written.value
        return Problem(message, STATEMENTS_FILE, self.written.line((key,)) if present else None, hint)

    def unstated(self, key: str, message: str, hint: str = "") -> Iterator[Problem]:
        """A problem, if nothing is stated under `key`."""
        value = getattr(self.statements, key)
        if value is None or (isinstance(value, str) and not value.strip()):
            yield self.at(key, f"{STATEMENTS_FILE} does not say {message}.", hint or f"Write it there, as `{key}`.")

    def unproven(self, key: str, what: str, how: str) -> Iterator[Problem]:
        """A problem, if the day under `key` is missing, is no day, is to come, or is more than a year ago."""
        written = getattr(self.statements, key)
        if written is None:
            yield self.at(key, f"{STATEMENTS_FILE} does not say when {what}.", f"{how} Write the day as `{key}`.")
            return
        try:
            day = day_of(written)
        except ValueError:
            yield self.at(key, f"{key} is no day: {written!r}.", "Write it as 2026-01-31.")
            return
        if day > self.today:
            yield self.at(key, f"{key} is in the future: {day}.", "Write the day on which it was done.")
        elif (age := (self.today - day).days) > DAYS_MAX:
            yield self.at(key, f"{key} is {age} days ago, more than {DAYS_MAX}.", f"{how} Write the new day.")


def read_statements(directory: Path) -> tuple[Statements, Declaration]:
    """The statements of the project in `directory`; without a file, none. Raises ConfigInvalid."""
    path = directory / STATEMENTS_FILE
    written = read_declaration(path, file=STATEMENTS_FILE) if path.exists() else Declaration(STATEMENTS_FILE, {})
    return read_section(Statements, {} if written.value is None else written.value, written, ()), written
