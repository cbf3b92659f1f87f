"""What `headwater plan` and `headwater apply` say and do about sinks: what each has in its target, and needs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headwater.errors import HeadwaterError
from headwater.foreign import name_of

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.connectors.contract import TableShape
    from headwater.connectors.evolution import TableChange
    from headwater.connectors.spec import ConfiguredSink
    from headwater.jobs.job import Job

LOOKS_AT_ONCE_MAX = 8
# "unreachable": nobody answers; "not_compared": the connector cannot look at its target; "impossible": see the reason.
Action = Literal["create", "alter", "none", "impossible", "unreachable", "not_compared"]
_SIGNS: Mapping[Action, tuple[str, str]] = {
    "create": ("+ create ", "green"),
    "alter": ("~ alter  ", "yellow"),
    "none": ("  as is  ", "white"),
    "impossible": ("! cannot ", "red"),
    "unreachable": ("? away   ", "cyan"),
    "not_compared": ("  table  ", "white"),
}


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """A table that a sink of a stream file fills: where, from what, and what is needed for it.

    `statements` are those that create or alter it. `notes` say what happens besides, `reason` why something cannot be.
    """

    name: str
    stream: str
    connector: str
    file: str | None
    place: str
    contract: str
    action: Action
    columns: Sequence[Mapping[str, str]]
    key: Sequence[str]
    version: str
    statements: Sequence[str]
    notes: Sequence[str] = ()
    reason: str | None = None

    @property
    def is_change(self) -> bool:
        """Whether `headwater apply` has something to do, or cannot do it."""
        return self.action in ("create", "alter", "impossible")


@dataclass(frozen=True, slots=True)
class PlannedEvents:
    """A sink that is given whole events."""

    name: str
    stream: str
    connector: str
    place: str
    key: Sequence[str]
    version: str


def planned_tables(config: Config, jobs: Sequence[Job]) -> list[PlannedTable]:
    """The tables of all sinks, compared with their targets as far as these answer; nothing is changed. Blocks."""
    filling = [job for job in jobs if job.writes().table is not None and job.writes().sink is not None]
    with ThreadPoolExecutor(LOOKS_AT_ONCE_MAX) as pool:
        return list(pool.map(lambda job: _planned(config, job), filling))


def planned_events(jobs: Sequence[Job]) -> list[PlannedEvents]:
    """The sinks that are given whole events."""
    found = []
    for job in jobs:
        writes = job.writes()
        if writes.events is not None and writes.sink is not None:
            shape, sink = writes.events, writes.sink
            found.append(
                PlannedEvents(shape.name, job.reads()[0], sink.spec.name, sink.place, shape.key, shape.version)
            )
    return found


def _planned(config: Config, job: Job) -> PlannedTable:
    writes = job.writes()
    assert writes.table is not None
    assert writes.sink is not None
    sink, shape = writes.sink, writes.table
    action, change, reason = _compared(config, sink, shape)
    notes: list[str] = []
    if change is None:
        statements = sink.spec.statements(shape)
    else:
        shape = change.shape
        statements = {"create": sink.spec.statements(shape), "alter": sink.spec.alterations(change)}.get(action, ())
        notes = [f"{column.name} is left out: the contract is {sink.contract}" for column in change.left_out]
        if action == "alter" and sink.contract == "freeze":
            notes.append("the sink is frozen until `headwater apply` has changed the table")
    file = sink.file(config.project_dir)
    return PlannedTable(
        name=shape.name,
        stream=job.reads()[0],
        connector=sink.spec.name,
        file=None if file is None else _within(file, config.project_dir),
        place=sink.place,
        contract=sink.contract,
        action=action,
        columns=[{"name": one.name, "type": one.type, "path": one.path} for one in shape.columns],
        key=shape.key,
        version=shape.version,
        statements=statements,
        notes=notes,
        reason=reason,
    )


def _compared(config: Config, sink: ConfiguredSink, shape: TableShape) -> tuple[Action, TableChange | None, str | None]:
    """What is to be done, the change if the target has been looked at, and why something cannot be."""
    from headwater.connectors.evolution import settled

    if sink.spec.describe is None:
        return "not_compared", None, None
    secrets: Mapping[str, Any] = {}
    try:
        secrets = config.dereferenced(sink.references, f"{sink.place}: the sink of {shape.name}")
        present = sink.described(shape, secrets, config.project_dir)
    except HeadwaterError as error:
        return "unreachable", None, _shown(error.message, secrets)
    except Exception as error:
        return "unreachable", None, _shown(f"{name_of(error)}: {error}", secrets)
    # People who plan and apply a change agree to it, so that it is not what freezes the sink.
    change = settled("evolve" if sink.contract == "freeze" else sink.contract, shape, present)
    if change.conflicts:
        return "impossible", change, "; ".join(change.conflicts)
    return "create" if change.is_new else "alter" if change.is_needed else "none", change, None


def _within(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


def _shown(text: str, secrets: Mapping[str, Any]) -> str:
    from headwater.connectors.secrets import Secrets

    return " ".join(Secrets(secrets.values()).removed(text).split())


def sinks_as_json(tables: Sequence[PlannedTable], events: Sequence[PlannedEvents]) -> dict[str, Any]:
    """The sinks for machines."""
    return {"tables": [asdict(table) for table in tables], "events": [asdict(one) for one in events]}


def show_tables(tables: Sequence[PlannedTable], events: Sequence[PlannedEvents]) -> None:
    """The sinks for people: each table with its columns, and the statements that are needed."""
    for table in tables:
        sign, colour = _SIGNS[table.action]
        click.secho(sign, fg=colour, nl=False)
        file = "" if table.file is None else f" {table.file}"
        click.echo(f"Table {table.name}: {table.connector}{file}, filled from {table.stream} ({table.place})")
        if table.reason is not None:
            what = "cannot be reached" if table.action == "unreachable" else "cannot be as declared"
            click.secho(f"           {what}: {table.reason}", fg="red")
        for column in table.columns:
            notes = [f"from {column['path']}"] if column["path"] != column["name"] else []
            notes += ["key"] if column["name"] in table.key else []
            notes += ["version"] if column["name"] == table.version else []
            noted = f"  ({', '.join(notes)})" if notes else ""
            click.echo(f"           {column['name']} {column['type']}{noted}")
        for note in table.notes:
            click.secho(f"           {note}", fg="yellow")
        if table.action == "unreachable" and table.statements:
            click.echo("           A new table would be made by:")
        for statement in table.statements:
            click.secho(f"           {statement}", fg="cyan")
    for one in events:
        click.echo(f"  events Sink {one.name}: {one.connector}, is given the events of {one.stream} ({one.place})")


async def make_tables(config: Config, jobs: Sequence[Job], tables: Sequence[PlannedTable]) -> int:
    """Create and alter the tables that need it, as planned; returns how many.

    Raises SinkUnavailable, SinkFrozen, ExtraMissing, each with the name of the table.
    """
    from headwater.processing.hosting.files import sink_of

    needed = {table.name for table in tables if table.action in ("create", "alter")}
    for job in jobs:
        writes = job.writes()
        if writes.table is None or writes.sink is None or writes.table.name not in needed:
            continue
        sink = sink_of(config, job, changes_agreed=True)
        try:
            await sink.open()
        except HeadwaterError as error:
            error.message = f"{writes.table.name}: {error.message}"
            raise
        finally:
            await sink.close()
    return len(needed)
