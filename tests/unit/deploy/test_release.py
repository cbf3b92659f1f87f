"""A project as it is deployed: its settings in the environment, its secrets, and the files that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploying.projects import KAFKA, WITH_SECRETS, environment_of, new_project, new_release, sha256
from headwater.config import CONFIG_FILE, load_config
from headwater.deploy.release import deployed_config, settings_text
from headwater.errors import ConfigInvalid

CHANGES: list[dict[str, Any]] = [
    {},
    KAFKA,
    {"log": {"url": "kafka://kafka:9092", "kafka": {"security.protocol": "SSL"}}},
    {"lookups": {"mediawiki": {"maxlag_seconds": None}, "contact": "ops@example.org"}},
    {"jobs": {"shared": True}, "consumption": {"allowed_streams": ["demo.edit"]}},
]


@pytest.mark.parametrize("changed", CHANGES)
def test_the_written_settings_mean_what_the_project_means_with_the_changes(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    project = new_project(tmp_path)
    with (project / CONFIG_FILE).open("a") as file:
        file.write("\nlookups:\n  total_seconds_max: 20\n  mediawiki: {requests_per_wiki_max: 2}\n")
    wanted = deployed_config(project, environment_of(tmp_path, {"settings": changed}))
    (project / CONFIG_FILE).write_text(settings_text(project, changed), encoding="utf-8")
    assert load_config(project, environment={}) == wanted


def test_variables_of_this_shell_are_not_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_WEB_PORT", "9999")
    assert new_release(tmp_path, {}).port == 8080


def test_the_checksum_is_that_of_the_settings(tmp_path: Path) -> None:
    one = new_release(tmp_path, {"settings": KAFKA})
    again = new_release(tmp_path, {"settings": KAFKA, "serving": {"replicas": 5}})
    other = new_release(tmp_path, {"settings": {"log": "kafka://other:9092"}})
    assert one.checksum == sha256(one.settings) == again.checksum
    assert other.checksum != one.checksum


def test_references_are_found_in_settings_sinks_and_sources(tmp_path: Path) -> None:
    project = new_project(tmp_path)
    sink = {"connector": "postgres", "dsn": "${env:POSTGRES_URL}", "key": "wiki"}
    (project / "streams" / "sold.yaml").write_text(
        yaml.safe_dump({"stream": "sold", "schema_title": "demo/edit", "sinks": [sink]}), encoding="utf-8"
    )
    release = new_release(tmp_path, {"settings": WITH_SECRETS, "secret": "shop"})
    assert release.references.variables == ("KAFKA_USER", "POSTGRES_URL")
    assert release.references.files == ("/srv/project/secrets/kafka-password",)
    assert release.log_references.variables == ("KAFKA_USER",)


def kafka(**options: str) -> dict[str, Any]:
    return {
        "settings": {
            "log": {"url": "kafka://kafka:9092", "kafka": {k.replace("_", "."): v for k, v in options.items()}}
        }
    }


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (kafka(sasl_password="geheim"), "log.kafka: sasl.password contains the secret itself"),
        (kafka(ssl_key_pem="-----BEGIN"), "log.kafka: ssl.key.pem contains the secret itself"),
        (
            {"settings": {"lake": {"location": "s3://b/p", "storage": {"secret_key": "geheim"}}}},
            "lake.storage.secret_key is a secret",
        ),
        (
            {"settings": {"schemas": ["https://ann:geheim@example.org/"]}},
            "schemas.base_uris contains the secret itself",
        ),
        ({"settings": WITH_SECRETS}, "reads KAFKA_USER, /srv/project/secrets/kafka-password"),
        ({"settings": {"jobs": {"state_path": "state"}}}, "jobs.state_path is state, and in a container only var/"),
        ({"settings": {"jobs": {"state_path": "var/../state"}}}, "jobs.state_path is var/../state"),
        ({"settings": {"log": "sqlite:////data/events.db"}}, "log.url is /data/events.db"),
        ({"settings": {"web": {"port": 0}}}, "web.port is 0"),
        (
            {"secret": "s", **kafka(sasl_password="${file:a/key}", ssl_key_password="${file:b/key}")},
            "would be one key of a Secret, key",
        ),
    ],
)
def test_what_cannot_be_deployed_is_refused(tmp_path: Path, written: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        new_release(tmp_path, written)
    assert says in raised.value.message
    assert raised.value.hint
    assert "geheim" not in f"{raised.value.message} {raised.value.hint}"


def test_a_location_of_a_key_is_no_secret(tmp_path: Path) -> None:
    assert new_release(tmp_path, kafka(ssl_key_location="/etc/kafka/key.pem", ssl_ca_location="/etc/ca.pem"))
