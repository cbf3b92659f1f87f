"""What `headwater plan` shows of sources: where each continues or begins, and what keeps it from starting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from headwater.errors import ConfigInvalid, TokenInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.log.contract import Log
    from headwater.processing.source_files import DeclaredSource


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """A source of a project. `schema` None: the newest of its stream.

    `start`: where it begins without a position, as its connector says; None if there is no choice. `delivered`: how
    many events it has read, if it has a position. `reason`: why it cannot start.
    """

    name: str
    connector: str
    place: str
    streams: Sequence[str]
    schema: str | None
    start: str | None
    delivered: int | None = None
    reason: str | None = None


async def planned_sources(config: Config, log: Log | None) -> list[PlannedSource]:
    """The sources, with their positions in `log`, which is open; None: there is none yet. Raises ConfigInvalid."""
    from headwater.processing.declared_connectors import project_sources

    return [await _planned(config, source, log) for source in project_sources(config)]


async def _planned(config: Config, source: DeclaredSource, log: Log | None) -> PlannedSource:
    from headwater.log.contract import Position
    from headwater.processing.hosting.files import secrets_of
    from headwater.processing.source_files import job_of
    from headwater.processing.source_tokens import delivered

    configured = source.configured
    count, reason = None, None
    try:
        secrets_of(config, configured)
    except ConfigInvalid as error:
        reason = f"{error.detail} {error.hint or ''}".strip()
    token = None if log is None else await log.committed(job_of(source, config.project_dir).group)
    try:
        count = delivered(Position.parse(token)) if token else None
    except TokenInvalid as error:
        reason = reason or error.message
    return PlannedSource(
        name=source.name,
        connector=configured.spec.name,
        place=str(source.place),
        streams=source.streams,
        schema=configured.schema,
        start=None if configured.spec.pushed else getattr(configured.options, "start", None),
        delivered=count,
        reason=reason,
    )


def sources_as_json(sources: Sequence[PlannedSource]) -> dict[str, Any]:
    """The sources for machines."""
    return {"sources": [asdict(one) for one in sources]}


def show_sources(sources: Sequence[PlannedSource]) -> None:
    """The sources for people, a line each, and what keeps one from starting."""
    for one in sources:
        click.secho("  source ", fg="white", nl=False)
        click.echo(f"Source {one.name}: {one.connector}, writes {', '.join(one.streams)} ({one.place})")
        if one.delivered is not None:
            click.echo(f"           continues after {one.delivered:,} events")
        elif one.start is not None:
            click.echo(f"           begins with the {one.start}")
        if one.reason is not None:
            click.secho(f"           cannot start: {one.reason}", fg="red")
