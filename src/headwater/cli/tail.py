"""`headwater tail`: follows streams of a running server, prints their events, and resumes after lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import Any, TextIO
from urllib.parse import quote, urlsplit, urlunsplit

import click

from headwater.cli.api_client import headers_with
from headwater.cli.console import say
from headwater.cli.options import key_option, server_option
from headwater.cli.sse import follow
from headwater.errors import ConfigInvalid, EventMalformed
from headwater.event import decode_json, encode_json, event_time_ms
from headwater.event_stream import Message
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


def stream_url(address: str, streams: str) -> str:
    """The address of `streams` on a server named by `address`."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigInvalid(
            f"{address!r} is not a server address.", hint="Use an address such as http://localhost:8080."
        )
    path = f"{parts.path.rstrip('/')}/v2/stream/{quote(streams, safe=',')}"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


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
        messages = follow(self._url, params=self._params, headers=self._headers, last_id=self.last_id, attempts_max=5)
        async with contextlib.aclosing(messages):
            async for message in messages:
                notice = notice_of(message)
                if notice:
                    say(notice)
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


def notice_of(message: Message) -> str | None:
    """The line to print for a message that is not an event of the stream; None for an event."""
    if message.event == "position-lost":
        lost = decode_json(message.data)
        why = "that position is from another log" if lost.get("reason") else "the log no longer has that position"
        return (
            f"{lost['topic']}/{lost['partition']}: {why} ({lost['asked']:,}). Reading resumes at {lost['resumed']:,};"
            " use --since to start at a time."
        )
    if message.event != "error":
        return None
    error = decode_json(message.data)
    is_passed = "first_offset" in error
    return f"{'Skipped' if is_passed else 'The server ended the stream'}: {error.get('message', message.data)}"


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
