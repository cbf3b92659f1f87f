"""`headwater errors show`: one error with its stack, the event that failed, where that is, and how to redrive it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from headwater.cli.console import called_as, print_json
from headwater.cli.errors.chosen import Chosen
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.processing.failures.stored import StoredError

RAW_CHARS_MAX = 20_000


@click.command(
    short_help="Show one error: its stack, and the event that failed.",
    epilog="Example:  headwater errors show 3f0c9a51b2de",
)
@click.argument("name", metavar="GROUP|ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the whole event.")
@project_option
def command(*, name: str, as_json: bool, project: Path) -> None:
    """Show one error: the newest of a GROUP, or the one with this ID, of the error event or of the event that failed.

    Text that is too long for a terminal is cut, unless --json is used.
    """
    found = asyncio.run(_found(Chosen.of(project), name))
    if as_json:
        print_json(found)
    else:
        _print(found)


async def _found(chosen: Chosen, name: str) -> dict[str, Any]:
    from headwater.processing.failures.redrive import redrive_entries
    from headwater.processing.failures.stored import original_of, stored_errors

    async with chosen.opened() as log:
        newest: StoredError | None = None
        count = 0
        for job in chosen.jobs:
            async for error in stored_errors(log, job.name, chosen.topics(job)):
                if name in (error.group, error.id, error.event_id, error.details.lineage_id):
                    count += 1
                    newest = error if newest is None or error.at_ms >= newest.at_ms else newest
        if newest is None:
            raise ConfigInvalid(
                f"There is no error {name!r}.",
                hint=f"`{called_as()} errors list` lists the groups; the ids of events are in their error streams.",
            )
        original = await original_of(log, newest)
        redrives = [
            {part: entry.get(part) for part in ("redrive", "by", "at", "filter", "mapper")}
            async for entry in redrive_entries(log)
            if newest.id in entry.get("errors", ())
        ]
    return _as_json(newest, original, count, redrives)


def _as_json(
    error: StoredError, original: tuple[bytes, bytes] | str, count: int, redrives: list[dict[str, Any]]
) -> dict[str, Any]:
    details, event = error.details, error.event
    raw, step_input = (b"", b"") if isinstance(original, str) else original
    return {
        "job": error.job,
        "group": error.group,
        "id": error.id,
        "error_type": error.kind,
        "exception": details.exception or None,
        "step": details.step or None,
        "message": error.message,
        "stack": event.get("stack"),
        "at": event.get("dt"),
        "attempt": details.attempt,
        "first_failed_at": details.first_failed_at or None,
        "found": count,
        "error_event": error.place,
        "event": {
            "id": error.event_id,
            "stream": error.stream,
            "place": details.place,
            "key": details.key,
            "bytes": len(raw),
            "value": _json_of(raw),
            "raw": raw.decode("utf-8", "backslashreplace"),
            "missing": original if isinstance(original, str) else None,
        },
        "continues_with": details.resume,
        "input": _json_of(step_input) if step_input else None,
        "redrives": redrives,
    }


def _json_of(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _print(found: dict[str, Any]) -> None:
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
        click.secho(f"\n{found['stack'].rstrip()}", dim=True)
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
