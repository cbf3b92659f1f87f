"""Which errors a verb is about: the project's jobs, their error streams, and the filters on the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.cli.plan import load_declared
from headwater.errors import ConfigInvalid, JobInvalid, TimestampInvalid
from headwater.times import time_ms

if TYPE_CHECKING:
    from headwater.jobs.job import Job
    from headwater.log.contract import Log
    from headwater.platform import Platform
    from headwater.processing.failures.stored import StoredError

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Chosen:
    """The jobs of a project; `platform` has its streams and its log, and runs nothing."""

    platform: Platform
    jobs: Sequence[Job]

    @classmethod
    def of(cls, project: Path, names: Sequence[str] = ()) -> Chosen:
        """Those of the project with these names; all without names. Raises ConfigInvalid, JobInvalid."""
        from headwater.declaration import nearest

        declared = load_declared(project)
        jobs = {job.name: job for job in declared.jobs}
        for name in names:
            if name not in jobs:
                near = nearest(name, list(jobs))
                known = ", ".join(sorted(jobs)) or "it has none"
                raise JobInvalid(
                    f"The project has no job {name!r}.",
                    hint=f"Did you mean {near!r}?" if near else f"Its jobs: {known}.",
                )
        return cls(declared.platform, [jobs[name] for name in names] or list(jobs.values()))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Log]:
        """The log, open until the block ends. Raises ConfigInvalid if there is none yet."""
        config, log = self.platform.config, self.platform.log
        if not config.log.is_kafka and not config.log_path.is_file():
            raise ConfigInvalid(
                f"The project has no log yet: {config.log_path} does not exist.", hint="Start it with `headwater up`."
            )
        await log.open()
        try:
            yield log
        finally:
            await log.close()

    def topics(self, job: Job) -> Sequence[str]:
        """The topics of a job's error stream."""
        return tuple(self.platform.streams.get(job.writes().errors).topics)


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters of errors. `fields`: texts that fields must equal, by dotted path."""

    group: str | None = None
    test: Callable[[Any], bool] | None = None
    fields: dict[str, str] = field(default_factory=dict)
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, error: StoredError) -> bool:
        from headwater.event import get_path

        if self.group is not None and error.group != self.group:
            return False
        if self.test is None and not self.fields:
            return True
        value = error.fields()
        if self.test is not None and not self.test(value):
            return False
        return all(_as_text(get_path(value, path)) == text for path, text in self.fields.items())


def selection(group: str | None, where: Sequence[str], since: str | None, until: str | None) -> Selection:
    """The filters of the command line. Raises FilterInvalid, TimestampInvalid."""
    from headwater.consumption.filter import parse_filter

    fields: dict[str, str] = {}
    tests = []
    for text in where:
        path, equals, value = text.partition("=")
        is_pair = equals and not value.startswith(("=", "~")) and path.replace(".", "").replace("_", "").isalnum()
        if is_pair:
            fields[path] = value
        else:
            tests.append(parse_filter(text).matches)
    test = (lambda value: all(one(value) for one in tests)) if tests else None
    return Selection(group, test, fields, _time("--since", since), _time("--until", until))


def group_options(function: Command) -> Command:
    """`--group`, `--where`, `--since` and `--until`."""
    until, since = "Only events that failed before this time (ISO 8601).", "Only those that failed since this time."
    made = click.option("--until", metavar="TIME", help=until)(function)
    made = click.option("--since", metavar="TIME", help=since)(made)
    made = click.option(
        "--where",
        multiple=True,
        metavar="FILTER",
        help="Only errors that match: a filter, such as 'event.wiki == \"dewiki\"', or KEY=VALUE, such as"
        " error_type=TIMEOUT. `event` is the event that failed. May be repeated.",
    )(made)
    return click.option("--group", metavar="GROUP", help="Only errors of this cause (`errors list`).")(made)


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    at = int(text) if text.isascii() and text.isdigit() and len(text) == 13 else time_ms(text)
    if at is None:
        raise TimestampInvalid(f"{name}: {text!r} is not a time.", hint="Such as 2026-01-31T12:00:00Z.")
    return at


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
