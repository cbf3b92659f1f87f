"""Changes of pages of a real wiki, from Wikimedia's public stream, as the project of the demo takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from headwater import __version__
from headwater.cli.delivery import Delivery, Line
from headwater.cli.demo.wikimedia.stations import PAGE_CHANGES
from headwater.client.subscription import Connecting, follow_async
from headwater.errors import LogUnavailable

LIVE_URL = "https://stream.wikimedia.org/v2/stream/mediawiki.page_change.v1"
LIVE_NOTICE = (
    "These edits are real: articles of the English Wikipedia, from Wikimedia's public stream, not more than one in two "
    "seconds. The score is a rule of thumb, no model."
)
WIKI = "enwiki"
SCHEMA = "/mediawiki/page/change/1.2.0"
# Each change has the wiki asked for its text several times; this is what a demonstration may ask of others.
PAUSE_SECONDS = 2.0
# What the schema of the project has of a change.
_FIELDS = (
    "dt",
    "changelog_kind",
    "page_change_kind",
    "wiki_id",
    "page",
    "revision",
    "performer",
    "comment",
    "prior_state",
)


def change_of(data: str) -> dict[str, Any] | None:
    """The change in a message of the stream, in the project's own schema; None for one that is not followed.

    Followed are edits of articles of one wiki, as numbers of revisions are those of a wiki.
    """
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, Mapping) or event.get("wiki_id") != WIKI or event["meta"].get("domain") == "canary":
        return None
    if event.get("page_change_kind") not in ("create", "edit") or event["page"].get("namespace_id") != 0:
        return None
    meta = {name: event["meta"][name] for name in ("domain", "uri", "request_id", "id") if name in event["meta"]}
    kept = {name: event[name] for name in _FIELDS if name in event}
    return {"$schema": SCHEMA, "meta": {**meta, "stream": PAGE_CHANGES}, **kept}


async def live_changes(
    url: str = LIVE_URL, *, pause_seconds: float = PAUSE_SECONDS
) -> AsyncGenerator[dict[str, Any], None]:
    """Changes as they happen, without end, at most one in `pause_seconds`; after a lost connection it backs off.

    Raises LogUnavailable if the stream cannot be reached.
    """
    agent = {"user-agent": f"headwater-demo/{__version__} (httpx)"}
    loop = asyncio.get_running_loop()
    next_at = 0.0
    try:
        async with aclosing(follow_async(url, Connecting(headers=agent, attempts_max=3))) as messages:
            async for message in messages:
                change = change_of(message.data) if message.event == "message" and loop.time() >= next_at else None
                if change is not None:
                    next_at = loop.time() + pause_seconds
                    yield change
    except LogUnavailable as error:
        raise LogUnavailable(
            f"Wikimedia's stream cannot be read: {error.message}",
            hint="It needs a network. Without one, leave out --live: the invented wiki needs none.",
        ) from None


async def post_changes(address: str, count: int | None, url: str = LIVE_URL) -> int:
    """Post so many changes to the platform, or without end; how many it accepted. Raises LogUnavailable."""
    async with Delivery(address) as delivery, aclosing(live_changes(url)) as changes:
        number = 0
        async for change in changes:
            number += 1
            await delivery.send([Line(number, orjson.dumps(change))])
            if number == count:
                break
        return delivery.tally.accepted
