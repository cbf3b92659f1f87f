"""A cache in front of pages: when a page has changed, it is purged, by a sink of its stream or by a job."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import write_files
from headwater.config import load_config
from headwater.platform import build
from headwater.testing.eventually import eventually
from servers.nginx import NginxServer
from servers.varnish import VarnishServer
from wikimedia.project import run_files

Cache = NginxServer | VarnishServer
HOST = "en.wiki.example"
SINK_HOST = "sink.wiki.example"
TITLES = ("River", "Caf%C3%A9", "A%2FB%3Fc")
STREAM = """
stream: page_change
schema_title: page_change
sinks:
- connector: http
  url: {url}/wiki/{{page}}
  method: PURGE
  headers: {{Host: '{{meta.domain}}'}}
  # What it does not have, it need not forget.
  succeed_on: [404, 412]
  key: page
"""
SCHEMA = {
    "$schema": "https://json-schema.org/draft-07/schema#",
    "$id": "/page_change/1.0.0",
    "title": "page_change",
    "type": "object",
    "properties": {
        "meta": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("id", "stream", "dt", "domain")},
        },
        "page": {"type": "string"},
    },
}


def cached(cache: Cache, host: str, target: str) -> str:
    """The text of the page, which is in the cache then."""
    cache.page(host, target)
    state, text = cache.page(host, target)
    assert state == "HIT"
    return text


async def test_an_edit_purges_its_page_and_no_other_by_a_sink_of_the_stream(cache: Cache, tmp_path: Path) -> None:
    pages = {"River": "/wiki/River", "A/B?c é": "/wiki/A%2FB%3Fc%20%C3%A9"}
    before = {page: cached(cache, SINK_HOST, target) for page, target in pages.items()}
    other = cached(cache, SINK_HOST, "/wiki/Other"), cached(cache, "other.wiki.example", "/wiki/River")
    stream = STREAM.format(url=cache.url)
    files = {
        "headwater.yaml": "",
        "streams/page_change.yaml": stream,
        "schemas/page_change/1.0.0.yaml": json.dumps(SCHEMA),
    }
    write_files(tmp_path, files)
    platform = build(load_config(tmp_path, environment={}))
    await platform.start()
    try:
        # The last one is not in the cache.
        for number, page in enumerate((*pages, "Nothing")):
            meta = {"stream": "page_change", "id": f"edit-{number}", "domain": SINK_HOST}
            await platform.intake.write([{"$schema": "/page_change/1.0.0", "meta": meta, "page": page}])
        for page, target in pages.items():

            async def is_new(page: str = page, target: str = target) -> bool:
                return (await asyncio.to_thread(cache.page, SINK_HOST, target))[1] != before[page]

            await eventually(is_new)

        async def is_done() -> bool:
            return platform.runners["sink.page_change"].runner.status.report().read == len(pages) + 1

        await eventually(is_done)
        assert platform.runners["sink.page_change"].runner.status.report().errors == 0
    finally:
        await platform.stop()
    assert cache.page(SINK_HOST, "/wiki/Other") == ("HIT", other[0])
    assert cache.page("other.wiki.example", "/wiki/River") == ("HIT", other[1])


@pytest.mark.parametrize("layer", ["backends", "frontends"])
def test_the_job_purges_the_resource_of_each_event_and_no_other(layer: str, cache: Cache, tmp_path: Path) -> None:
    host = f"{layer}.wiki.example"
    targets = [f"/wiki/{title}" for title in TITLES] + ["/w/index.php?title=River&action=history", "/"]
    before = {target: cached(cache, host, target) for target in targets}
    other = cached(cache, host, "/wiki/Other"), cached(cache, HOST, "/wiki/River")
    events: list[dict[str, Any]] = [
        {
            "$schema": "/resource_change/1.0.0",
            "meta": {
                "stream": "resource-purge",
                "id": f"purge-{number}",
                "dt": "2026-01-31T12:00:00Z",
                "uri": f"https://{host}{target}",
            },
        }
        for number, target in enumerate([*targets, "/wiki/Nothing"])
    ]
    ran = run_files("cache_purge", events, tmp_path, "--set", f"{layer}={cache.url}")
    assert ran.errors == []
    assert [row["servers_failed"] for row in ran.outputs] == [0] * len(events)
    for target in targets:
        state, text = cache.page(host, target)
        assert (state, text != before[target]) == ("MISS", True), target
    assert cache.page(host, "/wiki/Other") == ("HIT", other[0])
    assert cache.page(HOST, "/wiki/River") == ("HIT", other[1])
