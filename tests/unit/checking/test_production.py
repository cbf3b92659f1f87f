"""The path to production: a project that meets every requirement, and for each one a project that does not."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.checking import Problem, check_settings
from headwater.checking.production import REQUIREMENTS, Statements, missing
from headwater.cli import main
from headwater.cli.init import write_project
from headwater.options import fields_of

TODAY = datetime.date(2026, 12, 1)
SETTINGS = """log: sqlite:///var/events.db
schemas: schemas
streams: streams
jobs:
  path: jobs
  process_memory_bytes_max: 1073741824
intake:
  service_name: headwater-demo
  keys: required
  hasty_spool_path: var/spool
consumption:
  keys: required
web:
  host: 127.0.0.1
"""
STATEMENTS = """contact: mailto:platform@example.org
on_call: https://wiki.example.org/on-call
alert_rules: monitoring/headwater.rules.yaml
alert_route: https://alerts.example.org/routes/headwater
scrape: https://prometheus.example.org/targets
backup: copied every hour to another machine
backup_restored_on: 2026-10-01
events_per_second_max: 4000
capacity_measured_on: 2026-10-01
backfill_tried_on: 2026-10-02
redrive_tried_on: 2026-10-02
"""
ERRORS = """stream: /^.+\\.error(\\.validation)?$/
schema_title: error
docs: {summary: Events that could not be processed., owner: team:demo}
privacy: {class: internal}
transport: {retention: 30d}
"""
STREAM = "stream: demo.more\nschema_title: demo/edit\n"
DOCS = "docs: {summary: More edits., owner: team:demo}\n"
PRIVACY = "privacy: {class: public}\n"
KEPT = "transport: {retention: 7d}\n"
CLOSED = "producers: {external: false}\n"
ASKING = '''from headwater.jobs import job

@job(source="demo.edit", settings={})
async def asks(edit, context):
    """Asks a service."""
    return None
'''
SUMMING = "sinks:\n- {connector: http, url: 'http://localhost:1/', body: {a: b}}\n"
KAFKA = "log:\n  url: kafka://{host}:9092\n  replication_factor: {copies}\n  min_insync_replicas: 2\n"


def settings(old: str, new: str) -> dict[str, str]:
    assert old in SETTINGS
    return {"headwater.yaml": SETTINGS.replace(old, new)}


def statements(old: str, new: str) -> dict[str, str]:
    assert old in STATEMENTS
    return {"production.yaml": STATEMENTS.replace(old, new)}


def on_kafka(host: str = "localhost", copies: int = 3, more: str = "") -> dict[str, str]:
    return settings("log: sqlite:///var/events.db\n", KAFKA.format(host=host, copies=copies) + more)


@dataclass(frozen=True)
class Lacking:
    """Files laid over a project that lacks nothing (empty: removed), and what is found."""

    rule: str
    files: Mapping[str, str]
    file: str
    says: str


LACKING = [
    Lacking("production-keys", settings("keys: required\n  hasty", "keys: optional\n  hasty"),
            "headwater.yaml", "send"),
    Lacking("production-keys", settings("consumption:\n  keys: required", "control:\n  requests_per_minute_max: 5"),
            "headwater.yaml", "read events"),
    Lacking("production-encryption", settings("127.0.0.1", "0.0.0.0"), "headwater.yaml", "0.0.0.0"),
    Lacking("production-secrets", on_kafka(more="  kafka: {sasl.password: open}\n"), "headwater.yaml", "sasl.password"),
    Lacking("production-secrets", settings("schemas: schemas", "schemas: [schemas, 'http://me:open@localhost:1/']"),
            "headwater.yaml", "schemas.1"),
    Lacking("production-durability", settings("log: sqlite:///var/events.db", "log: {durability: os}"),
            "headwater.yaml", "durability"),
    Lacking("production-durability", on_kafka(copies=2), "headwater.yaml", "replication_factor is 2"),
    Lacking("production-durability",
            {**on_kafka(), "streams/demo.more.yaml": STREAM + DOCS + PRIVACY + CLOSED
             + "transport: {retention: 7d, kafka: {replicas: 1}}\n"}, "streams/demo.more.yaml", "1 replicas"),
    Lacking("production-backup", statements("backup: copied every hour to another machine\n", ""), "production.yaml",
            "backed up"),
    Lacking("production-backup", statements("backup_restored_on: 2026-10-01", "backup_restored_on: 2025-10-01"),
            "production.yaml", "426 days ago"),
    Lacking("production-backup", statements("backup_restored_on: 2026-10-01", "backup_restored_on: 2027-10-01"),
            "production.yaml", "in the future"),
    Lacking("production-backup", statements("backup_restored_on: 2026-10-01", "backup_restored_on: last summer"),
            "production.yaml", "no day"),
    Lacking("production-brokers-encrypted", on_kafka(host="kafka.example.org"), "headwater.yaml", "kafka.example.org"),
    Lacking("production-spool", settings("  hasty_spool_path: var/spool\n", ""), "headwater.yaml", "hasty"),
    Lacking("production-owners", {"streams/demo.more.yaml": STREAM + PRIVACY + KEPT + CLOSED}, "streams/demo.more.yaml",
            "docs.owner"),
    Lacking("production-audience", {"streams/demo.more.yaml": STREAM + DOCS + KEPT + CLOSED}, "streams/demo.more.yaml",
            "privacy.class"),
    Lacking("production-retention", {"streams/demo.more.yaml": STREAM + DOCS + PRIVACY + CLOSED},
            "streams/demo.more.yaml", "transport.retention"),
    Lacking("production-error-streams", {"streams/families/errors.yaml": ""}, "streams", "page_edits.error"),
    Lacking("production-canaries", {"streams/demo.more.yaml": STREAM + DOCS + PRIVACY + KEPT}, "streams/demo.more.yaml",
            "no canaries"),
    Lacking("production-monitoring", settings("web:\n", "monitoring:\n  canaries: false\nweb:\n"), "headwater.yaml",
            "monitoring.canaries"),
    Lacking("production-monitoring", statements("scrape: https://prometheus.example.org/targets\n", ""),
            "production.yaml", "scrape"),
    Lacking("production-alerts", statements("alert_rules: monitoring/headwater.rules.yaml", "alert_rules: none.yaml"),
            "production.yaml", "none.yaml"),
    Lacking("production-alerts", {"monitoring/headwater.rules.yaml": "groups: []\n"}, "production.yaml",
            "exported earlier"),
    Lacking("production-alerts", statements("alert_route: https://alerts.example.org/routes/headwater\n", ""),
            "production.yaml", "where alerts go"),
    Lacking("production-people", statements("on_call: https://wiki.example.org/on-call", "on_call: ''"),
            "production.yaml", "called"),
    Lacking("production-capacity", statements("events_per_second_max: 4000\n", ""), "production.yaml", "per second"),
    Lacking("production-capacity", statements("capacity_measured_on: 2026-10-01\n", ""), "production.yaml", "measured"),
    Lacking("production-tests", {"tests/test_edits.py": "# page_edits_of_another\n"}, "jobs/edits.py", "page_edits"),
    Lacking("production-runbooks", {"runbooks/page_edits.md": ""}, "jobs/edits.py", "runbooks/page_edits.md"),
    Lacking("production-guarantees", settings("web:\n", "flink:\n  jobs: [page_edits]\nweb:\n"), "headwater.yaml",
            "flink.guarantee"),
    Lacking("production-guarantees", {"streams/demo.more.yaml": STREAM + DOCS + PRIVACY + KEPT + CLOSED + SUMMING},
            "streams/demo.more.yaml", "may write a batch again"),
    Lacking("production-isolation", settings("  process_memory_bytes_max: 1073741824\n", ""),
            "headwater.yaml", "leaks"),
    Lacking("production-isolation", settings("  path: jobs\n", "  path: jobs\n  processes: 0\n"), "headwater.yaml",
            "jobs.processes"),
    Lacking("production-contact", {"jobs/asks.py": ASKING}, "headwater.yaml", "lookups.contact"),
    Lacking("production-drills", statements("backfill_tried_on: 2026-10-02\n", ""), "production.yaml", "over history"),
    Lacking("production-drills", statements("redrive_tried_on: 2026-10-02\n", ""), "production.yaml",
            "processed again"),
    Lacking("production-file-invalid", statements("contact:", "contakt:"), "production.yaml", 'unknown key "contakt"'),
]  # fmt: skip


def lay(project: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = project / name
        if not text:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that lacks nothing."""
    directory = tmp_path / "mine"
    write_project(directory)
    lay(
        directory,
        {
            "headwater.yaml": SETTINGS,
            "production.yaml": STATEMENTS,
            "streams/families/errors.yaml": ERRORS,
            "tests/test_edits.py": "NAMES = ('edits_per_minute', 'page_edits')\n",
            "runbooks/page_edits.md": "# page_edits\n",
            "runbooks/edits_per_minute.md": "# edits_per_minute\n",
        },
    )
    exported = run("export", "prometheus", "--project", str(directory))
    assert exported.exit_code == 0, exported.output
    lay(directory, {"monitoring/headwater.rules.yaml": exported.stdout})
    return directory


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def found_in(project: Path) -> list[Problem]:
    report = check_settings(project)
    assert report.project is not None
    return missing(report.project, TODAY)


