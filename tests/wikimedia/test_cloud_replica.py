"""The jobs cloud_replica: the public rows of recorded changes, and nothing that no rule allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, read, run_files

JOB = "cloud_replica"
CHANGES = "synthetic/SYNTHETIC_cdc_revision.jsonl"
EXPECTED = "synthetic/SYNTHETIC_cdc_revision_public.expected.jsonl"


def change(op: str, row: dict[str, Any], **more: Any) -> Event:
    return {"op": op, **row, **more}


def revision(number: int, **more: Any) -> dict[str, Any]:
    row = {"rev_page": 1, "rev_comment_id": 2, "rev_actor": 3, "rev_deleted": 0, "rev_len": 4, "rev_sha1": "s"}
    return {"rev_id": number, **row, **more}


def rows(name: str, changes: list[Event], folder: Path) -> list[Event]:
    ran = run_files(name, changes, folder)
    assert ran.errors == []
    return ran.outputs


@requires_fixtures(FIXTURES / CHANGES)
def test_the_public_rows_are_the_expected_ones(tmp_path: Path) -> None:
    assert rows(JOB, at_least_one(read(CHANGES)), tmp_path) == at_least_one(read(EXPECTED))


@requires_fixtures(FIXTURES / CHANGES)
def test_rows_whose_author_is_hidden_are_not_in_the_second_table(tmp_path: Path) -> None:
    expected = [row for row in read(EXPECTED) if not row["rev_deleted"] & 4]
    assert rows(f"{JOB}_userindex", read(CHANGES), tmp_path) == at_least_one(expected)


def test_a_row_is_public_only_as_it_is_now(tmp_path: Path) -> None:
    changes = [change("c", revision(1)), change("u", revision(1, rev_deleted=4)), change("u", revision(1))]
    assert [row["rev_actor"] for row in rows(JOB, changes[:2], tmp_path)] == [None]
    assert [row["rev_actor"] for row in rows(JOB, changes, tmp_path)] == [3]
    assert rows(f"{JOB}_userindex", changes[:2], tmp_path) == []
    assert len(rows(f"{JOB}_userindex", changes, tmp_path)) == 1


@pytest.mark.parametrize("form", ["flat", "nested"])
def test_a_new_column_is_withheld_and_the_row_stays(form: str, tmp_path: Path) -> None:
    row = revision(1, rev_secret="x")
    one = change("c", row) if form == "flat" else {"op": "c", "before": None, "after": row}
    assert rows(JOB, [one], tmp_path) == [revision(1)]


def test_a_deletion_with_its_row_before_removes_it(tmp_path: Path) -> None:
    changes = [change("c", revision(1)), {"op": "d", "before": revision(1), "after": None}]
    assert rows(JOB, changes, tmp_path) == []


@pytest.mark.parametrize("table", ["user", "Revision", "recentchanges"])
def test_a_table_that_is_not_listed_is_withheld_as_a_whole(table: str, tmp_path: Path) -> None:
    changes = [change("c", revision(1), table=table), change("c", revision(2), table="revision")]
    assert [row["rev_id"] for row in rows(JOB, changes, tmp_path)] == [2]


@pytest.mark.parametrize("flags", [None, "4", 1.5])
def test_a_row_whose_flags_cannot_be_read_is_not_public_any_more(flags: Any, tmp_path: Path) -> None:
    changes = [change("c", revision(1)), change("u", revision(1, rev_deleted=flags))]
    assert rows(JOB, changes, tmp_path) == []
    without = {name: value for name, value in revision(1).items() if name != "rev_deleted"}
    assert rows(JOB, [changes[0], change("u", without)], tmp_path) == []


def test_addresses_are_never_public(tmp_path: Path) -> None:
    row = {"rc_id": 1, "rc_actor": 3, "rc_deleted": 0, "rc_ip": "192.0.2.1", "rc_user": 5}
    expected = {"rc_id": 1, "rc_actor": 3, "rc_deleted": 0, "rc_ip": None}
    assert rows(f"{JOB}_recentchanges", [change("c", row, table="recentchanges")], tmp_path) == [expected]
    hidden = change("c", {**row, "rc_deleted": 4}, table="recentchanges")
    assert rows(f"{JOB}_recentchanges_userindex", [hidden], tmp_path) == []
