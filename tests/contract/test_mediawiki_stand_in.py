"""The stand-in for MediaWiki's API on real revisions: recorded answers, and page changes enriched byte for byte."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from headwater.testing.eventually import eventually
from headwater.testing.mediawiki import MediaWikiStandIn, serving
from headwater.testing.mediawiki.rows import Revision, Slot, as_row, read_rows, sha1_base36
from requirements import at_least_one, fixtures_folder, requires_fixtures

WIKIMEDIA = fixtures_folder() / "wikimedia"
STORE = WIKIMEDIA / "derived" / "fake_mediawiki_store.jsonl.gz"
RECORDED = WIKIMEDIA / "golden" / "fake_mediawiki_transcripts.json"
CHANGES = ("adam_himebauch", "content_history")
EN, SIMPLE = "en.wikipedia.org", "simple.wikipedia.org"
PROPERTIES = "ids|timestamp|flags|comment|user|userid|size|sha1|content|contentmodel"

pytestmark = requires_fixtures(STORE, RECORDED)
Recorded = dict[str, Any]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return at_least_one(json.loads(RECORDED.read_bytes()))


@pytest.fixture(scope="module")
def rows() -> list[Revision]:
    return at_least_one([row for row in read_rows(STORE) if isinstance(row, Revision)])


@pytest.fixture
def stand_in(rows: list[Revision]) -> MediaWikiStandIn:
    return MediaWikiStandIn(rows)


@pytest.fixture
async def client(stand_in: MediaWikiStandIn) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"User-Agent": "stand-in-tests/1.0 (ops@example.org)", "X-Fake-Domain": EN}
    async with serving(stand_in) as url, httpx.AsyncClient(base_url=url, headers=headers, verify=False) as client:
        yield client


async def ask(client: httpx.AsyncClient, domain: str = EN, **parameters: Any) -> httpx.Response:
    form = {"action": "query", "format": "json", "formatversion": 2} | parameters
    return await client.get("/w/api.php", params=form, headers={"Host": domain})


async def revisions(client: httpx.AsyncClient, domain: str = EN, **parameters: Any) -> dict[str, Any]:
    asked = {"prop": "revisions", "rvslots": "main", "rvprop": PROPERTIES} | parameters
    body: dict[str, Any] = (await ask(client, domain, **asked)).json()
    return body


def same(found: Any, expected: Any) -> bool:
    """Equal with the keys in the same order; of a `docref`, of which the stand-in has the beginning, that much."""
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(_same_at(name, found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


def _same_at(name: str, found: Any, expected: Any) -> bool:
    return str(expected).startswith(found) if name == "docref" else same(found, expected)


# The rows


def test_the_checksum_of_every_slot_is_that_of_its_content(rows: list[Revision]) -> None:
    slots = at_least_one([slot for row in rows for slot in (row.slots or {}).values() if isinstance(slot, Slot)])
    assert [slot.sha1 for slot in slots] == [sha1_base36((slot.content or "").encode()) for slot in slots]


def test_the_checksum_of_every_revision_follows_from_its_slots(rows: list[Revision]) -> None:
    """Also of those with several slots, whose checksum is made of the slots' own."""
    whole = [row for row in rows if row.slots]
    assert any(len(row.slots or {}) > 1 for row in whole)
    made = [as_row(msgspec.structs.replace(row, sha1=None)) for row in whole]
    assert [row.sha1 for row in made if isinstance(row, Revision)] == [row.sha1 for row in whole]


# The recorded answers


async def test_a_revision_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    body = await revisions(client, revids=678457635)
    assert same(body, recorded["ok"])
    (item,) = body["query"]["pages"][0]["revisions"]
    assert hashlib.sha1(item["slots"]["main"]["content"].encode()).hexdigest() == item["sha1"]
    assert (item["sha1"], item["size"]) == ("b43a7b28818414445cb3060d9cb9c24c59c730cc", 359)


async def test_an_unknown_revision_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    assert same(await revisions(client, revids=999), recorded["badrevids"])


