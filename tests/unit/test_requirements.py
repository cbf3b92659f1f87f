"""A missing tool or fixture skips a test by name, and fails it where HEADWATER_REQUIRE names it."""

from __future__ import annotations

from pathlib import Path

import pytest

CASES = """
import pytest
from pathlib import Path
from requirements import check_need, fixtures_folder, requires_fixtures

CASES = sorted(fixtures_folder().glob("*.json"))

@requires_fixtures(fixtures_folder())
@pytest.mark.parametrize("case", CASES)
def test_case(case):
    assert case.read_text()

def test_tool():
    check_need("promtool", None, "install the Debian package prometheus")
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\naddopts = -p requirements -p no:asyncio --strict-markers -ra\nmarkers = needs(name, found, how): x"
    )
    monkeypatch.setenv("HEADWATER_FIXTURES", str(pytester.path / "data"))
    monkeypatch.delenv("HEADWATER_REQUIRE", raising=False)
    pytester.makepyfile(CASES)
    return pytester


def _data(project: pytest.Pytester, *names: str) -> Path:
    folder = project.mkdir("data")
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_what_is_missing_is_skipped_with_its_name_and_how_to_get_it(project: pytest.Pytester) -> None:
    result = project.runpytest()
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED*fixtures is missing: no *data; name the folder of the fixtures with HEADWATER_FIXTURES",
            "SKIPPED*promtool is missing: install the Debian package prometheus",
        ]
    )


@pytest.mark.parametrize("required", ["fixtures,promtool", "promtool, fixtures", "all"])
def test_what_is_required_fails_when_it_is_missing(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str
) -> None:
    monkeypatch.setenv("HEADWATER_REQUIRE", required)
    result = project.runpytest()
    assert result.ret == 1
    assert result.parseoutcomes().get("skipped", 0) == 0
    result.stdout.fnmatch_lines(["*fixtures is required (HEADWATER_REQUIRE) but missing: no *data*"])
    result.stdout.fnmatch_lines(["*promtool is required (HEADWATER_REQUIRE) but missing: install*"])


def test_one_name_does_not_require_another(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_REQUIRE", "kafka")
    project.runpytest().assert_outcomes(skipped=2)


def test_a_folder_of_fixtures_without_a_case_fails(project: pytest.Pytester) -> None:
    _data(project)
    result = project.runpytest("-k", "test_case")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*no case was found: got empty parameter set*"])


def test_every_case_of_a_folder_is_run(project: pytest.Pytester) -> None:
    _data(project, "a.json", "b.json")
    project.runpytest().assert_outcomes(passed=2, skipped=1)
