"""What `headwater plan` and `headwater apply` say and do about sinks: what each has in its target, and needs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

import click

from headwater.cli.console import report_error
from headwater.errors import HeadwaterError
from headwater.foreign import name_of

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.connectors.contract import Shape, TableShape
    from headwater.connectors.evolution import TableChange
    from headwater.connectors.spec import ConfiguredSink
    from headwater.connectors.tables import TargetState
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
    """A sink that is given whole events. `found`: what there is, `makes`: what `headwater apply` makes there."""

    name: str
    stream: str
    connector: str
    place: str
    key: Sequence[str]
    version: str
    action: Action
    found: str | None = None
    makes: Sequence[str] = ()
    reason: str | None = None

    @property
    def is_change(self) -> bool:
        """Whether `headwater apply` has something to do, or cannot do it."""
        return self.action in ("create", "impossible")


Planned = PlannedTable | PlannedEvents


def planned_tables(config: Config, jobs: Sequence[Job]) -> list[PlannedTable]:
    """The tables of all sinks, compared with their targets as far as these answer; nothing is changed. Blocks."""
    filling = [job for job in jobs if job.writes().table is not None and job.writes().sink is not None]
    with ThreadPoolExecutor(LOOKS_AT_ONCE_MAX) as pool:
        return list(pool.map(lambda job: _planned(config, job), filling))


def planned_events(config: Config, jobs: Sequence[Job]) -> list[PlannedEvents]:
    """The sinks that are given whole events, with what there is in their targets. Blocks."""
    given = [job for job in jobs if job.writes().events is not None and job.writes().sink is not None]
    with ThreadPoolExecutor(LOOKS_AT_ONCE_MAX) as pool:
        return list(pool.map(lambda job: _planned_events(config, job), given))


@dataclass(slots=True)
class _Look:
    """What a look at a target has found."""

    action: Action = "not_compared"
    change: TableChange | None = None
    state: TargetState | None = None
    reason: str | None = None


def _planned_events(config: Config, job: Job) -> PlannedEvents:
    writes = job.writes()
    assert writes.events is not None
    assert writes.sink is not None
    shape, sink = writes.events, writes.sink
    look = _looked(config, sink, shape)
    return PlannedEvents(
        name=shape.name,
        stream=job.reads()[0],
        connector=sink.spec.name,
        place=sink.place,
        key=shape.key,
        version=shape.version,
        action=look.action,
        found=None if look.state is None else look.state.found,
        makes=() if look.state is None else look.state.makes,
        reason=look.reason,
    )


def _planned(config: Config, job: Job) -> PlannedTable:
    writes = job.writes()
    assert writes.table is not None
    assert writes.sink is not None
    sink, shape = writes.sink, writes.table
    look = _looked(config, sink, shape)
    action, statements = look.action, sink.spec.statements(sink.options, shape)
    notes: list[str] = []
    if look.change is not None:
        shape = look.change.shape
        action, statements, notes = _needed(sink, look.change, action)
    elif look.state is not None:
        statements, notes = look.state.makes, [look.state.found]
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
        reason=look.reason,
    )


def _needed(sink: ConfiguredSink, change: TableChange, action: Action) -> tuple[Action, Sequence[str], list[str]]:
    """What is to be done for a change, by which statements, and notes. What needs none is done with a batch."""
    notes = [f"{column.name} is left out: the contract is {sink.contract}" for column in change.left_out]
    if action == "create":
        statements = sink.spec.statements(sink.options, change.shape)
        return (action, statements, notes) if statements else ("none", (), [*notes, "the first batch makes it"])
    if action == "alter":
        statements = sink.spec.alterations(sink.options, change)
        if not statements:
            names = ", ".join(column.name for column in change.added)
            return "none", (), [*notes, f"the next batch adds {names}"]
        if sink.contract == "freeze":
            notes.append("the sink is frozen until `headwater apply` has changed the table")
        return action, statements, notes
    return action, (), notes


def _looked(config: Config, sink: ConfiguredSink, shape: Shape) -> _Look:
    """What is to be done, as far as the target can be looked at."""
    from headwater.connectors.contract import EventShape, TableShape
    from headwater.errors import SinkFrozen

    secrets: Mapping[str, Any] = {}
    try:
        secrets = config.dereferenced(sink.references, f"{sink.place}: the sink of {shape.name}")
        match shape:
            case TableShape() if sink.spec.describe is not None:
                return _compared(config, sink, shape, secrets)
            case TableShape() | EventShape():
                state = sink.state(shape, secrets, config.project_dir)
            case _:
                assert_never(shape)
    except SinkFrozen as error:
        return _Look("impossible", reason=_shown(error.message, secrets))
    except HeadwaterError as error:
        return _Look("unreachable", reason=_shown(error.message, secrets))
    except Exception as error:
        return _Look("unreachable", reason=_shown(f"{name_of(error)}: {error}", secrets))
    if state is None:
        return _Look()
    action: Action = "impossible" if state.problem else "create" if state.makes else "none"
    return _Look(action, state=state, reason=state.problem)


def _compared(config: Config, sink: ConfiguredSink, shape: TableShape, secrets: Mapping[str, Any]) -> _Look:
    """The change that a table needs. Raises SinkUnavailable, ExtraMissing."""
    from headwater.connectors.evolution import settled

    present = sink.described(shape, secrets, config.project_dir)
    # People who plan and apply a change agree to it, so that it is not what freezes the sink.
    contract = "evolve" if sink.contract == "freeze" else sink.contract
    change = settled(contract, shape, present, widens=sink.widens(shape, secrets, config.project_dir))
    if change.conflicts:
        return _Look("impossible", change, reason="; ".join(change.conflicts))
    return _Look("create" if change.is_new else "alter" if change.is_needed else "none", change)


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
        _show_events(one)


def _show_events(one: PlannedEvents) -> None:
    sign, colour = ("  events ", "white") if one.action in ("none", "not_compared") else _SIGNS[one.action]
    click.secho(sign, fg=colour, nl=False)
    click.echo(f"Sink {one.name}: {one.connector}, is given the events of {one.stream} ({one.place})")
    if one.reason is not None:
        what = "cannot be reached" if one.action == "unreachable" else "cannot be as declared"
        click.secho(f"           {what}: {one.reason}", fg="red")
    elif one.found is not None:
        click.echo(f"           {one.found}")
    for made in one.makes:
        click.secho(f"           {made}", fg="cyan")


@dataclass(frozen=True, slots=True)
class LeftTarget:
    """A target of a sink that could not be looked at, or not be made as declared, and why."""

    name: str
    connector: str
    place: str
    reason: str
    hint: str | None = None


def unseen_targets(planned: Sequence[Planned]) -> list[LeftTarget]:
    """The targets that could not be looked at."""
    return [
        LeftTarget(one.name, one.connector, one.place, one.reason or "")
        for one in planned
        if one.action == "unreachable"
    ]


def report_left(left: Sequence[LeftTarget], *, what: str, verb: str) -> None:
    """An error for each target, with what to do before the verb is run again. `what`: such as `be looked at`."""
    for one in left:
        report_error(
            f"The target of the sink {one.name} ({one.place}, {one.connector}) could not {what}: {one.reason}",
            one.hint
            or f"Start it, or repair its address or credentials; `headwater sinks test {one.name}` tries it. "
            f"Then run `headwater {verb}` again.",
        )


async def make_targets(
    config: Config, jobs: Sequence[Job], planned: Sequence[Planned]
) -> tuple[int, Sequence[LeftTarget]]:
    """Create and alter what the sinks need in their targets, as planned: how many were made, and which were not."""
    from headwater.processing.hosting.files import agreed_sink

    needed = {one.name: one for one in planned if one.action in ("create", "alter")}
    left = []
    for job in jobs:
        writes = job.writes()
        if writes.target is None or writes.sink is None or writes.target.name not in needed:
            continue
        one, sink = needed[writes.target.name], agreed_sink(config, job)
        try:
            await sink.open()
        except HeadwaterError as error:
            left.append(LeftTarget(one.name, one.connector, one.place, error.message, error.hint))
        except Exception as error:
            # What a driver raises, without secrets.
            left.append(LeftTarget(one.name, one.connector, one.place, f"{name_of(error)}: {error}"))
        finally:
            await sink.close()
    return len(needed) - len(left), left
