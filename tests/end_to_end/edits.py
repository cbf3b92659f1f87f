"""What projects of tests about jobs have in common: the schemas of edits and of what is counted of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_SCHEMA = """
title: {name}
$id: /{name}/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  dt: {{type: string}}
  meta: {{type: object, properties: {{id: {{type: string}}, stream: {{type: string}}, dt: {{type: string}}}}}}
"""
SCHEMAS = {f"schemas/{name}/1.0.0.yaml": _SCHEMA.format(name=name) for name in ("edit", "count")}
# A count by wiki, a job without state, and one that reads what another wrote.
RUNNING = """
@job(source="edit", sink="running", key="wiki", state=int)
def running(event, context):
    context.state += 1
    return {"wiki": event["wiki"], "number": context.state, "edit": event["number"]}
"""
PASSED = """
@job(source="edit", sink="passed")
def passed(event, context):
    return {"edit": event["number"]}
"""
DOUBLED = """
@job(source="running", sink="doubled", key="edit", state=int)
def doubled(event, context):
    context.state += 1
    return {"edit": event["edit"], "times": context.state}
"""


def write_files(project: Path, files: Mapping[str, str]) -> None:
    """Write the files of a project, by their places in it."""
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
