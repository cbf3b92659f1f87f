"""Jobs of the project in wikimedia/ fill stores by the sinks that stream files configure, on the real servers."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cassandra import InvalidRequest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import RoundRobinPolicy

from headwater.config import load_config
from headwater.platform import build
from headwater.testing.eventually import eventually
from requirements import at_least_one, requires_fixtures
from servers.cassandra import CassandraServer
from servers.opensearch import OpensearchServer
from wikimedia.project import FIXTURES, PROJECT, Event, read

KEYSPACE = "image_suggestions"
INDEX = "search_documents"
LIFE = "derived/page_change_lifecycle_testwikidata_330275.jsonl"
ADAM = "derived/page_change_adam_himebauch.jsonl.gz"
CHAINS = "golden/page_change_chains.json"
OPINIONS = "synthetic/SYNTHETIC_image_suggestions_feedback.jsonl"
ROWS = "synthetic/SYNTHETIC_image_suggestions_feedback_table.expected.jsonl"
STATUSES = "synthetic/SYNTHETIC_image_suggestions_status.expected.jsonl"

pytestmark = requires_fixtures(FIXTURES)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("var", "__pycache__")))


@pytest.fixture
def session(cassandra: CassandraServer) -> Iterator[Session]:
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30.0)
    cluster = Cluster(["127.0.0.1"], port=cassandra.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    yield (session := cluster.connect())
    session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    cluster.shutdown()


def add_sinks(project: Path, stream: str, *sinks: dict[str, Any]) -> None:
    file = project / "streams" / f"{stream}.yaml"
    file.write_text(f"{file.read_text()}{yaml.safe_dump({'sinks': list(sinks)})}")


async def fill(project: Path, jobs: str, events: list[Event], is_filled: Callable[[], bool]) -> None:
    """Run the jobs of this file, and all sinks, until the store has what they make of the events."""
    for file in (project / "jobs").iterdir():
        if file.name != jobs:
            file.unlink()
    platform = build(load_config(project, environment={}, overrides={"jobs.processes": 0}))
    await platform.start()
    try:
        await platform.intake.write(events)
        await eventually(lambda: asyncio.to_thread(is_filled), seconds=60)
    finally:
        await platform.stop()


async def test_documents_of_a_search_index_have_the_last_revision_and_its_tags(
    project: Path, opensearch: OpensearchServer
) -> None:
    sink = {
        "connector": "opensearch",
        "url": opensearch.url,
        "table": INDEX,
        "fields": {"weighted_tags": {"type": "keyword"}},
        "columns": {
            **dict.fromkeys(("wiki_id", "page_title", "change_type"), "text"),
            **dict.fromkeys(("page_id", "rev_id"), "integer"),
            "weighted_tags": "json",
        },
        "key": ["wiki_id", "page_id"],
        "version": "rev_id",
        "delete_when": {"change_type": ["PAGE_DELETE", "REDIRECT_UPDATE"]},
    }
    add_sinks(project, "mediawiki.search_update_each.v1", sink)
    life, adam = at_least_one(read(LIFE)), at_least_one(read(ADAM))
    (chain,) = dict(read(CHAINS))["adam_himebauch"].items()  # type: ignore[arg-type]
    tags = {
        "$schema": "/development/cirrussearch/page_weighted_tags_change/1.0.0",
        "meta": {"stream": "cirrussearch.page_weighted_tags_change.v1", "domain": "en.wikipedia.org"},
        "dt": adam[-1]["dt"],
        "wiki_id": adam[-1]["wiki_id"],
        "page": {"page_id": adam[-1]["page"]["page_id"]},
        "weighted_tags": {"set": {"topic": [{"tag": "Art", "score": 0.9}]}},
    }
    wanted = {
        f"{life[-1]['wiki_id']}:{life[-1]['page']['page_id']}": (life[-1]["revision"]["rev_id"], []),
        chain[0]: (chain[1]["last_rev"], ["topic/Art|900"]),
    }

    def is_filled() -> bool:
        opensearch.ask("POST", f"/{INDEX}/_refresh?ignore_unavailable=true")
        path = f"/{INDEX}/_search?ignore_unavailable=true&version=true"
        hits = opensearch.ask("GET", path)["hits"]["hits"]
        assert all(hit["_version"] == hit["_source"]["rev_id"] for hit in hits)
        return {hit["_id"]: (hit["_version"], hit["_source"]["weighted_tags"]) for hit in hits} == wanted

    try:
        await fill(project, "search_update.py", [*life, *adam, tags], is_filled)
    finally:
        opensearch.ask("DELETE", f"/{INDEX}?ignore_unavailable=true")


async def test_opinions_about_images_and_their_status_are_tables_of_cassandra(
    project: Path, cassandra: CassandraServer, session: Session
) -> None:
    store = {
        "connector": "cassandra",
        "hosts": [f"127.0.0.1:{cassandra.port}"],
        "keyspace": KEYSPACE,
        "replication": {"class": "SimpleStrategy", "replication_factor": 1},
    }
    feedback = {
        **store,
        "table": "feedback",
        "columns": {
            **dict.fromkeys(("wiki", "id", "filename", "origin_wiki", "dt"), "text"),
            **dict.fromkeys(("page_id", "user_id"), "integer"),
            **dict.fromkeys(("is_accepted", "is_rejected"), "boolean"),
            "rejection_reasons": "json",
        },
        "key": ["wiki", "page_id", "id"],
        "partition": ["wiki", "page_id"],
        "version": "dt",
    }
    status = {
        **store,
        "table": "status",
        "columns": {"wiki": "text", "page_id": "integer", "filename": "text", "status": "text", "version": "integer"},
        "key": ["wiki", "page_id", "filename"],
        "version": "version",
    }
    add_sinks(project, "mediawiki.image_suggestions.feedback.v1", feedback)
    add_sinks(project, "mediawiki.image_suggestions.status.v1", status)
    rows, statuses = at_least_one(read(ROWS)), at_least_one(read(STATUSES))

    def of(table: str, expected: list[Event]) -> list[Event]:
        found = session.execute(f"SELECT {', '.join(expected[0])} FROM {KEYSPACE}.{table}")
        return [dict(zip(expected[0], row, strict=True)) for row in found]

    def is_filled() -> bool:
        try:
            written = of("feedback", rows)
            last = of("status", statuses)
        except (InvalidRequest, NoHostAvailable):  # a table that is not there yet, or is being created
            return False
        for row in written:
            row["rejection_reasons"] = json.loads(row["rejection_reasons"] or "null")
        return sorted(written, key=str) == sorted(rows, key=str) and sorted(last, key=str) == sorted(statuses, key=str)

    await fill(project, "image_suggestions_feedback.py", at_least_one(read(OPINIONS)), is_filled)