async def test_a_hidden_revision_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    body = await revisions(client, SIMPLE, revids=4670942)
    assert same(body, recorded["hidden"])
    (item,) = body["query"]["pages"][0]["revisions"]
    assert item["slots"]["main"] == {"contentmodel": "wikitext", "texthidden": True}
    assert item["userhidden"] is item["commenthidden"] is item["sha1hidden"] is True


async def test_a_mixed_request_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    found = (await revisions(client, revids="678457635|999|678458561"))["query"]
    assert same(found["badrevids"], recorded["mixed"]["badrevids"])
    assert sum(len(page["revisions"]) for page in found["pages"]) == recorded["mixed"]["n"]


async def test_a_missing_title_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    body = (await ask(client, prop="revisions", titles="No_such_page")).json()
    assert same(body, recorded["missing_title"])


async def test_a_normalized_title_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    body = (await ask(client, prop="revisions", titles="Adam_Himebauch")).json()
    assert same(body["query"]["normalized"], recorded["normalized"])


async def test_an_unknown_action_is_as_recorded(client: httpx.AsyncClient, recorded: Recorded) -> None:
    assert same((await ask(client, action="foo")).json(), recorded["badvalue"])


async def test_maxlag_is_as_recorded_and_then_the_data_come(
    client: httpx.AsyncClient, stand_in: MediaWikiStandIn, recorded: Recorded
) -> None:
    stand_in.set_rules([{"mode": "maxlag", "lag": 6.2, "times": 1}])
    asked = {"prop": "revisions", "revids": 678457635, "maxlag": 5}
    refused = await ask(client, **asked)
    assert refused.status_code == 200
    assert {name: refused.headers[name] for name in recorded["maxlag"]["headers"]} == recorded["maxlag"]["headers"]
    assert same(refused.json(), recorded["maxlag"]["body"])
    assert "pages" in (await ask(client, **asked)).json()["query"]


async def test_a_truncated_result_is_as_recorded(
    client: httpx.AsyncClient, stand_in: MediaWikiStandIn, recorded: Recorded
) -> None:
    page = {"domain": EN, "page_id": 1, "title": "Large"}
    stand_in.add([{**page, "rev_id": number, "content": "x" * 8_388_608} for number in (10, 11)])
    body = await revisions(client, revids="10|11")
    assert [item["revid"] for item in body.pop("query")["pages"][0]["revisions"]] == [10]
    assert same(body, recorded["truncated"])


# Real entities and pages


async def test_real_entities_are_served_as_they_are(client: httpx.AsyncClient, stand_in: MediaWikiStandIn) -> None:
    files = at_least_one(sorted((WIKIMEDIA / "real" / "rdf_updater").glob("sitelink_class_rev_*.ttl")))
    texts = {int(file.stem.rpartition("_")[2]): file.read_text(encoding="utf-8") for file in files}
    rows = [{"domain": EN, "entity": "Q2", "rev_id": number, "turtle": text} for number, text in texts.items()]
    stand_in.add(rows)
    for number, text in texts.items():
        asked = {"flavor": "dump", "revision": number}
        answer = await client.get("/wiki/Special:EntityData/Q2.ttl", params=asked, headers={"Host": EN})
        assert (answer.status_code, answer.text) == (200, text)
        assert answer.headers["Content-Type"].startswith("text/turtle")


async def test_a_real_page_is_served_as_it_is(client: httpx.AsyncClient, stand_in: MediaWikiStandIn) -> None:
    # The file has the page as a literal of Python.
    page = ast.literal_eval((WIKIMEDIA / "real" / "parsoid_html" / "sample_page_html.txt").read_text(encoding="utf-8"))
    stand_in.add([{"domain": EN, "page_id": 1, "title": "Sample", "rev_id": 5, "content": "", "html": page}])
    answer = await client.get("/w/rest.php/v1/revision/5/html", headers={"Host": EN})
    assert (answer.status_code, answer.text) == (200, page)
    assert answer.headers["ETag"].startswith('"5/')


# What else a stand-in has to be able to do


async def test_two_refusals_for_the_rate_and_then_the_answer(
    client: httpx.AsyncClient, stand_in: MediaWikiStandIn
) -> None:
    stand_in.set_rules([{"mode": "ratelimit", "times": 2}])
    assert [(await ask(client, revids=1)).status_code for _ in range(3)] == [429, 429, 200]


