"""A whole project in a test: through the gate, the jobs and the tables, on a log in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.cli.init import write_project
from headwater.testing.project_test import ProjectTest

EDIT = {
    "$schema": "/demo/edit/1.0.0",
    "meta": {"stream": "demo.edit"},
    "dt": "2026-01-31T12:00:00Z",
    "wiki": "enwiki",
    "title": "Tea",
    "user": "Ada",
    "bot": False,
    "bytes": 1,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path / "shop")
    return tmp_path / "shop"


def test_events_pass_the_gate_the_jobs_and_the_tables(project: Path, tmp_path: Path) -> None:
    with ProjectTest(project, tmp_path) as test:
        test.post(EDIT, {**EDIT, "user": "Bo"})
        test.run_jobs()
        assert [event["edits"] for event in test.events("demo.page_edits")] == [1, 2]
        assert test.errors("page_edits") == []
        assert [(row["title"], row["edits"]) for row in test.rows("most_edited_pages")] == [("Tea", 2)]
    assert not (project / "var").exists(), "the project itself is not touched"


def test_what_is_refused_is_reported_with_its_reason(project: Path, tmp_path: Path) -> None:
    with ProjectTest(project, tmp_path) as test:
        assert list(test.refusals(EDIT, {**EDIT, "bytes": "many"})) == [1]
        with pytest.raises(AssertionError, match=r"event 0: .*bytes"):
            test.post({**EDIT, "bytes": "many"})


def test_only_the_jobs_that_are_named_run(project: Path, tmp_path: Path) -> None:
    with ProjectTest(project, tmp_path, only=["page_edits"]) as test:
        test.post(EDIT)
        test.run_jobs()
        assert len(test.events("demo.page_edits")) == 1
        assert test.events("demo.edits_per_minute") == []
    with pytest.raises(KeyError, match="did you mean 'page_edits'"):
        ProjectTest(project, tmp_path, only=["page_edit"])


def test_the_rows_of_a_materialized_table_are_returned(project: Path, tmp_path: Path) -> None:
    code = """
from headwater.jobs import table


@table(source="demo.edit", key=("wiki", "title"))
def newest(event):
    return {"user": event["user"]}
"""
    (project / "jobs" / "newest.py").write_text(code, encoding="utf-8")
    with ProjectTest(project, tmp_path, only=["newest"]) as test:
        test.post(EDIT, {**EDIT, "dt": "2026-01-31T12:00:01Z", "user": "Bo"})
        test.run_jobs()
        assert test.rows("newest") == [{"wiki": "enwiki", "title": "Tea", "user": "Bo"}]
        with pytest.raises(KeyError, match="did you mean 'newest'"):
            test.rows("newst")


def test_what_jobs_write_can_be_put_but_not_posted(project: Path, tmp_path: Path) -> None:
    made = {**EDIT, "$schema": "/demo/page_edits/1.0.0", "meta": {"stream": "demo.page_edits"}, "edits": 3}
    made = {name: made[name] for name in ("$schema", "meta", "dt", "wiki", "title", "edits", "user")}
    with ProjectTest(project, tmp_path, only=["table.most_edited_pages"]) as test:
        assert list(test.refusals(made)) == [0]
        test.put(made)
        test.run_jobs()
        assert [row["edits"] for row in test.rows("most_edited_pages")] == [3]
        with pytest.raises(AssertionError, match=r"event 0: .*edits"):
            test.put({**made, "edits": "many"})


def test_an_unknown_name_gets_the_nearest(project: Path, tmp_path: Path) -> None:
    with ProjectTest(project, tmp_path) as test:
        for ask, name, near in (
            (test.events, "demo.edti", "demo.edit"),
            (test.errors, "page_edit", "page_edits"),
            (test.rows, "edits_per_minut", "edits_per_minute"),
        ):
            with pytest.raises(KeyError, match=f"did you mean '{near}'"):
                ask(name)


def test_the_fixtures_find_the_project_of_the_test(pytester: pytest.Pytester) -> None:
    write_project(pytester.path / "shop")
    (pytester.path / "shop" / "tests").mkdir()
    (pytester.path / "shop" / "tests" / "test_it.py").write_text(
        "from headwater.testing.run_job import run\n"
        f"EDIT = {EDIT!r}\n"
        "def test_job(headwater_job):\n    assert run(headwater_job('page_edits'), [EDIT]).values[0]['edits'] == 1\n"
        "def test_project(headwater_project):\n    headwater_project.post(EDIT)\n"
        "def test_unknown(headwater_job):\n    headwater_job('page_edit')\n"
    )
    ran = pytester.runpytest_subprocess("shop", "-p", "no:cacheprovider", "-W", "ignore")
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*did you mean 'page_edits'*"])
