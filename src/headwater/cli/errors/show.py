"""`headwater errors show`: one error with its stack, the event that failed, where that is, and how to redrive it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import orjson

from headwater.cli.console import called_as, print_json
from headwater.cli.errors.chosen import Chosen
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid

RAW_CHARS_MAX = 20_000


@click.command(
    short_help="Show one error: its stack, and the event that failed.",
    epilog="Example:  headwater errors show 3f0c9a51b2de",
)
@click.argument("name", metavar="GROUP|ID")
@click.option("--all", "whole", is_flag=True, help="Print the whole stack, also the functions of the platform.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the whole event.")
@project_option
def command(*, name: str, whole: bool, as_json: bool, project: Path) -> None:
    """Show one error: the newest of a GROUP, or the one with this ID, of the error event or of the event that failed.

    Text that is too long for a terminal is cut, unless --json is used.
    """
    found = asyncio.run(_found(Chosen.of(project), name))
    if as_json:
        print_json(found)
    else:
        _print(found, whole=whole)


async def _found(chosen: Chosen, name: str) -> dict[str, Any]:
    from headwater.processing.failures.descriptions import described_error, find_error

    async with chosen.opened() as log:
        found = await find_error(log, name, [(job.name, chosen.topics(job)) for job in chosen.jobs])
        if found.newest is None:
            raise ConfigInvalid(
                f"There is no error {name!r}.",
                hint=f"`{called_as()} errors list` lists the groups; the ids of events are in their error streams.",
            )
        return await described_error(log, found.newest, found.count)


def _print(found: dict[str, Any], *, whole: bool) -> None:
    from headwater.processing.stack import without_platform

    event = found["event"]
    click.secho(f"{found['error_type']} in {found['job']}", bold=True)
    more = "" if found["found"] == 1 else f" (the newest of {found['found']:,})"
    attempts = f", attempt {found['attempt']}, first at {found['first_failed_at']}" if found["attempt"] > 1 else ""
    rows = [
        ("group", found["group"]),
        ("failed at", f"{found['at']}{more}{attempts}"),
        ("step", found["step"]),
        ("event", event["id"]),
        ("key", event["key"]),
        ("stream", event["stream"]),
        ("is at", event["place"]),
        ("error event", f"{found['id']} at {found['error_event']}"),
    ]
    for name, text in rows:
        if text:
            click.echo(f"{name:<13}{text}")
    click.echo(f"\n{found['message']}")
    if found["stack"]:
        stack = found["stack"] if whole else without_platform(found["stack"])
        click.secho(f"\n{stack.rstrip()}", dim=True)
    click.echo()
    if event["missing"]:
        click.secho(f"The event is not available: {event['missing']}.", fg="yellow")
    else:
        value = event["value"]
        text = event["raw"] if value is None else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        click.echo(text if len(text) <= RAW_CHARS_MAX else f"{text[:RAW_CHARS_MAX]}… ({event['bytes']:,} bytes in all)")
    for one in found["redrives"]:
        click.echo(f"\nRedriven at {one['at']} by {one['by']}{_how(one)}.")
    if not found["redrives"] and not event["missing"]:
        click.echo(f"\nAgain:  {called_as()} errors redrive {found['job']} --group {found['group']} --dry-run")


def _how(redrive: dict[str, Any]) -> str:
    how = [f"{name} {text}" for name, text in (redrive["filter"] or {}).items() if text]
    how += [f"mapped by {redrive['mapper']}"] if redrive["mapper"] else []
    return f" ({'; '.join(how)})" if how else ""
