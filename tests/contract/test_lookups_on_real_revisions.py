"""Lookups on real revisions: page changes enriched byte for byte, with failures, and every SHA-1 as in the events."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from headwater.lookups import Lookups, Revision, open_lookups
from headwater.lookups.mediawiki.sha1 import base16, base36, revision_sha1
from headwater.settings import LookupsConfig, MediaWikiConfig
from headwater.testing.mediawiki import MediaWikiStandIn, serving
from requirements import at_least_one, fixtures_folder, requires_fixtures

DERIVED = fixtures_folder() / "wikimedia" / "derived"
STORE = DERIVED / "fake_mediawiki_store.jsonl.gz"
CHANGES = ("adam_himebauch", "content_history")
PASSING = [
    {"mode": "maxlag", "lag": 6.2, "times": 1},
    {"mode": "ratelimit", "retry_after": 1, "times": 2},
    {"mode": "http", "status": 503, "times": 2},
    {"mode": "close", "times": 1},
    {"mode": "garbage", "times": 1},
]

pytestmark = requires_fixtures(STORE)


def lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()


async def enriched(http: Lookups, change: dict[str, Any], wanted: dict[str, Any]) -> bytes:
    """The change with the bodies of its slots; with the id and stream of the one that is expected."""
    found: Revision = await http.mediawiki.revision(change["meta"]["domain"], change["revision"]["rev_id"])
    change["meta"] |= {"stream": wanted["meta"]["stream"], "id": wanted["meta"]["id"]}
    for role, slot in found.slots.items():
        if slot.content is not None:
            change["revision"]["content_slots"][role]["content_body"] = slot.content
    return json.dumps(change, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("rules", [[], PASSING], ids=["a wiki that works", "one with failures"])
@pytest.mark.parametrize("name", CHANGES)
async def test_page_changes_are_enriched_byte_for_byte(name: str, rules: list[Any]) -> None:
    changes = [json.loads(line) for line in at_least_one(lines(DERIVED / f"page_change_{name}.jsonl.gz"))]
    expected = lines(DERIVED / f"page_content_change_{name}.expected.jsonl.gz")
    stand_in = MediaWikiStandIn.read(STORE, rules=rules)
    async with serving(stand_in) as url:
        wiki = MediaWikiConfig(url=f"{url}/w/api.php")
        settings = LookupsConfig(mediawiki=wiki, pause_seconds_max=0.05, retry_first_seconds=0.02)
        async with open_lookups(settings) as http:
            made = await asyncio.gather(
                *(enriched(http, change, json.loads(line)) for change, line in zip(changes, expected, strict=True))
            )
    assert made == expected


async def test_every_sha1_is_that_of_the_events() -> None:
    rows = [json.loads(line) for line in at_least_one(lines(STORE))]
    async with serving(MediaWikiStandIn.read(STORE)) as url:
        settings = LookupsConfig(mediawiki=MediaWikiConfig(url=f"{url}/w/api.php"))
        async with open_lookups(settings) as http:
            for row in rows:
                if row["texthidden"]:
                    continue
                found = await http.mediawiki.revision(row["domain"], row["rev_id"], sha1=row["sha1"], cache="10m")
                assert found.sha1 == base16(row["sha1"])
                assert base36(found.sha1) == row["sha1"]
                slots = {role: slot.sha1 for role, slot in found.slots.items() if slot.sha1}
                assert revision_sha1(slots) == found.sha1
