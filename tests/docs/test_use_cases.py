"""The page of use cases has a row for each file of jobs, with its jobs, its streams and its graph."""

from __future__ import annotations

import re
import sys

import pytest

from headwater.config import load_config
from headwater.jobs.job import Job
from headwater.processing.declarations import declarations
from headwater.streams.registry import StreamRegistry
from requirements import REPOSITORY

sys.path.append(str(REPOSITORY / "docs"))
from use_case_graphs import PROJECT, jobs_by_file

PAGE = REPOSITORY / "docs" / "use-cases.md"
COVERAGE = REPOSITORY / "docs" / "use-cases-coverage.md"
FILE = re.compile(r"\[`jobs/(\w+)\.py`\]\(\.\./wikimedia/jobs/(\w+)\.py\), \[graph\]\(use-cases-graphs\.md#(\w+)\)")


def rows() -> list[list[str]]:
    """The cells of each row: jobs, what they do, file, streams, invented data."""
    table = PAGE.read_text("utf-8").split("| job |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


@pytest.fixture(scope="module")
def declared() -> tuple[StreamRegistry, list[Job]]:
    return declarations(load_config(PROJECT, environment={}))


def test_every_file_of_jobs_has_one_row_with_its_graph() -> None:
    linked = [FILE.fullmatch(row[2]) for row in rows()]
    assert all(linked), [row[2] for row, found in zip(rows(), linked, strict=True) if not found]
    names = [found.groups() for found in linked if found]
    assert all(shown == file == graph for shown, file, graph in names), names
    assert sorted(name for name, _, _ in names) == sorted(path.stem for path in (PROJECT / "jobs").glob("*.py"))
    assert [len(row) for row in rows()] == [5] * len(names)
    assert all(all(row) for row in rows()), "every row says what it does, and what is invented"


def test_every_job_is_named_in_the_row_of_its_file(declared: tuple[StreamRegistry, list[Job]]) -> None:
    named = {found[1]: set(re.findall(r"`(\w+)`", row[0])) for row in rows() if (found := FILE.fullmatch(row[2]))}
    for file, jobs in jobs_by_file(declared[1]).items():
        assert {job.name for job in jobs} <= named[file], file
        assert named[file] <= {job.name for job in jobs}, file


def test_every_stream_of_a_row_is_read_or_written_by_its_jobs(declared: tuple[StreamRegistry, list[Job]]) -> None:
    of_files = jobs_by_file(declared[1])
    for row in rows():
        found = FILE.fullmatch(row[2])
        jobs = of_files[found[1]] if found else []
        known = {name for job in jobs for name in (*job.reads(), *job.writes().streams)}
        # `…` stands for the rest of several names.
        named = re.findall(r"`([^`]+)`", row[3])
        unknown = [
            one
            for one in named
            if one not in known | {job.name for job in jobs}
            and not (one.endswith("…") and any(name.startswith(one[:-1]) for name in known))
        ]
        assert named
        assert unknown == [], row[0]


# J39 was never used.
ROWS = [
    *(f"P{number:02}" for number in range(1, 29)),
    *(f"C{number:02}" for number in range(1, 7)),
    *(f"J{number:02}" for number in range(1, 41) if number != 39),
    *(f"D{number:02}" for number in range(1, 15)),
]
OPEN = {"similar_users", "enterprise_articles"}
STATE = re.compile(r"shown|open|a document|partly: .+")


def coverage() -> list[list[str]]:
    """The cells of each row: id, need, where, tests, state."""
    text = COVERAGE.read_text("utf-8").split("| row |", 1)[1]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.strip().splitlines()[2:]]


def test_every_need_has_one_row_and_a_state() -> None:
    assert [row[0] for row in coverage()] == ROWS
    assert [row for row in coverage() if len(row) != 5 or not STATE.fullmatch(row[4])] == []


def test_every_row_that_is_shown_names_tests_that_exist_and_is_somewhere() -> None:
    for name, _, where, tests, state in coverage():
        named = re.findall(r"\(\.\./(tests/[\w/]+\.py)\)", tests)
        assert [file for file in named if not (REPOSITORY / file).is_file()] == [], name
        if state == "open":
            assert (where, tests) == ("–", "–"), name
        else:
            assert named or state == "a document", name
            assert "](" in where, name


def test_every_job_file_is_in_a_row_of_the_needs() -> None:
    """But those that only show what the platform does, and those whose rows are open."""
    shown = {name for row in coverage() for name in re.findall(r"use-cases-graphs\.md#(\w+)", row[2])}
    files = {path.stem for path in (PROJECT / "jobs").glob("*.py")}
    assert files - shown <= {"hourly_edits", "minute_activity", *OPEN}
    assert shown <= files
