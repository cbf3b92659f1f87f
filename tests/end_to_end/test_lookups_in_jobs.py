"""A job that looks things up in wikis, on a platform and over files, against the stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.config import load_config
from headwater.intake.outcome import Accepted
from headwater.platform import build
from headwater.testing.eventually import eventually
from headwater.testing.mediawiki import MediaWikiStandIn, serving_in_thread
from headwater.testing.notes import NOTES, note, note_schema, write_notes

WIKI = "en.wikipedia.org"
JOB = """\
from headwater.jobs import Await, Job, Retry, ToStream


async def with_text(event, ctx):
    revision = await ctx.http.mediawiki.revision(event["meta"]["domain"], event["rev_id"], age=ctx.age)
    return {**event, "text": revision.content or "(hidden)"}


look_up = Await("look up", with_text, concurrency=64, retry=Retry(within="20s", base="0.1s"))
texts = Job("texts", ("notes",), (look_up,), ToStream("texts"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    schema = note_schema(rev_id={"type": "integer"}, meta_texts=("stream", "id", "dt", "domain"))
    streams = [NOTES, {"stream": "texts", "schema_title": "note"}]
    write_notes(directory, schema, streams)
    (directory / "headwater.yaml").write_text("", encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "texts.py").write_text(JOB, encoding="utf-8")
    return directory


def about(rev_id: int) -> dict[str, Any]:
    return note(id=f"id-{rev_id}", domain=WIKI, dt="2026-01-31T12:00:00Z") | {"rev_id": rev_id}


def row(rev_id: int, **given: Any) -> dict[str, Any]:
    return {"domain": WIKI, "page_id": 7, "title": "River", "rev_id": rev_id, "content": f"text {rev_id}", **given}


ROWS = [*(row(number) for number in range(1, 61)), row(61, texthidden=True)]
EXPECTED = {**{number: f"text {number}" for number in range(1, 61)}, 61: "(hidden)"}
RULES = [
    {"mode": "http", "status": 503, "times": 1},
    {"mode": "maxlag", "lag": 6, "times": 1},
    {"mode": "close", "times": 1},
]


def test_a_job_over_files_looks_up_revisions_in_batches(project: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f"{json.dumps(about(number))}\n" for number in [*range(1, 62), 999]), encoding="utf-8")
    stand_in = MediaWikiStandIn(ROWS, rules=RULES)
    with serving_in_thread(stand_in) as url:
        asked = ["job", "run", "texts", "--project", str(project), "--from", str(source), "--to", str(tmp_path / "out")]
        settings = ["--set", f"lookups.mediawiki.url={url}/w/api.php", "--set", "lookups.pause_seconds_max=0.1"]
        result = CliRunner().invoke(
            main, [*asked, "--errors", str(tmp_path / "errors"), *settings], catch_exceptions=False
        )
    assert result.exit_code == 0, result.output
    made = [json.loads(line) for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines()]
    assert {one["rev_id"]: one["text"] for one in made} == EXPECTED
    (error,) = [json.loads(line) for line in (tmp_path / "errors").read_text(encoding="utf-8").splitlines()]
    assert "no revision 999" in error["message"]
    assert len(stand_in.requests) < len(EXPECTED)


async def test_a_job_on_a_platform_looks_up_revisions_and_closes_what_it_opened(project: Path) -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=RULES)
    with serving_in_thread(stand_in) as url:
        overrides = {"lookups.mediawiki.url": f"{url}/w/api.php", "lookups.pause_seconds_max": 0.1}
        platform = build(load_config(project, environment={}, overrides=overrides))
        await platform.start()
        try:
            outcomes = await platform.intake.write([about(number) for number in range(1, 62)])
            assert {type(outcome) for outcome in outcomes} == {Accepted}

            def is_done() -> bool:
                return platform.runners["texts"].runner.status.report().written == len(EXPECTED)

            await eventually(is_done)
        finally:
            await platform.stop()
        assert platform.telemetry.value("headwater_lookup_requests_total", {"outcome": "answered"})
        assert platform.telemetry.value("headwater_lookups_in_flight") == 0
