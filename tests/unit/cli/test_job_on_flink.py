"""`headwater job run NAME --on …`: which options go together, what the child is given, and what is refused before."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli import main
from headwater.cli.job.on_flink import FlinkRequest
from headwater.errors import ConfigInvalid

JOBS = """
from headwater.jobs import job, tumbling

@job(source="edits", sink="counts")
def passing(event, context):
    return event

@job(source="edits", sink="counts", key="page", window=tumbling("1m").count("edits"))
def hourly(window, context):
    return {"edits": window.edits}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "all.py").write_text(JOBS)
    (tmp_path / "streams").mkdir()
    for name in ("edits", "counts"):
        (tmp_path / "streams" / f"{name}.yaml").write_text(f"stream: {name}\nschema_title: {name}\n")
    (tmp_path / "headwater.yaml").write_text("log: kafka://localhost:9092\n")
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["job", "run", *arguments, "--project", str(project)])
    return result.exit_code, result.output + str(result.exception or "")


def test_the_child_is_given_what_was_asked_for(tmp_path: Path) -> None:
    asked = FlinkRequest("edits", "flink://host:8081", 4, "exactly-once", "thread", True, True, "file:///one")
    assert asked.arguments(tmp_path) == [
        *("--project", str(tmp_path.resolve()), "--job", "edits", "--cluster", "host:8081", "--parallelism", "4"),
        *("--guarantee", "exactly-once", "--mode", "thread", "--savepoint", "file:///one"),
        *("--idle", "never", "--until-end"),
    ]
    assert FlinkRequest("edits", "flink").arguments(tmp_path)[-2:] == ["--cluster", "local"]


@pytest.mark.parametrize("engine", ["spark", "flink://host", "flink:8081", "http://host:8081", "flink://host:port"])
def test_an_engine_that_there_is_not_is_refused(engine: str) -> None:
    with pytest.raises(ConfigInvalid, match="no engine has this name"):
        FlinkRequest("edits", engine).arguments(Path())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["passing", "--on", "flink", "--from", "a.jsonl"], "--on and --from do not go together"),
        (["passing", "--on", "flink", "--to", "log"], "--on and --to do not go together"),
        (["passing", "--on", "flink", "--rate", "5"], "--on and --rate do not go together"),
        (["passing", "--from", "a", "--to", "b", "--parallelism", "2"], "--parallelism is for a run on Flink"),
        (["passing", "--to", "b"], "Missing option '--from'"),
        (["passing", "--from", "a"], "Missing option '--to'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(project: Path, arguments: list[str], said: str) -> None:
    code, output = run(project, *arguments)
    assert (code, said in " ".join(output.split())) == (2, True), output


def test_a_job_that_flink_cannot_run_is_refused_with_all_reasons(project: Path) -> None:
    (project / "headwater.yaml").write_text("log: sqlite:///var/events.db\n")
    code, output = run(project, "hourly", "--on", "flink")
    assert code != 0
    assert "the log is on SQLite" in output
    assert "only events fire them" in output


def test_timers_that_wait_for_events_alone_are_no_reason_any_more(project: Path) -> None:
    (project / "headwater.yaml").write_text("log: sqlite:///var/events.db\n")
    _, output = run(project, "hourly", "--on", "flink", "--never-idle")
    assert "the log is on SQLite" in output
    assert "only events fire them" not in output


def test_a_misspelt_job_names_the_nearest(project: Path) -> None:
    code, output = run(project, "hourli", "--on", "flink")
    assert code != 0
    assert "hourly" in output
