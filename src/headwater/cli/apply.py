"""`headwater apply`: changes the log's topics as the project declares them, exactly as `headwater plan` shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import print_json, say
from headwater.cli.plan import EXIT_LEFT, Declared, ask, load_declared, plan_as_json, project_option, show_plan
from headwater.cli.table_plan import (
    LeftTarget,
    Planned,
    PlannedTable,
    make_targets,
    planned_events,
    planned_tables,
    report_left,
    show_tables,
    sinks_as_json,
    unseen_targets,
)
from headwater.errors import ConfigInvalid, HeadwaterError, LogUnavailable

if TYPE_CHECKING:
    from headwater.log.topic_plan import TopicPlan

CHECKS_MAX = 20
CHECK_PAUSE_SECONDS = 0.25


@click.command(
    short_help="Create and alter the log's topics and the targets of sinks as declared.",
    epilog="Example:  headwater apply --project my-platform --yes",
)
@project_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON object; needs --yes.")
def command(project: Path, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Create the topics that are missing and alter those that differ from their declaration; then the targets of sinks.

    It shows the plan and asks for confirmation. Partitions are only ever added, and no topic is deleted; of tables
    columns are added, or made wider where nothing is lost. Afterwards the log is compared again. If a declared change
    is impossible, nothing is changed. A target that does not answer is left as it is, and the others are made. The exit
    code is 0 when all is as declared, and 3 when all is but targets of sinks that did not answer.
    """
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json needs --yes: it cannot ask for confirmation.")
    declared = load_declared(project)
    plan = asyncio.run(ask(declared))
    config = declared.platform.config
    tables, events = planned_tables(config, declared.jobs), planned_events(config, declared.jobs)
    shown = {**plan_as_json(plan), **sinks_as_json(tables, events)}
    if not as_json:
        show_plan(plan)
        show_tables(tables, events)
    if dry_run:
        if as_json:
            print_json({**shown, "applied": False})
        _end(unseen_targets([*tables, *events]), ())
        return
    refuse_impossible(plan)
    targets: Sequence[Planned] = (*tables, *events)
    refuse_impossible_targets(targets)
    unmade: Sequence[LeftTarget] = ()
    if count := len(plan.changes) + sum(one.is_change for one in targets):
        if not yes:
            _agree(count)
        if plan.changes:
            asyncio.run(make_changes(declared, plan))
            say(f"{len(plan.changes)} topics are now as declared.")
        made, unmade = asyncio.run(make_targets(config, declared.jobs, targets))
        if made:
            say(f"{made} targets of sinks are now as declared.")
    unseen = unseen_targets(targets)
    if as_json:
        left = [{"sink": one.name, "reason": one.reason} for one in (*unseen, *unmade)]
        print_json({**shown, "applied": True, "left": left})
    _end(unseen, unmade)


def _end(unseen: Sequence[LeftTarget], unmade: Sequence[LeftTarget]) -> None:
    """Say which targets of sinks were left as they are, and exit by EXIT_LEFT if there are any."""
    report_left(unseen, what="be looked at, and was left as it is", verb="apply")
    report_left(unmade, what="be made as declared", verb="apply")
    if unseen or unmade:
        raise SystemExit(EXIT_LEFT)


def refuse_impossible(plan: TopicPlan) -> None:
    """Raise ConfigInvalid for the first impossible change; the plan has listed them all."""
    for one in plan.impossible:
        more = f" ({len(plan.impossible) - 1} more are listed by `headwater plan`.)" if len(plan.impossible) > 1 else ""
        raise ConfigInvalid(f"{one.sentence} Nothing was changed.{more}", hint=one.hint)


def refuse_impossible_targets(targets: Sequence[Planned]) -> None:
    """Raise ConfigInvalid for the first table or target that cannot be as declared; the plan has listed them all."""
    for one in targets:
        if one.action == "impossible" and isinstance(one, PlannedTable):
            raise ConfigInvalid(
                f"The table {one.name} ({one.place}) cannot be as declared: {one.reason}. Nothing was changed.",
                hint="Repair the schema or the table, list the columns of the sink, or give it another `table`.",
            )
        if one.action == "impossible":
            raise ConfigInvalid(
                f"The sink {one.name} ({one.place}) cannot be as declared: {one.reason}. Nothing was changed.",
                hint="Repair its target, or what the sink says of it.",
            )


async def make_changes(declared: Declared, plan: TopicPlan) -> None:
    """Make the changes of `plan`, and check that the log has them. Raises LogUnavailable if it does not."""
    log = declared.platform.log
    await log.open()
    try:
        for number, change in enumerate(plan.changes):
            try:
                await log.ensure_topic(change.topic, change.settings)
            except HeadwaterError as error:
                done = f"{number} of {len(plan.changes)} topics were changed before this error."
                error.message = f"{change.topic}: {error.message} {done}"
                raise
    finally:
        await log.close()
    # A cluster may take a moment to report changes that it has accepted.
    for _ in range(CHECKS_MAX):
        left = await ask(declared)
        if left.is_fulfilled:
            return
        await asyncio.sleep(CHECK_PAUSE_SECONDS)
    names = ", ".join(change.topic for change in left.changes[:5])
    raise LogUnavailable(
        f"The log accepted the changes but does not show them: {names}.",
        hint="Run `headwater plan` to see what differs; the log may ignore a setting, or another program may reset it.",
    )


def _agree(changes: int) -> None:
    if not sys.stdin.isatty():
        raise ConfigInvalid(
            "Confirmation is required, but this is not a terminal.",
            hint="Use --yes to make these changes, or --dry-run to see them.",
        )
    click.confirm(f"Make {changes} changes?", abort=True)
