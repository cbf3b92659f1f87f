"""`headwater keys`: creates, lists and revokes the API keys with which clients send, read and change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import print_json, say

if TYPE_CHECKING:
    from headwater.access.api_keys import ApiKeys

_project = click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Project directory (default: current directory).",
)


@click.group(
    short_help="Create and revoke API keys.", epilog="Example:  headwater keys create ada --scope streams:write"
)
def command() -> None:
    """API keys: to change streams, to read private streams, and to send events. Only hashes are stored."""


@command.command(epilog="Example:  headwater keys create ada --scope streams:read --scope streams:write --days 90")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("streams:read", "streams:write"),
    show_default=True,
    help="What the key permits: streams:read, streams:write, streams:kill, events:read, events:write; "
    "role:NAME, the tables that are served to a role. May be repeated.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long it is valid (default: no limit).")
@_project
def create(name: str, scopes: tuple[str, ...], days: float | None, project: Path) -> None:
    """Create the key NAME and print it, once."""
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    key = _keys(project).create(name, scopes, expires)
    say(f"The key {name}, for {', '.join(scopes)}. It will not be shown again:")
    click.echo(key)


@command.command("list", epilog="Example:  headwater keys list --json | jq .name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@_project
def list_keys(as_json: bool, project: Path) -> None:
    """Print the names and scopes of all keys."""
    for key in _keys(project).all():
        if as_json:
            shown = {"name": key.name, "scopes": list(key.scopes), "created": key.created, "expires": key.expires}
            print_json(shown)
        else:
            until = f" until {key.expires}" if key.expires else ""
            click.echo(f"{key.name}  {', '.join(key.scopes)}  since {key.created}{until}")


@command.command(epilog="Example:  headwater keys revoke ada")
@click.argument("name")
@_project
def revoke(name: str, project: Path) -> None:
    """Revoke the key NAME. A running platform refuses it within a second."""
    _keys(project).revoke(name)
    say(f"The key {name} is revoked.")


def _keys(project: Path) -> ApiKeys:
    from headwater.access.api_keys import ApiKeys
    from headwater.config import load_config

    config = load_config(project)
    return ApiKeys(config.path(config.control.api_keys_path), config.control.requests_per_minute_max)
