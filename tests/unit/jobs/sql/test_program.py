"""A program for Flink as a job: what it reads and writes, also where its rows come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import JobInvalid
from headwater.jobs.sql.program import named_stream, reading_program, writing_program


def test_a_stream_may_have_a_version() -> None:
    assert named_stream("shop.orders:1.0.0") == ("shop.orders", "1.0.0")
    assert named_stream("shop.orders") == ("shop.orders", None)


def test_its_parts_are_of_one_name() -> None:
    reads = reading_program("counts", "shop.orders", Path(), on_error="skip", canaries=True)
    writes = writing_program("counts", ["shop.orders"], "shop.counts:1.0.0", Path(), on_error="stop")
    assert reads.group == writes.group == "job.counts"
    assert (reads.reads(), reads.writes().streams) == (("shop.orders",), ("counts.error",))
    assert (writes.reads(), writes.writes().streams) == (("shop.orders",), ("shop.counts", "counts.error"))
    assert writes.output_version("shop.counts") == "1.0.0"
    assert (reads.on_error, reads.canaries, writes.on_error) == ("skip", True, "stop")


def test_rows_may_come_from_elsewhere_or_from_the_stream_itself() -> None:
    assert writing_program("counts", [], "shop.counts", Path(), on_error="stop").reads() == ("counts.rows",)
    made = writing_program("counts", ["shop.counts"], "shop.counts", Path(), on_error="stop")
    assert made.reads() == ("counts.rows",)


def test_a_name_that_no_job_can_have_is_refused() -> None:
    with pytest.raises(JobInvalid, match="cannot name a job"):
        reading_program("two words", "shop.orders", Path(), on_error="stop")
