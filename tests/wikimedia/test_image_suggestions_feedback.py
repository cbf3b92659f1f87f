"""The jobs about suggested images: the rows and statuses of the sample, in any order, and what is no opinion."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, only, read, run_files

SAMPLE = "synthetic/SYNTHETIC_image_suggestions_feedback.jsonl"
ROWS = "synthetic/SYNTHETIC_image_suggestions_feedback_table.expected.jsonl"
STATUSES = "synthetic/SYNTHETIC_image_suggestions_status.expected.jsonl"
IMAGE = ("wiki", "page_id", "filename")


def opinion(number: int, *, accepted: bool = False, rejected: bool = False, **also: Any) -> Event:
    """An opinion about one image, of second `number`."""
    at = f"2026-01-31T12:00:{number:02}Z"
    return {
        "$schema": "/mediawiki/page/image-suggestions-feedback/2.1.0",
        "meta": {"stream": "mediawiki.image_suggestions_feedback", "id": f"id-{number}", "dt": at},
        "dt": at,
        "wiki": "examplewiki",
        "page_id": 7,
        "filename": "River.jpg",
        "is_accepted": accepted,
        "is_rejected": rejected,
        **also,
    }


def last_by_image(statuses: list[Event]) -> dict[tuple[Any, ...], str]:
    """The status of each image with the greatest version, as a table keeps it."""
    ordered = sorted(statuses, key=lambda event: int(event["version"]))
    return {tuple(event[name] for name in IMAGE): event["status"] for event in ordered}


@requires_fixtures(FIXTURES)
def test_each_opinion_of_the_sample_is_a_row_and_what_is_none_an_error(tmp_path: Path) -> None:
    ran = run_files("image_suggestions_feedback", at_least_one(read(SAMPLE)), tmp_path)
    expected = at_least_one(read(ROWS))
    rows = [{"rejection_reasons": None, **row} for row in ran.outputs]
    assert sorted(only(rows, expected[0]), key=lambda row: row["dt"]) == expected
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]
    assert "page_id" in ran.errors[0]["message"]


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("seed", range(4))
def test_the_last_opinion_is_the_status_in_whatever_order_they_come(seed: int, tmp_path: Path) -> None:
    events = at_least_one(read(SAMPLE))
    random.Random(seed).shuffle(events)
    ran = run_files("image_suggestions_status", events, tmp_path, "--order", "arrival")
    expected = {tuple(row[name] for name in IMAGE): row["status"] for row in at_least_one(read(STATUSES))}
    assert last_by_image(ran.outputs) == expected


@pytest.mark.parametrize(
    ("opinions", "status"),
    [
        ([opinion(1, accepted=True, rejected=True)], "contradictory"),
        ([opinion(1, rejected=True), opinion(2)], "rejected"),
        ([opinion(2)], None),
        ([opinion(3, accepted=True), opinion(2, rejected=True)], "accepted"),
        # Of the same moment, that with the greater id.
        ([opinion(2, accepted=True, dt="2026-01-31T12:00:01Z"), opinion(1, rejected=True)], "accepted"),
        ([opinion(1, rejected=True), opinion(2, accepted=True, dt="2026-01-31T13:00:01+01:00")], "accepted"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_what_the_status_of_an_image_is(
    opinions: list[Event], status: str | None, reverse: bool, tmp_path: Path
) -> None:
    events = opinions[::-1] if reverse else opinions
    ran = run_files("image_suggestions_status", events, tmp_path, "--order", "arrival")
    assert list(last_by_image(ran.outputs).values()) == ([] if status is None else [status])
    assert ran.errors == []


def test_an_opinion_that_contradicts_itself_is_kept_and_marked(tmp_path: Path) -> None:
    ran = run_files("image_suggestions_feedback", [opinion(1, accepted=True, rejected=True)], tmp_path)
    assert [row["is_contradictory"] for row in ran.outputs] == [True]


def test_an_accepted_image_clears_the_tags_of_its_page_in_the_search_index(tmp_path: Path) -> None:
    events = [
        opinion(1, rejected=True),
        opinion(2, accepted=True, rejected=True),
        opinion(3),
        opinion(4, accepted=True),
        opinion(4, accepted=True),
    ]
    ran = run_files("image_suggestions_tags", events, tmp_path)
    assert ran.errors == []
    (found,) = ran.outputs
    assert (found["wiki_id"], found["page"], found["dt"]) == ("examplewiki", {"page_id": 7}, "2026-01-31T12:00:04Z")
    assert found["weighted_tags"] == {"clear": ["recommendation.image"]}


@requires_fixtures(FIXTURES)
def test_each_accepted_opinion_of_the_sample_clears_tags(tmp_path: Path) -> None:
    ran = run_files("image_suggestions_tags", at_least_one(read(SAMPLE)), tmp_path)
    accepted = [row for row in at_least_one(read(ROWS)) if row["is_accepted"] and not row["is_rejected"]]
    pages = sorted((row["wiki"], row["page_id"], row["dt"]) for row in accepted)
    assert sorted((one["wiki_id"], one["page"]["page_id"], one["dt"]) for one in ran.outputs) == pages
