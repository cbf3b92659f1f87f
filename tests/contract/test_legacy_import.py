"""The real stream configuration becomes stream files and comes back: lossless, of the same meaning on every site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.streams import matching as legacy
from headwater.streams.files import read_layers
from headwater.streams.layers import Scope, StreamLayers
from headwater.streams.legacy import site
from headwater.streams.legacy.api import printed
from headwater.streams.legacy.export import exported
from headwater.streams.legacy.importer import Imported, differences, imported
from headwater.streams.legacy.php_arrays import read_legacy_declaration
from headwater.streams.legacy.source import LegacySource
from requirements import at_least_one


@pytest.fixture(scope="module")
def originals(fixtures_dir: Path) -> list[Path]:
    directory = fixtures_dir / "streams"
    return [directory / "wikimedia_streams.yaml", directory / "wikimedia_streams_overrides.yaml"]


def made_files(source: LegacySource, directory: Path) -> Imported:
    made = imported(source)
    for name, text in made.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    return made


def source_of(*files: Path) -> LegacySource:
    source = LegacySource()
    for file in files:
        source.add(read_legacy_declaration(file))
    return source


@pytest.fixture(scope="module")
def directory(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("streams")
    made_files(source_of(*originals), made)
    return made


@pytest.fixture(scope="module")
def layers(directory: Path) -> StreamLayers:
    return read_layers(directory)


def test_what_was_imported_is_exported_again_to_the_last_setting(
    originals: list[Path], directory: Path, layers: StreamLayers
) -> None:
    streams, overrides = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in originals)
    back = exported(layers, directory)
    assert back.unsaid == []
    assert back.streams == streams
    assert list(back.streams["streams"]) == list(streams["streams"])
    assert back.overrides == overrides


def test_what_was_exported_is_imported_again_to_the_last_byte(
    directory: Path, layers: StreamLayers, tmp_path: Path
) -> None:
    back = exported(layers, directory)
    for name, tree in (("streams", back.streams), ("overrides", back.overrides)):
        (tmp_path / f"{name}.json").write_text(json.dumps(tree), encoding="utf-8")
    again = imported(source_of(tmp_path / "streams.json", tmp_path / "overrides.json"))
    assert again.files == {
        path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8") for path in directory.rglob("*.yaml")
    }


def test_every_real_site_sees_the_settings_the_legacy_rules_give_it(
    originals: list[Path], layers: StreamLayers, fixtures_dir: Path
) -> None:
    main, overrides = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in originals)
    expected = json.loads((fixtures_dir / "streams" / "wikimedia_effective_diffs.json").read_text(encoding="utf-8"))
    for wiki, wanted in at_least_one(expected["sites"]).items():
        realm, name = ("beta", wiki.removeprefix("labs_")) if wiki.startswith("labs_") else ("production", wiki)
        ours = {stream.name: stream.settings for stream in layers.streams(Scope(site=name, realm=realm))}
        assert len(ours) == wanted["stream_count"]
        defaults = main["default_settings"] if wanted["default_settings"] == "same" else wanted["default_settings"]
        entries = main["streams"] | wanted["streams_that_differ"]
        for stream, settings in entries.items():
            theirs = printed(legacy.merge(defaults, {key: settings[key] for key in settings if key != "stream"}))
            assert printed(dict(ours[stream])) == theirs, (wiki, stream)
        assert set(ours) == set(entries)
    assert any(name.startswith("+") for name in overrides["production"]["streams"])


def test_the_import_compares_site_by_site_and_finds_no_difference(originals: list[Path], directory: Path) -> None:
    assert list(differences(source_of(*originals), directory)) == []


def test_the_comparison_finds_what_somebody_changed(originals: list[Path], directory: Path, tmp_path: Path) -> None:
    for path in directory.rglob("*.yaml"):
        target = tmp_path / path.relative_to(directory)
        target.parent.mkdir(exist_ok=True)
        text = path.read_text(encoding="utf-8")
        target.write_text(text.replace("rate: 0.01", "rate: 0.02"), encoding="utf-8")
    assert list(differences(source_of(*originals), tmp_path)) == [
        "production, enwiki: mediawiki.web_ui_actions has other settings."
    ]


def test_overrides_the_legacy_rules_ignore_are_named(originals: list[Path]) -> None:
    notes = imported(source_of(*originals)).notes
    assert len(notes) == 3
    assert all("legacy rules ignore" in note and "beta, +metawiki" in note for note in notes)


SETTINGS: dict[str, Any] = {
    "default": {"s": {"schema_title": "t", "l": ["a", "b"], "on": True}, "r": {"schema_title": "t"}},
    "+w": {"s": {"l": ["c"], "on": False, "x": {"y": 1}}, "n": {"schema_title": "t"}},
    "+g": {"s": {"sample": {"rate": 0}}},
    "v": {"r": {"schema_title": "u"}},
}


def small(settings: dict[str, Any], defaults: dict[str, Any], tmp_path: Path) -> LegacySource:
    variables = {"wgEventStreamsDefaultSettings": defaults, "wgEventStreams": settings}
    (tmp_path / "legacy.json").write_text(json.dumps(variables), encoding="utf-8")
    (tmp_path / "groups.json").write_text(json.dumps({"site_groups": {"g": ["w", "u"]}}), encoding="utf-8")
    return source_of(tmp_path / "legacy.json", tmp_path / "groups.json")


def test_every_kind_of_selector_means_the_same_afterwards(tmp_path: Path) -> None:
    source = small(SETTINGS, {"topic_prefixes": ["a.", "b."]}, tmp_path)
    made_files(source, tmp_path / "streams")
    assert list(differences(source, tmp_path / "streams")) == []
    layers = read_layers(tmp_path / "streams")
    assert {stream.name for stream in layers.streams(Scope("v"))} == {"r"}
    assert {stream.name for stream in layers.streams(Scope("w"))} == {"s", "r", "n"}
    assert {stream.name for stream in layers.streams(Scope())} == {"s", "r"}
    back = exported(layers, tmp_path / "streams")
    assert back.unsaid == []
    theirs = {"default": back.streams["streams"], **back.overrides["production"]["streams"]}
    for wiki in ("w", "u", "v", "z"):
        groups = ["g"] if wiki in ("w", "u") else []
        assert site.value_for(theirs, wiki, groups) == site.value_for(SETTINGS, wiki, groups)


def test_a_list_shorter_than_the_default_is_written_as_it_comes_out(tmp_path: Path) -> None:
    source = small(
        {"s": {"schema_title": "t", "topic_prefixes": ["only."]}}, {"topic_prefixes": ["a.", "b."]}, tmp_path
    )
    made_files(source, tmp_path / "streams")
    assert list(differences(source, tmp_path / "streams")) == []
    stream = next(read_layers(tmp_path / "streams").streams(Scope()))
    assert stream.topics == ("only.s", "b.s")


def unsayable() -> Iterator[tuple[str, str]]:
    yield "transport: {topic_prefixes: [a.]}\n", "the list topic_prefixes is shorter than the default"
    yield "overrides: [{when: {site: w}, set: {monitor: {canary: {enabled: false}}}}]\n", "cannot become false"
    yield "overrides: [{when: {site: w, site_group: g}, set: {schema_title: u}}]\n", "has no such condition"


@pytest.mark.parametrize(("text", "expected"), list(unsayable()))
def test_what_the_legacy_format_cannot_express_is_reported(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "defaults.yaml").write_text("transport: {topic_prefixes: [a., b.]}\n", encoding="utf-8")
    body = "stream: s\nschema_title: t\nmonitor: {canary: {enabled: true}}\n"
    (tmp_path / "s.yaml").write_text(body + text, encoding="utf-8")
    (tmp_path / "sites.yaml").write_text("groups: {g: [w]}\n", encoding="utf-8")
    (sentence,) = exported(read_layers(tmp_path), tmp_path).unsaid
    assert expected in sentence
