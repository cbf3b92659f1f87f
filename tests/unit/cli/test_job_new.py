"""`headwater job new`: what it writes passes the check of the project and its own tests, unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "shop"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def new(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["job", "new", *arguments])


def test_what_is_written_has_no_errors_and_its_tests_pass(project: Path) -> None:
    assert new("page_sizes", "--source", "demo.edit").exit_code == 0
    keyed = new("edits_by_user", "--source", "demo.edit", "--key", "meta.domain", "--sink", "demo.edits_by_user.v1")
    assert keyed.exit_code == 0, keyed.output
    checked = CliRunner().invoke(main, ["check"])
    assert checked.exit_code == 0, checked.output
    assert Path("schemas/demo/edits_by_user/1.0.0.yaml").exists()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "6 passed" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("page_edits", "--source", "demo.edit"), "There is a job page_edits already."),
        (("mine", "--source", "demo.edit", "--sink", "demo.page_edits"), "There is a stream demo.page_edits already."),
        (("mine", "--source", "demo.edti"), 'Did you mean "demo.edit"?'),
        (("not-a-name", "--source", "demo.edit"), "cannot be the name of a Python function"),
        (("class", "--source", "demo.edit"), "cannot be the name of a Python function"),
        (("mine", "--source", "demo.edit", "--key", "nothing"), "has no nothing, which is to be the key"),
        (("mine", "--source", "page_edits.error"), "The schema"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(
    project: Path, arguments: tuple[str, ...], why: str
) -> None:
    before = sorted(project.rglob("*.yaml"))
    refused = new(*arguments)
    assert refused.exit_code in (1, 2)
    if arguments[-1] != "page_edits.error":
        assert why in refused.output
    assert sorted(project.rglob("*.yaml")) == before
