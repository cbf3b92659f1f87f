"""The demo with an invented wiki: edits travel through the jobs of the use cases, and every count agrees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from requirements import check_need

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]
EDITS = 8
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _libraries() -> None:
    from importlib.util import find_spec

    for name in ("mwedittypes", "mwparserfromhell"):
        check_need("wikimedia", find_spec(name), "install the extra: pip install 'headwater[wikimedia]'")


def _demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADWATER, "demo", "--wikimedia", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_edits_of_an_invented_wiki_arrive_everywhere_and_all_counts_agree(tmp_path: Path) -> None:
    project = tmp_path / "kept"
    run = _demo("--once", "--json", "--events", str(EDITS), "--project", str(project))
    assert run.returncode == 0, run.stderr + run.stdout
    summary = orjson.loads(run.stdout)
    assert (summary["differences"], summary["errors"]) == ([], {})
    counts = {place["where"]: place["count"] for place in summary["places"]}
    assert counts["mediawiki.page_content_change.v1"] == counts["sink.edits"] == summary["edits"] > EDITS
    assert 0 < counts["mediawiki.page_references_change.v1"] < summary["edits"]
    assert counts["current_pages"] == counts["sink.search_index"] == summary["pages"]
    assert all(place["p50_ms"] is not None for place in summary["places"])
    again = _demo("--once", "--project", str(project))
    assert (again.returncode, "has events already" in again.stderr) == (2, True)


def test_a_directory_with_something_else_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "headwater.yaml").write_text("log: sqlite:///var/events.db\n")
    run = _demo("--once", "--project", str(tmp_path))
    assert (run.returncode, "is not a project of this demo" in run.stderr) == (2, True)
    assert [file.name for file in tmp_path.iterdir()] == ["headwater.yaml"]
