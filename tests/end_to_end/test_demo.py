"""The demo as a script runs it: it ends by itself, its counts agree, and it says so when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import orjson
import pytest

from headwater.cli.demo.arithmetic import Expected
from headwater.cli.demo.demo import HISTORY_EVENTS, past_edits
from headwater.cli.demo.edits import synthetic_edits
from headwater.connectors.tables import TableView
from headwater.times import moment_of

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]


def _demo(*arguments: str, log_url: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADWATER, "demo", *arguments],
        env={**os.environ, **({"HEADWATER_LOG": log_url} if log_url else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_one_bounded_run_counts_everything_and_agrees_with_itself(log_url: str) -> None:
    run = _demo("--once", "--json", "--events", "400", log_url=log_url)
    assert run.returncode == 0, run.stderr
    summary = orjson.loads(run.stdout)
    assert summary["differences"] == []
    assert summary["source"] == "synthetic"
    # The two events shown as curl commands are posted too.
    assert summary["accepted"] + summary["refused"] == 402
    assert summary["read_back"] == summary["accepted"]
    assert set(summary["refused_by_code"]) == {"event_invalid", "stream_unknown", "schema_not_found"}
    assert summary["rows"]["edits_per_minute"] > 0
    assert summary["rows"]["most_edited_pages"] > 0
    again = _demo("--once", log_url=log_url)
    assert (again.returncode, "has events already" in again.stderr) == (2, True)


def test_without_a_terminal_it_ends_by_itself_and_shows_two_commands(tmp_path: Path) -> None:
    run = _demo("--events", "60", "--dir", str(tmp_path / "kept"))
    assert run.returncode == 0, run.stderr
    assert "✓ Every count agrees" in run.stdout
    assert run.stderr.count("curl -i http://127.0.0.1:") == 2
    assert (tmp_path / "kept" / "headwater.yaml").is_file()
    again = _demo("--dir", str(tmp_path / "kept"))
    assert (again.returncode, "has events already" in again.stderr) == (2, True)


@pytest.fixture
def expected() -> Expected:
    made = Expected()
    for sample in islice(synthetic_edits(1, datetime(2026, 1, 1, tzinfo=UTC), 10.0), 50):
        made.add(sample)
    return made


def _views(expected: Expected) -> list[TableView]:
    windows = [(*key, *figures) for key, figures in expected.windows.items()]
    pages = [(*key, edits, "Ada", "2026-01-01T00:00:00Z") for key, edits in expected.pages.items()]
    return [
        TableView("edits_per_minute", ("window_start", "wiki", "edits", "bot_edits", "bytes"), windows, len(windows)),
        TableView("most_edited_pages", ("wiki", "title", "edits", "last_user", "last_edit"), pages, len(pages)),
    ]


def test_the_check_is_content_with_what_it_expects(expected: Expected) -> None:
    assert expected.table_differences(_views(expected)) == []


def test_the_check_sees_a_wrong_row_a_missing_row_and_a_missing_table(expected: Expected) -> None:
    windows, pages = _views(expected)
    wrong = TableView(windows.name, windows.columns, [(*windows.rows[0][:2], 99, 0, 0), *windows.rows[1:]], 1)
    assert len(expected.table_differences([wrong, pages])) == 1
    missing = TableView(pages.name, pages.columns, pages.rows[1:], 1)
    assert len(expected.table_differences([windows, missing])) == 1
    assert expected.table_differences([pages]) != []


def test_the_check_sees_an_edit_lost_repeated_or_out_of_order(expected: Expected) -> None:
    events = [{"wiki": wiki, "title": title} for wiki, titles in expected.titles_by_wiki.items() for title in titles]
    assert expected.stream_differences(events) == []
    assert expected.stream_differences(events[1:]) != []
    assert expected.stream_differences([*events, events[0]]) != []
    assert "in another order" in expected.stream_differences(events[::-1])[0]


def test_the_check_sees_a_refusal_for_the_wrong_reason(expected: Expected) -> None:
    assert expected.tally_differences(expected.accepted, expected.refused) == []
    assert expected.tally_differences(expected.accepted, {"event_invalid": expected.refused.total()}) != []


def test_the_history_of_the_demo_is_over_when_it_is_posted() -> None:
    end = datetime(2026, 1, 31, 12, tzinfo=UTC)
    times = [moment_of(sample.event["dt"]) for sample in past_edits(end)]
    assert len(times) == HISTORY_EVENTS
    assert times == sorted(times)
    assert end - timedelta(seconds=0.01) <= times[-1] <= end
