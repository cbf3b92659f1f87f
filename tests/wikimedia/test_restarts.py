"""Jobs that are stopped and started again while events arrive write what an uninterrupted run over files writes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, job_named, read, run, run_files

PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
CHANGES = "derived/page_change_adam_himebauch.jsonl.gz"
CASES = [
    ("banner_impressions", "synthetic/SYNTHETIC_centralnotice_impression.jsonl.gz"),
    ("client_errors", "synthetic/SYNTHETIC_client_error.jsonl.gz"),
    ("keyword_filter", PAGE),
    ("reference_changes", PAGE),
    ("mediawiki_history", CHANGES),
    ("page_change_consolidation", "derived/legacy_streams_shuffled.jsonl.gz"),
    ("search_update_each", CHANGES),
    ("change_propagation_rules", CHANGES),
    ("traffic_anomalies", "synthetic/SYNTHETIC_webrequest.jsonl.gz"),
]


def events_by_id(outputs: list[Event]) -> dict[str, Any]:
    found = {event["meta"]["id"]: {**event, "meta": None} for event in outputs}
    assert len(found) == len(outputs), "nothing is written twice"
    return found


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize(("name", "file"), CASES, ids=[name for name, _ in CASES])
def test_restarts_change_nothing(name: str, file: str, tmp_path: Path) -> None:
    events = sorted(at_least_one(read(file)), key=lambda event: event.get("dt") or event["meta"]["dt"])
    if name == "traffic_anomalies":
        events = events[::3]
    library = "mwparserfromhell" if name == "reference_changes" else None

    placed = [(0, event) for event in events]
    ran = asyncio.run(run(job_named(name, library=library), placed, restarts=4))
    uninterrupted = run_files(name, events, tmp_path)

    assert ran.errors == uninterrupted.errors == []
    assert events_by_id(ran.outputs) == events_by_id(uninterrupted.outputs)
