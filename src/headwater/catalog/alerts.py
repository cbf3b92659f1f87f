"""Alerting rules for Prometheus, generated from the stream declarations: canaries, rates and owners.

How this works: a rule of a stream has its owner as a label, so that routing alerts needs no list of streams. Thresholds
are those of the declarations. The platform decides whether a canary is late, since it knows about changes at run time;
the rules query the result, and alert if it is absent. Prometheus renames our label `job` to `exported_job`, unless
`honor_labels` is set, because it has a `job` of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headwater.config import Config
from headwater.streams.projection import value_at
from headwater.streams.stream import Stream
from headwater.times import duration_seconds, duration_text

NOBODY = "none"
BY_JOB = "by (job, exported_job)"
JOB_LAG_SECONDS_MAX = 3600
SINK_WAITING_SECONDS_MAX = 300
SOURCE_WAITING_SECONDS_MAX = 900
_JOB_NAMED = "{{ with $labels.exported_job }}{{ . }}{{ else }}{{ $labels.job }}{{ end }}"
REFUSED_SHARE_MAX = 0.1
_TAKEN = 'outcome=~"accepted|duplicate"'
_Rule = dict[str, Any]


def alerting_rules(streams: Iterable[Stream], config: Config) -> dict[str, Any]:
    """A rules file for Prometheus: one group about the platform, one about its streams."""
    declared = [stream for stream in streams if not stream.is_family]
    of_streams = [rule for stream in declared for rule in _stream_rules(stream, config)]
    groups = [{"name": "headwater-platform", "rules": list(_platform_rules())}]
    if of_streams:
        groups.append({"name": "headwater-streams", "rules": of_streams})
    return {"groups": groups}


def owner_of(stream: Stream) -> str:
    """The owner of a stream, as a label."""
    return stream.owner or NOBODY


def quoted(text: str) -> str:
    """A text as a string of PromQL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _stream_rules(stream: Stream, config: Config) -> Iterator[_Rule]:
    if stream.canary_events_enabled and config.monitoring.canaries:
        yield from _canary_rules(stream, config)
    least = value_at(stream, "monitor.expect.min_rate_per_hour")
    if isinstance(least, (int, float)) and least > 0:
        yield _rate_rule(stream, least)
    if value_at(stream, "monitor.expect") and config.monitoring.completeness:
        yield _completeness_rule(stream)


def _canary_rules(stream: Stream, config: Config) -> Iterator[_Rule]:
    name = quoted(stream.name)
    within = duration_text(max(1, round(required_within_seconds(stream, config))))
    impossible = f"headwater_canary_impossible{{stream={name}}} == 1"
    yield _rule(
        "HeadwaterCanaryLate",
        f"min by (stream, prefix) (headwater_canary_up{{stream={name}}}) < 1",
        wait="1m",
        severity="critical",
        summary=f"No canary of {stream.name} arrived within {within}: events may be lost.",
        stream=stream,
    )
    yield _rule(
        "HeadwaterCanaryUnknown",
        f"absent(headwater_canary_up{{stream={name}}}) unless on () ({impossible})",
        wait=within,
        severity="critical",
        summary=f"There is no data about the canaries of {stream.name}: a failure would go unnoticed.",
        stream=stream,
    )


def required_within_seconds(stream: Stream, config: Config) -> float:
    """How old the newest canary of a stream may be, by its declaration or by the configuration."""
    written = value_at(stream, "monitor.canary.required_within")
    if isinstance(written, str):
        return duration_seconds(written)
    period = value_at(stream, "monitor.canary.period")
    seconds = duration_seconds(period) if isinstance(period, str) else config.monitoring.canary_period_seconds
    return max(config.monitoring.canary_required_within_seconds, 2 * seconds)


def _rate_rule(stream: Stream, least: float) -> _Rule:
    name = quoted(stream.name)
    accepted = f"sum(increase(headwater_intake_events_total{{stream={name}, {_TAKEN}}}[1h]))"
    canaries = f'sum(increase(headwater_canaries_total{{stream={name}, outcome="arrived"}}[1h]))'
    return _rule(
        "HeadwaterRateLow",
        f"({accepted} or vector(0)) - ({canaries} or vector(0)) < {least:g}",
        wait="15m",
        severity="warning",
        summary=f"{stream.name} has fewer than the expected {least:g} events per hour.",
        stream=stream,
    )


def _completeness_rule(stream: Stream) -> _Rule:
    return _rule(
        "HeadwaterHoursMissing",
        f'max by (stream) (headwater_completeness_hours{{stream={quoted(stream.name)}, state="missing"}}) > 0',
        wait="5m",
        severity="warning",
        summary=f"Some hours of {stream.name} in the last 24 hours may lack events.",
        stream=stream,
    )


