"""`headwater plan` and `headwater apply` bring the log's topics to what a project declares, and delete nothing."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from end_to_end.logs import in_log
from headwater.cli.main import main
from headwater.config import load_config
from headwater.log.contract import Log, Position, Record, TopicInfo, TopicSettings
from headwater.platform import build

STREAM = """stream: {name}
schema_title: {name}
transport:
  topic_prefixes: [dc1., dc2.]
  {transport}
"""
COUNTS = """stream: page.count
schema_title: page.count
transport: {compact: true, message_key_fields: {a: a}}
"""
JOB = """
from headwater.jobs import job

@job(source="page.edit", sink="page.count")
def count(event, context):
    return {"count": 1}
"""


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.real_server)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    url = "sqlite:///events.db"
    if request.param == "kafka":
        url = f"kafka://{request.getfixturevalue('kafka_server')}/{uuid.uuid4().hex[:12]}."
    for name, text in {
        "headwater.yaml": f"log: {url}\n",
        "streams/page.edit.yaml": STREAM.format(name="page.edit", transport="retention: 1d"),
        "streams/page.count.yaml": COUNTS,
        "streams/families/job.yaml": "stream: /^job\\..+/\nschema_title: job\ntransport: {retention: 2d}\n",
        "jobs/count.py": JOB,
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def run(verb: str, project: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [verb, "--project", str(project), *arguments])
    assert result.exit_code == code, result.output
    return result


def topics(project: Path) -> dict[str, TopicInfo]:
    async def ask(log: Log) -> dict[str, TopicInfo]:
        return {info.name: info for info in await log.topics()}

    found: dict[str, TopicInfo] = in_log(project, ask)
    return found


def declare(project: Path, transport: str) -> None:
    path = project / "streams" / "page.edit.yaml"
    path.write_text(STREAM.format(name="page.edit", transport=transport), encoding="utf-8")


def write(project: Path, topic: str, settings: TopicSettings) -> None:
    async def writing(log: Log) -> None:
        await log.ensure_topic(topic, settings)
        await log.append([Record(topic, b"{}")])

    in_log(project, writing)


def test_a_plan_shows_every_topic_of_streams_and_jobs_and_makes_nothing(project: Path) -> None:
    plan = json.loads(run("plan", project, "--json", code=2).stdout)
    assert {change["topic"]: change["action"] for change in plan["changes"]} == dict.fromkeys(
        ["count.error", "dc1.page.edit", "dc2.page.edit", "headwater-intake.error.validation", "page.count"], "create"
    )
    assert not (project / "events.db").exists()
    assert topics(project) == {}
    assert "+ create dc1.page.edit  partitions 1, retention 1d" in run("plan", project, code=2).stdout


def test_apply_does_what_the_plan_shows_and_then_there_is_nothing_to_do(project: Path) -> None:
    run("apply", project, "--yes")
    kept = topics(project)
    assert kept["dc2.page.edit"].settings == TopicSettings(retention_seconds=86_400.0)
    assert kept["page.count"].settings == TopicSettings(compact=True)
    assert kept["count.error"].settings == TopicSettings(retention_seconds=604_800.0)
    assert "5 as declared" in run("plan", project).stdout
    again = json.loads(run("apply", project, "--yes", "--json").stdout)
    assert (again["changes"], again["applied"]) == ([], True)


def test_a_declaration_that_changed_is_drift_until_it_is_applied(project: Path) -> None:
    run("apply", project, "--yes")
    declare(project, "retention: 2h\n  partitions: 3")
    plan = json.loads(run("plan", project, "--json", code=2).stdout)
    assert plan["drift"] == [{"topic": f"{dc}.page.edit", "reason": "settings"} for dc in ("dc1", "dc2")]
    shown = run("apply", project, "--dry-run").stdout
    assert "~ alter  dc1.page.edit  partitions 1 → 3, retention 1d → 2h" in shown
    assert topics(project)["dc1.page.edit"].settings.partitions == 1
    run("apply", project, "--yes")
    assert topics(project)["dc1.page.edit"].settings == TopicSettings(partitions=3, retention_seconds=7200.0)
    run("plan", project)


def test_partitions_are_never_taken_away_and_then_nothing_else_is_done_either(project: Path) -> None:
    declare(project, "partitions: 3")
    run("apply", project, "--yes")
    declare(project, "partitions: 2")
    (project / "streams" / "new.yaml").write_text("stream: new\nschema_title: new\n", encoding="utf-8")
    refused = run("apply", project, "--yes", code=2)
    assert 'has 3 partitions and the stream "page.edit" declares 2 (streams/page.edit.yaml:1)' in refused.stderr
    assert "Declare `partitions: 3`" in refused.stderr
    assert "new" not in topics(project)
    assert len(json.loads(run("plan", project, "--json", code=2).stdout)["impossible"]) == 2


def test_compression_is_set_where_the_log_has_topics_of_their_own_compression(project: Path) -> None:
    run("apply", project, "--yes")
    declare(project, "retention: 1d\n  kafka: {compression: zstd}")
    keeps = build(load_config(project)).log.features.topic_compression
    if not keeps:
        run("plan", project)
        return
    assert "compression the log's default → zstd" in run("plan", project, code=2).stdout
    run("apply", project, "--yes")
    assert topics(project)["dc1.page.edit"].settings.compression == "zstd"
    declare(project, "retention: 1d")
    run("apply", project, "--yes")
    assert topics(project)["dc1.page.edit"].settings.compression is None


def test_undeclared_topics_are_listed_and_kept_and_members_of_families_are_not_among_them(project: Path) -> None:
    run("apply", project, "--yes")
    write(project, "left.over", TopicSettings(partitions=2))
    write(project, "job.send", TopicSettings(retention_seconds=172_800.0))
    result = run("plan", project)
    assert "? drift  left.over  not declared (1 offsets kept)" in result.stdout
    assert "job.send" not in result.stdout
    run("apply", project, "--yes")
    assert sum(topics(project)["left.over"].next) == 1


def test_without_a_terminal_apply_needs_yes(project: Path) -> None:
    assert "Use --yes" in run("apply", project, code=2).stderr
    assert not (project / "events.db").exists()


def test_an_impossible_plan_is_distinguished_from_one_with_changes(project: Path, tmp_path: Path) -> None:
    assert "no headwater.yaml" in run("plan", tmp_path, code=1).stderr
    declare(project, "partitions: none")
    assert "streams/page.edit.yaml:5" in run("plan", project, code=1).stderr


def test_a_plan_shows_where_each_source_continues_and_what_keeps_one_from_starting(project: Path) -> None:
    run("apply", project, "--yes")
    sources = {
        "lines": "connector: jsonl\npath: in.jsonl\nstart: newest\nstream: page.edit\n",
        "posted": "connector: webhook\nsecret: ${env:A_VARIABLE_THAT_IS_NOT_SET}\nstream: page.edit\n",
    }
    (project / "sources").mkdir()
    for name, text in sources.items():
        (project / "sources" / f"{name}.yaml").write_text(text, encoding="utf-8")
    shown = run("plan", project, code=2).output
    assert "Source lines: jsonl, writes page.edit (sources/lines.yaml:1)" in shown
    assert "begins with the newest" in shown
    assert "A_VARIABLE_THAT_IS_NOT_SET, which is not set" in shown
    token = Position({("source/jsonl/1", 0): 7}).token()

    async def commit(log: Log) -> None:
        await log.commit("job.source.lines", token)

    in_log(project, commit)
    assert "continues after 7 events" in run("plan", project, code=2).output
    lines, posted = json.loads(run("plan", project, "--json", code=2).stdout)["sources"]
    assert (lines["name"], lines["delivered"], lines["start"], lines["reason"]) == ("lines", 7, "newest", None)
    assert (posted["streams"], posted["start"], posted["delivered"]) == (["page.edit"], None, None)
    (project / "sources" / "lines.yaml").write_text(sources["lines"].replace("path", "pth"), encoding="utf-8")
    assert 'Did you mean "path"?' in run("plan", project, code=1).output
