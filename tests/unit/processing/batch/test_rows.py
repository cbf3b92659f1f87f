"""Rows, which have neither `$schema` nor `meta`, become events of the stream whose schema they agree with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.errors import EventMalformed
from headwater.processing.batch.rows import Rows, is_row
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.stream import Stream


def rows(folder: Path, **fields: str) -> Rows:
    """Rows for streams whose schemas require `page` and one more field each."""
    for name, field in fields.items():
        for version in ("1.0.0", "1.1.0"):
            document = {
                "$id": f"/{name}/{version}",
                "$schema": "http://json-schema.org/draft-07/schema#",
                "title": name,
                "type": "object",
                "required": ["page", field],
                "properties": {"page": {"type": "integer"}, field: {"type": "number"}, "meta": {"type": "object"}},
            }
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{version}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    streams = {f"{name}.v1": Stream(f"{name}.v1", schema_title=name) for name in fields}
    return Rows(streams, Validator(LocalRepository(folder)))


@pytest.mark.parametrize(
    ("value", "expected"), [({}, True), ({"a": 1}, True), ({"meta": {}}, False), ({"$schema": "/a/1.0.0"}, False)]
)
def test_what_is_a_row(value: dict[str, Any], expected: bool) -> None:
    assert is_row(value) is expected


def test_a_row_gets_the_newest_schema_of_its_stream(tmp_path: Path) -> None:
    made = rows(tmp_path, views="count", stats="mean").event_of({"page": 1, "count": 2}, None)
    assert made == {"$schema": "/views/1.1.0", "meta": {"stream": "views.v1"}, "page": 1, "count": 2}


def test_the_stream_of_its_file_or_the_only_one_takes_it_whatever_its_fields(tmp_path: Path) -> None:
    known = rows(tmp_path, views="count", stats="mean")
    assert known.event_of({"x": 1}, "stats.v1")["meta"] == {"stream": "stats.v1"}
    assert rows(tmp_path, views="count").event_of({"x": 1}, None)["$schema"] == "/views/1.1.0"


@pytest.mark.parametrize("row", [{}, {"page": 1}, {"page": "1", "count": 2}, {"page": 1, "count": 2, "mean": 3}])
def test_a_row_that_could_be_of_none_or_of_several_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EventMalformed, match=r"views\.v1, stats\.v1"):
        rows(tmp_path, views="count", stats="mean").event_of(row, None)


def test_a_stream_without_schemas_takes_a_row_as_it_is(tmp_path: Path) -> None:
    known = Rows(
        {
            "a": Stream("a"),
        },
        Validator(LocalRepository(tmp_path)),
    )
    assert known.event_of({"x": 1}, None) == {"meta": {"stream": "a"}, "x": 1}
