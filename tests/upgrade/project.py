"""The project whose files are kept as versions wrote them: what it declares, and the events it is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

_SCHEMA = """
title: {name}
$id: /{name}/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  $schema: {{type: string}}
  dt: {{type: string}}
  meta: {{type: object, properties: {{id: {{type: string}}, stream: {{type: string}}, dt: {{type: string}}}}}}
"""
FILES = {
    # Nothing expires: the files are opened years after they were written.
    "headwater.yaml": (
        "log: {url: sqlite:///var/events.db, retention_seconds_default: 3000000000}\n"
        "intake: {hasty_spool_path: var/spool}\n"
    ),
    **{f"schemas/{name}/1.0.0.yaml": _SCHEMA.format(name=name) for name in ("edit", "count", "minute")},
    "streams/edit.yaml": (
        "stream: edit\nschema_title: edit\nevent_time: dt\n"
        "transport: {message_key_fields: {wiki: wiki}, partitions: 2}\n"
    ),
    "streams/running.yaml": "stream: running\nschema_title: count\ntransport: {partitions: 2}\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "streams/side.yaml": "stream: side\nschema_title: edit\n",
    "streams/minute.yaml": "stream: minute\nschema_title: minute\n",
    "jobs/jobs.py": """
from headwater.processing import job, table, tumbling


@job(source="edit", sink="running", key="wiki", state=int)
def running(event, context):
    context.state += 1
    return {"wiki": event["wiki"], "number": context.state, "edit": event["number"]}


@job(source="edit", sink="passed")
def passed(event, context):
    if event["number"] % 10 == 3:
        raise ValueError("this one fails")
    return {"edit": event["number"]}


@job(
    source="edit",
    sink="minute",
    key="wiki",
    window=tumbling("1m").count("edits").sum("total", "number"),
    out_of_order="1h",
    idle="1h",
)
def minute(window, context):
    return {"dt": window.end, "wiki": window.key, "start": window.start, "edits": window.edits, "total": window.total}


newest = table("newest", source="running", columns={"wiki": "text", "number": "integer"}, key=("wiki",))
every = table("every", source="passed", columns={"edit": "integer"})
""",
}
WIKIS = ("dewiki", "enwiki", "frwiki")
JOBS = ("running", "passed", "minute", "table.newest", "table.every")


def write_project(directory: Path) -> None:
    for name, text in FILES.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def edits(numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Two edits a minute, of three wikis in turn; the larger ones are of no use but to fill the log."""
    return [
        {
            "$schema": "/edit/1.0.0",
            "meta": {"stream": "edit", "id": f"edit-{number}", "dt": "2024-05-01T00:00:00Z"},
            "dt": f"2024-05-01T00:{number // 2:02}:{number % 2 * 30:02}Z",
            "wiki": WIKIS[number % 3],
            "number": number,
            "large": 2**63 + number,
            "text": "ü€😀 " * (number % 7),
        }
        for number in numbers
    ]
