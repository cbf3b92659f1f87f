"""The JSON Schema of the stream file and the check of it are one: they take and refuse the same documents."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headwater.declaration import parse_declaration
from headwater.errors import ConfigInvalid
from headwater.streams.legacy_settings import document_of
from headwater.streams.stream_file import legacy_settings
from headwater.streams.stream_format import SHAPE, check, json_schema, key_paths
from headwater.streams.writing import stream_file_text, yaml_text

WHOLE: dict[str, Any] = {
    "apiVersion": "streams/v1",
    "kind": "Stream",
    "stream": "s",
    "schema_title": "t",
    "exists": True,
    "event_time": "dt",
    "lifecycle": {"stage": "stable", "since": None},
    "docs": {"summary": "x", "links": [{"title": "a", "url": "b"}], "tags": ["c"]},
    "privacy": {"class": "public", "pii_fields": [], "retention_override": "7d"},
    "transport": {"topic_prefixes": ["a."], "topics": ["t"], "message_key_fields": {"k": "k"}, "retention": "1.5h"}
    | {"kafka": {"partitions": 1, "cleanup_policy": ["delete"], "retention_bytes": -1}, "compact": False},
    "produce": {"by": {"bus": {"enabled": True, "x": 1}}, "sample": {"rate": 0.5, "y": 1}, "headers": {"a": False}}
    | {"client": {"z": 1}, "meta_dt": "always"},
    "consume": {"tables": {"enabled": True}},
    "monitor": {"canary": {"enabled": True, "period": "30m"}, "expect": {"min_rate_per_hour": 1}},
    "overrides": [{"when": {"site": "w", "realm": ["a"]}, "set": {"produce": {"sample": None}}, "unset": ["docs"]}],
    "extra": {"anything": [1]},
}
VALUES = [None, True, False, 0, 1, -2, 0.5, "", "x", "7d", "always", [], ["x"], [""], [1], {}, {"x": 1}, {"x": "y"}]
SCHEMA = jsonschema_rs.validator_for(json_schema())


def is_taken(document: Any) -> bool:
    try:
        check(parse_declaration(json.dumps(document), file="s.yaml"))
    except ConfigInvalid:
        return False
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, item in items for place in places(item, (*path, key))]


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


def test_a_file_that_says_everything_is_taken_by_both() -> None:
    assert (is_taken(WHOLE), SCHEMA.is_valid(WHOLE)) == (True, True)


@pytest.mark.parametrize("path", places(WHOLE), ids=lambda path: ".".join(map(str, path)))
def test_schema_and_check_agree_about_any_value_in_any_place(path: tuple[Any, ...]) -> None:
    for value in VALUES:
        document = with_value(WHOLE, path, value)
        assert SCHEMA.is_valid(document) == is_taken(document), (path, value)
    misspelt = with_value(WHOLE, (*path[:-1], f"{path[-1]}x"), 1) if isinstance(path[-1], str) else WHOLE
    assert SCHEMA.is_valid(misspelt) == is_taken(misspelt), path


def test_editors_are_told_what_every_key_means() -> None:
    text = json.dumps(json_schema(), ensure_ascii=False)
    assert [path for path, key in key_paths(SHAPE) if json.dumps(key.meaning, ensure_ascii=False) not in text] == []


def test_the_real_example_is_taken_by_the_schema(fixtures_dir: Path) -> None:
    path = fixtures_dir / "streams" / "example" / "mediawiki.page_change.v1.yaml"
    document = parse_declaration(path.read_text(encoding="utf-8"), file=path.name).value
    assert list(SCHEMA.iter_errors(document)) == []


# ---- the way to legacy settings and back ---------------------------------------------------------------------------

NAMES = ("schema_title", "topic_prefixes", "topics", "message_key_fields", "destination_event_service", "sample")
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from((0.5, "x", "", "7d", "on", "1_0", "é"))
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.sampled_from(("eventgate", "metrics_platform_client", "enrich_fields_from_http_headers", "a.b", "name"))
            | st.sampled_from(("enabled", "rate", "unit", "x")),
            below,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
SETTINGS = st.dictionaries(
    st.sampled_from((*NAMES, "canary_events_enabled", "consumers", "producers", "stream", "anything")),
    TREES,
    max_size=6,
)


@given(SETTINGS)
def test_any_legacy_settings_can_be_said_in_a_stream_file_and_come_back(settings: dict[str, Any]) -> None:
    document = {"stream": "s", **document_of(settings)}
    assert is_taken(document)
    assert legacy_settings(document) == settings


@given(SETTINGS)
def test_what_is_written_reads_back_as_it_was(settings: dict[str, Any]) -> None:
    document = {"stream": "s", **document_of(settings)}
    assert parse_declaration(stream_file_text(document), file="s").value == document
    assert parse_declaration(yaml_text(settings), file="s").value == settings
    assert yaml.safe_load(yaml_text(settings)) == settings