async def test_a_slow_answer_a_truncated_one_and_a_closed_connection(
    client: httpx.AsyncClient, stand_in: MediaWikiStandIn
) -> None:
    stand_in.set_rules(
        [{"mode": "slow", "seconds": 0.6, "times": 1}, {"mode": "garbage", "times": 1}, {"mode": "close", "times": 1}]
    )
    begun = time.monotonic()
    assert (await ask(client, revids=1)).json()["batchcomplete"] is True
    assert time.monotonic() - begun >= 0.6
    with pytest.raises(json.JSONDecodeError):
        (await ask(client, revids=1)).json()
    with pytest.raises(httpx.TransportError):
        await ask(client, revids=1)
    assert (await ask(client, revids=1)).json()["batchcomplete"] is True


async def test_a_revision_that_is_visible_half_a_second_later(
    client: httpx.AsyncClient, stand_in: MediaWikiStandIn
) -> None:
    from_then = time.time() + 0.5
    stand_in.add([{"domain": EN, "page_id": 1, "title": "New", "rev_id": 77, "visible_after": from_then}])
    assert "badrevids" in (await ask(client, prop="revisions", revids=77)).json()["query"]

    async def is_visible() -> bool:
        return "badrevids" not in (await ask(client, prop="revisions", revids=77)).json()["query"]

    await eventually(is_visible)
    assert time.time() >= from_then


@pytest.mark.parametrize("direction", ["newer", "older"])
async def test_every_history_can_be_paged_through(
    client: httpx.AsyncClient, rows: list[Revision], direction: str
) -> None:
    pages = sorted({(row.domain, row.page_id, row.title) for row in rows})
    for domain, page_id, title in pages:
        expected = [row.rev_id for row in sorted(rows, key=lambda row: (row.dt, row.rev_id)) if row.page_id == page_id]
        found: list[int] = []
        more: dict[str, Any] = {}
        while True:
            body = await revisions(client, domain, titles=title, rvlimit="max", rvdir=direction, **more)
            items = [item for page in body["query"]["pages"] for item in page["revisions"]]
            assert len(items) <= 50
            found += [item["revid"] for item in items]
            if "continue" not in body:
                break
            more = body["continue"]
        assert found == (expected if direction == "newer" else expected[::-1])


@pytest.mark.parametrize("name", CHANGES)
async def test_enriched_page_changes_are_byte_for_byte_as_expected(client: httpx.AsyncClient, name: str) -> None:
    """In batches of 50, as a job asks; what is hidden stays without a body."""
    events = at_least_one(_lines(WIKIMEDIA / "derived" / f"page_change_{name}.jsonl.gz"))
    expected = _lines(WIKIMEDIA / "derived" / f"page_content_change_{name}.expected.jsonl.gz")
    changes = [json.loads(line) for line in events]
    bodies: dict[tuple[str, int], dict[str, str]] = {}
    for domain in sorted({change["meta"]["domain"] for change in changes}):
        ids = sorted({change["revision"]["rev_id"] for change in changes if change["meta"]["domain"] == domain})
        for batch in batched_ids(ids):
            body = await revisions(client, domain, revids="|".join(map(str, batch)), rvslots="*", rvprop="ids|content")
            assert "badrevids" not in body["query"]
            for page in body["query"]["pages"]:
                for item in page["revisions"]:
                    slots = {role: slot["content"] for role, slot in item["slots"].items() if "content" in slot}
                    bodies[domain, item["revid"]] = slots
    made = []
    for change, line in zip(changes, expected, strict=True):
        wanted = json.loads(line)
        change["meta"] |= {"stream": wanted["meta"]["stream"], "id": wanted["meta"]["id"]}
        slots = change["revision"].get("content_slots", {})
        for role, content in bodies[change["meta"]["domain"], change["revision"]["rev_id"]].items():
            slots[role]["content_body"] = content
        made.append(json.dumps(change, ensure_ascii=False, separators=(",", ":")).encode())
    assert made == expected


def batched_ids(ids: list[int]) -> list[list[int]]:
    return [ids[start : start + 50] for start in range(0, len(ids), 50)]


def _lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()
