"""`headwater schema serve`: schema repositories over HTTP, for machines, people and clients of a schema registry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import report_error, say
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.web.schemas.repository_index import RepositoryIndexes, SchemaVisibility

FAULTS_SHOWN_MAX = 20


@click.command(
    short_help="Serve schema repositories over HTTP.",
    epilog="""\b
Examples:
  headwater schema serve
  headwater schema serve ./schemas-event-primary ./schemas-event-secondary --port 8090
  headwater schema serve primary=/srv/primary secondary=/srv/secondary --host 0.0.0.0""",
)
@click.argument("repositories", nargs=-1, metavar="[[NAME=]DIRECTORY]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8081,
    show_default=True,
    help="Port to listen on; 0 uses a free one.",
)
def command(repositories: tuple[str, ...], host: str, port: int) -> None:
    """Serve the schema repositories at the directories given, in that order, or those of the project.

    Schemas are at /repositories/NAME/jsonschema/TITLE/VERSION, pages for people at /repositories/, and the read
    endpoints of Confluent's schema registry API at /subjects and /schemas. Changes on disk are served within seconds.
    Ctrl + C or SIGTERM stops the server.
    """
    from headwater.cli.up.up import port_is_free, run_until_stopped

    indexes, visibility = _chosen(repositories)
    if port and not port_is_free(host, port):
        raise ConfigInvalid(
            f"Port {port} of {host} is in use.",
            hint="Stop what uses it, or choose another with --port (0: any free one).",
        )
    run_until_stopped(_serve(indexes, visibility, host, port))


async def _serve(indexes: RepositoryIndexes, visibility: SchemaVisibility, host: str, port: int) -> None:
    from headwater.web.schema_server import create_schema_app, serving_schemas

    async with serving_schemas(
        create_schema_app(indexes, lambda: visibility.streams, hidden=visibility.hidden), host, port
    ) as address:
        for index in indexes.indexes:
            say(f"{index.name}: {len(index.folders)} schemas from {index.path}")
        say(f"Schemas are at {address}/repositories/ (press Ctrl + C to stop)")
        await asyncio.to_thread(_report_faults, indexes)
        await asyncio.Event().wait()


def _report_faults(indexes: RepositoryIndexes) -> None:
    """Print which files are not valid schemas: they are answered with 422, and all others are served."""
    faults = [fault for index in indexes.indexes for fault in index.faults()]
    for fault in faults[:FAULTS_SHOWN_MAX]:
        report_error(fault.message, fault.hint)
    if len(faults) > FAULTS_SHOWN_MAX:
        say(f"{len(faults) - FAULTS_SHOWN_MAX} more files are not valid schemas; `headwater schema check` lists them.")


def _chosen(repositories: tuple[str, ...]) -> tuple[RepositoryIndexes, SchemaVisibility]:
    """The repositories and, if they belong to a project, its public streams."""
    from headwater.web.schema_server import indexes_of, name_of, streams_by_title
    from headwater.web.schemas.repository_index import RepositoryIndexes, SchemaVisibility, settings_at

    if repositories:
        places = []
        for given in repositories:
            name, equals, directory = given.partition("=")
            path = Path(directory if equals else given)
            places.append((name if equals else name_of(path), settings_at(path)))
        return RepositoryIndexes.of(places), SchemaVisibility()
    from headwater.config import load_config
    from headwater.processing.declarations import declarations
    from headwater.streams.seen import SeenStreams
    from headwater.streams.visibility import Sight

    config = load_config(Path())
    indexes = indexes_of(config.schemas.base_uris, Path())
    if not indexes.indexes:
        raise ConfigInvalid(
            "There is no schema repository to serve here.",
            hint="Name a directory: headwater schema serve DIRECTORY.",
        )
    seen = SeenStreams(declarations(config)[0], Sight.PUBLIC)
    return indexes, SchemaVisibility(streams_by_title(seen.all()), seen.titles_hidden())
