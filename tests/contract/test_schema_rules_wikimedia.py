"""The rules of jsonschema-tools come to its recorded results on real repositories: nothing fails but the exempted.

Recorded (contracts/schemas.md §8): the original's own tests pass for the whole of each repository, and every case that
its skip list names is skipped. The fixtures are without symbolic links, so these are recreated by their rule.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from headwater.schemas.rules import RULES, CheckResult, Severity, check_schemas
from headwater.schemas.workspace.working_copy import WorkingCopy, version_text
from requirements import fixtures_folder, requires_fixtures

FIXTURES = fixtures_folder() / "schemas"
REPOSITORIES = sorted(path.parent for path in FIXTURES.glob("*/jsonschema"))

pytestmark = requires_fixtures(FIXTURES)


@pytest.fixture(params=REPOSITORIES, ids=lambda path: path.name)
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy with its links and the settings file under its own name."""
    source: Path = request.param
    copied = tmp_path / source.name
    shutil.copytree(source, copied)
    settings = copied / "jsonschema-tools.yaml"
    if settings.exists():
        settings.rename(copied / ".jsonschema-tools.yaml")
    for folder in WorkingCopy.open(copied).schemas.values():
        for version, file in folder.versions.items():
            (folder.path / version_text(version)).symlink_to(file.name)
        for name in ("latest", "latest.yaml") if folder.latest else ():
            (folder.path / name).symlink_to(folder.versions[folder.latest].name)  # type: ignore[index]
    return copied


def _check(repository: Path, *, skips: bool = True, mode: str = "LEGACY") -> CheckResult:
    overrides: dict[str, Any] = {"headwater": {"compatibility": mode, "repositories": _pins(repository)}}
    if not skips:
        overrides["skipSchemaTestCases"] = {}
    return check_schemas(WorkingCopy.open(repository, overrides=overrides))


def _pins(repository: Path) -> list[dict[str, str]]:
    """The other fixture repositories, in place of those this one refers to over HTTP."""
    bases = [base for base in WorkingCopy.open(repository).settings.base_uris if base.startswith("http")]
    others = [other for other in REPOSITORIES if other.name != repository.name]
    return [
        {"path": str(other / "jsonschema"), "replaces": base}
        for base in bases
        for other in others
        if other.name in base
    ]


def _exempted(repository: Path) -> set[tuple[str, str]]:
    """(rule, `$id`) of every version that the skip list of the repository names."""
    copied = WorkingCopy.open(repository)
    identifiers = {
        str(copied.read(file).get("$id")) for one in copied.schemas.values() for file in one.versions.values()
    }
    return {(rule, one) for one in identifiers for rule in copied.settings.skipped_cases(one) if rule in RULES}


def test_the_rules_of_the_original_find_nothing_that_is_not_exempted(repository: Path) -> None:
    result = _check(repository)
    originals = [finding for finding in result.findings if finding.rule.original]
    assert originals == []
    assert set(result.titles) == set(WorkingCopy.open(repository).schemas)


def test_what_is_exempted_is_what_the_skip_list_names_and_each_would_fail(repository: Path) -> None:
    exempted = _exempted(repository)
    skipped = set(_check(repository).skipped)
    assert skipped <= exempted
    without = {(finding.rule.id, finding.uri) for finding in _check(repository, skips=False).findings}
    assert skipped <= without
    # Nothing but the exempted is wrong by the rules of the original.
    assert {one for one in without if RULES[one[0]].original} == skipped


def test_what_the_event_mode_refuses_is_shown_by_an_instance_or_is_about_columns(repository: Path) -> None:
    for finding in _check(repository, skips=False, mode="EVENT").findings:
        if finding.rule.id == "schema-version-compatibility":
            columns = any(what in finding.message for what in ("(storage", "(removal", "not known"))
            assert finding.witness is not None or columns, finding


def test_further_findings_are_those_of_the_new_rules_and_have_places(repository: Path) -> None:
    extra = _check(repository).findings
    assert extra
    for finding in extra:
        assert finding.file
        assert (repository / finding.file).exists()
        assert finding.line is not None
    assert not [finding for finding in extra if finding.severity is Severity.ERROR and finding.rule.original]
