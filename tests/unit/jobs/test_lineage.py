"""What a job reads and writes, by kind of job."""

from __future__ import annotations

import pytest

from headwater.connectors.contract import Column, TableShape
from headwater.errors import JobInvalid
from headwater.jobs.flow import in_order_of_flow
from headwater.jobs.job import Job, ToStream, ToTable
from headwater.jobs.lineage import Writes

SHAPE = TableShape("edits", (Column("title", "text", "title"),), ("title",))
ERRORS = "j.error"


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (Job("j", ("a",)), Writes(ERRORS)),
        (Job("j", ("a",), output=ToStream("b", "1.0.0")), Writes(ERRORS, output="b")),
        (Job("j", ("a",), output=ToTable(SHAPE)), Writes(ERRORS, target=SHAPE)),
        (Job("j", ("a",), late_stream="c"), Writes(ERRORS, late="c")),
        (Job("j", ("a",), output=ToStream("b"), late_stream="c"), Writes(ERRORS, output="b", late="c")),
        (Job("j", ("a",), output=ToTable(SHAPE), late_stream="c"), Writes(ERRORS, late="c", target=SHAPE)),
    ],
)
def test_each_kind_of_job_says_what_it_writes(job: Job, expected: Writes) -> None:
    assert job.writes() == expected
    assert job.writes().streams == tuple(name for name in (expected.output, expected.late, ERRORS) if name)
    assert job.writes().results == tuple(name for name in (expected.output, expected.late) if name)


def test_a_stream_is_named_once_however_often_the_job_reads_or_writes_it() -> None:
    job = Job("j", ("a", "z", "a"), output=ToStream("b"), late_stream="b")
    assert job.reads() == ("a", "z")
    assert job.writes().streams == ("b", ERRORS)
    assert Job("j", ("a",), late_stream=ERRORS).writes().streams == (ERRORS,)


@pytest.mark.parametrize("written", [{"output": ToStream("a")}, {"late_stream": "a"}])
def test_a_job_that_reads_what_it_writes_is_refused(written: dict[str, object]) -> None:
    with pytest.raises(JobInvalid, match="reads the stream it writes, a"):
        Job("j", ("z", "a"), **written)  # type: ignore[arg-type]


def test_jobs_that_fill_tables_or_nothing_come_after_those_whose_streams_they_read() -> None:
    table, nothing = Job("t", ("b",), output=ToTable(SHAPE)), Job("n", ("b", "a"))
    writer = Job("w", ("a",), output=ToStream("b"))
    assert [job.name for job in in_order_of_flow([table, nothing, writer])] == ["w", "t", "n"]