def test_a_project_that_meets_every_requirement_lacks_nothing(project: Path) -> None:
    assert [str(one) for one in found_in(project)] == []


@pytest.mark.parametrize("lacking", LACKING, ids=lambda one: f"{one.rule}-{one.says}")
def test_what_is_missing_is_found_where_it_belongs(project: Path, lacking: Lacking) -> None:
    lay(project, lacking.files)
    found = [one for one in found_in(project) if one.rule == lacking.rule]
    assert any(lacking.says in one.message and one.file == lacking.file for one in found), found_in(project)
    assert all(one.hint and one.why for one in found)
    severity = {one.id: one.severity for one in REQUIREMENTS}.get(lacking.rule, "error")
    assert {one.severity for one in found} == {severity}


def test_every_requirement_has_a_project_that_does_not_meet_it() -> None:
    untested = {"production-schemas"}
    assert {one.id for one in REQUIREMENTS} - {one.rule for one in LACKING} == untested
    ids = [one.id for one in REQUIREMENTS]
    assert len(set(ids)) == len(ids)


def test_every_statement_is_asked_for(project: Path) -> None:
    """Without any of them, each is missed; a proxy only replaces what else is required."""
    lay(project, {"production.yaml": "{}\n"})
    missed = {key for one in found_in(project) for key in fields_of(Statements) if f"`{key}`" in (one.hint or "")}
    assert missed == set(fields_of(Statements)) - {"proxy"}


