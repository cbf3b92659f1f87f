"""`headwater plan`: shows how the log's topics differ from what the project declares, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, report_error
from headwater.cli.source_plan import PlannedSource, planned_sources, show_sources, sources_as_json
from headwater.cli.table_plan import (
    planned_events,
    planned_tables,
    report_left,
    show_tables,
    sinks_as_json,
    unseen_targets,
)
from headwater.cli.up.up import require_project
from headwater.errors import HeadwaterError, StreamUnknown
from headwater.times import duration_text

if TYPE_CHECKING:
    from headwater.jobs.job import Job
    from headwater.log.contract import Log
    from headwater.log.topic_plan import DeclaredTopic, Difference, SettingValue, TopicChange, TopicPlan
    from headwater.platform import Platform
    from headwater.streams.stream import Stream

EXIT_CHANGES = 2
EXIT_UNKNOWN = 1
EXIT_LEFT = 3
OWN_TOPICS = "headwater."
SQLITE = "sqlite:///"

project_option = click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Project directory (default: current directory).",
)


@click.command(
    short_help="Show what would change in the log's topics and in the tables of sinks.",
    epilog="Example:  headwater plan --project my-platform --json | jq .changes",
)
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as one JSON object.")
@click.pass_context
def command(context: click.Context, project: Path, as_json: bool) -> None:
    """Compare the log's topics with what the project's streams and jobs declare. Nothing is changed.

    The tables, indices and topics that sinks of stream files fill are compared with those in their targets, and shown
    with their columns and what creates or alters them; the server, or `headwater apply`, does this. A target that does
    not answer is shown as such, with what a new table would be; all others are compared. No secret is shown. Of sources
    it is shown where each continues, or begins, and what keeps it from starting; `headwater sources test` tries one.

    The exit code is 0 when there is nothing to do, 2 when something has to change, 3 when the target of a sink could
    not be looked at, whatever else has to change, and 1 after an error. Topics without a declaration are listed; they
    are never deleted.
    """
    try:
        declared = load_declared(project)
        plan, sources = asyncio.run(_asked(declared))
    except HeadwaterError as error:
        # 2 means "changes" here, as scripts expect of a plan, so nothing else may exit with it.
        if context.find_root().params.get("debug"):
            raise
        report_error(error.message, error.hint)
        raise SystemExit(EXIT_UNKNOWN) from None
    config = declared.platform.config
    tables, events = planned_tables(config, declared.jobs), planned_events(config, declared.jobs)
    is_changed = any(one.is_change for one in tables) or any(one.is_change for one in events)
    if as_json:
        print_json({**plan_as_json(plan), **sinks_as_json(tables, events), **sources_as_json(sources)})
    else:
        show_plan(plan)
        show_tables(tables, events)
        show_sources(sources)
        if plan.changes or is_changed:
            click.echo("Run `headwater apply` to make these changes.")
    if unseen := unseen_targets([*tables, *events]):
        report_left(unseen, what="be looked at", verb="plan")
        raise SystemExit(EXIT_LEFT)
    raise SystemExit(0 if plan.is_fulfilled and not is_changed else EXIT_CHANGES)


@dataclass(frozen=True, slots=True)
class Declared:
    """A project as declared: `platform` has its streams and its log and runs none of the `jobs`."""

    platform: Platform
    jobs: Sequence[Job]


def load_declared(project: Path) -> Declared:
    """The project, with nothing opened. Raises ConfigInvalid, JobInvalid."""
    from headwater.config import load_config
    from headwater.platform import Platform
    from headwater.processing.declarations import declarations

    require_project(project)
    config = load_config(project)
    streams, jobs = declarations(config)
    # Jobs that cannot run on this log still need their topics.
    return Declared(Platform(config, streams, ()), jobs)


async def ask(project: Declared) -> TopicPlan:
    """The plan for the project's log. An embedded log that does not exist yet is not created."""
    async with _present_log(project.platform) as log:
        return await _topic_plan(project, log)


async def _asked(project: Declared) -> tuple[TopicPlan, Sequence[PlannedSource]]:
    """The same, and the sources of the project with their positions there."""
    async with _present_log(project.platform) as log:
        return await _topic_plan(project, log), await planned_sources(project.platform.config, log)


async def _topic_plan(project: Declared, log: Log | None) -> TopicPlan:
    from headwater.log.topic_plan import plan_topics, without_refused

    platform = project.platform
    declared = list(declared_topics(project))
    features = platform.log.features
    if log is None:
        return plan_topics(declared, (), features)
    # The platform's internal topics are not drift.
    present = [info for info in await log.topics() if not info.name.startswith(OWN_TOPICS)]
    plan = plan_topics(declared, present, features, family_of=lambda topic: family_topic(platform, topic))
    if log.features.topic_rules:
        return without_refused(plan, await log.refused_topics({one.topic: one.settings for one in declared}))
    return plan


@asynccontextmanager
async def _present_log(platform: Platform) -> AsyncIterator[Log | None]:
    """The log, open; None for an embedded one that does not exist yet."""
    from headwater.log.open import log_at

    config = platform.config
    if config.log.url.startswith("sqlite:") and not config.log_path.is_file():
        yield None
        return
    # A file is opened for reading only, so that a plan is possible for a log that cannot be written.
    log: Log = platform.log if config.log.is_kafka else log_at(f"{SQLITE}{config.log_path}")
    await log.open()
    try:
        yield log
    finally:
        await log.close()


