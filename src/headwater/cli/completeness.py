"""`headwater completeness`: which hours of a stream are complete, for batch jobs that must not start too early."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from headwater.cli.api_client import ask, headers_with
from headwater.cli.console import print_json
from headwater.cli.options import key_option, server_option

POLL_SECONDS = 5.0
EXIT_NOT_WHOLE = 1
_COLOURS = {"complete": "green", "empty": "green", "missing": "red"}


@click.command(
    short_help="Show which hours of a stream are complete.",
    epilog="""\b
Examples:
  headwater completeness mediawiki.page_change.v1 --hour 2026-01-31T13 && ./load-the-hour
  headwater completeness mediawiki.page_change.v1 --since 2026-01-31T00 --until 2026-02-01T00
  headwater completeness --reconcile --differing""",
)
@click.argument("streams", metavar="[STREAM…]", nargs=-1)
@click.option("--hour", help="This hour (UTC), such as 2026-01-31T13.")
@click.option("--since", help="From this hour on (default: the last 24 hours).")
@click.option("--until", help="Up to this hour, exclusive.")
@click.option(
    "--by",
    type=click.Choice(["event", "receipt"]),
    default="event",
    show_default=True,
    help="Whether hours are of event time or of the time of receipt.",
)
@click.option("--wait", type=click.FloatRange(0), default=0.0, help="Wait up to this many seconds for open hours.")
@click.option("--reconcile", is_flag=True, help="Compare the counts of accepted, stored and delivered events instead.")
@click.option("--differing", is_flag=True, help="With --reconcile: only hours in which they differ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one hour per line.")
@server_option()
@key_option
def command(
    *,
    streams: tuple[str, ...],
    hour: str | None,
    since: str | None,
    until: str | None,
    by: str,
    wait: float,
    reconcile: bool,
    differing: bool,
    as_json: bool,
    server: str,
    key_file: TextIO | None,
) -> None:
    """Print the hours of each STREAM: complete, empty, missing, unknown or open.

    The exit code is 0 if all these hours are complete or empty, or with --reconcile if all counts agree; else 1.
    """
    if not streams and not reconcile:
        raise click.UsageError("Name a STREAM.")
    given = {"hour": hour, "from": since, "to": until}
    params = [("stream", name) for name in streams] + [(name, value) for name, value in given.items() if value]
    headers = headers_with(key_file)
    if reconcile:
        asked = [*params, *([("differing", "1")] if differing else [])]
        answer = ask(server, "/v1/reconciliation", asked, headers)
        _print_counts(answer["hours"], as_json=as_json)
        raise SystemExit(0 if answer["agrees"] else EXIT_NOT_WHOLE)
    answer = _wait_for(server, [*params, ("by", by)], headers, time.monotonic() + wait)
    for stream in answer["streams"]:
        _print_hours(stream, as_json=as_json)
    raise SystemExit(0 if all(stream["whole"] for stream in answer["streams"]) else EXIT_NOT_WHOLE)


def _wait_for(
    server: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str], deadline: float
) -> dict[str, Any]:
    while True:
        answer = ask(server, "/v1/completeness", params, headers)
        states = {hour["state"] for stream in answer["streams"] for hour in stream["hours"]}
        left = deadline - time.monotonic()
        if "open" not in states or left <= 0:
            return answer
        time.sleep(min(POLL_SECONDS, left))


def _print_hours(stream: dict[str, Any], *, as_json: bool) -> None:
    for hour in stream["hours"]:
        if as_json:
            print_json({"stream": stream["stream"], **hour})
            continue
        late = f", {hour['late']:,} of them late" if hour["late"] else ""
        click.echo(f"{stream['stream']}  {hour['hour'][:13]}  ", nl=False)
        click.secho(f"{hour['state']:<8}", fg=_COLOURS.get(hour["state"]), nl=False)
        click.echo(
            f"  {hour['events']:>9,} events{late}  {hour['canaries']} canaries  {hour.get('reason', '')}".rstrip()
        )


def _print_counts(hours: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    for hour in hours:
        if as_json:
            print_json(hour)
            continue
        click.echo(f"{hour['stream']}  {hour['hour'][:13]}  ", nl=False)
        click.secho(f"{'agrees' if hour['agrees'] else 'differs':<8}", fg=None if hour["agrees"] else "red", nl=False)
        counts = ("accepted", "written", "stored", "delivered", "refused", "duplicates")
        columns = "  ".join(f"{name} {'?' if hour[name] is None else format(hour[name], ',')}" for name in counts)
        click.echo(f"  {columns}  {' '.join(hour['notes'])}".rstrip())
