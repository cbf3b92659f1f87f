"""What `headwater job pause`, `resume`, `reset` and `rewind` do: ask a running platform, or leave it in the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

import click

from headwater.cli.api_client import change, headers_with
from headwater.cli.console import called_as, say
from headwater.cli.job.measured import project_jobs
from headwater.errors import ConfigInvalid, HeadwaterError, LogInUse

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.processing.control import JobControl

BY = "the command line"

server_option = click.option(
    "--server", help="Address of the running platform (default: none runs; it is done when one starts)."
)
yes_option = click.option("--yes", is_flag=True, help="Do it; without this, only its consequences are printed.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is to begin again: at a time, after a position of its upstream, or else at the beginning.

    `force`: it is to continue although it was exported.
    """

    to_ms: int | None = None
    position: str | None = None
    force: bool = False


def control(
    project: Path, name: str, verb: str, *, server: str | None, key_file: TextIO | None, force: bool = False
) -> None:
    """Have the verb done, by a running platform at `server` or by the next one that runs the job.

    `force`: also if the job was exported. Raises JobInvalid, LogInUse, LogUnavailable, and what the platform refuses.
    """
    if force and server is not None:
        raise click.UsageError("--force is for the log, so leave out --server; on SQLite stop the platform before.")
    _have_done(project, name, verb, server=server, headers=headers_with(key_file), where=Place(force=force))


def _have_done(
    project: Path, name: str, verb: str, *, server: str | None, headers: Mapping[str, str], where: Place
) -> None:
    if server is not None:
        change(server, _path(name), _body(verb, where), headers)
        return
    config, job = _found(project, name)
    asyncio.run(_leave(config, job, verb, where))
    if not config.log.is_kafka:
        say("No platform runs: this is done when one starts.")


def _show_consequences(
    project: Path, name: str, verb: str, *, server: str | None, headers: Mapping[str, str], where: Place
) -> None:
    """Print what the verb deletes, and what it leaves."""
    from headwater.processing.control import consequences, in_words

    if server is not None:
        found = change(server, _path(name), _body(verb, where), headers, dry_run=True)["consequences"]
    else:
        job = _found(project, name)[1]
        to_ms = where.to_ms
        left_out = 0 if to_ms is None or job.input is not None else _left_out(project, name, to_ms)
        found = consequences(job, begins_at=in_words(to_ms, where.position), left_out=left_out)
    for sentence in found:
        click.echo(f"- {sentence}")


def move(
    project: Path,
    name: str,
    verb: str,
    *,
    server: str | None,
    key_file: TextIO | None,
    where: Place,
    yes: bool,
) -> None:
    """Print the consequences of a reset or a rewind, and have it done if the user agreed with --yes."""
    headers = headers_with(key_file)
    _show_consequences(project, name, verb, server=server, headers=headers, where=where)
    if not yes:
        raise ConfigInvalid("Nothing was changed.", hint="Add --yes to do it.")
    _have_done(project, name, verb, server=server, headers=headers, where=where)


def time_of(text: str) -> int:
    """The time in epoch milliseconds. Raises click.BadParameter."""
    from headwater.times import time_ms

    found = time_ms(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a time, such as 2026-01-31T12:00:00Z.")
    return found


def _path(name: str) -> str:
    return f"/v1/jobs/{quote(name, safe='')}"


def _body(verb: str, where: Place) -> dict[str, Any]:
    from headwater.times import utc_milliseconds

    if where.position is not None:
        return {"do": verb, "position": where.position}
    to_ms = where.to_ms
    return {"do": verb} if to_ms is None else {"do": verb, "to": utc_milliseconds(to_ms)}


def _found(project: Path, name: str) -> tuple[Config, Job]:
    from headwater.processing.control import require_here

    config, _, (job,) = project_jobs(project, name)
    require_here(name, config.flink.jobs)
    return config, job


def _left_out(project: Path, name: str, to_ms: int) -> int:
    """How many records the job leaves out that it has not processed, as far as its log knows."""
    config, streams, (job,) = project_jobs(project, name)
    topics = [topic for stream in job.reads() for topic in streams.get(stream).topics]
    # Without a log, or while it does not answer, nothing is known.
    with contextlib.suppress(HeadwaterError):
        return asyncio.run(_asked(config, job, topics, to_ms))
    return 0


async def _asked(config: Config, job: Job, topics: list[str], to_ms: int) -> int:
    from headwater.log.open import log_at, log_of
    from headwater.processing.control import JobControl
    from headwater.processing.stores.partitions import committed_position

    log = log_of(config) if config.log.is_kafka else log_at(f"sqlite:///{config.log_path}")
    await log.open()
    try:
        position = await committed_position(log, job.group, topics)
        return 0 if position is None else await JobControl(log, job, topics).left_out(to_ms, position)
    finally:
        await log.close()


async def _leave(config: Config, job: Job, verb: str, where: Place) -> None:
    """Leave the request in the log, where a platform that runs the job finds it."""
    from headwater.log.open import log_of
    from headwater.log.sqlite.owner import LogOwner, server_address
    from headwater.processing.control import JobControl

    owner = None if config.log.is_kafka else LogOwner(config.log_path)
    if owner is not None:
        try:
            owner.acquire(f"job {verb}")
        except LogInUse as error:
            address = server_address(config.log_path) or "http://HOST:PORT"
            hint = (
                f"Ask the platform that runs: add --server {address} --key-file FILE. "
                f"`{called_as()} keys create NAME > FILE` makes a key."
            )
            raise LogInUse(error.message, hint=hint) from None
    log = log_of(config)
    try:
        await log.open()
        await _carry_out(JobControl(log, job, ()), verb, where)
    finally:
        await log.close()
        if owner is not None:
            owner.release()


async def _carry_out(asked: JobControl, verb: str, where: Place) -> None:
    if verb in ("pause", "resume"):
        await asked.pause(paused=verb == "pause", by=BY, force=where.force)
    else:
        await asked.move(where.to_ms, by=BY, position=where.position)
