"""The real configuration of Wikimedia's streams, read as its own software reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.streams import StreamRegistry

EXAMPLE = "mediawiki.page_change.v1"


def as_the_api_prints(value: Any) -> Any:
    """The original does not distinguish an empty map from an empty list."""
    if isinstance(value, dict):
        return {key: as_the_api_prints(item) for key, item in value.items()} or []
    return [as_the_api_prints(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def streams_dir(fixtures_dir: Path) -> Path:
    return fixtures_dir / "streams"


@pytest.fixture(scope="module")
def registry(streams_dir: Path) -> StreamRegistry:
    return StreamRegistry.load(streams_dir / "wikimedia_streams.yaml")


@pytest.fixture(scope="module")
def answered(streams_dir: Path) -> dict[str, Any]:
    answer: dict[str, dict[str, Any]] = json.loads((streams_dir / "streamconfigs_api_real_all.json").read_text())
    return answer["streams"]


def test_all_streams_load(streams_dir: Path, registry: StreamRegistry) -> None:
    raw = yaml.safe_load((streams_dir / "wikimedia_streams.yaml").read_text())
    assert raw["stream_count"] == len(raw["streams"]) == len(registry) + len(registry.families())
    assert set(raw["streams"]) == {*registry.names(), *(family.name for family in registry.families())}


def test_settings_and_topics_are_those_the_real_api_answers_to_the_byte(
    registry: StreamRegistry, answered: dict[str, Any]
) -> None:
    ours = {stream.name: stream.legacy_settings() for stream in (*registry.all(), *registry.families())}
    assert set(answered) == set(ours)
    different = [name for name in answered if json.dumps(answered[name]) != json.dumps(as_the_api_prints(ours[name]))]
    assert different == []


def test_the_effective_configuration_of_the_reference_wiki_gives_the_same(
    streams_dir: Path, registry: StreamRegistry, tmp_path: Path
) -> None:
    effective = json.loads((streams_dir / "wikimedia_effective_metawiki.json").read_text())
    legacy_file = {
        "default_settings": effective["wgEventStreamsDefaultSettings"],
        "streams": effective["wgEventStreams"],
    }
    (tmp_path / "streams.json").write_text(json.dumps(legacy_file))
    ours = StreamRegistry.load(tmp_path / "streams.json")
    for stream in (*registry.all(), *registry.families()):
        other = next(one for one in (*ours.all(), *ours.families()) if one.name == stream.name)
        assert as_the_api_prints(stream.legacy_settings()) == as_the_api_prints(other.legacy_settings())


def test_what_the_intake_needs_is_what_the_settings_say(registry: StreamRegistry, answered: dict[str, Any]) -> None:
    for stream in registry.all():
        settings = answered[stream.name]
        assert settings["schema_title"] == stream.schema_title
        assert settings["topics"] == list(stream.topics)
        assert settings.get("message_key_fields") == stream.message_key_fields
        assert settings["canary_events_enabled"] == stream.canary_events_enabled
        enriched = settings["producers"]["eventgate"]["enrich_fields_from_http_headers"]
        assert {path: header or None for path, header in enriched.items()} == stream.headers
        for prefix in stream.topic_prefixes or ("eqiad.",):
            assert stream.topic_for(prefix) in stream.topics


def test_a_member_of_a_real_family_has_the_topics_the_real_api_answers(registry: StreamRegistry) -> None:
    member = registry.get("mediawiki.job.refreshLinks")
    assert (member.schema_title, member.family) == ("mediawiki/job", r"/^mediawiki\.job\..+/")
    assert member.topics == ("eqiad.mediawiki.job.refreshLinks", "codfw.mediawiki.job.refreshLinks")


def test_the_example_of_the_format_maps_to_the_real_streams_settings(
    streams_dir: Path, tmp_path: Path, answered: dict[str, Any]
) -> None:
    shutil.copy(streams_dir / "example" / f"{EXAMPLE}.yaml", tmp_path)
    stream = StreamRegistry.load(tmp_path).get(EXAMPLE)
    ours = stream.legacy_settings()
    for key in ("schema_title", "topics", "topic_prefixes", "message_key_fields", "destination_event_service"):
        assert answered[EXAMPLE][key] == ours[key]
    assert (stream.partitions, stream.retention_seconds, stream.privacy_class) == (5, 604_800.0, "public")
    assert (stream.owner, stream.canary_events_enabled) == ("team:data-platform", True)
