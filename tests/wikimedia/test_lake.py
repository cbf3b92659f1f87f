"""A day of recent changes in the lake: each event once, in its hour; some hours of it in S3 and in HDFS, too."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headwater.connectors.contract import Delivery, EventShape
from headwater.connectors.lake.commits import TableDirectory
from headwater.connectors.lake.event_rows import arrow_columns, lake_columns
from headwater.connectors.lake.file_system import joined
from headwater.connectors.lake.formats import parquet
from headwater.connectors.lake.ingestion import LakeSink
from headwater.connectors.lake.options import LakeOptions
from headwater.connectors.lake.storage import file_system
from headwater.schemas.repository import open_repositories
from headwater.schemas.types.read import read_types
from requirements import fixtures_folder, requires_fixtures
from servers.file_stores import LOCAL, REMOTE, new_store

FIXTURES = fixtures_folder()
DAY = FIXTURES / "wikimedia" / "derived" / "recentchange_2016-06-27.jsonl.gz"
SCHEMAS = FIXTURES / "schemas" / "primary" / "jsonschema"
TABLE = "mediawiki_recentchange"
TOPIC = "eqiad.mediawiki.recentchange"
WRITE_EVENTS = 13_000
REMOTE_UNTIL_HOUR = "06"

pytestmark = requires_fixtures(DAY, SCHEMAS)


@pytest.fixture(params=[LOCAL, *REMOTE])
def storage(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Where the lake is, and how it is reached."""
    return new_store(request.param, request)


async def test_a_day_is_in_its_hours_and_a_second_run_changes_nothing(
    storage: Mapping[str, Any], tmp_path: Path
) -> None:
    with gzip.open(DAY) as lines:
        events = [json.loads(line) for line in lines]
    if "://" in storage["location"]:
        # Some hours are enough to meet everything that is different there.
        events = [event for event in events if event["meta"]["dt"][11:13] < REMOTE_UNTIL_HOUR]
    repository = open_repositories([str(SCHEMAS)])
    newest = repository.get("/mediawiki/recentchange/latest")
    columns = lake_columns(read_types(newest.document, lambda path: repository.get(path).document))
    options = LakeOptions(**storage, table=TABLE, state="state", columns=columns, datacenters={TOPIC: "eqiad"})
    deliveries = [Delivery(event, event["meta"]["id"], "mediawiki.recentchange", 0, f"{TOPIC}/0") for event in events]
    later = {"meta": {"domain": "canary", "dt": "2016-06-28T00:15:00Z"}}
    writes = [deliveries[at : at + WRITE_EVENTS] for at in range(0, len(deliveries), WRITE_EVENTS)]
    for run in range(2):
        sink = LakeSink(EventShape("lake"), options, tmp_path)
        await sink.open()
        for number, write in enumerate([*writes, [Delivery(later, None, None, 0, f"{TOPIC}/0")]]):
            await sink.write(write, f"hw1;{TOPIC}:0={run * 100 + number}")
        await sink.close()

    table = TableDirectory(file_system(options.location, options, tmp_path), TABLE)
    files = parquet(arrow_columns(columns))
    ids: list[str] = []
    names: set[str] = set()
    places = list(table.places())
    for place in places:
        manifest, contents = table.contents(place)
        assert (manifest.complete, len(contents)) == (True, 1)
        (content,) = contents.values()
        rows = list(files.rows(content))
        assert len(rows) == manifest.rows
        ids += [row["meta"]["id"] for row in rows]
        names.update(name for row in rows for name in row)
        assert table.files.read(joined(TABLE, place, "_SUCCESS")) is not None
    table.files.close()
    assert len(places) == len({event["meta"]["dt"][:13] for event in events})
    assert sorted(ids) == sorted(event["meta"]["id"] for event in events)
    undeclared = {name for event in events for name in event if name.startswith("x_")}
    head = table.newest()
    assert head is not None
    assert head.facts["undeclared"].keys() == undeclared
    assert not undeclared & names
