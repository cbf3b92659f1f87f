"""Which jobs run in which process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Each
from headwater.processing.hosting.division import divided


def job(name: str) -> Job:
    return Job(name, ("in",), (Each("same", lambda event, context: event),), ToStream("out"))


def processes(
    names: Sequence[str], count: int, files: dict[str, str] | None = None, shared: Sequence[str] = ()
) -> list[tuple[str, ...]]:
    found = {name: Path(file) for name, file in (files or {}).items()}
    return divided(
        [job(name) for name in names],
        count,
        table_file=lambda one: found.get(one.name),
        is_shared=lambda one: one.name in shared,
    )


def test_jobs_are_divided_evenly_and_by_name() -> None:
    assert processes(["c", "a", "d", "b", "e"], 2) == [("a", "c", "e"), ("b", "d")]


def test_there_are_no_more_processes_than_there_are_jobs_for() -> None:
    assert processes(["a", "b"], 8) == [("a",), ("b",)]
    assert processes([], 8) == []


def test_jobs_that_fill_tables_in_one_file_go_together() -> None:
    tables = dict.fromkeys(("t1", "t2", "t3"), "tables.db")
    assert processes(["t1", "a", "t2", "b", "t3"], 2, tables) == [("t1", "t2", "t3"), ("a", "b")]
    assert processes(["t1", "t2"], 4, tables) == [("t1", "t2")]


def test_every_process_has_its_share_of_shared_jobs() -> None:
    assert processes(["s", "a"], 3, shared=["s"]) == [("a", "s"), ("s",), ("s",)]


@given(
    st.sets(st.sampled_from("abcdefghij")),
    st.integers(1, 5),
    st.dictionaries(st.sampled_from("abcdefghij"), st.sampled_from("xyz")),
    st.sets(st.sampled_from("abcdefghij")),
)
def test_each_job_runs_once_and_each_file_has_one_writer(
    names: set[str], count: int, files: dict[str, str], shared: set[str]
) -> None:
    files = {name: file for name, file in files.items() if name not in shared}
    found = processes(sorted(names), count, files, sorted(shared))
    assert len(found) <= count
    assert all(found)
    for name in names:
        assert sum(name in one for one in found) == (count if name in shared else 1)
    for file in set(files.values()):
        writers = {n for n, one in enumerate(found) for name in one if files.get(name) == file}
        assert len(writers) <= 1
    assert found == processes(sorted(names, reverse=True), count, files, sorted(shared))