def declared_topics(project: Declared) -> Iterator[DeclaredTopic]:
    """The topics of all streams declared by name, and of every stream that a job reads or writes."""
    platform = project.platform
    streams: dict[str, Stream] = {stream.name: stream for stream in platform.streams.all()}
    for job in project.jobs:
        for name in (*job.reads(), *job.writes().streams):
            streams.setdefault(name, platform.streams.get(name))
    for stream in streams.values():
        for topic in stream.topics:
            yield _declared(platform, stream, topic)


def family_topic(platform: Platform, topic: str) -> DeclaredTopic | None:
    """The declaration of a topic whose stream is a member of a family."""
    prefixes = {prefix for family in platform.streams.families() for prefix in family.topic_prefixes}
    for prefix in ["", *sorted(prefixes, key=len, reverse=True)]:
        if not topic.startswith(prefix):
            continue
        try:
            stream = platform.streams.get(topic.removeprefix(prefix))
        except StreamUnknown:
            continue
        if topic in stream.topics:
            return _declared(platform, stream, topic)
    return None


def _declared(platform: Platform, stream: Stream, topic: str) -> DeclaredTopic:
    from headwater.log.topic_plan import DeclaredTopic

    place = None
    if stream.file is not None:
        path = Path(stream.file)
        place = f"{_within(path, platform.config.project_dir)}:{stream.line or 1}"
    settings = platform.topic_settings(stream)
    return DeclaredTopic(topic, stream.name, settings, place, keyed=bool(stream.message_key_fields))


def _within(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


def plan_as_json(plan: TopicPlan) -> dict[str, Any]:
    """The plan for machines; `drift` lists the topics that differ from their declaration or have none."""
    return {
        "fulfilled": plan.is_fulfilled,
        "as_declared": plan.as_declared,
        "changes": [
            {
                "topic": change.topic,
                "stream": change.declared.stream,
                "action": "create" if change.creates else "alter",
                "settings": asdict(change.settings),
                "differences": [asdict(difference) for difference in change.differences],
                "notes": list(change.notes),
            }
            for change in plan.changes
        ],
        "impossible": [asdict(one) for one in plan.impossible],
        "drift": [
            *({"topic": change.topic, "reason": "settings"} for change in plan.changes if not change.creates),
            *({"topic": one.topic, "reason": "impossible"} for one in plan.impossible),
            *({"topic": info.name, "reason": "undeclared"} for info in plan.undeclared),
        ],
    }


def show_plan(plan: TopicPlan) -> None:
    """The plan for people: one line for each topic that differs from its declaration."""
    for change in plan.changes:
        sign, colour = ("+ create ", "green") if change.creates else ("~ alter  ", "yellow")
        click.secho(sign, fg=colour, nl=False)
        click.echo(f"{change.topic}  {_in_words(change)}")
        for note in change.notes:
            click.secho(f"           {note}", fg="yellow")
    for one in plan.impossible:
        click.secho("! cannot ", fg="red", nl=False)
        click.echo(f"{one.sentence}\n           → {one.hint}")
    for info in plan.undeclared:
        kept = sum(info.next) - sum(info.first)
        click.secho("? drift  ", fg="cyan", nl=False)
        click.echo(f"{info.name}  not declared ({kept:,} offsets kept); left unchanged")
    counted = [
        f"{sum(change.creates for change in plan.changes)} to create",
        f"{sum(not change.creates for change in plan.changes)} to alter",
        f"{plan.as_declared} as declared",
        f"{len(plan.undeclared)} undeclared",
        *([f"{len(plan.impossible)} impossible"] if plan.impossible else []),
    ]
    click.secho(f"Topics: {', '.join(counted)}.", bold=True)


def _in_words(change: TopicChange) -> str:
    if not change.creates:
        return ", ".join(_difference(difference) for difference in change.differences)
    settings = asdict(change.settings)
    said = {name: value for name, value in settings.items() if value not in (None, False)}
    return ", ".join(_setting(name, value) for name, value in said.items())


def _difference(difference: Difference) -> str:
    return (
        f"{_label(difference.setting)} {_value(difference.setting, difference.before)}"
        f" → {_value(difference.setting, difference.after)}"
    )


def _setting(name: str, value: SettingValue) -> str:
    return "compacted" if name == "compact" else f"{_label(name)} {_value(name, value)}"


_LABELS: Mapping[str, str] = {"retention_seconds": "retention", "retention_bytes": "size", "compact": "compaction"}


def _label(setting: str) -> str:
    return _LABELS.get(setting, setting)


def _value(setting: str, value: SettingValue) -> str:
    if setting == "retention_seconds":
        return "unlimited" if value is None else duration_text(float(value))
    if setting == "retention_bytes":
        return "unlimited" if value is None else f"{value:,} bytes per partition"
    if setting == "compact":
        return "on" if value else "off"
    return "the log's default" if value is None else str(value)
