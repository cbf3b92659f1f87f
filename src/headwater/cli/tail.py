"""`headwater tail`: follows streams of a running server and prints their events, across lost connections."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import click
import orjson

from headwater.cli.console import say
from headwater.cli.sse import follow
from headwater.errors import ConfigInvalid


@click.command(
    short_help="Follow streams and print their events.",
    epilog="""\b
Examples:
  headwater tail demo.edit
  headwater tail demo.edit,demo.edits_per_minute --since 2026-01-31T12:00:00Z --json | jq .wiki""",
)
@click.argument("streams", metavar="STREAM[,STREAM…]")
@click.option("--from", "address", default="http://localhost:8080", show_default=True, help="The server's address.")
@click.option("--since", help="Start at this time (ISO 8601, or epoch milliseconds) instead of now.")
@click.option("--after", "last_id", help="Start after this resume token.")
@click.option("--filter", "expression", help="Only events that match, e.g. 'wiki == \"dewiki\"'.")
@click.option("--canaries", is_flag=True, help="Also print canary events.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many events.")
@click.option("--json", "as_json", is_flag=True, help="One event a line, as JSON (implied where output is piped).")
@click.option("--ids", is_flag=True, help="With JSON: wrap each event as {\"id\": token, \"event\": …}.")
def command(  # noqa: PLR0913 – one parameter for each option
    streams: str,
    address: str,
    since: str | None,
    last_id: str | None,
    expression: str | None,
    canaries: bool,
    count: int | None,
    as_json: bool,
    ids: bool,
) -> None:
    """Print the events of STREAM (or several, separated by commas) as they arrive. Ctrl + C ends it."""
    params = {"since": since, "filter": expression, "canaries": "true" if canaries else None}
    as_json = as_json or ids or not sys.stdout.isatty()
    following = _tail(
        stream_url(address, streams), {k: v for k, v in params.items() if v}, last_id, count, as_json=as_json, ids=ids
    )
    try:
        asyncio.run(following)
    except KeyboardInterrupt:
        say("")
    except BrokenPipeError:
        # `tail … | head` closes our output; nothing more can be said there.
        sys.stdout = None


def stream_url(address: str, streams: str) -> str:
    """The address of `streams` on a server named by `address`."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigInvalid(f"{address!r} is not the address of a server.", hint="Give one like http://localhost:8080.")
    path = f"{parts.path.rstrip('/')}/v2/stream/{quote(streams, safe=',')}"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


async def _tail(
    url: str, params: dict[str, str], last_id: str | None, count: int | None, *, as_json: bool, ids: bool
) -> None:
    seen = 0
    # A server that was never there is a mistake to report; one that goes away is waited for.
    async for message in follow(url, params=params, last_id=last_id, attempts_max=5):
        if message.event == "error":
            say(f"The server ended the stream: {message.data}")
            continue
        if message.event != "message":
            continue
        if ids:
            click.echo(f'{{"id":{orjson.dumps(message.id).decode()},"event":{message.data}}}')
        elif as_json:
            click.echo(message.data)
        else:
            _show(message.data)
        seen += 1
        if seen == count:
            return


def _show(data: str) -> None:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        click.echo(data)
        return
    meta = event.get("meta") or {}
    time = str(meta.get("dt") or event.get("dt") or "")[11:19]
    click.secho(f"{time}  ", dim=True, nl=False)
    click.secho(f"{meta.get('stream', '')}  ", fg="cyan", nl=False)
    click.echo(gist(event))


def gist(event: dict[str, Any], width: int = 160) -> str:
    """The event's own simple fields on one line, without `meta` and `$schema`."""
    shown = (f"{k}={_word(v)}" for k, v in event.items() if k not in {"$schema", "meta"} and not isinstance(v, dict))
    text = "  ".join(shown)
    return text if len(text) <= width else text[: width - 1] + "…"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
