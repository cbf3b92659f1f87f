"""`headwater export asyncapi`: streams as an AsyncAPI 3 document."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headwater.cli.plan import load_declared, project_option


@click.command(
    short_help="Print one stream, or all, as an AsyncAPI 3 document.",
    epilog="Example:  headwater export asyncapi demo.edit --url https://events.example.org",
)
@click.argument("name", required=False, metavar="[STREAM]")
@project_option
@click.option(
    "--url", help="URL at which clients reach the platform (default: `web.public_url`, or the address it listens on)."
)
@click.option("--public", is_flag=True, help="Only public information: no topics, producers or consumers.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
def command(*, project: Path, name: str | None, url: str | None, public: bool, as_json: bool) -> None:
    """Print STREAM, or all streams in one document. Private streams and error streams are never included."""
    from headwater.catalog.asyncapi import exportable, stream_document, whole_document
    from headwater.catalog.payloads import payloads
    from headwater.catalog.place import place_of
    from headwater.errors import StreamUnknown
    from headwater.streams.writing import yaml_text

    platform = load_declared(project).platform
    repository = platform.schemas.repository
    place = place_of(platform.config, platform.topic_settings, url=url, is_internal=not public)
    if name is None:
        streams = exportable(platform.streams.entries(), platform.streams.visibility)
        found = payloads([stream.schema_title for stream in streams if stream.schema_title], repository)
        document = whole_document(streams, found, place)
    else:
        stream = platform.streams.get(name)
        if not exportable([stream], platform.streams.visibility):
            why = "a family, not a stream" if stream.is_family else "not public"
            raise StreamUnknown(f'"{name}" is {why}.', hint="Name one of its members." if stream.is_family else None)
        title = stream.schema_title or ""
        document = stream_document(stream, payloads([title], repository).get(title), place)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else yaml_text(document).rstrip("\n"))
