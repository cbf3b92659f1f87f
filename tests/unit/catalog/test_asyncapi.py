"""The AsyncAPI documents: valid by the official schema, complete, and silent about what is not for everybody."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml

from headwater.catalog.asyncapi import Kafka, Place, exportable, stream_document, whole_document
from headwater.catalog.payloads import payloads
from headwater.log.contract import TopicSettings
from headwater.schemas.repository import open_repositories
from headwater.streams import StreamRegistry
from headwater.testing.service_kit import served_project, write_project

SPECIFICATIONS = "@asyncapi/specs"
DIALECT = "http://json-schema.org/draft-07/schema#"
COMMON = {
    "title": "fragment/common",
    "$id": "/fragment/common/1.0.0",
    "$schema": DIALECT,
    "type": "object",
    "properties": {"meta": {"type": "object", "properties": {"stream": {"type": "string"}}}},
}
SCHEMA = {
    "title": "page/change",
    "$id": "/page/change/1.1.0",
    "$schema": DIALECT,
    "type": "object",
    "allOf": [{"$ref": "/fragment/common/1.0.0"}],
    "properties": {"page": {"type": "object", "properties": {"id": {"type": "integer"}}}, "wiki": {"type": "string"}},
    "examples": [{"$schema": "/page/change/1.1.0", "meta": {"stream": "other"}, "wiki": "enwiki"}],
}
CHANGES = {
    "stream": "page.changes",
    "schema_title": "page/change",
    "docs": {
        "summary": "What changed.",
        "owner": "team:pages",
        "contact": "pages@example.org",
        "tags": ["page"],
        "links": [{"title": "More", "url": "https://example.org/pages"}],
    },
    "lifecycle": {"stage": "deprecated"},
    "privacy": {"class": "public"},
    "transport": {
        "topic_prefixes": ["east.", "west."],
        "partitions": 5,
        "retention": "7d",
        "message_key_fields": {"wiki": "wiki", "page": "page.id"},
    },
    "produce": {"by": {"editor": {"enabled": True}}, "sample": {"unit": "session", "rate": 0.5}},
    "consume": {"warehouse": {"enabled": True}},
}
SECRET = {"stream": "secrets", "schema_title": "page/change", "privacy": {"class": "restricted"}}
FAMILY = {"stream": "/^jobs\\..+/", "schema_title": "page/change"}
PUBLIC = Place("test", "https://events.example.org/base", "1.2.3")


@pytest.fixture(scope="session")
def official(needs: Callable[[str, object, str], None]) -> Mapping[str, jsonschema_rs.Validator]:
    """{version: a validator of the official schema}, from the package its authors publish."""
    named = os.environ.get("HEADWATER_ASYNCAPI_SPECS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater" / "npm"
    folder = Path(named) if named else cache / "node_modules" / SPECIFICATIONS
    npm = shutil.which("npm")
    if not folder.is_dir() and npm:
        cache.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(cache), "--no-audit", "--no-fund", "--silent", SPECIFICATIONS]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(install, capture_output=True, check=False, timeout=90)
    needs("asyncapi", folder.is_dir(), f"install npm, or name the folder of {SPECIFICATIONS}: HEADWATER_ASYNCAPI_SPECS")
    schemas = {file.stem: file for file in (folder / "schemas").glob("3.*.json") if "without" not in file.stem}
    assert "3.0.0" in schemas
    return {version: jsonschema_rs.validator_for(json.loads(file.read_bytes())) for version, file in schemas.items()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path, [COMMON, SCHEMA], [CHANGES, SECRET])
    families = tmp_path / "streams" / "families"
    families.mkdir()
    (families / "jobs.yaml").write_text(yaml.safe_dump(FAMILY), encoding="utf-8")
    return tmp_path


@pytest.fixture
def made(project: Path) -> Callable[[Place], dict[str, Any]]:
    """Makes the document of the whole project for a place."""
    registry = StreamRegistry.load(project / "streams")
    streams = exportable(registry.entries(), registry.visibility)
    found = payloads([stream.schema_title or "" for stream in streams], open_repositories([str(project / "schemas")]))
    return lambda place: whole_document(streams, found, place)


def internal() -> Place:
    settings = TopicSettings(partitions=5, retention_seconds=604800, compact=True)
    kafka = Kafka(["one:9092", "two:9092"], "staging.", True, 3, lambda stream: settings)
    return Place("test", "http://localhost:8080", "1.2.3", True, kafka)


def dangling(document: Mapping[str, Any]) -> list[str]:
    """References of a document that lead nowhere in it."""

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for child in node.values():
                yield from references(child)
        elif isinstance(node, list):
            for child in node:
                yield from references(child)

    def found(reference: str) -> bool:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node is not None

    return [reference for reference in references(document) if not found(reference)]


def errors(official: Mapping[str, jsonschema_rs.Validator], document: Mapping[str, Any]) -> list[str]:
    """What the official schemas of all 3.x versions say against a document."""
    return [
        f"{version} at {list(error.instance_path)}: {error.message[:300]}"
        for version, validator in official.items()
        for error in validator.iter_errors({**document, "asyncapi": version})
    ]


@pytest.mark.parametrize("place", [PUBLIC, internal()], ids=["public", "internal"])
def test_the_whole_document_is_valid_by_every_official_schema(
    official: Mapping[str, jsonschema_rs.Validator], made: Callable[[Place], dict[str, Any]], place: Place
) -> None:
    document = made(place)
    assert errors(official, document) == []
    assert dangling(document) == []
    broken = copy.deepcopy(document)
    broken["channels"]["intake"]["address"] = 1
    assert errors(official, broken), "the schema refuses what is wrong"


def test_a_stream_is_exported_with_its_people_its_schema_and_its_examples(
    made: Callable[[Place], dict[str, Any]],
) -> None:
    document = made(PUBLIC)
    assert document["servers"]["intake"]["host"] == "events.example.org"
    assert document["servers"]["live"]["pathname"] == "/base"
    assert document["channels"]["live.page.changes"]["address"] == "/v2/stream/page.changes"
    message = document["components"]["messages"]["page.changes"]
    assert message["deprecated"]
    assert message["examples"][0]["payload"]["meta"] == {"stream": "page.changes"}
    payload = document["components"]["schemas"]["page.change"]
    assert payload["schemaFormat"] == "application/schema+json;version=draft-07"
    assert payload["schema"]["allOf"][0]["properties"]["meta"]["type"] == "object", "references are resolved"


def test_private_streams_families_and_inner_settings_are_not_public(
    made: Callable[[Place], dict[str, Any]],
) -> None:
    text = json.dumps(made(PUBLIC))
    for word in ("secrets", "jobs", "east.", "editor", "warehouse", "sample", "kafka"):
        assert word not in text, word
    assert "secrets" not in json.dumps(made(internal()))


def test_on_kafka_an_internal_document_names_brokers_topics_and_keys(made: Callable[[Place], dict[str, Any]]) -> None:
    document = made(internal())
    assert document["servers"]["kafka-2"] == {
        "host": "two:9092",
        "protocol": "kafka-secure",
        "title": "A broker of the log.",
    }
    topic = document["channels"]["topic.west.page.changes"]
    assert topic["address"] == "staging.west.page.changes"
    assert topic["bindings"]["kafka"] == {
        "partitions": 5,
        "replicas": 3,
        "topicConfiguration": {"cleanup.policy": ["compact"], "retention.ms": 604_800_000},
        "bindingVersion": "0.5.0",
    }
    key = document["components"]["messages"]["page.changes"]["bindings"]["kafka"]["key"]
    assert key["properties"] == {"wiki": {"type": "string"}, "page": {"type": "integer"}}
    assert document["operations"]["send.page.changes"]["x-producers"] == ["editor"]
    assert document["operations"]["receive.page.changes"]["x-consumers"] == ["warehouse"]


def test_the_platform_serves_the_whole_and_each_stream(
    official: Mapping[str, jsonschema_rs.Validator], project: Path
) -> None:
    with served_project(project) as (address, platform), httpx.Client(base_url=address) as client:
        whole, one = client.get("/asyncapi.json"), client.get("/asyncapi/page.changes.json")
        member = client.get("/asyncapi/jobs.thumbnail.json").json()
        for document in (whole.json(), one.json(), member):
            assert errors(official, document) == []
            assert document["servers"]["intake"]["host"] == httpx.URL(address).netloc.decode()
        assert one.json()["info"] == {
            "title": "page.changes",
            "version": "1.1.0",
            "description": "What changed.",
            "contact": {"name": "team:pages", "email": "pages@example.org"},
            "tags": [{"name": "page"}],
            "externalDocs": {"url": "https://example.org/pages", "description": "More"},
            "x-lifecycle": "deprecated",
            "x-privacy-class": "public",
        }
        assert list(whole.json()["components"]["messages"]) == ["page.changes"]
        assert client.get("/asyncapi.json", headers={"if-none-match": whole.headers["etag"]}).status_code == 304
        assert client.get("/asyncapi/secrets.json").status_code == 404
        assert client.get("/asyncapi/nothing.json").status_code == 404
        assert client.get("/asyncapi.json?audience=internal").status_code == 401
        key = platform.keys.create("tests", ["streams:read"])
        inner = client.get("/asyncapi.json?audience=internal", headers={"authorization": f"Bearer {key}"})
        assert inner.json()["operations"]["send.page.changes"]["x-sample"] == {"unit": "session", "rate": 0.5}


def test_the_documents_of_all_real_streams_are_valid(
    official: Mapping[str, jsonschema_rs.Validator], fixtures_dir: Path
) -> None:
    registry = StreamRegistry.load(fixtures_dir / "streams" / "wikimedia_streams.yaml")
    roots = sorted((fixtures_dir / "schemas").glob("*/jsonschema"))
    streams = exportable(registry.entries(), registry.visibility)
    found = payloads([stream.schema_title or "" for stream in streams], open_repositories([str(r) for r in roots]))
    assert found
    for place in (PUBLIC, internal()):
        document = whole_document(streams, found, place)
        assert errors(official, document) == []
        assert len(document["components"]["messages"]) == len(streams)
        assert dangling({**document, "components": {**document["components"], "schemas": found_keys(document)}}) == []
    for stream in streams[::20]:
        assert errors(official, stream_document(stream, found.get(stream.schema_title or ""), PUBLIC)) == []


def found_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas without their content, in which `$ref` may be a word of an example."""
    return {name: {"there": True} for name in document["components"]["schemas"]}
