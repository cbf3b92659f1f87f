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
from wikimedia.project import run_files

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


def cached(nginx: NginxServer, host: str, target: str) -> str:
    """The text of the page, which is in the cache then."""
    nginx.page(host, target)
    state, text = nginx.page(host, target)
    assert state == "HIT"
    return text


async def test_an_edit_purges_its_page_and_no_other_by_a_sink_of_the_stream(nginx: NginxServer, tmp_path: Path) -> None:
    pages = {"River": "/wiki/River", "A/B?c é": "/wiki/A%2FB%3Fc%20%C3%A9"}
    before = {page: cached(nginx, SINK_HOST, target) for page, target in pages.items()}
    other = cached(nginx, SINK_HOST, "/wiki/Other"), cached(nginx, "other.wiki.example", "/wiki/River")
    stream = STREAM.format(url=nginx.url)
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
                return (await asyncio.to_thread(nginx.page, SINK_HOST, target))[1] != before[page]

            await eventually(is_new)

        async def is_done() -> bool:
            return platform.runners["sink.page_change"].runner.status.report().read == len(pages) + 1

        await eventually(is_done)
        assert platform.runners["sink.page_change"].runner.status.report().errors == 0
    finally:
        await platform.stop()
    assert nginx.page(SINK_HOST, "/wiki/Other") == ("HIT", other[0])
    assert nginx.page("other.wiki.example", "/wiki/River") == ("HIT", other[1])


@pytest.mark.parametrize("layer", ["backends", "frontends"])
def test_the_job_purges_the_resource_of_each_event_and_no_other(layer: str, nginx: NginxServer, tmp_path: Path) -> None:
    host = f"{layer}.wiki.example"
    targets = [f"/wiki/{title}" for title in TITLES] + ["/w/index.php?title=River&action=history", "/"]
    before = {target: cached(nginx, host, target) for target in targets}
    other = cached(nginx, host, "/wiki/Other"), cached(nginx, HOST, "/wiki/River")
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
    ran = run_files("cache_purge", events, tmp_path, "--set", f"{layer}={nginx.url}")
    assert ran.errors == []
    assert [row["servers_failed"] for row in ran.outputs] == [0] * len(events)
    for target in targets:
        state, text = nginx.page(host, target)
        assert (state, text != before[target]) == ("MISS", True), target
    assert nginx.page(host, "/wiki/Other") == ("HIT", other[0])
    assert nginx.page(HOST, "/wiki/River") == ("HIT", other[1])
