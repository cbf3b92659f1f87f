"""Which errors a verb is about: the project's jobs, their error streams, and the options that filter errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.cli.plan import load_declared
from headwater.errors import ConfigInvalid, JobInvalid

if TYPE_CHECKING:
    from headwater.jobs.job import Job
    from headwater.log.contract import Log
    from headwater.platform import Platform

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
