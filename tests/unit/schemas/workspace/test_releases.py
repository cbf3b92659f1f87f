"""A released version that changes is reported, by the effect of the change; with Git's history and with a lock file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid
from headwater.schemas.workspace.releases import changed_since_lock, changed_since_release, read_lock, write_lock
from headwater.schemas.workspace.working_copy import WorkingCopy
from requirements import check_need

SCHEMA = """title: page
$id: /page/1.0.0
type: object
properties:
  name:
    type: string
"""


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The directory of a schema with two released versions."""
    folder = tmp_path / "jsonschema" / "page"
    folder.mkdir(parents=True)
    (folder / "1.0.0.yaml").write_text(SCHEMA)
    (folder / "1.1.0.yaml").write_text(SCHEMA.replace("1.0.0", "1.1.0"))
    return folder


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def committed(released: Path) -> Path:
    check_need("git", shutil.which("git"), "install the Debian package git")
    root = released.parents[1]
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "release")
    return released


@pytest.mark.parametrize(
    ("before", "after", "effect", "severity"),
    [
        ("type: object\n", "type: 'object'\n", "text", "notice"),
        ("type: object\n", "type: object\ndescription: a page\n", "documentation", "warning"),
        ("type: string", "type: integer", "rules", "error"),
        ("title: page", "title: [", "unreadable", "error"),
    ],
)
def test_a_changed_release_is_graded_by_what_the_change_does(
    committed: Path, before: str, after: str, effect: str, severity: str
) -> None:
    file = committed / "1.0.0.yaml"
    file.write_text(file.read_text().replace(before, after))
    git(committed, "commit", "-q", "-a", "-m", "quietly")
    found = changed_since_release(WorkingCopy.open(committed.parents[1]))
    assert [(one.uri, one.effect, one.severity) for one in found] == [("/page/1.0.0", effect, severity)]


def test_nothing_is_reported_about_unchanged_releases(committed: Path) -> None:
    assert changed_since_release(WorkingCopy.open(committed.parents[1])) == []


def test_a_missing_release_is_reported(committed: Path) -> None:
    (committed / "1.0.0.yaml").unlink()
    found = changed_since_release(WorkingCopy.open(committed.parents[1]))
    assert [(one.uri, one.effect) for one in found] == [("/page/1.0.0", "removed")]


def test_a_version_that_the_base_does_not_have_may_still_change(committed: Path) -> None:
    root = committed.parents[1]
    git(root, "checkout", "-q", "-b", "work")
    (committed / "1.2.0.yaml").write_text(SCHEMA)
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first try")
    (committed / "1.2.0.yaml").write_text(SCHEMA.replace("string", "integer"))
    assert changed_since_release(WorkingCopy.open(root), base="main") == []
    assert [one.uri for one in changed_since_release(WorkingCopy.open(root))] == ["/page/1.2.0"]


def test_a_lock_file_keeps_what_was_released_until_an_erratum_says_why(released: Path) -> None:
    root = released.parents[1]
    lock = root / "schemas.lock"
    assert write_lock(WorkingCopy.open(root), lock) == ["/page/1.0.0", "/page/1.1.0"]
    file = released / "1.0.0.yaml"
    file.write_text(SCHEMA.replace("string", "integer"))
    assert write_lock(WorkingCopy.open(root), lock) == []
    assert [one.uri for one in changed_since_lock(WorkingCopy.open(root), lock)] == ["/page/1.0.0"]
    write_lock(WorkingCopy.open(root), lock, errata={"/page/1.0.0": "it was always a number"})
    assert changed_since_lock(WorkingCopy.open(root), lock) == []
    assert read_lock(lock)["/page/1.0.0"]["erratum"] == "it was always a number"


def test_what_is_no_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schemas.lock").write_text("[]")
    with pytest.raises(ConfigInvalid, match="not a lock file"):
        read_lock(tmp_path / "schemas.lock")
