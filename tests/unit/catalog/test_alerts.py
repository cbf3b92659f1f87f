"""The alerting rules and the dashboard: what they ask for exists, can be asked so, and fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from headwater.catalog.alerts import alerting_rules, required_within_seconds
from headwater.cli.init import write_project
from headwater.cli.main import main
from headwater.config import load_config
from headwater.streams import StreamRegistry
from headwater.testing.service_kit import served_project

WATCHED = {
    "stream": "watched",
    "schema_title": "demo/edit",
    "docs": {"summary": "What {{ is }} watched.", "owner": "team:watch", "contact": "#watch"},
    "monitor": {
        "canary": {"enabled": True, "period": "5m", "required_within": "30m"},
        "expect": {"min_rate_per_hour": 100},
    },
}
QUIET = {
    "stream": "quiet.one-two",
    "schema_title": "demo/edit",
    "docs": {"owner": None},
    "monitor": {"canary": {"enabled": True}},
}

TOKEN = re.compile(
    r'\s*(?:([0-9.]+(?![0-9a-z]))|("(?:[^"\\]|\\.)*")|([A-Za-z_:][\w:]*)|(=~|!~|!=|==|>=|<=|[-+*/(){},=<>\[\]:]|\d+[smhd]))'
)
AGGREGATIONS = frozenset({"sum", "min", "max", "avg", "count"})
FUNCTIONS = frozenset({"rate", "increase", "absent", "vector", "time", "changes", "histogram_quantile"})
RANGED = frozenset({"rate", "increase", "changes"})
DURATION = re.compile(r"\[\d+[smhd](:\d+[smhd])?\]")
OPERATORS = ("+", "-", "*", "/", ">", "<", "==", ">=", "<=", "!=", "or", "and", "unless")


class Expression:
    """A PromQL expression read by the grammar, as far as ours go; `selectors` are (metric, labels asked for)."""

    def __init__(self, text: str) -> None:
        self._tokens = self._split(text)
        self._at = 0
        self.selectors: list[tuple[str, set[str]]] = []
        self._expression()
        assert self._at == len(self._tokens), f"{text}: {self._tokens[self._at :]} is left"

    @staticmethod
    def _split(text: str) -> list[str]:
        tokens: list[str] = []
        while text.strip():
            text = text.lstrip()
            found = DURATION.match(text) or TOKEN.match(text)
            assert found, f"not PromQL: {text}"
            tokens.append(found[0].strip())
            text = text[found.end() :]
        return tokens

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self, *wanted: str) -> str:
        token = self._peek()
        assert token
        assert not wanted or token in wanted, f"{token!r} instead of {wanted} in {self._tokens}"
        self._at += 1
        return token

    def _expression(self) -> None:
        self._operand()
        while self._peek() in OPERATORS:
            self._next()
            if self._peek() in ("on", "ignoring"):
                self._next()
                self._names()
            self._operand()

    def _operand(self) -> None:
        token = self._next()
        if token == "(":
            self._expression()
            self._next(")")
        elif token in AGGREGATIONS:
            if self._peek() == "by":
                self._next()
                self._names()
            self._next("(")
            self._expression()
            self._next(")")
        elif token in FUNCTIONS:
            self._next("(")
            if token == "histogram_quantile":
                self._expression()
                self._next(",")
            if self._peek() != ")":
                self._expression()
            if token in RANGED:
                assert self._tokens[self._at - 1].startswith("["), f"{token} needs a range"
            self._next(")")
        elif not re.fullmatch(r"[0-9.]+", token):
            assert re.fullmatch(r"[a-z_]+", token), token
            self._selector(token)
        if DURATION.fullmatch(self._peek()):
            self._next()

    def _selector(self, metric: str) -> None:
        labels: set[str] = set()
        if self._peek() == "{":
            self._next()
            while self._peek() != "}":
                labels.add(self._next())
                self._next("=", "=~", "!=", "!~")
                assert self._next().startswith('"')
                if self._peek() == ",":
                    self._next()
            self._next("}")
        self.selectors.append((metric, labels))

    def _names(self) -> None:
        self._next("(")
        while self._peek() != ")":
            self._next()
            if self._peek() == ",":
                self._next()
        self._next(")")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "mine"
    write_project(directory)
    for stream in (WATCHED, QUIET):
        (directory / "streams" / f"{stream['stream']}.yaml").write_text(yaml.safe_dump(stream), encoding="utf-8")
    (directory / "sources").mkdir()
    (directory / "sources" / "edits.yaml").write_text(
        "connector: jsonl\npath: in\nstream: demo.edit\n", encoding="utf-8"
    )
    return directory


def exported(project: Path, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["export", *arguments, "--project", str(project)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def rules(project: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(exported(project, "prometheus"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def dashboard(project: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(exported(project, "grafana"))
    return made


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def queries(dashboard: dict[str, Any]) -> list[str]:
    found = [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", ())]
    return found + [one["expr"] for one in dashboard["annotations"]["list"]]


@pytest.mark.parametrize("wrong", ["sum(a", "a{b=c}", "rate(a)", "a +", 'a{b="c}', "a b", "max by stream (a)", "1 % ?"])
def test_the_grammar_refuses_what_is_no_expression(wrong: str) -> None:
    with pytest.raises(AssertionError):
        Expression(wrong)


def test_everything_that_is_asked_for_is_exposed_by_a_running_platform_with_these_labels(
    project: Path, rules: list[dict[str, Any]], dashboard: dict[str, Any]
) -> None:
    with served_project(project) as (address, platform):
        text = httpx.get(f"{address}/metrics").text
        labels = {name: {label.name for label in known} for name, (known, _) in platform.telemetry._instruments.items()}
    exposed = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    asked = [
        one for text in (*(rule["expr"] for rule in rules), *queries(dashboard)) for one in Expression(text).selectors
    ]
    assert asked
    for metric, wanted in asked:
        family = metric.removesuffix("_bucket")
        assert family in exposed, metric
        assert wanted <= labels[family.removesuffix("_total")], (metric, wanted)


def test_a_stream_gets_the_rules_its_declaration_asks_for_with_its_owner(rules: list[dict[str, Any]]) -> None:
    found = {(rule["alert"], rule["labels"].get("stream")): rule for rule in rules}
    assert {alert for alert, stream in found if stream == "watched"} == {
        "HeadwaterCanaryLate",
        "HeadwaterCanaryUnknown",
        "HeadwaterRateLow",
        "HeadwaterHoursMissing",
    }
    assert {alert for alert, stream in found if stream == "quiet.one-two"} == {
        "HeadwaterCanaryLate",
        "HeadwaterCanaryUnknown",
    }
    low = found["HeadwaterRateLow", "watched"]
    assert low["labels"] == {"severity": "warning", "stream": "watched", "owner": "team:watch"}
    assert low["annotations"]["contact"] == "#watch"
    assert "{{" not in low["annotations"]["description"], "a summary is no template"
    assert low["expr"].endswith("< 100")
    assert found["HeadwaterCanaryUnknown", "watched"]["for"] == "30m"
    assert found["HeadwaterCanaryUnknown", "quiet.one-two"]["for"] == "1h"
    assert found["HeadwaterCanaryLate", "quiet.one-two"]["labels"]["owner"] == "none"


def test_without_canaries_or_counting_there_are_no_rules_about_them(project: Path) -> None:
    config = load_config(project, environment={}, overrides={"monitoring": {"canaries": False, "completeness": False}})
    streams = StreamRegistry.load(project / "streams")
    groups = alerting_rules(streams.entries(), config)["groups"]
    assert [rule["alert"] for group in groups[1:] for rule in group["rules"]] == ["HeadwaterRateLow"]
    assert required_within_seconds(streams.get("watched"), config) == 1800


def test_the_dashboard_has_a_row_for_each_owner_and_nothing_overlaps(dashboard: dict[str, Any]) -> None:
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in rows] == [
        "The platform",
        "team:demo (3)",
        "team:watch (1)",
        "Streams without an owner (1)",
    ]
    assert 'stream=~"quiet\\\\.one-two"' in rows[3]["panels"][0]["targets"][0]["expr"]
    lines = rows[2]["panels"][0]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in lines] == [None, 100]
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_all_real_streams_have_rules_and_a_dashboard_that_can_be_read(fixtures_dir: Path, project: Path) -> None:
    from headwater.catalog.dashboard import dashboard as made

    streams = StreamRegistry.load(fixtures_dir / "streams" / "wikimedia_streams.yaml").entries()
    config = load_config(project, environment={})
    found = [rule for group in alerting_rules(streams, config)["groups"] for rule in group["rules"]]
    watched = [stream for stream in streams if stream.canary_events_enabled and not stream.is_family]
    assert len([rule for rule in found if rule["alert"] == "HeadwaterCanaryLate"]) == len(watched) > 0
    for rule in found:
        Expression(rule["expr"])
    for query in queries(made(streams, "real")):
        Expression(query)


def _series(name: str, values: str) -> dict[str, str]:
    return {"series": name, "values": values}


def test_promtool_finds_the_rules_good_and_they_fire_when_they_should(
    project: Path, rules: list[dict[str, Any]], tmp_path: Path, needs: Any
) -> None:
    promtool = shutil.which("promtool")
    needs("promtool", promtool, "install the Debian package prometheus")
    (tmp_path / "rules.yaml").write_text(exported(project, "prometheus"), encoding="utf-8")
    accepted = 'headwater_intake_events_total{stream="watched",outcome="accepted"}'
    up = 'headwater_canary_up{stream="%s",prefix=""}'
    others = {rule["labels"]["stream"] for rule in rules if rule["alert"] == "HeadwaterCanaryUnknown"} - {"watched"}
    calm_others = [_series(up % stream, "1x300") for stream in sorted(others)]
    calm = [_series(up % "watched", "1x300"), *calm_others]
    cases: dict[str, tuple[list[dict[str, str]], set[str]]] = {
        "all is well": ([*calm, _series(accepted, "0+3x300")], set()),
        "too few": ([*calm, _series(accepted, "0+1x300")], {"HeadwaterRateLow"}),
        "none at all": (calm, {"HeadwaterRateLow"}),
        "only canaries": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_canaries_total{stream="watched",prefix="",outcome="arrived"}', "0+2x300"),
            ],
            {"HeadwaterRateLow"},
        ),
        "late": (
            [_series(up % "watched", "0x300"), *calm_others, _series(accepted, "0+3x300")],
            {"HeadwaterCanaryLate"},
        ),
        "unknown": ([*calm_others, _series(accepted, "0+3x300")], {"HeadwaterCanaryUnknown"}),
        "impossible": (
            [
                *calm_others,
                _series(accepted, "0+3x300"),
                _series('headwater_canary_impossible{stream="watched"}', "1x300"),
            ],
            {"HeadwaterCanaryImpossible"},
        ),
        "refused": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_intake_events_total{stream="other",outcome="event_invalid"}', "0+1x300"),
            ],
            {"HeadwaterEventsRefused"},
        ),
        "job": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_job_restarts_total{exported_job="edits"}', "0+1x300"),
            ],
            {"HeadwaterJobFailing"},
        ),
        "stopped": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_job_stopped{exported_job="edits"}', "1x300"),
            ],
            {"HeadwaterJobStopped"},
        ),
        "behind": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_job_lag_seconds{exported_job="edits"}', "4000x300"),
            ],
            {"HeadwaterJobBehind"},
        ),
        "sink-waiting": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_sink_waiting_seconds{exported_job="sink.edits"}', "0+60x300"),
            ],
            {"HeadwaterSinkWaiting"},
        ),
        "source-waiting": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_source_waiting_seconds{exported_job="source.feed"}', "0+60x300"),
            ],
            {"HeadwaterSourceWaiting"},
        ),
        "sink-behind": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_sink_lag_seconds{exported_job="sink.edits"}', "4000x300"),
            ],
            {"HeadwaterSinkBehind"},
        ),
        "sink-rejects": (
            [
                *calm,
                _series(accepted, "0+3x300"),
                _series('headwater_sink_rows_total{exported_job="sink.edits",what="rejected"}', "0+1x300"),
            ],
            {"HeadwaterSinkRejects"},
        ),
    }
    alerts = sorted({"HeadwaterRateLow", *(alert for _, fired in cases.values() for alert in fired)})
    tests = []
    for name, (series, fired) in cases.items():
        wanted = [f'count(ALERTS{{alertstate="firing",alertname="{alert}"}}) or vector(0)' for alert in alerts]
        samples = [[{"labels": "{}", "value": int(alert in fired)}] for alert in alerts]
        tests.append(
            {
                "interval": "1m",
                "name": name,
                "input_series": series,
                "promql_expr_test": [
                    {"expr": expr, "eval_time": "4h", "exp_samples": expected}
                    for expr, expected in zip(wanted, samples, strict=True)
                ],
            }
        )
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}), encoding="utf-8"
    )
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        done = subprocess.run([str(promtool), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
