"""Flink's Kafka connector is found where a person or Maven has put it, and what Maven has fetched is checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.processing.flink import connector_jar
from headwater.processing.flink.connector_jar import find_connector_jar, local_repository

FETCHED = "org/apache/flink/flink-sql-connector-kafka/5.0.0-2.2/flink-sql-connector-kafka-5.0.0-2.2.jar"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "flink-dist-2.2.1.jar").touch()
    return folder


@pytest.fixture
def maven(tmp_path: Path) -> Path:
    (tmp_path / "maven").mkdir()
    return tmp_path / "maven"


def test_the_file_that_a_setting_names_comes_first(tmp_path: Path, library: Path, maven: Path) -> None:
    named = tmp_path / "another.jar"
    named.touch()
    (library / "flink-sql-connector-kafka-5.0.0-2.2.jar").touch()
    assert find_connector_jar(named, library, maven) == named


def test_a_named_file_that_is_not_there_is_refused_with_the_command(tmp_path: Path, library: Path, maven: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"flink\.connector_jar: there is no file .*none\.jar") as refused:
        find_connector_jar(tmp_path / "none.jar", library, maven)
    assert "mvn dependency:get" in str(refused.value.hint)


def test_the_newest_in_the_library_of_flink_comes_next(library: Path, maven: Path) -> None:
    for version in ("4.0.1-2.0", "5.0.0-2.2"):
        (library / f"flink-sql-connector-kafka-{version}.jar").touch()
    assert find_connector_jar(None, library, maven) == library / "flink-sql-connector-kafka-5.0.0-2.2.jar"


def test_what_maven_has_fetched_must_have_the_known_checksum(
    library: Path, maven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = maven / "repository" / FETCHED
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"another one")
    with pytest.raises(ConfigInvalid, match="is not the released connector") as refused:
        find_connector_jar(None, library, maven)
    assert "Delete it, then: mvn dependency:get" in str(refused.value.hint)
    monkeypatch.setattr(connector_jar, "SHA256", hashlib.sha256(b"another one").hexdigest())
    assert find_connector_jar(None, library, maven) == fetched


def test_without_one_the_command_that_fetches_it_is_named(library: Path, maven: Path) -> None:
    with pytest.raises(ExtraMissing) as missing:
        find_connector_jar(None, library, maven)
    command = "mvn dependency:get -Dtransitive=false -Dartifact=org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2"
    assert command in str(missing.value.hint)


def test_the_local_repository_is_where_the_settings_of_maven_say(tmp_path: Path, maven: Path) -> None:
    assert local_repository(maven) == maven / "repository"
    (maven / "settings.xml").write_text(f"<settings>\n <localRepository> {tmp_path}/jars </localRepository></settings>")
    assert local_repository(maven) == tmp_path / "jars"
    (maven / "settings.xml").write_text("<settings><localRepository>${user.home}/jars</localRepository></settings>")
    assert local_repository(maven) == Path.home() / "jars"
