"""`headwater errors`: lists causes, shows one error with its event, and redrives those that are chosen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import build

FILES = {
    "schemas/edit/1.0.0.yaml": """
title: edit
$id: /edit/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  dt: {type: string}
  meta: {type: object, properties: {id: {type: string}, stream: {type: string}, dt: {type: string}}}
""",
    "streams/edit.yaml": "stream: edit\nschema_title: edit\n",
    "streams/out.yaml": "stream: out\nschema_title: edit\n",
    "jobs/jobs.py": """
from headwater.jobs import Reject, job

@job(source="edit", sink="out")
def titles(event, context):
    if event["n"] == 9:
        raise Reject("NOT_FOUND: page 9")
    return {"title": event["title"].upper()}
""",
    "repairs.py": """
def with_title(event):
    return {**event, "title": "t"} if event["n"] != 1 else None

def broken(event):
    raise ValueError("a fault in the repair")
""",
    "headwater.yaml": "log: sqlite:///var/events.db\n",
}


def edit(number: int, **fields: Any) -> dict[str, Any]:
    meta = {"stream": "edit", "id": f"edit-{number}", "dt": "2026-01-01T00:00:00Z"}
    return {"$schema": "/edit/1.0.0", "meta": meta, "n": number, "wiki": f"w{number % 2}", **fields}


EVENTS = [*(edit(number) for number in range(4)), edit(4, title="fine"), edit(9)]


async def process(project: Path, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Write events, let the job process all there is, and return what it has written."""
    platform = build(load_config(project, environment={}))
    await platform.start(run_jobs=False)
    try:
        if events:
            await platform.intake.write(list(events))
        await platform.finish_jobs()
        records = await platform.log.read(await platform.log.first(["out"]))
        return [json.loads(record.value) for record in records]
    finally:
        await platform.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    asyncio.run(process(tmp_path, *EVENTS))
    return tmp_path


def ran(project: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["errors", *arguments, "--project", str(project)])
    assert result.exit_code == code, result.output
    return result


def rows(project: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran(project, "list", "--json", *arguments).stdout.splitlines()]


def redriven(project: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran(project, "redrive", "titles", "--json", *arguments, code=code).stdout)
    return found


def test_causes_are_listed_with_what_comes_next(project: Path) -> None:
    found = rows(project)
    assert [(row["job"], row["error_type"], row["count"]) for row in found] == [
        ("titles", "HANDLER_ERROR", 4),
        ("titles", "NOT_FOUND", 1),
    ]
    said = ran(project, "list").stdout
    assert f"errors show {found[0]['group']}" in said
    assert f"errors redrive titles --group {found[0]['group']} --dry-run" in said
    assert ran(project, "list", "--since", "2100-01-01").stdout == "No errors.\n"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--where", "error_type=NOT_FOUND"), 1),
        (("--where", 'error_type == "NOT_FOUND"'), 1),
        (("--where", "event.wiki=w1"), 3),
        (("--where", 'event.wiki == "w1" and event.n < 3'), 1),
        (("--where", "event.wiki=w1", "--where", "error_type=HANDLER_ERROR"), 2),
        (("--where", "meta.failure.exception=KeyError"), 4),
        (("--where", "meta.failure.attempt=1"), 5),
        (("--where", "event.n=7"), 0),
        (("--until", "2020-01-01T00:00:00Z"), 0),
        (("--group", "000000000000"), 0),
    ],
)
def test_errors_are_chosen_by_any_field_and_by_time(project: Path, arguments: tuple[str, ...], count: int) -> None:
    assert redriven(project, "--dry-run", *arguments)["events"] == count
    assert sum(row["count"] for row in rows(project, *arguments)) == count


def test_an_error_is_shown_by_its_group_its_id_and_the_id_of_its_event(project: Path) -> None:
    row = rows(project, "--where", "error_type=NOT_FOUND")[0]
    for name in (row["group"], row["sample"], "edit-9"):
        found = json.loads(ran(project, "show", name, "--json").stdout)
        assert found["event"]["value"]["n"] == 9
        assert found["event"]["place"].startswith("edit/0/")
        assert "jobs/jobs.py" in found["stack"]
        assert found["redrives"] == []
    assert "headwater/jobs/" in ran(project, "show", "edit-9", "--all").stdout
    said = ran(project, "show", "edit-9").stdout
    assert "jobs/jobs.py" in said
    assert "headwater/" not in said
    assert "NOT_FOUND in titles" in said
    assert '"n": 9' in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("show", "nothing"), "There is no error 'nothing'."),
        (("list", "title"), "Did you mean 'titles'?"),
        (("redrive", "nobody"), "The project has no job 'nobody'."),
        (("redrive", "titles", "--where", "wiki ==="), "Filter, column"),
        (("redrive", "titles", "--since", "yesterday"), "'yesterday' is not a time."),
        (("redrive", "titles", "--map", "repairs"), "is not MODULE:FUNCTION"),
        (("redrive", "titles", "--map", "nowhere:f"), "nowhere cannot be imported"),
        (("redrive", "titles", "--map", "repairs:f"), "repairs has no function 'f'"),
        (("redrive", "titles", "--map", "repairs:broken"), "a fault in the repair"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_reason(project: Path, arguments: tuple[str, ...], why: str) -> None:
    result = CliRunner().invoke(main, ["errors", *arguments, "--project", str(project)])
    assert result.exit_code in (1, 2)
    assert why in result.output
    assert "Traceback" not in result.output


def test_a_dry_run_changes_nothing_and_a_redrive_is_recorded(project: Path) -> None:
    assert redriven(project, "--dry-run")["events"] == 5
    assert redriven(project, "--dry-run")["redriven_before"] == 0
    assert redriven(project, "--limit", "2")["events"] == 2
    rest = redriven(project, "--map", "repairs:with_title", "--where", "error_type=HANDLER_ERROR")
    assert (rest["events"], rest["redriven_before"], rest["left_out"]) == (2, 2, 0)
    assert [row["redriven"] for row in rows(project)] == [4, 0]
    found = json.loads(ran(project, "show", "edit-3", "--json").stdout)
    (record,) = found["redrives"]
    assert record["mapper"] == "repairs:with_title"
    assert record["filter"] == {"where": ["error_type=HANDLER_ERROR"]}
    assert "@" in record["by"]
    out = asyncio.run(process(project))
    assert [event["title"] for event in out] == ["FINE", "T", "T"]
    # The two that were redriven unchanged failed again.
    attempts = redriven(project, "--dry-run", "--where", "meta.failure.attempt=2")
    assert attempts["events"] == 2


def test_a_project_without_a_log_is_reported(tmp_path: Path) -> None:
    (tmp_path / "headwater.yaml").write_text("log: sqlite:///var/events.db\n")
    result = CliRunner().invoke(main, ["errors", "list", "--project", str(tmp_path)])
    assert result.exit_code != 0
    assert "The project has no log yet" in result.output
