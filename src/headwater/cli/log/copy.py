"""`headwater log copy`: copies topics, the positions of their readers and the jobs from one log to another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import output, print_json, progress, say
from headwater.cli.up.up import CONFIG_FILE
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.log.contract import Log
    from headwater.migration.jobs import StateFiles
    from headwater.migration.positions import CarriedGroup
    from headwater.migration.topics import CopiedTopic


@click.command(
    short_help="Copy topics to another log, verified.",
    epilog="""\b
Examples:
  headwater log copy var/events.db kafka://localhost:9092
  headwater log copy kafka://localhost:9092 copy.db --topic dc1.page.edit""",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--topic", "topics", multiple=True, help="Only this topic; can be given more than once.")
@click.option(
    "--expired",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="What to do with records that are older than the target's retention.",
)
@click.option(
    "--group", "groups", multiple=True, help="Migrate the position of this group (default: all known groups)."
)
@click.option("--no-groups", is_flag=True, help="Migrate no positions of readers, and no jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print what was copied as one JSON object.")
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Project with the settings for brokers (`log.kafka`) and, for jobs on Kafka, the state files in"
    " `jobs.state_path` (default: current directory).",
)
@click.option(
    "--state-path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the state files of jobs in TO, when copying from one Kafka to another (default: the project's"
    " `jobs.state_path`).",
)
def command(
    *,
    source: str,
    target: str,
    topics: tuple[str, ...],
    expired: str,
    groups: tuple[str, ...],
    no_groups: bool,
    as_json: bool,
    project: Path,
    state_path: Path | None,
) -> None:
    """Copy the topics of the log FROM into the log TO: sqlite:///PATH, a path, or kafka://HOST:PORT.

    Partitions, order, keys, headers and times of receipt are preserved; topics that are missing in TO are created with
    their settings in FROM. After an interruption the same command resumes, and run again later it copies new records.
    At the end TO is read back and compared by count and checksum: the exit code is 0 when all agree.

    Readers resume in TO where they were, and so do sources and jobs that were stopped during the copy: their state is
    copied with their position, also into the state files of a project on Kafka. A position that is already ahead in TO
    is kept.
    """
    urls = (log_url(source), log_url(target))
    if urls[0] == urls[1]:
        raise ConfigInvalid(f"{source} and {target} are the same log.", hint="Name a different log to copy into.")
    wanted = () if no_groups else (groups or None)
    config = _config(urls, project)
    try:
        logs = _logs(urls, config)
        asked = _Asked(topics, wanted, skip_expired=expired == "skip", quiet=as_json)
        with _owned(urls[1]):
            copied, carried = asyncio.run(_copy(logs, asked, *_project(config, wanted, state_path)))
    except KeyboardInterrupt:
        say("Stopped. Run the same command to resume.")
        raise click.exceptions.Exit(130) from None
    if as_json:
        print_json(report(copied, carried))
    else:
        _show(copied, carried)
    raise SystemExit(0 if all(one.verified for one in copied) else 1)


@contextlib.contextmanager
def _owned(target: str) -> Iterator[None]:
    """Lock the target against servers while it is filled. Raises LogInUse if one is using it.

    A server would write between the copied records, and its jobs would not resume at the migrated positions.
    """
    from headwater.log.sqlite.owner import LogOwner

    if target.startswith("kafka://"):
        yield
        return
    owner = LogOwner(Path(target.removeprefix("sqlite:///")))
    owner.acquire("log copy")
    try:
        yield
    finally:
        owner.release()


def log_url(text: str) -> str:
    """The URL of a log given as a URL or as a path, which is the file of an embedded log."""
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to copy: no `topics` means all; `groups` None means all."""

    topics: Sequence[str]
    groups: Sequence[str] | None
    skip_expired: bool
    quiet: bool


def _config(urls: tuple[str, str], project: Path) -> Config | None:
    """The project, if there is one and it is needed. Raises ConfigInvalid."""
    if not any(url.startswith("kafka://") for url in urls) or not (project / CONFIG_FILE).exists():
        return None
    from headwater.config import load_config

    return load_config(project)


def _logs(urls: tuple[str, str], config: Config | None) -> tuple[Log, Log]:
    """The two logs, not yet open. Raises ConfigInvalid, ExtraMissing."""
    from headwater.log.open import log_at

    options = config.kafka_options() if config is not None else {}
    return log_at(urls[0], options=options), log_at(urls[1], create=True, options=options)


def _project(
    config: Config | None, groups: Sequence[str] | None, state_path: Path | None
) -> tuple[StateFiles | None, list[Job]]:
    """Where the project's jobs keep their state, and the jobs. Raises JobInvalid."""
    from headwater.jobs.loader import load_jobs
    from headwater.migration.jobs import StateFiles

    if config is None or groups == ():
        return None, []
    present = config.path(config.jobs.state_path)
    return StateFiles(present, state_path or present), load_jobs(config.path(config.jobs.path), config.project_dir)


