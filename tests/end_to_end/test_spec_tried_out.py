"""A tool that tries out every path of the description, by its examples, finds that each answers as they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from headwater.testing.service_kit import served_project, write_project

SCHEMA = {
    "title": "a/note",
    "$id": "/a/note/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"$schema": {"type": "string"}, "meta": {"type": "object"}, "text": {"type": "string"}},
}
EVENT = {"$schema": "/a/note/1.0.0", "meta": {"stream": "notes"}, "text": "a test"}
PUBLIC = {"stream": "notes", "schema_title": "a/note"}
PRIVATE = {"stream": "aaa.secret", "schema_title": "a/note", "privacy": {"class": "private"}}
PROJECTS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]] = {
    "nothing in it": ([], [], {}),
    "one stream": ([SCHEMA], [PUBLIC], {}),
    "a private stream before a public one": ([SCHEMA], [PRIVATE, PUBLIC], {}),
    "a private stream alone": ([SCHEMA], [PRIVATE], {}),
    "test events": ([SCHEMA], [PUBLIC], {"intake": {"test_events": [EVENT]}}),
    "streams that are not enforced": ([SCHEMA], [PUBLIC], {"streams": {"enforce": False}}),
    "a schema without a version that has a number": ([{**SCHEMA, "$id": "/a/note/1.0.1000"}], [PUBLIC], {}),
}


def asked(description: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What such a tool asks: (method, path, example). What has no example is asked as it is, for a 200."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            if operation.get("x-monitor") is not False:
                for example in operation.get("x-amples") or [{}]:
                    yield method.upper(), path, example


def answered(client: httpx.Client, method: str, path: str, request: Mapping[str, Any]) -> int:
    given = request.get("params", {})
    target = re.sub(r"{(\w+)}", lambda name: quote(str(given.get(name[1], "")), safe=""), path)
    query = urlencode({name: str(value).lower() for name, value in request.get("query", {}).items()})
    body = request.get("body")
    content = json.dumps(body) if isinstance(body, (dict, list)) else body
    headers = request.get("headers", {})
    return client.request(
        method, f"{target}?{query}" if query else target, content=content, headers=headers
    ).status_code


def unexpected(address: str) -> tuple[int, list[str]]:
    """How much was asked, and what was answered otherwise than the description says."""
    count, found = 0, []
    with httpx.Client(base_url=address, trust_env=False, timeout=20) as client:
        for method, path, example in asked(client.get("/?spec").json()):
            expected = example.get("response", {}).get("status", 200)
            status = answered(client, method, path, example.get("request", {}))
            count += 1
            if status != expected:
                found.append(f"{method} {path}: {status}, not {expected}")
    return count, found


@pytest.mark.parametrize("project", PROJECTS)
def test_every_example_of_the_description_is_answered_as_it_says(tmp_path: Path, project: str) -> None:
    schemas, streams, settings = PROJECTS[project]
    (tmp_path / "schemas").mkdir()
    write_project(tmp_path, schemas, streams)
    with served_project(tmp_path, **settings) as (address, _):
        count, found = unexpected(address)
        described = httpx.get(f"{address}/?spec", trust_env=False).text
    assert not found
    assert count > 15
    assert "aaa.secret" not in described


def test_every_operation_of_a_fresh_project_that_can_be_tried_out_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from headwater.cli.main import main; main()", "init", str(tmp_path / "fresh")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with served_project(tmp_path / "fresh") as (address, _):
        count, found = unexpected(address)
        description = httpx.get(f"{address}/?spec", trust_env=False).json()
    assert not found
    marked = {
        f"{method.upper()} {path}"
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if operation.get("x-monitor") is False
    }
    # What never ends, and what changes.
    assert marked == {
        "GET /v2/stream/{streams}",
        "GET /v1/stream-changes/live",
        "POST /v1/jobs/{name}",
        "GET /v1/errors/{name}",
        "POST /v1/errors/redrive",
        # Nor a webhook.
        "POST /v1/webhooks/{name}",
        # A fresh project has no table.
        "GET /v1/tables/{name}",
        "GET /v1/tables/{name}/rows",
        *(f"GET /v1/served/{{name}}{end}" for end in ("", "/counts", "/rows/{key}")),
        *(f"POST /v1/stream-changes{end}" for end in ("", "/rollback", "/kill")),
    }
    assert count > len(marked)
