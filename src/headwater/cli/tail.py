"""`headwater tail`: follows streams of a running server, prints their events, and resumes after lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import click

from headwater.cli.api_client import headers_with
from headwater.cli.console import say
from headwater.cli.options import key_option, server_option
from headwater.client.reading import notice_of, stream_url
from headwater.client.subscription import Connecting, follow_async
from headwater.errors import EventMalformed
from headwater.event import decode_json, encode_json, event_time_ms
from headwater.times import utc_text


@click.command(
    short_help="Follow streams and print their events.",
    epilog="""\b
Examples:
  headwater tail demo.edit
  headwater tail demo.edit,demo.edits_per_minute --since 2026-01-31T12:00:00Z --json | jq .wiki""",
)
@click.argument("streams", metavar="STREAM[,STREAM…]")
@server_option("--from")
@click.option("--since", help="Start at this time (ISO 8601, or epoch milliseconds) instead of now.")
@click.option("--after", help="Start after this resume token.")
@click.option("--filter", "expression", help="Only events that match this filter, e.g. 'wiki == \"dewiki\"'.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many events.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one event per line, as JSON (implied when the output is piped)."
)
@key_option
def command(
    *,
    streams: str,
    server: str,
    since: str | None,
    after: str | None,
    expression: str | None,
    count: int | None,
    as_json: bool,
    key_file: TextIO | None,
) -> None:
    """Print the events of STREAM (or several, separated by commas) as they arrive. Press Ctrl + C to stop."""
    given = {"since": since, "filter": expression}
    # Ask for positions without events, too: a connection that is cut before its first event resumes where it began.
    params = {"positions": "true", **{name: text for name, text in given.items() if text}}
    tailing = Tailing(stream_url(server, streams), params, after, headers_with(key_file))
    try:
        asyncio.run(tailing.run(count, as_json=as_json or not sys.stdout.isatty()))
    except KeyboardInterrupt:
        if tailing.last_id and sys.stderr.isatty():
            say(f"\nTo resume from here:  --after '{tailing.last_id}'")


class Tailing:
    """One run of the command; `last_id` is the token after the last event printed."""

    def __init__(
        self, url: str, params: dict[str, str], last_id: str | None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.last_id = last_id
        self._headers = headers
        self._url = url
        self._params = params

    async def run(self, count: int | None, *, as_json: bool) -> None:
        """Print events, `count` of them or without end. Raises SubscriptionRefused, LogUnavailable."""
        seen = 0
        messages = follow_async(self._url, Connecting(self._params, self._headers, self.last_id, attempts_max=5))
        async with contextlib.aclosing(messages):
            async for message in messages:
                notice = notice_of(message)
                if notice:
                    say(notice.message)
                if message.event != "message":
                    continue
                if as_json:
                    click.echo(message.data)
                else:
                    _show(message.data)
                self.last_id = message.id
                seen += 1
                if seen == count:
                    return


def _show(data: str) -> None:
    try:
        event = decode_json(data)
    except EventMalformed:
        click.echo(data)
        return
    meta = event.get("meta") or {}
    times = (event_time_ms(event, field) for field in ("meta.dt", "dt"))
    at = next((at for at in times if at is not None), None)
    time = " " * 8 if at is None else utc_text(at)[11:19]
    click.secho(f"{time}  ", dim=True, nl=False)
    click.secho(f"{meta.get('stream', '')}  ", fg="cyan", nl=False)
    click.echo(gist(event))


def gist(event: dict[str, Any], width: int = 160) -> str:
    """The event's own simple fields on one line, without `meta` and `$schema`."""
    shown = (f"{k}={_word(v)}" for k, v in event.items() if k not in {"$schema", "meta"} and not isinstance(v, dict))
    text = "  ".join(shown)
    return text if len(text) <= width else text[: width - 1] + "…"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else encode_json(value).decode()
