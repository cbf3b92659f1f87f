"""The table page_revisions as it is served: the numbers of a real page, in any order of events, and wrong questions."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import FilterInvalid, RowUnknown
from headwater.served_tables.asked import asked_of
from headwater.served_tables.declared import served_tables
from headwater.served_tables.reading import ServedReader
from headwater.served_tables.tables import ServedTables
from headwater.testing.memory_tables import tables_in_memory
from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, PROJECT, Event, declared, in_project, job_named, read, run_files

EVENTS = "derived/page_change_adam_himebauch.jsonl.gz"
GOLDEN = "golden/adam_himebauch.history_endpoint.json"
TABLE = "page_revisions"


class Endpoint:
    """A served table of the project over these rows."""

    def __init__(self, name: str, rows: dict[tuple[Any, ...], Any]) -> None:
        self.served = next(one for one in of_project() if one.name == name)
        table = self.served.table
        reader = tables_in_memory({table.name: rows})(table.name).named(table)
        self.type_of = ServedTables([self.served], lambda stream: None).type_of(self.served)
        self.reader = ServedReader(self.served, reader, self.type_of)

    def counts(self, **asked: Any) -> dict[str, int]:
        return self.reader.counts(self._asked(asked))

    def rows(self, **asked: Any) -> list[Any]:
        return [json.loads(row) for row in self.reader.page(self._asked(asked)).rows]

    def _asked(self, asked: dict[str, Any]) -> Any:
        return asked_of(self.served, [(name.replace("__", "."), str(one)) for name, one in asked.items()], self.type_of)


def of_project() -> list[Any]:
    return list(served_tables(PROJECT / "served_tables", declared()[1].values(), PROJECT))


def rows_of(events: list[Event], folder: Path) -> dict[tuple[Any, ...], Any]:
    history = run_files("mediawiki_history", events, folder, "--order", "arrival")
    assert history.errors == []
    made = run_in_memory(job_named(TABLE), history.outputs)
    names = ("wiki_id", "page_id", "revision_id")
    return {
        tuple(row[name] for name in names): {name: value for name, value in row.items() if name not in names}
        for row in made.rows
    }


@requires_fixtures(FIXTURES / GOLDEN)
@pytest.mark.parametrize("seed", [None, 5])
def test_the_numbers_of_a_real_page_are_those_of_the_golden(seed: int | None, tmp_path: Path) -> None:
    events = at_least_one(read(EVENTS))
    if seed is not None:
        random.Random(seed).shuffle(events)
        events = [*events, *events[:20]]
    rows = rows_of(events, tmp_path)
    golden: Any = read(GOLDEN)
    (wiki, page), *others = {(key[0], key[1]) for key in rows}
    assert others == []
    page_of = {"wiki_id": wiki, "page_id": page}
    endpoint = Endpoint(TABLE, rows)

    assert endpoint.counts(**page_of) == {"rows": golden["revisions"]["total"], "editors": golden["editors"]}
    for name, flag in (
        ("minor", "is_minor"),
        ("ip", "is_ip"),
        ("bot_by_name", "is_bot_by_name"),
        ("reverted", "is_reverted"),
    ):
        assert endpoint.counts(**page_of, **{flag: "true"})["rows"] == golden["revisions"][name], name
    between = golden["between"]
    found = endpoint.counts(**page_of, revision_id__gt=between["from"], revision_id__lt=between["to"])
    assert found == {"rows": between["revisions"], "editors": between["editors"]["unique"]}
    first = Endpoint("page_revisions_by_time", rows).rows(**page_of, limit=1)
    assert first[0]["timestamp"].startswith(golden["created_at"])

    with pytest.raises(FilterInvalid, match="There is no revision_id 1 of"):
        endpoint.counts(**page_of, revision_id__gt=1, revision_id__lt=between["to"])
    with pytest.raises(RowUnknown):
        endpoint.counts(wiki_id=wiki, page_id=1, revision_id__gt=1, revision_id__lt=2)
    with pytest.raises(FilterInvalid, match="needs the parameter page_id"):
        endpoint.counts(wiki_id=wiki)


def revision(rev_id: int, **more: Any) -> Event:
    row = {
        "dt": "2026-01-31T12:00:00Z",
        "wiki_id": "w",
        "page_id": 1,
        "revision_id": rev_id,
        "event_entity": "revision",
    }
    about = {"event_type": "create", "event_timestamp": "2026-01-31T12:00:00Z", "event_user_is_bot_by": []}
    return {"meta": {"stream": "mediawiki.history.v1"}, **row, **about, **more}


def test_hidden_editors_are_counted_and_not_named() -> None:
    rows = run_in_memory(job_named(TABLE), [revision(1), revision(2, event_user_text="Ada")]).rows
    made = {
        ("w", 1, row["revision_id"]): {"editor": row["editor"], "is_editor_hidden": row["is_editor_hidden"]}
        for row in rows
    }
    endpoint = Endpoint(TABLE, made)
    assert endpoint.counts(wiki_id="w", page_id=1) == {"rows": 2, "editors": 1}
    assert endpoint.counts(wiki_id="w", page_id=1, is_editor_hidden="true")["rows"] == 1


def test_rows_about_pages_are_no_revisions() -> None:
    page = {**revision(1), "event_entity": "page"}
    assert list(run_in_memory(job_named(TABLE), [page]).rows) == []


def test_names_that_are_addresses_have_no_account() -> None:
    endpoint = in_project("jobs.history_endpoint")
    assert [endpoint.is_address(name) for name in ("192.0.2.1", "2001:db8::1", "Ada", "", None)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_each_served_table_of_the_project_is_valid() -> None:
    assert {one.name for one in of_project()} >= {
        *("page_revisions", "page_revisions_by_time", "link_suggestions", "rate_limits", "image_suggestion_statuses"),
    }
