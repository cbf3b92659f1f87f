"""What a platform and a process of jobs send each other arrives as it was."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from headwater.config import load_config
from headwater.connectors.tables import TableView
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.processing.calls_status import CallsReport
from headwater.processing.declarations import declarations
from headwater.processing.failures.counts import ErrorGroup
from headwater.processing.hosting import messages
from headwater.processing.hosting.messages import Assignment, Reports, outline
from headwater.processing.status import JobReport
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry, declared

TEMPLATE = Path(__file__).resolve().parents[4] / "src" / "headwater" / "cli" / "template"


def test_reports_arrive_whole() -> None:
    report = JobReport(
        "counts",
        "jobs/counts.py:3",
        "circuit_open",
        *(5, 4, 3, 2, 1),
        "2026-01-01T00:00:00Z",
        "token",
        "the last",
        "circuit open: away",
        CallsReport(1, 2, 3, 4, 5, "away"),
        {"a": 1},
        {"repeat": 2},
        (ErrorGroup("g", "kind", "step", "ValueError", "no", "id", 7, 1, 2, 3),),
    )
    assert messages.decode_reports(messages.encode(Reports({"counts": report}))) == {"counts": report}


def test_rows_arrive_with_their_values() -> None:
    view = TableView("t", ("a", "b", "c", "d"), [(1, "x", None, 2.5), (True, "", b"\xff", -(2**62))], 12)
    assert messages.decode_views(messages.encode_views([view])) == [view]


def test_metrics_arrive_with_their_labels() -> None:
    telemetry = Telemetry()
    telemetry.counter("events", "Some.", (declared("job"),)).labels("a").inc(3)
    telemetry.histogram("seconds", "Some.").observe(0.2)
    there = Telemetry()
    there.include(lambda: messages.decode_families(messages.encode(telemetry.families())))
    own = [line for line in telemetry.render().decode().splitlines() if "process_" not in line]
    assert [line for line in there.render().decode().splitlines() if "process_" not in line] == own


def test_a_process_gets_the_settings_and_the_streams_that_the_platform_has(tmp_path: Path) -> None:
    config = load_config(TEMPLATE, environment={}, overrides={"web.port": 7})
    streams, jobs = declarations(config)
    known = {one.name: outline(one) for one in jobs}
    sent = Assignment(
        *(1, config, streams.layers, streams.scope, streams.access, known),
        shares=False,
        materialized={"pages": MaterializedTable("pages", ("wiki", "id"))},
        paths=sys.path,
    )
    got = pickle.loads(pickle.dumps(sent))
    assert got.config == config
    assert isinstance(got.streams, StreamRegistry)
    assert [one.declared for one in got.streams.all()] == [one.declared for one in streams.all()]
    assert got.streams.access == streams.access
    assert (got.jobs, got.materialized) == (sent.jobs, sent.materialized)
    # The same project read again has the same jobs.
    assert {one.name: outline(one) for one in declarations(config)[1]} == dict(sent.jobs)
