"""What a declaration may say, every document made of it says; a file that is wrong takes nothing else down."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from headwater.cli.init import write_project
from headwater.cli.main import main
from headwater.cli.up.up import running
from headwater.config import load_config

LARGE = 98765432109876543210
LARGER = -(10**40 + 1)
LEDGER = f"""\
title: ledger/entry
description: A booking.
$id: /ledger/entry/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
required: [$schema, meta]
properties:
  $schema: {{type: string, description: schema, maxLength: 200}}
  meta:
    type: object
    required: [stream]
    properties: {{stream: {{type: string, minLength: 1, maxLength: 200}}}}
  units: {{type: integer, minimum: {LARGER}, maximum: {LARGE}, default: {LARGE}}}
  kind: {{enum: [{LARGE}, {LARGER}]}}
  fixed: {{const: {LARGE}}}
examples:
  - {{$schema: /ledger/entry/1.0.0, meta: {{stream: ledger.entry}}, units: {LARGE}, kind: {LARGER}, fixed: {LARGE}}}
"""
BROKEN = {
    "yaml": "title: odd/one\n$id: /odd/one/1.0.0\ntype: object\nproperties:\n  a: {default: !!binary aGk=}\n",
    "shape": "title: odd/one\n$id: /odd/one/1.0.0\ntype: object\nproperties:\n  a: string\n",
    "number": "title: odd/one\n$id: /odd/one/1.0.0\ntype: object\nproperties:\n  a: {maximum: 1e999}\n",
    "twice": "title: odd/one\n$id: /odd/one/1.0.0\ntype: object\nx: 1\ntype: array\n",
}
BROWSER = {"accept": "text/html"}


def project_at(path: Path, odd: str | None = None) -> Path:
    write_project(path)
    written = {"ledger/entry": LEDGER} | ({"odd/one": odd} if odd else {})
    for title, text in written.items():
        folder = path / "schemas" / title
        folder.mkdir(parents=True)
        for name in ("1.0.0.yaml", "current.yaml"):
            (folder / name).write_text(text)
        stream = title.replace("/", ".")
        settings = f"stream: {stream}\nschema_title: {title}\nextra: {{limit: {LARGE}}}\nprivacy: {{class: public}}\n"
        (path / "streams" / f"{stream}.yaml").write_text(settings)
    return path


@asynccontextmanager
async def asked(project: Path) -> AsyncIterator[httpx.AsyncClient]:
    config = load_config(project, overrides={"web.port": 0})
    async with running(config) as (_, address), httpx.AsyncClient(base_url=address) as http:
        yield http


def integers(value: Any) -> set[int]:
    """The large whole numbers anywhere in a JSON value, also in JSON within texts."""
    if isinstance(value, dict | list):
        return set().union(*map(integers, value.values() if isinstance(value, dict) else value))
    if isinstance(value, str) and value.startswith("{"):
        return integers(json.loads(value))
    return {value} if isinstance(value, int) and abs(value) > 2**64 else set()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/asyncapi.json", {LARGE, LARGER}),
        ("/asyncapi/ledger.entry.json", {LARGE, LARGER}),
        ("/schemas", {LARGE, LARGER}),
        ("/subjects/ledger%2Fentry/versions/latest", {LARGE, LARGER}),
        ("/subjects/ledger.entry-value/versions/latest/schema", {LARGE, LARGER}),
        ("/repositories/schemas/jsonschema/ledger/entry/1.0.0.json", {LARGE, LARGER}),
        ("/repositories/all/jsonschema/ledger/entry/latest.json", {LARGE, LARGER}),
        ("/w/api.php?action=streamconfigs&format=json&formatversion=2", {LARGE}),
        ("/v1/stream-configs", {LARGE}),
        ("/v1/streams", set()),
        ("/v1/streams/ledger.entry", set()),
    ],
)
async def test_whole_numbers_of_any_size_keep_every_digit_in_every_answer(
    tmp_path: Path, path: str, expected: set[int]
) -> None:
    async with asked(project_at(tmp_path / "p")) as http:
        answer = await http.get(path)
        assert answer.status_code == 200, answer.text
        assert integers(answer.json()) >= expected


async def test_pages_show_whole_numbers_of_any_size(tmp_path: Path) -> None:
    async with asked(project_at(tmp_path / "p")) as http:
        for path in ("/", "/monitoring", "/repositories/", "/?doc", "/repositories/schemas/jsonschema/ledger/entry/"):
            answer = await http.get(path, headers=BROWSER)
            assert answer.status_code == 200, path
        assert str(LARGE) in answer.text
        posted = {"schemaType": "JSON", "schema": (await http.get(f"{_SUBJECT}/1.0.0/schema")).text}
        assert (await http.post("/subjects/ledger%2Fentry", json=posted)).status_code == 200


_SUBJECT = "/subjects/ledger%2Fentry/versions"


@pytest.mark.parametrize("odd", BROKEN)
async def test_a_schema_file_that_is_wrong_is_a_finding_and_takes_nothing_down(tmp_path: Path, odd: str) -> None:
    async with asked(project_at(tmp_path / "p", BROKEN[odd])) as http:
        for path in ("/asyncapi.json", "/schemas", "/subjects", "/repositories/", "/v1/streams", "/v1/stream-configs"):
            answer = await http.get(path)
            assert answer.status_code == 200, path
            assert "ledger" in answer.text or path == "/repositories/"
        for path in (
            "/",
            "/monitoring",
            "/repositories/",
            "/repositories/?q=ledger",
            "/repositories/schemas/jsonschema/",
        ):
            assert (await http.get(path, headers=BROWSER)).status_code == 200, path
        place = "odd/one/1.0.0.yaml:5:"
        for path, headers in (
            ("/subjects/odd%2Fone/versions/latest", {}),
            ("/repositories/schemas/jsonschema/odd/one/1.0.0.json", {}),
            ("/repositories/schemas/jsonschema/odd/one/1.0.0.yaml", {}),
            ("/repositories/schemas/jsonschema/odd/one/", BROWSER),
        ):
            answer = await http.get(path, headers=headers)
            assert answer.status_code == 422, path
            assert place in answer.text


@pytest.mark.parametrize("odd", BROKEN)
def test_check_names_file_and_line_of_a_schema_that_is_wrong_once(tmp_path: Path, odd: str) -> None:
    project = project_at(tmp_path / "p", BROKEN[odd])
    result = CliRunner().invoke(main, ["check", "--project", str(project), "--json"])
    problems = [json.loads(line) for line in result.stdout.splitlines()]
    found = [(one["file"], one["line"]) for one in problems if one["severity"] == "error" and "odd/one" in one["file"]]
    assert result.exit_code == 1
    assert found.count(("schemas/odd/one/1.0.0.yaml", 5)) == 1, problems


@pytest.mark.parametrize("number", ["1e400", "-1e400", ".inf", "-.inf", ".nan", "9" * 400, "!!binary aGk=", "!x 1"])
@pytest.mark.parametrize("file", ["streams/demo.edit.yaml", "headwater.yaml", "streams/services.yaml"])
def test_values_json_has_not_are_findings_in_declarations(tmp_path: Path, file: str, number: str) -> None:
    project = project_at(tmp_path / "p")
    path = project / file
    text = path.read_text() if path.exists() else "first: {}\n"
    path.write_text(f"{text.rstrip()}\nextra: {{a: {number}}}\n")
    result = CliRunner().invoke(main, ["check", "--project", str(project), "--json"])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    problems = [json.loads(line) for line in result.stdout.splitlines()]
    line = len(text.rstrip().splitlines()) + 1
    assert (file, line) in {(one["file"], one["line"]) for one in problems}, problems
