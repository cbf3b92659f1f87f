"""The files of a stand-in: what a row leaves out is filled in, and a wrong one is refused with its line."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigInvalid
from headwater.testing.mediawiki import MediaWikiStandIn
from headwater.testing.mediawiki.rows import Entity, PageLinks, Revision, as_row, read_rows, sha1_base36, sha1_hex

ROW = {"domain": "EN.wikipedia.org", "page_id": 7, "title": "Talk:River", "rev_id": 1}


def revision(**more: Any) -> Revision:
    row = as_row(ROW | more)
    assert isinstance(row, Revision)
    return row


@given(st.binary(max_size=200))
def test_the_two_forms_of_a_sha1_are_the_same_number(data: bytes) -> None:
    base36 = sha1_base36(data)
    assert len(base36) == 31
    assert sha1_hex(base36) == hashlib.sha1(data).hexdigest()


@pytest.mark.parametrize("base36", ["0", "1", "z", "0" * 31])
def test_a_sha1_is_padded_with_zeros(base36: str) -> None:
    assert sha1_hex(base36) == f"{int(base36, 36):040x}"


def test_content_is_short_for_a_main_slot() -> None:
    row = revision(content="Ēnns")
    assert row.slots is not None
    main = row.slots["main"]
    assert main is not None
    assert (main.contentmodel, main.contentformat, main.content) == ("wikitext", "text/x-wiki", "Ēnns")
    assert (main.size, row.size) == (5, 5)
    assert main.sha1 == row.sha1 == sha1_base36("Ēnns".encode())
    assert (row.domain, row.ns, row.dt) == ("en.wikipedia.org", 1, "2020-01-01T00:00:00Z")


def test_the_sha1_of_several_slots_folds_theirs_in_the_order_of_roles() -> None:
    row = revision(slots={"mediainfo": {"content": "{}", "contentmodel": "json"}, "main": {"content": "x"}})
    folded = sha1_base36((sha1_base36(b"x") + sha1_base36(b"{}")).encode())
    assert (row.sha1, row.size) == (folded, 3)


def test_what_a_row_says_stays_even_where_it_is_wrong() -> None:
    """So that a test can have a wiki whose content does not match its checksum."""
    row = revision(content="x", sha1="1", size=9)
    assert (row.sha1, row.size) == ("1", 9)


def test_the_kind_of_a_row_shows_in_its_keys() -> None:
    entity = as_row({"domain": "www.wikidata.org", "entity": "Q2", "rev_id": 1, "turtle": ""})
    links = as_row({"domain": "en.wikipedia.org", "page_id": 1, "title": "A", "links": ["B"]})
    assert (type(entity), type(links), type(revision())) == (Entity, PageLinks, Revision)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1], "a row is a JSON object"),
        ({**ROW, "titel": "x"}, 'Did you mean "title"?'),
        ({**ROW, "rev_id": "1"}, "Expected `int`, got `str` - at `$.rev_id`"),
        ({key: value for key, value in ROW.items() if key != "title"}, "missing required field `title`"),
        ({**ROW, "dt": "yesterday"}, 'not "yesterday"'),
        ({**ROW, "rev_id": 0}, "must be at least 1"),
        ({**ROW, "title": "A[b"}, "invalid characters"),
        ({**ROW, "content": "x", "slots": {"main": {"content": "y"}}}, "not both"),
        ({**ROW, "slots": {"main": {"contents": "y"}}}, "`contents` - at `$.slots[...]`"),
        ({"domain": "a", "page_id": 1, "title": "A", "links": "B"}, "Expected `array`"),
    ],
)
def test_a_wrong_row_is_refused(row: Any, expected: str) -> None:
    stand_in = MediaWikiStandIn([ROW])
    with pytest.raises(ConfigInvalid) as raised:
        stand_in.add([ROW | {"rev_id": 2}, row])
    assert expected in str(raised.value)
    assert str(raised.value).startswith("row 1: ")
    assert stand_in.count() == {"en.wikipedia.org": 1}, "all of the rows or none"


def lines(*rev_ids: int) -> bytes:
    rows = (json.dumps(ROW | {"rev_id": number}) for number in rev_ids)
    return "\r\n".join(["", *rows, "  ", ""]).encode()


def test_rows_are_read_from_a_file_a_compressed_one_or_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1, 2))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(3)))
    (tmp_path / "notes.txt").write_text("not a row")
    assert [one.rev_id for one in read_rows(tmp_path) if isinstance(one, Revision)] == [1, 2, 3]
    assert len(list(read_rows(tmp_path / "b.jsonl.gz"))) == 1
    stand_in = MediaWikiStandIn.read(tmp_path / "a.jsonl", str(tmp_path / "b.jsonl.gz"))
    assert stand_in.count() == {"en.wikipedia.org": 3}


def test_a_later_row_about_the_same_revision_is_the_one_that_counts(tmp_path: Path) -> None:
    stand_in = MediaWikiStandIn([ROW | {"content": "old"}, ROW | {"content": "new"}, ROW | {"page_id": 8}])
    assert stand_in.count() == {"en.wikipedia.org": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{}\n{", ":1: is no Revision"),
        (lines(1) + b"{", ":4: is not JSON"),
        (lines(1) + b'{"domain":1}', ":4: is no Revision"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigInvalid) as raised:
        list(read_rows(file))
    assert f"{file}{expected}" in str(raised.value)


@pytest.mark.parametrize("name", ["absent.jsonl", "broken.jsonl.gz", "cut.jsonl.gz", "empty"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.jsonl.gz").write_bytes(b"not compressed")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines(*range(1, 500)))[:-40])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigInvalid) as raised:
        list(read_rows(tmp_path / name))
    assert str(tmp_path / name) in str(raised.value)


def test_a_reset_brings_back_what_was_there_at_first() -> None:
    stand_in = MediaWikiStandIn([ROW], rules=[{"mode": "empty", "times": 1}])
    stand_in.add([ROW | {"rev_id": 2}, {**ROW, "domain": "de.wikipedia.org"}])
    stand_in.set_rules([])
    stand_in.reset()
    assert stand_in.count() == {"en.wikipedia.org": 1}
    assert [rule.MODE for rule, _ in stand_in.rules()] == ["empty"]
    assert stand_in.requests == []