def test_a_version_that_does_not_read_earlier_events_is_found(project: Path) -> None:
    first = (project / "schemas/demo/edit/1.0.0.yaml").read_text("utf-8")
    second = first.replace("/demo/edit/1.0.0", "/demo/edit/1.1.0")
    lay(project, {"schemas/demo/edit/1.1.0.yaml": second})
    assert [one for one in found_in(project) if one.rule == "production-schemas"] == []
    lay(project, {"schemas/demo/edit/1.1.0.yaml": narrowed(second)})
    [found, *_] = [one for one in found_in(project) if one.rule == "production-schemas"]
    assert "1.0.0 → 1.1.0" in found.message
    assert found.file == "schemas/demo/edit/1.1.0.yaml"


def narrowed(schema: str) -> str:
    """The schema, with a field that has to be a number instead of true or false."""
    assert "type: boolean" in schema
    return schema.replace("type: boolean", "type: number", 1)


def test_a_proxy_that_is_stated_replaces_keys_and_encryption(project: Path) -> None:
    lay(project, settings("127.0.0.1", "0.0.0.0"))
    lay(
        project,
        {"headwater.yaml": (project / "headwater.yaml").read_text().replace("keys: required", "keys: optional")},
    )
    assert {one.rule for one in found_in(project)} == {"production-keys", "production-encryption"}
    lay(project, {"production.yaml": f"{STATEMENTS}proxy: https://wiki.example.org/proxy\n"})
    assert found_in(project) == []


def test_on_kafka_no_backup_is_asked_for(project: Path) -> None:
    lay(project, on_kafka())
    lay(project, statements("backup: copied every hour to another machine\nbackup_restored_on: 2026-10-01\n", ""))
    assert [str(one) for one in found_in(project)] == []


def recently(project: Path) -> None:
    """The days that are stated, as yesterday."""
    day = (datetime.date.today() - datetime.timedelta(days=1)).isoformat()
    lay(project, {"production.yaml": STATEMENTS.replace("2026-10-01", day).replace("2026-10-02", day)})


def test_the_verb_ends_with_0_if_nothing_is_missing_and_with_1_otherwise(project: Path) -> None:
    recently(project)
    met = run("check", "--production", "--project", str(project))
    assert met.exit_code == 0, met.output
    assert f"{len(REQUIREMENTS)} of {len(REQUIREMENTS)} requirements of production are met." in met.output
    # A warning leaves it at 0.
    lay(project, settings("  hasty_spool_path: var/spool\n", ""))
    warned = run("check", "--production", "--project", str(project))
    assert (warned.exit_code, "[production-spool]" in warned.output) == (0, True)
    lay(project, {"streams/demo.more.yaml": STREAM + PRIVACY + KEPT + CLOSED})
    failed = run("check", "--production", "--project", str(project))
    assert failed.exit_code == 1
    assert "streams/demo.more.yaml:1: " in failed.output
    assert "  because: Alerts are routed by the owner" in failed.output
    assert f"{len(REQUIREMENTS) - 2} of {len(REQUIREMENTS)} requirements of production are met." in failed.output
    # Without the option nobody is asked.
    assert run("check", "--project", str(project)).exit_code == 0


def test_each_finding_is_an_object_with_the_reason(project: Path) -> None:
    recently(project)
    lay(project, {"runbooks/page_edits.md": ""})
    answer = run("check", "--production", "--json", "--project", str(project))
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    # The file of keys is where the platform runs.
    assert {one["rule"] for one in found if one["rule"] != "production-runbooks"} == {"keys-missing"}
    [finding] = [one for one in found if one["rule"] == "production-runbooks"]
    assert answer.exit_code == 1
    assert finding["why"] == "Who is called at night did not write the job."
    assert {"message", "file", "line", "hint", "rule", "severity", "why"} == set(finding)


def test_an_error_of_the_project_itself_is_found_too(project: Path) -> None:
    recently(project)
    lay(project, {"streams/demo.more.yaml": "stream: demo.more\nschema_titel: demo/edit\n"})
    answer = run("check", "--production", "--project", str(project))
    assert answer.exit_code == 1
    assert "stream-file-invalid" in answer.output
