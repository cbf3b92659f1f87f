"""A project that several end-to-end tests run: Wikimedia's edits of a day, counted by wiki and hour."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from headwater.processing import job, table, tumbling

@job(source="mediawiki.recentchange", sink="edits_per_wiki:1.0.0", key="wiki",
     window=tumbling("1h", lateness="LATENESS").count("edits"), idle="100ms")
def hourly(window, context):
    return {"dt": window.end, "wiki": window.key, "window_start": window.start, "edits": window.edits}

edits = table("edits_per_wiki", source="edits_per_wiki", key=("wiki", "window_start"), order="wiki, window_start",
              columns={"wiki": "text", "window_start": "text", "edits": "integer"})
"""


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
