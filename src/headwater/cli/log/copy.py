"""`headwater log copy`: moves topics, with the positions of their readers and the jobs, from one log to another."""

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
    help="What to do where records are older than the target keeps them.",
)
@click.option("--group", "groups", multiple=True, help="Carry this group's position; by default all that are known.")
@click.option("--no-groups", is_flag=True, help="Carry no positions of readers, and no jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print what was copied as one JSON object.")
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The project whose `log.kafka` says how to talk to brokers, and whose jobs keep their state in"
    " `jobs.state_path` on Kafka; the present directory by default.",
)
@click.option(
    "--state-path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where TO's files of jobs' state go, if not into the project's `jobs.state_path`: from one Kafka to another.",
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

    Partitions, order, keys, headers and times of receipt stay as they are; topics that are missing in TO are made with
    the settings they have in FROM. Interrupted, the same command goes on where it stopped, and later it brings what
    has come since. At the end TO is read back and compared by count and checksum: the exit code is 0 when all agree.

    Readers go on in TO where they were, and so do jobs that stood still during the copy: their state goes with their
    position, also into the files in which a project on Kafka keeps it. Who has gone on in TO by itself is left alone.
    """
    urls = (log_url(source), log_url(target))
    if urls[0] == urls[1]:
        raise ConfigInvalid(f"{source} and {target} are the same log.", hint="Name another log to copy into.")
    wanted = () if no_groups else (groups or None)
    config = _config(urls, project)
    try:
        logs = _logs(urls, config)
        asked = _Asked(topics, wanted, skip_expired=expired == "skip", quiet=as_json)
        with _owned(urls[1]):
            copied, carried = asyncio.run(_copy(logs, asked, *_project(config, wanted, state_path)))
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from here.")
        raise click.exceptions.Exit(130) from None
    if as_json:
        print_json(report(copied, carried))
    else:
        _show(copied, carried)
    raise SystemExit(0 if all(one.verified for one in copied) else 1)


@contextlib.contextmanager
def _owned(target: str) -> Iterator[None]:
    """Nobody serves the target while it is filled. Raises LogInUse where somebody does.

    A server would write between what is copied, and its jobs would go on where they are instead of where they were.
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
    """A log's URL from what a person writes: a path is the embedded log's file."""
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be copied: of `topics` none means all; of `groups` None means all."""

    topics: Sequence[str]
    groups: Sequence[str] | None
    skip_expired: bool
    quiet: bool


def _config(urls: tuple[str, str], project: Path) -> Config | None:
    """The project, where there is one and it matters. Raises ConfigInvalid."""
    if not any(url.startswith("kafka://") for url in urls) or not (project / CONFIG_FILE).exists():
        return None
    from headwater.config import load_config

    return load_config(project)


def _logs(urls: tuple[str, str], config: Config | None) -> tuple[Log, Log]:
    """The two logs, not yet open. Raises ConfigInvalid, ExtraMissing."""
    from headwater.log.inspection import log_at

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
        # The source first: where it cannot be opened, no target is made.
        for log in logs:
            await log.open()
            stack.push_async_callback(log.close)
        asking = TopicCopy(source, target)
        await asking.topics(asked.topics)
        moving = JobMigration(source, target, files, jobs, told=say)
        stack.push_async_callback(moving.close)
        # Before the topics: what a job still has to write into them is there when they are copied.
        await moving.begin(asked.groups)
        total = 2 * sum(sum(info.next) - sum(info.first) for info in await asking.topics(asked.topics))
        # What commits all in one file has nothing under way that could still arrive.
        settle = 0.0 if target.features.keyed_state else SETTLE_SECONDS
        with progress("copying", total, unit="records", quiet=asked.quiet) as advance:
            copying = TopicCopy(source, target, told=advance, skip_expired=asked.skip_expired, settle_seconds=settle)
            infos = await copying.topics(asked.topics)
            copied = [await copying.copy(info) for info in infos]
        ledgers = {(ledger.topic, ledger.partition): ledger for one in copied for ledger in one.ledgers}
        await note_former(source, target, ledgers.values())
        positions = PositionMigration(source, target, ledgers)
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
        "copied now",
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
            click.echo(f"{one.topic}: {one.skipped:,} records older than the target keeps them were left out.")
        if one.arrived_since:
            click.echo(f"{one.topic}: {one.arrived_since:,} records came meanwhile; the same command brings them.")
        for ledger in one.ledgers:
            if ledger.has_holes or ledger.source_first != ledger.target_first:
                click.echo(
                    f"{one.topic}, partition {ledger.partition}: offsets {ledger.source_first} to {ledger.source_next}"
                    f" are {ledger.target_first} to {ledger.target_next} now: resume tokens from before do not fit,"
                    " a `since` does."
                )
    for group in carried:
        click.echo(f"group {group.group}: {_outcome(group)}")


def _outcome(group: CarriedGroup) -> str:
    """What became of one group, for people."""
    if group.token is None:
        return f"not carried: {group.note}"
    note = f" ({group.note})" if group.note else ""
    if group.state is None:
        return f"at {group.token}{note}"
    entries = "1 entry" if group.state.entries == 1 else f"{group.state.entries:,} entries"
    where = f" in {group.state.file}" if group.state.file else ""
    return f"at {group.token}{note}, with its state{where}: {entries}, checksum {group.state.checksum[:12]}, verified"
