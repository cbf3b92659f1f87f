"""What several end-to-end tests share: the logs they run on, and a project that counts Wikimedia's edits of a day.

How this works: a test that asks for `log_url` runs once on each log, on Kafka in a namespace of its own: the broker is
shared, topics and groups are not. What the namespace holds is removed afterwards.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCHEMA = """
title: edits_per_wiki
$id: /edits_per_wiki/1.0.0
$schema: https://json-schema.org/draft-07/schema#
type: object
additionalProperties: false
required: [$schema, meta, dt, wiki, window_start, edits]
properties:
  $schema: {type: string}
  meta:
    type: object
    required: [stream]
    properties:
      stream: {type: string}
      id: {type: string}
      dt: {type: string, format: date-time, maxLength: 64}
  dt: {type: string, format: date-time, maxLength: 64}
  wiki: {type: string}
  window_start: {type: string, format: date-time, maxLength: 64}
  edits: {type: integer}
"""

JOB = """
from headwater.jobs import job, table, tumbling

@job(source="mediawiki.recentchange", sink="edits_per_wiki:1.0.0", key="wiki",
     window=tumbling("1h", lateness="LATENESS").count("edits"), idle="100ms")
def hourly(window, context):
    return {"dt": window.end, "wiki": window.key, "window_start": window.start, "edits": window.edits}

edits = table("edits_per_wiki", source="edits_per_wiki", key=("wiki", "window_start"), order="wiki, window_start",
              columns={"wiki": "text", "window_start": "text", "edits": "integer"})
"""


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.real_server)])
def log_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty log: a file, and then a namespace of a Kafka broker."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('log') / 'events.db'}"
    else:
        yield from namespace_of(request.getfixturevalue("kafka_server"))


@pytest.fixture
def kafka_url(kafka_server: str) -> Iterator[str]:
    """The URL of an empty namespace of a Kafka broker."""
    yield from namespace_of(kafka_server)


def namespace_of(server: str) -> Iterator[str]:
    """A namespace for one test; its topics are deleted when the test has ended."""
    from confluent_kafka.admin import AdminClient

    namespace = f"e2e-{uuid.uuid4().hex[:10]}."
    yield f"kafka://{server}/{namespace}"
    admin = AdminClient({"bootstrap.servers": server})
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(namespace)]
    for deleted in admin.delete_topics(topics).values() if topics else ():
        deleted.result(timeout=20)


@pytest.fixture(scope="session")
def golden(fixtures_dir: Path) -> list[dict[str, Any]]:
    path = fixtures_dir / "wikimedia" / "golden" / "recentchange_2016.hourly_by_wiki.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="session")
def hourly_project(fixtures_dir: Path) -> Callable[..., None]:
    """Writes the project: Wikimedia's schemas, the stream of edits, the job and the table it fills."""

    def written(directory: Path, *, lateness: str, partitions: int) -> None:
        primary = fixtures_dir / "schemas" / "primary" / "jsonschema"
        files = {
            "headwater.yaml": f"schemas: ['{primary}', schemas]\n",
            "schemas/edits_per_wiki/1.0.0.yaml": SCHEMA,
            "jobs/hourly.py": JOB.replace("LATENESS", lateness),
            "streams/mediawiki.recentchange.yaml": "stream: mediawiki.recentchange\n"
            "schema_title: mediawiki/recentchange\n"
            f"transport: {{partitions: {partitions}, message_key_fields: {{wiki: wiki}}}}\n",
            "streams/edits_per_wiki.yaml": "stream: edits_per_wiki\nschema_title: edits_per_wiki\n",
        }
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return written