def _platform_rules() -> Iterator[_Rule]:
    """Alerts that do not depend on declarations."""
    taken = f"sum by (stream) (increase(headwater_intake_events_total{{{_TAKEN}}}[15m]))"
    judged = "sum by (stream) (increase(headwater_intake_events_total[15m]))"
    yield _rule(
        "HeadwaterEventsRefused",
        f"1 - ({taken} or 0 * {judged}) / ({judged} > 0) > {REFUSED_SHARE_MAX:g}",
        wait="15m",
        severity="warning",
        summary="More than a tenth of the events for {{ $labels.stream }} are refused.",
    )
    yield _rule(
        "HeadwaterLogUnavailable",
        'sum(increase(headwater_intake_events_total{outcome=~"log_.*"}[5m])) > 0',
        wait="5m",
        severity="critical",
        summary="The log does not accept events.",
    )
    yield _rule(
        "HeadwaterEventsLost",
        "sum(increase(headwater_intake_hasty_lost_events_total[15m]))"
        " + sum(increase(headwater_intake_error_events_lost_total[15m])) > 0",
        wait="0m",
        severity="critical",
        summary="Events were acknowledged but could not be stored.",
    )
    yield _rule(
        "HeadwaterCanaryImpossible",
        "max by (stream) (headwater_canary_impossible) == 1",
        wait="5m",
        severity="warning",
        summary="{{ $labels.stream }} declares canaries that it cannot have.",
    )
    yield _rule(
        "HeadwaterCountsDiffer",
        "max by (stream) (headwater_reconciliation_differing_hours) > 0",
        wait="15m",
        severity="critical",
        summary="The counts of accepted, stored and delivered events of {{ $labels.stream }} differ.",
    )
    yield _rule(
        "HeadwaterLogDamaged",
        "max(headwater_log_damaged_offsets) > 0",
        wait="0m",
        severity="critical",
        summary="Part of the log is damaged and skipped; run headwater log verify for details.",
    )
    yield from _job_rules()
    yield from _sink_rules()
    yield _rule(
        "HeadwaterSourceWaiting",
        f"max {BY_JOB} (headwater_source_waiting_seconds) > {SOURCE_WAITING_SECONDS_MAX:g}",
        wait="0m",
        severity="warning",
        summary=f"The upstream of the {_JOB_NAMED} has not answered for {SOURCE_WAITING_SECONDS_MAX // 60} minutes.",
    )


def _sink_rules() -> Iterator[_Rule]:
    yield _rule(
        "HeadwaterSinkWaiting",
        f"max {BY_JOB} (headwater_sink_waiting_seconds) > {SINK_WAITING_SECONDS_MAX:g}",
        wait="0m",
        severity="critical",
        summary=f"The target of the sink {_JOB_NAMED} has taken nothing for {SINK_WAITING_SECONDS_MAX // 60} minutes.",
    )
    yield _rule(
        "HeadwaterSinkBehind",
        f"max {BY_JOB} (headwater_sink_lag_seconds) > {JOB_LAG_SECONDS_MAX:g}",
        wait="15m",
        severity="warning",
        summary=f"The oldest event that the sink {_JOB_NAMED} has not written is more than an hour old.",
    )
    yield _rule(
        "HeadwaterSinkRejects",
        f'sum {BY_JOB} (increase(headwater_sink_rows_total{{what="rejected"}}[15m])) > 0',
        wait="0m",
        severity="warning",
        summary=f"Events could not be written by the sink {_JOB_NAMED}; see headwater errors list.",
    )


def _job_rules() -> Iterator[_Rule]:
    yield _rule(
        "HeadwaterJobFailing",
        f"sum {BY_JOB} (increase(headwater_job_restarts_total[15m])) > 2",
        wait="0m",
        severity="critical",
        summary=f"The job {_JOB_NAMED} fails repeatedly.",
    )
    yield _rule(
        "HeadwaterJobStopped",
        f"max {BY_JOB} (headwater_job_stopped) == 1",
        wait="0m",
        severity="critical",
        summary=f"The job {_JOB_NAMED} is stopped in front of an event that it cannot process.",
    )
    yield _rule(
        "HeadwaterJobBehind",
        f"max {BY_JOB} (headwater_job_lag_seconds) > {JOB_LAG_SECONDS_MAX:g}",
        wait="15m",
        severity="warning",
        summary=f"The job {_JOB_NAMED} is more than an hour behind.",
    )
    yield _rule(
        "HeadwaterJobLostEvents",
        f"sum {BY_JOB} (increase(headwater_job_positions_lost_total[1h])) > 0",
        wait="0m",
        severity="critical",
        summary=f"Events were removed or damaged before the job {_JOB_NAMED} read them.",
    )


def _rule(alert: str, expr: str, *, wait: str, severity: str, summary: str, stream: Stream | None = None) -> _Rule:
    """`wait`: how long the condition must last. Braces in a stream's texts are escaped: they are not templates."""
    labels = {"severity": severity}
    annotations = {"summary": summary}
    if stream is not None:
        labels |= {"stream": stream.name, "owner": owner_of(stream)}
        docs = stream.declared.get("docs", {})
        said = {"description": stream.summary, "contact": docs.get("contact")}
        annotations |= {key: _no_template(value) for key, value in said.items() if isinstance(value, str) and value}
    return {"alert": alert, "expr": expr, "for": wait, "labels": labels, "annotations": annotations}


def _no_template(text: str) -> str:
    return text.replace("{{", "{ {")
