"""Where the brokers are and how to talk to them: what is taken, what is refused, and what is never shown."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.config import load_config
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.log.open import log_at, log_of


@pytest.fixture(autouse=True, scope="module")
def _client(needs: Callable[[str, object, str], None]) -> None:
    needs("kafka", importlib.util.find_spec("confluent_kafka"), "install the extra: pip install 'headwater[kafka]'")


@pytest.mark.parametrize(
    ("url", "servers", "namespace"),
    [
        ("kafka://one", "one:9092", ""),
        ("kafka://one:1234", "one:1234", ""),
        ("kafka://one:1,two:2, three/", "one:1,two:2,three:9092", ""),
        ("kafka://127.0.0.1:9092/staging.", "127.0.0.1:9092", "staging."),
        ("kafka://[::1]:9092/a", "[::1]:9092", "a"),
    ],
)
def test_a_url_names_brokers_and_what_names_begin_with(url: str, servers: str, namespace: str) -> None:
    from headwater.log.urls import parse_url

    assert parse_url(url) == (servers, namespace)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka:///x",
        "kafka://a:b",
        "kafka://a:0",
        "kafka://a:70000",
        "kafka://a,,b",
        "kafka://a/b/c",
        "x://a",
    ],
)
def test_a_url_that_names_no_brokers_is_refused(url: str) -> None:
    from headwater.log.urls import parse_url

    with pytest.raises(ConfigInvalid):
        parse_url(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    from headwater.log.kafka.log import KafkaLog

    with pytest.raises(ConfigInvalid, match=r"sasl\.password") as caught:
        KafkaLog("kafka://user:swordfish@host:9092")
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize("name", ["acks", "enable.idempotence", "transactional.id", "isolation.level", "partitioner"])
def test_what_the_promises_rest_on_cannot_be_set(name: str) -> None:
    from headwater.log.kafka.log import KafkaLog

    with pytest.raises(ConfigInvalid, match=name) as caught:
        KafkaLog("kafka://host", options={name: "x"})
    assert caught.value.hint


def test_options_reach_every_client_and_cannot_replace_what_the_log_needs() -> None:
    from headwater.log.kafka.settings import KafkaSettings, checked_options

    options = checked_options({"linger.ms": 20, "socket.keepalive.enable": False, "security.protocol": "SASL_SSL"})
    settings = KafkaSettings("host:9092", options=options)
    for client in (settings.client(), settings.producer(), settings.consumer(fetch_wait_ms=5, queued_kib_max=1_000)):
        assert (client["linger.ms"], client["socket.keepalive.enable"]) == ("20", "false")
        assert client["security.protocol"] == "SASL_SSL"
        assert client["bootstrap.servers"] == "host:9092"
    assert (settings.producer()["acks"], settings.producer()["enable.idempotence"]) == ("all", True)
    assert settings.consumer(fetch_wait_ms=5, queued_kib_max=1_000)["isolation.level"] == "read_committed"
    with pytest.raises(ConfigInvalid, match=r"ssl\.ca"):
        checked_options({"ssl.ca": ["a", "list"]})


def test_secrets_are_named_in_the_file_and_read_where_they_are_needed(tmp_path: Path) -> None:
    (tmp_path / "headwater.yaml").write_text(
        "log:\n  url: kafka://host\n  kafka:\n    sasl.username: ${env:WHO}\n    sasl.password: ${file:secret/word}\n"
        "    security.protocol: SASL_SSL\n"
    )
    config = load_config(tmp_path, {})
    with pytest.raises(ConfigInvalid, match=r"sasl\.username is read from the environment variable WHO"):
        config.kafka_options({})
    with pytest.raises(ConfigInvalid, match=r"sasl\.password is read from .*word"):
        config.kafka_options({"WHO": "me"})
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "word").write_text("swordfish\n")
    assert config.kafka_options({"WHO": "me"}) == {
        "sasl.username": "me",
        "sasl.password": "swordfish",
        "security.protocol": "SASL_SSL",
    }
    assert "sasl" not in repr(config)


def test_the_project_can_name_the_log_by_its_url_alone(tmp_path: Path) -> None:
    config = load_config(tmp_path, {"HEADWATER_LOG": "kafka://one:1,two:2/x."})
    assert config.log.is_kafka
    assert config.log.url == "kafka://one:1,two:2/x."


def test_the_length_of_an_option_does_not_matter_to_its_being_hidden() -> None:
    from headwater.log.kafka.settings import KafkaSettings, refused_option

    settings = KafkaSettings("host", options={"ssl.key.password": "swordfish"})
    told = refused_option(ValueError("the key cannot be read with swordfish"), settings)
    assert "swordfish" not in str(told)
    assert "the key cannot be read" in str(told)


def test_without_the_client_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for opening in (
        lambda: log_of(load_config(tmp_path, {}, {"log": "kafka://host"})),
        lambda: log_at("kafka://host"),
    ):
        with pytest.raises(ExtraMissing, match=r"headwater\[kafka\]"):
            opening()
