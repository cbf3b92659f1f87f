"""Configuration: what wins over what, and what a complaint says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from headwater.config import Config, load_config, override_of
from headwater.errors import ConfigInvalid


def load(project: Path, text: str, environment: Mapping[str, str] | None = None, **overrides: Any) -> Config:
    (project / "headwater.yaml").write_text(text, encoding="utf-8")
    return load_config(project, environment or {}, overrides)


def complaint(project: Path, text: str, environment: Mapping[str, str] | None = None, **overrides: Any) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(project, text, environment, **overrides)
    return str(caught.value).replace(str(project) + "/", "")


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert Config(project_dir=tmp_path) == load_config(tmp_path, {})


def test_an_empty_file_and_empty_sections_mean_the_defaults(tmp_path: Path) -> None:
    assert Config(project_dir=tmp_path) == load(tmp_path, "# nothing\n")
    assert Config(project_dir=tmp_path) == load(tmp_path, "web:\nlog: {}\n")


def test_a_section_with_a_main_key_can_be_written_as_its_value(tmp_path: Path) -> None:
    config = load(tmp_path, "log: sqlite:///data/log.db\nschemas: [one, 'https://two.example.org']\nstreams: s.yaml\n")
    assert (config.log.url, config.streams.path) == ("sqlite:///data/log.db", "s.yaml")
    assert config.schema_base_uris == (str(tmp_path / "one"), "https://two.example.org")
    assert config.log_path == tmp_path / "data/log.db"
    assert load(tmp_path, "log: {url: 'sqlite:///data/log.db'}\nschemas: one").schemas.base_uris == ("one",)


def test_an_absolute_log_path_has_four_slashes(tmp_path: Path) -> None:
    assert load(tmp_path, "log: sqlite:////data/log.db").log_path == Path("/data/log.db")


def test_the_environment_wins_over_the_file_and_overrides_win_over_both(tmp_path: Path) -> None:
    environment = {"HEADWATER_WEB_PORT": "2", "HEADWATER_WEB_HOST": "two", "HEADWATER_LOG": "sqlite:///two.db"}
    config = load(tmp_path, "web: {port: 1, host: one}\nlog: sqlite:///one.db", environment, web={"port": 3})
    assert (config.web.port, config.web.host, config.log.url) == (3, "two", "sqlite:///two.db")
    dotted = load_config(tmp_path, environment, {"web.port": 4, "log": "sqlite:///four.db"})
    assert (dotted.web.port, dotted.log.url) == (4, "sqlite:///four.db")


def test_environment_variables_are_read_by_the_type_of_their_key(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "",
        {
            "HEADWATER_SCHEMAS_BASE_URIS": "schemas, https://schemas.example.org",
            "HEADWATER_STREAMS_ENFORCE": "false",
            "HEADWATER_CONSUMPTION_CONNECTION_SECONDS_MAX": "900",
            "HEADWATER_INTAKE_CORS": "null",
            "HEADWATER_INTAKE_SERVICE_NAME": "123",
        },
    )
    assert config.schemas.base_uris == ("schemas", "https://schemas.example.org")
    assert config.streams.enforce is False
    assert config.consumption.connection_seconds_max == 900.0
    assert config.intake.cors is None
    assert config.intake.error_stream_name == "123.error.validation"


def test_variables_that_name_no_section_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"HEADWATER_FIXTURES": "x", "HEADWATER_REQUIRE": "all"}) == Config(project_dir=tmp_path)


def test_the_tree_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        load(tmp_path, "").web.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web:\n  prot: 1\n", 'headwater.yaml:2: unknown key "prot" in web. Did you mean "port"?'),
        ("\nwbe: {}\n", 'headwater.yaml:2: unknown key "wbe". Did you mean "web"?'),
        ("web:\n  port: high\n", 'headwater.yaml:2: web.port must be a whole number, not the text "high".'),
        ("web:\n  port: true\n", "headwater.yaml:2: web.port must be a whole number, not true."),
        ("web:\n\n  port: 65536\n", "headwater.yaml:3: web.port must be at most 65535, not 65536."),
        ("streams: {enforce: yes}", 'headwater.yaml:1: streams.enforce must be true or false, not the text "yes".'),
        ("log: {durability: fsnyc}", 'must be "fsync" or "os", not the text "fsnyc". Did you mean "fsync"?'),
        ("log: redis://host", 'headwater.yaml:1: log must start with "sqlite:///" or "kafka://", not "redis://host".'),
        (
            "web: 8080",
            "headwater.yaml:1: web must be a mapping. Its keys: host, port, public_url, hosts, served_tables_path, "
            "viewers_max, viewers_per_address_max, headers_max, "
            "headers_bytes_max, headers_seconds_max, body_seconds_max.",
        ),
        ("- web", "headwater.yaml:1: must be a mapping of sections."),
        ("intake: {test_events: 3}", "headwater.yaml:1: intake.test_events must be a list of mappings, not 3."),
        ("intake:\n  retry_after_seconds: 0", "intake.retry_after_seconds must be at least 1, not 0."),
    ],
)
def test_a_complaint_says_file_line_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in complaint(tmp_path, text)


def test_a_complaint_about_the_environment_or_an_override_names_it(tmp_path: Path) -> None:
    assert 'environment variable HEADWATER_WEB_PROT: is not a setting. Did you mean "HEADWATER_WEB_PORT"?' in complaint(
        tmp_path, "", {"HEADWATER_WEB_PROT": "1"}
    )
    assert "environment variable HEADWATER_WEB_PORT: web.port must be a whole number" in complaint(
        tmp_path, "", {"HEADWATER_WEB_PORT": "x"}
    )
    assert 'overrides: unknown key "prt" in web. Did you mean "port"?' in complaint(tmp_path, "", web={"prt": 1})


@pytest.mark.parametrize("written", ['log: "sqlite:///a\\0b"', 'schemas: ["a\\0"]', 'control: {api_keys_path: "\\0"}'])
def test_a_nul_character_is_refused_with_its_place(tmp_path: Path, written: str) -> None:
    (tmp_path / "headwater.yaml").write_text(f"# first\n{written}\n", encoding="utf-8")
    with pytest.raises(ConfigInvalid, match="NUL") as caught:
        load_config(tmp_path, environment={})
    assert caught.value.line == 2


def test_a_section_inside_a_section_is_read_from_every_place(tmp_path: Path) -> None:
    text = "lookups: {contact: a@example.org, mediawiki: {url: 'http://one', maxlag_seconds: 7}}"
    assert load(tmp_path, text).lookups.mediawiki.url == "http://one"
    environment = {"HEADWATER_LOOKUPS_MEDIAWIKI_URL": "http://two", "HEADWATER_LOOKUPS_REDIRECTS_MAX": "1"}
    lookups = load(tmp_path, text, environment).lookups
    assert (lookups.mediawiki.url, lookups.redirects_max) == ("http://two", 1)
    assert (lookups.mediawiki.maxlag_seconds, lookups.contact) == (7, "a@example.org")
    for overrides in (
        {"lookups.mediawiki.url": "http://three"},
        {"lookups": {"mediawiki": {"url": "http://three"}}},
        {"lookups.mediawiki": {"url": "http://three"}},
    ):
        mediawiki = load_config(tmp_path, environment, overrides).lookups.mediawiki
        assert (mediawiki.url, mediawiki.maxlag_seconds) == ("http://three", 7)
    assert load(tmp_path, "lookups: {mediawiki: }").lookups.mediawiki.maxlag_seconds == 5


def test_a_wrong_key_inside_a_section_of_a_section_is_named_with_the_nearest(tmp_path: Path) -> None:
    assert complaint(tmp_path, "lookups:\n  mediawiki:\n    ulr: x\n") == (
        'headwater.yaml:3: unknown key "ulr" in lookups.mediawiki. Did you mean "url"?'
    )
    assert complaint(tmp_path, "lookups: {mediawiki: {url: 5}}") == (
        "headwater.yaml:1: lookups.mediawiki.url must be text, not 5."
    )
    assert "lookups.mediawiki must be a mapping. Its keys: url, " in complaint(tmp_path, "lookups: {mediawiki: x}")
    assert "HEADWATER_LOOKUPS_MEDIAWIKI_URL" in complaint(tmp_path, "", {"HEADWATER_LOOKUPS_MEDIAWIKI_ULR": "x"})
    assert 'unknown key "ulr" in lookups.mediawiki' in complaint(tmp_path, "", **{"lookups.mediawiki.ulr": "x"})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("web.port", "8080", 8080),
        ("web", "8080", "8080"),
        ("log", "sqlite:///x.db", "sqlite:///x.db"),
        ("lookups.pause_seconds_max", "0.5", 0.5),
        ("lookups.mediawiki.maxlag_seconds", "null", None),
        ("lookups.mediawiki.url", "http://127.0.0.1:1/w/api.php", "http://127.0.0.1:1/w/api.php"),
        ("lookups.contact", "null", None),
        ("schemas.base_uris", "one, two", ["one", "two"]),
        ("monitoring.canaries", "false", False),
        ("no.such", "1", "1"),
        ("lookups.no_such", "1", "1"),
        ("nothing", "1", "1"),
    ],
)
def test_an_override_written_as_text_is_read_by_the_type_of_its_setting(key: str, text: str, value: Any) -> None:
    assert override_of(key, text) == value


def test_an_override_that_is_no_number_of_json_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"lookups\.pause_seconds_max: \.inf is a number that JSON"):
        override_of("lookups.pause_seconds_max", ".inf")
