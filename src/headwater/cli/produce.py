"""`headwater produce`: posts one event, given as text or on standard input, and prints the intake's response."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, TextIO

import click

from headwater.cli.api_client import headers_with
from headwater.cli.console import print_json, report_error
from headwater.cli.delivery import Delivery, Line, Tally
from headwater.cli.options import key_option, server_option
from headwater.client.subscription import STREAMS_HINT
from headwater.errors import EventMalformed
from headwater.event import decode_json, encode_json


@click.command(
    short_help="Post one event.",
    epilog="""\b
Examples:
  headwater produce --stream demo.edit --schema /demo/edit/1.0.0 \\
      dt=2026-01-31T12:00:00Z wiki=dewiki title=Elbe user=Ann bot=false bytes=12
  headwater produce - < event.json""",
)
@click.argument("event", nargs=-1, required=True)
@server_option("--to")
@click.option("--stream", help="Set `meta.stream`.")
@click.option("--schema", help="Set `$schema`.")
@key_option
@click.option(
    "--patience", type=float, default=5.0, show_default=True, help="Seconds to keep retrying while the server is busy."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def command(
    *,
    event: tuple[str, ...],
    server: str,
    stream: str | None,
    schema: str | None,
    key_file: TextIO | None,
    patience: float,
    as_json: bool,
) -> None:
    """Post one EVENT: a JSON object, - for standard input, or fields as path=value (value: JSON, else text).

    The exit code is 0 when it was accepted, else 1.
    """
    value = _read_event(event)
    if schema:
        value["$schema"] = schema
    if stream:
        _put(value, "meta.stream", stream)
    tally = asyncio.run(_post(value, Delivery(server, patience_seconds=patience, headers=headers_with(key_file))))
    if as_json:
        print_json({**tally.as_json(), "event": value})
    elif tally.all_accepted:
        click.secho("accepted", fg="green")
    else:
        for refusal in tally.refusals:
            hint = STREAMS_HINT if refusal.code == "stream_unknown" else None
            report_error(f"refused ({refusal.code}): {refusal.reason}", hint)
    raise SystemExit(0 if tally.all_accepted else 1)


async def _post(value: dict[str, Any], delivery: Delivery) -> Tally:
    async with delivery:
        await delivery.send([Line(1, encode_json(value))])
    return delivery.tally


def _read_event(parts: tuple[str, ...]) -> dict[str, Any]:
    if len(parts) == 1 and (parts[0] == "-" or parts[0].lstrip().startswith("{")):
        value = decode_json(sys.stdin.buffer.read() if parts[0] == "-" else parts[0])
        if not isinstance(value, dict):
            raise EventMalformed("An event is a JSON object.")
        return value
    event: dict[str, Any] = {}
    for part in parts:
        path, equals, text = part.partition("=")
        if not path or not equals:
            raise click.UsageError(f"'{part}' is neither a JSON object nor path=value.")
        try:
            _put(event, path, decode_json(text))
        except EventMalformed as error:
            if error.is_json:
                raise EventMalformed(error.message.replace("The event", path, 1), hint=error.hint) from None
            _put(event, path, text)
    return event


def _put(event: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        event = event.setdefault(parent, {})
        if not isinstance(event, dict):
            raise click.UsageError(f"'{parent}' in '{path}' already has a value that is not an object.")
    event[last] = value
