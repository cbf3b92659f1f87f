"""Where the demo's edits come from: a synthetic stream, the same for the same seed, or Wikimedia's public one."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import orjson

from headwater import __version__
from headwater.client.subscription import Connecting, follow_async
from headwater.times import ms_of, utc_milliseconds

STREAM = "demo.edit"
SCHEMA_URI = "/demo/edit/1.0.0"
LIVE_URL = "https://stream.wikimedia.org/v2/stream/recentchange"

# Invented names of small waters that do not exist, so that these edits are not mistaken for real ones.
_WIKIS = {"enwiki": 45, "dewiki": 18, "frwiki": 14, "jawiki": 9, "eswiki": 8, "arwiki": 4, "cywiki": 2}
_WATERS = ("Alder", "Bramble", "Cinder", "Dapple", "Ember", "Fallow", "Gannet", "Harrow", "Ivory", "Juniper", "Kestrel")
_KINDS = ("Brook", "Spring", "Beck", "Mere", "Weir", "Ford", "Falls", "Tarn")
_PEOPLE = ("Ada", "Bo", "Chidi", "Dara", "Emre", "Freya", "Goro", "Hana", "Iris", "Jomo")
_BOTS = ("TidyBot", "LinkBot")
_COMMENTS = ("typo", "source added", "say where it rises", "links", "shorter", "")


@dataclass(frozen=True, slots=True)
class Sample:
    """One event to post, and the code with which the intake should refuse it (None: it should accept it)."""

    event: dict[str, Any]
    refused_as: str | None = None


def synthetic_edits(seed: int, start: datetime, seconds_between: float, *, bad_share: float = 0.06) -> Iterator[Sample]:
    """An endless series of edits, `seconds_between` apart on average, some of them invalid in one of four ways."""
    chance = random.Random(seed)
    titles = [f"{water} {kind}" for water in _WATERS for kind in _KINDS]
    # A few pages are edited often and most seldom, as on every wiki.
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(titles))))
    at = start
    while True:
        at += timedelta(seconds=chance.expovariate(1 / seconds_between))
        bot = chance.random() < 0.2
        wiki = chance.choices(list(_WIKIS), list(_WIKIS.values()))[0]
        event: dict[str, Any] = {
            "$schema": SCHEMA_URI,
            "meta": {"stream": STREAM, "domain": f"{wiki.removesuffix('wiki')}.wiki.example"},
            "dt": iso(at),
            "wiki": wiki,
            "title": chance.choices(titles, cum_weights=weights)[0],
            "user": chance.choice(_BOTS if bot else _PEOPLE),
            "bot": bot,
            "bytes": round(chance.gauss(20, 180)),
        }
        if comment := chance.choice(_COMMENTS):
            event["comment"] = comment
        yield _spoilt(event, chance) if chance.random() < bad_share else Sample(event)


def _spoilt(event: dict[str, Any], chance: random.Random) -> Sample:
    way = chance.randrange(4)
    if way == 0:
        return Sample({**event, "bytes": "many"}, "event_invalid")
    if way == 1:
        return Sample({key: value for key, value in event.items() if key != "title"}, "event_invalid")
    if way == 2:
        return Sample({**event, "meta": {**event["meta"], "stream": "demo.edits"}}, "stream_unknown")
    return Sample({**event, "$schema": "/demo/edit/9.0.0"}, "schema_not_found")


def iso(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return utc_milliseconds(ms_of(at.timestamp()))


async def live_edits(url: str | None = None) -> AsyncGenerator[Sample, None]:
    """Edits from Wikimedia's public recent changes, in the demo's own schema; resumes where a connection ended."""
    agent = {"user-agent": f"headwater-demo/{__version__} (httpx)"}
    async with aclosing(follow_async(url or LIVE_URL, Connecting(headers=agent, attempts_max=3))) as messages:
        async for message in messages:
            edit = _edit_of(message.data) if message.event == "message" else None
            if edit is not None:
                yield Sample(edit)


def _edit_of(data: str) -> dict[str, Any] | None:
    try:
        change = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    meta = change.get("meta", {})
    if change.get("type") not in {"edit", "new"} or meta.get("domain") == "canary":
        return None
    length = change.get("length") or {}
    event: dict[str, Any] = {
        "$schema": SCHEMA_URI,
        "meta": {"stream": STREAM, "id": meta.get("id"), "domain": meta.get("domain")},
        "dt": utc_milliseconds(ms_of(change["timestamp"])),
        "wiki": change["wiki"],
        "title": change["title"][:255],
        "user": change["user"][:255] or "hidden",
        "bot": bool(change.get("bot")),
        "bytes": (length.get("new") or 0) - (length.get("old") or 0),
    }
    if comment := (change.get("comment") or "")[:1000]:
        event["comment"] = comment
    return event
