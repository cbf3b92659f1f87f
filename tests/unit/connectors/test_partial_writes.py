"""Which events of a batch remain when a target has taken only some of its rows."""

from __future__ import annotations

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.partial_writes import incomplete
from headwater.errors import EventMalformed

SHAPE = TableShape("pages", (Column("title", "text", "title"), Column("rev", "integer", "rev")), ("title",), "", "rev")
BATCH = [
    Delivery({"title": title, "rev": rev})
    for title, rev in (("a", 1), ("b", 1), ("a", 2), (7, 1), ("a", 3), ("b", 2), ("c", 1))
]
REASON = EventMalformed("no")


def test_older_events_of_a_rejected_row_are_written_next() -> None:
    error = incomplete(SHAPE, BATCH, rejected={4: REASON, 3: REASON}, message="Full.")
    assert (list(error.rejected), error.retry) == ([4, 3], (0, 2))


def test_older_events_stay_with_a_row_that_is_written_again() -> None:
    error = incomplete(SHAPE, BATCH, rejected={3: REASON}, retry={5}, back_off_seconds=2.0)
    assert (error.retry, error.back_off_seconds) == ((1, 5), 2.0)


def test_without_a_key_every_event_is_a_row_of_its_own() -> None:
    shape = TableShape("lines", SHAPE.columns)
    error = incomplete(shape, BATCH, rejected={0: REASON}, retry=[2])
    assert (list(error.rejected), error.retry) == ([0], (2,))
