"""A Grafana dashboard of the platform: an overview, then a row for each owner with its streams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from headwater.catalog.alerts import BY_JOB, NOBODY, owner_of, quoted
from headwater.streams.projection import value_at
from headwater.streams.stream import Stream

# The version of the dashboard format that Grafana 10 and 11 write; later ones read it.
SCHEMA_VERSION = 39
WIDTH = 24
_Panel = dict[str, Any]
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(streams: Iterable[Stream], name: str) -> dict[str, Any]:
    """The dashboard as Grafana imports it; `name` is the platform's. Its data source is chosen on import."""
    by_owner: dict[str, list[Stream]] = {}
    for stream in streams:
        if not stream.is_family:
            by_owner.setdefault(owner_of(stream), []).append(stream)
    owners = sorted(by_owner, key=lambda one: (one == NOBODY, one))
    panels = [*_platform_row(), *(_owner_row(owner, by_owner[owner]) for owner in owners)]
    return {
        "uid": re.sub(r"[^a-z0-9-]", "-", f"headwater-{name}".lower())[:40],
        "title": f"Headwater: {name}",
        "tags": ["headwater"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_variable_source(), _variable_stream()]},
        "annotations": {"list": [_changes()]},
        "panels": _placed(panels),
    }


def _platform_row() -> Iterable[_Panel]:
    yield {"type": "row", "title": "The platform", "collapsed": False, "panels": []}
    chosen = 'stream=~"$stream"'
    yield _series(
        "Events accepted",
        [(f'sum by (stream) (rate(headwater_intake_events_total{{{chosen}, outcome="accepted"}}[5m]))', "{{stream}}")],
        unit="eps",
    )
    refused = f'headwater_intake_events_total{{{chosen}, outcome!~"accepted|duplicate"}}'
    yield _series(
        "Events refused, by reason",
        [(f"sum by (stream, outcome) (rate({refused}[5m])) > 0", "{{stream}}: {{outcome}}")],
        unit="eps",
    )
    yield _series(
        "Age of the newest canary",
        [(f"max by (stream, hop) (headwater_canary_age_seconds{{{chosen}}})", "{{stream}}: {{hop}}")],
        unit="s",
    )
    yield _series(
        "Incomplete hours of the last 24 hours",
        [
            (f'max by (stream) (headwater_completeness_hours{{{chosen}, state="missing"}}) > 0', "{{stream}}: missing"),
            (
                f"max by (stream) (headwater_reconciliation_differing_hours{{{chosen}}}) > 0",
                "{{stream}}: counts differ",
            ),
        ],
        unit="short",
    )
    yield _series(
        "Connected clients",
        [(f"sum by (stream) (eventstreams_connected_clients{{{chosen}}})", "{{stream}}")],
        unit="short",
    )
    yield from _job_panels()


def _job_panels() -> Iterator[_Panel]:
    named = "{{job}} {{exported_job}}"
    yield _series(
        "Jobs: events per second",
        [
            (f'sum {BY_JOB} (rate(headwater_job_events_total{{what="{what}"}}[5m]))', f"{named}: {what}")
            for what in ("read", "written", "errors", "late", "skipped")
        ],
        unit="short",
    )
    yield _series(
        "Jobs: lag in event time",
        [(f"max {BY_JOB} (headwater_job_lag_seconds)", named)],
        unit="s",
    )
    yield _series("Jobs: lag in events", [(f"sum {BY_JOB} (headwater_job_lag_events)", named)], unit="short")
    buckets = "sum by (le, job, exported_job) (rate(headwater_job_latency_seconds_bucket[5m]))"
    yield _series(
        "Jobs: from receipt to commit",
        [(f"histogram_quantile({share:g}, {buckets})", f"{named}: p{share:.0%}".rstrip("%")) for share in (0.5, 0.99)],
        unit="s",
    )
    yield _series(
        "Jobs: size of state",
        [(f"sum {BY_JOB} (headwater_job_state_bytes)", named)],
        unit="bytes",
    )


def _owner_row(owner: str, streams: Sequence[Stream]) -> _Panel:
    names = _one_of([stream.name for stream in streams])
    chosen = f"stream=~{names}"
    title = "Streams without an owner" if owner == NOBODY else owner
    panels = [
        _series(
            "Events accepted per hour",
            [
                (
                    f'sum by (stream) (increase(headwater_intake_events_total{{{chosen}, outcome="accepted"}}[1h]))',
                    "{{stream}}",
                )
            ],
            unit="short",
            lines=_least(streams),
        ),
        _series(
            "Canaries that arrive",
            [(f"min by (stream, prefix) (headwater_canary_up{{{chosen}}})", "{{stream}} {{prefix}}")],
            unit="bool_yes_no",
        ),
    ]
    return {"type": "row", "title": f"{title} ({len(streams)})", "collapsed": True, "panels": panels}


def _least(streams: Sequence[Stream]) -> list[float]:
    """The minimum rates that streams expect, as lines in their panel."""
    rates = {value_at(stream, "monitor.expect.min_rate_per_hour") for stream in streams}
    return sorted(rate for rate in rates if isinstance(rate, (int, float)) and rate > 0)


def _series(title: str, queries: Sequence[tuple[str, str]], *, unit: str, lines: Sequence[float] = ()) -> _Panel:
    """A graph of PromQL queries, each with its legend; `lines` are horizontal lines."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": "orange", "value": line} for line in lines]
    drawn = {"thresholdsStyle": {"mode": "line" if lines else "off"}}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
        for number, (expr, legend) in enumerate(queries)
    ]
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": drawn, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _variable_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable_stream() -> dict[str, Any]:
    query = "label_values(headwater_intake_events_total, stream)"
    return {
        "name": "stream",
        "label": "Stream",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "streams"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _changes() -> dict[str, Any]:
    return {
        "name": "Stream changes",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": "changes(max(headwater_stream_revision)[2m:30s]) > 0",
        "titleFormat": "Streams were changed",
    }


def _placed(panels: Sequence[_Panel]) -> list[_Panel]:
    """Panels two to a line, rows over the whole width, in order; each with an id."""
    placed: list[_Panel] = []
    x = y = number = 0
    for panel in panels:
        if panel["type"] == "row":
            y, x = (y + 8 if x else y), 0
            number += 1
            inner = []
            for column, one in enumerate(panel["panels"]):
                number += 1
                inner.append({**one, "id": number, "gridPos": {"h": 8, "w": 12, "x": 12 * column, "y": y + 1}})
            placed.append(
                {**panel, "id": number + 1000, "panels": inner, "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}}
            )
            y += 1
            continue
        number += 1
        placed.append({**panel, "id": number, "gridPos": {"h": 8, "w": 12, "x": x, "y": y}})
        x, y = (0, y + 8) if x else (12, y)
    return placed


def _one_of(names: Sequence[str]) -> str:
    """A regular expression that matches these names, as a string of PromQL."""
    return quoted("|".join(re.escape(name).replace("\\-", "-") for name in names))
