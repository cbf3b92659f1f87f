"""`headwater deploy`: files to commit, the same each time, compared with `--check`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from deploying.projects import IMAGE, new_project
from headwater.cli.main import main


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = new_project(tmp_path)
    (project / "deploy.yaml").write_text(f"image: {IMAGE}\nsettings:\n  log: kafka://kafka:9092\n")
    return project


def deploy(project: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["deploy", "--project", str(project), *options])


def test_all_manifests_are_printed(project: Path) -> None:
    result = deploy(project, "--to", "kubernetes")
    assert result.exit_code == 0, result.output
    kinds = [manifest["kind"] for manifest in yaml.safe_load_all(result.stdout)]
    assert sorted(kinds) == sorted(
        [
            *("ConfigMap", "Deployment", "PodDisruptionBudget"),
            *("Service", "Service", "ServiceAccount", "StatefulSet"),
        ]
    )


def test_files_are_written_once_and_compared(project: Path, tmp_path: Path) -> None:
    output = ("--to", "kubernetes", "--output-dir", str(tmp_path / "production"))
    check = deploy(project, *output, "--check")
    assert (check.exit_code, "deployment-shop.yaml would be written" in check.output) == (1, True)
    assert not (tmp_path / "production").exists()
    assert "Wrote" in deploy(project, *output).output
    assert deploy(project, *output).output == ""
    assert deploy(project, *output, "--check").exit_code == 0
    (project / "deploy.yaml").write_text(f"image: {IMAGE}-1\nsettings:\n  log: kafka://kafka:9092\n")
    check = deploy(project, *output, "--check")
    assert check.exit_code == 1
    assert check.output.count("would be written") == 2


def test_an_environment_can_have_another_file(project: Path, tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text(f"image: {IMAGE}\nnamespace: staging\n")
    result = deploy(project, "--to", "kubernetes", "--environment", str(tmp_path / "staging.yaml"))
    assert {manifest["metadata"]["namespace"] for manifest in yaml.safe_load_all(result.stdout)} == {"staging"}


def test_a_project_with_errors_is_not_deployed(project: Path) -> None:
    (project / "streams" / "broken.yaml").write_text("stream: broken\nschema_titel: demo/edit\n")
    result = deploy(project, "--to", "kubernetes")
    assert result.exit_code == 2
    assert 'Did you mean "schema_title"?' in result.output
    assert "kind:" not in result.stdout


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("namespace: events\n", "names no image"),
        (f"image: {IMAGE}\nsettings: {{log: kafka://kafka:9092, job: {{}}}}\n", 'Did you mean "jobs"?'),
        (f"image: {IMAGE}\nreplica: 2\n", 'unknown key "replica"'),
    ],
)
def test_what_is_wrong_with_the_environment_is_said(project: Path, written: str, says: str) -> None:
    (project / "deploy.yaml").write_text(written)
    result = deploy(project, "--to", "kubernetes")
    assert result.exit_code == 2
    assert says in result.output


def test_container_files_are_in_the_directory_of_the_project(project: Path, tmp_path: Path) -> None:
    assert "--output-dir" in deploy(project, "--to", "container", "--output-dir", str(tmp_path)).output
    assert deploy(project, "--to", "container", "--output-dir", str(project)).exit_code == 0
    made = {path.name for path in project.iterdir()} & {"Containerfile", "Containerfile.flink", ".dockerignore"}
    assert len(made) == 3
    assert deploy(project, "--to", "container", "--output-dir", str(project), "--check").exit_code == 0


FLINK = """
image: registry.example.org/shop:1.4.0
settings:
  log: kafka://kafka:9092
  flink: {jobs: [page_edits]}
flink: {image: "registry.example.org/shop-flink:1.4.0", storage: "s3://shop/flink"}
"""


def job_deploy(project: Path, name: str, *options: str) -> Result:
    arguments = ["job", "deploy", name, "--project", str(project), "--to", "kubernetes"]
    return CliRunner().invoke(main, [*arguments, *options])


def test_a_job_is_deployed_by_itself_or_with_the_platform(project: Path, tmp_path: Path) -> None:
    (project / "deploy.yaml").write_text(FLINK)
    alone = list(yaml.safe_load_all(job_deploy(project, "page_edits").stdout))
    together = list(yaml.safe_load_all(deploy(project, "--to", "kubernetes").stdout))
    assert [one["kind"] for one in alone].count("FlinkDeployment") == 1
    assert [one for one in together if one in alone] == alone
    assert job_deploy(project, "page_edits", "--output-dir", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out" / "flinkdeployment-shop-page-edits.yaml").exists()


def test_jobs_that_flink_cannot_run_are_refused(project: Path) -> None:
    (project / "deploy.yaml").write_text(FLINK)
    refused = job_deploy(project, "table.most_edited_pages")
    assert refused.exit_code == 2
    assert "it fills a table" in refused.output
    unknown = job_deploy(project, "page_edit")
    assert 'Did you mean "page_edits"?' in unknown.output


def test_a_backfill_has_a_beginning_before_its_end(project: Path) -> None:
    (project / "deploy.yaml").write_text(FLINK)
    made = job_deploy(project, "page_edits", "--since", "2026-11-01", "--until", "2026-11-08T12:00:00Z")
    (application,) = [one for one in yaml.safe_load_all(made.stdout) if one["kind"] == "FlinkDeployment"]
    bounds = application["spec"]["job"]["args"][-4:]
    assert bounds == ["--since", "2026-11-01T00:00:00Z", "--until", "2026-11-08T12:00:00Z"]
    for options, says in (
        (("--since", "2026-11-01"), "a beginning and an end"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "is not before"),
        (("--since", "soon", "--until", "2026-11-01"), "soon is not a time"),
    ):
        refused = job_deploy(project, "page_edits", *options)
        assert (refused.exit_code, says in refused.output) == (2, True), options