async def _copy(
    logs: tuple[Log, Log], asked: _Asked, files: StateFiles | None, jobs: list[Job]
) -> tuple[list[CopiedTopic], list[CarriedGroup]]:
    from headwater.migration.jobs import JobMigration, is_job
    from headwater.migration.positions import PositionMigration, groups_of, note_former
    from headwater.migration.topics import SETTLE_SECONDS, TopicCopy

    source, target = logs
    async with contextlib.AsyncExitStack() as stack:
        # The source first: if it cannot be opened, no target is created.
        for log in logs:
            await log.open()
            stack.push_async_callback(log.close)
        asking = TopicCopy(source, target)
        await asking.topics(asked.topics)
        moving = JobMigration(source, target, files, jobs, on_progress=say)
        stack.push_async_callback(moving.close)
        # Before the topics, so that what a job still has to write is in them when they are copied.
        await moving.begin(asked.groups)
        total = 2 * sum(sum(info.next) - sum(info.first) for info in await asking.topics(asked.topics))
        # A log in one file commits everything together: nothing can be in flight.
        settle = 0.0 if target.features.keyed_state else SETTLE_SECONDS
        with progress("copying", total, unit="records", quiet=asked.quiet) as advance:
            copying = TopicCopy(
                source, target, on_progress=advance, skip_expired=asked.skip_expired, settle_seconds=settle
            )
            infos = await copying.topics(asked.topics)
            copied = [await copying.copy(info) for info in infos]
        ledgers = {(ledger.topic, ledger.partition): ledger for one in copied for ledger in one.ledgers}
        await note_former(source, target, ledgers.values())
        # What a source has written may be in any topic, so that only somebody who names it knows that it was copied.
        moves_foreign = not asked.topics or bool(asked.groups)
        positions = PositionMigration(source, target, ledgers, moves_foreign=moves_foreign)
        carried = await moving.carry(positions)
        for group in await groups_of(source) if asked.groups is None else asked.groups:
            one = None if is_job(group) else await positions.carry(group)
            carried += [] if one is None else [one]
    return copied, sorted(carried, key=lambda one: one.group)


def report(copied: Sequence[CopiedTopic], carried: Sequence[CarriedGroup]) -> dict[str, Any]:
    """What was done, for machines. `offsets` maps the first and next offset of each partition, source to target."""
    return {
        "verified": all(one.verified for one in copied),
        "records": sum(one.records for one in copied),
        "topics": [
            {
                "topic": one.topic,
                "records": one.records,
                "copied_now": one.copied,
                "skipped": one.skipped,
                "arrived_since": one.arrived_since,
                "checksum": one.checksum,
                "verified": one.verified,
                "problems": one.problems,
                "offsets": [
                    {
                        "partition": ledger.partition,
                        "source": [ledger.source_first, ledger.source_next],
                        "target": [ledger.target_first, ledger.target_next],
                    }
                    for ledger in one.ledgers
                ],
            }
            for one in copied
        ],
        "groups": [asdict(one) for one in carried],
    }


def _show(copied: Sequence[CopiedTopic], carried: Sequence[CarriedGroup]) -> None:
    from rich.table import Column, Table

    table = Table(
        Column("topic", overflow="fold"),
        "partitions",
        "records",
        "copied",
        "checksum",
        "verified",
        box=None,
        pad_edge=False,
    )
    for one in copied:
        numbers = (str(len(one.ledgers)), f"{one.records:,}", f"{one.copied:,}")
        table.add_row(one.topic, *numbers, one.checksum[:12], "yes" if one.verified else "[red]no[/red]")
    output().print(table)
    for one in copied:
        for problem in one.problems:
            click.secho(f"{one.topic}, {problem}", fg="red")
        if one.skipped:
            click.echo(f"{one.topic}: {one.skipped:,} records older than the target's retention were not copied.")
        if one.arrived_since:
            click.echo(
                f"{one.topic}: {one.arrived_since:,} records arrived meanwhile; run the same command to copy them."
            )
        for ledger in one.ledgers:
            if ledger.has_holes or ledger.source_first != ledger.target_first:
                click.echo(
                    f"{one.topic}, partition {ledger.partition}: offsets {ledger.source_first} to {ledger.source_next}"
                    f" are now {ledger.target_first} to {ledger.target_next}: old resume tokens are invalid here;"
                    " use `since`."
                )
    for group in carried:
        click.echo(f"group {group.group}: {_outcome(group)}")


def _outcome(group: CarriedGroup) -> str:
    """The outcome for one group, for people."""
    if group.token is None:
        return f"not migrated: {group.note}"
    note = f" ({group.note})" if group.note else ""
    if group.state is None:
        return f"at {group.token}{note}"
    entries = "1 entry" if group.state.entries == 1 else f"{group.state.entries:,} entries"
    where = f" in {group.state.file}" if group.state.file else ""
    return f"at {group.token}{note}, with its state{where}: {entries}, checksum {group.state.checksum[:12]}, verified"
