"""What pages of other origins may read, and by which names a server answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headwater.config import WebConfig
from headwater.errors import HostUnknown
from headwater.testing.notes import note_schema
from headwater.testing.service_kit import served_project, write_project
from headwater.web.http.hosts import Hosts, host_name, is_loopback

ORIGIN = {"origin": "https://attacker.example"}
SCHEMA = note_schema(required=())
STREAMS = [
    {"stream": "notes", "schema_title": "note", "privacy": {"class": "public"}},
    {"stream": "shut", "schema_title": "note", "privacy": {"class": "private"}},
]
EVENT = {"$schema": "/note/1.0.0", "meta": {"stream": "notes"}}
OURS = (
    *("/", "/metrics", "/monitoring", "/readyz", "/v1/_page/state", "/v1/_page/tables", "/v1/canaries"),
    *("/v1/completeness?stream=notes", "/v1/reconciliation", "/v1/stream-changes", "/v1/stream-changes/1"),
    *("/static/page.js", "/static/none.js", "/?x=spec", "/?specs"),
)
FOR_ALL = (
    *("/v1/streams", "/v1/streams/notes", "/v1/streams/none", "/v1/stream-configs", "/asyncapi.json", "/healthz"),
    *("/w/api.php?action=streamconfigs&format=json&origin=*", "/repositories/all/jsonschema/note/1.0.0", "/subjects"),
    *("/clients/headwater.js", "/?spec", "/?doc", "/_info", "/v2/stream/none"),
)
HOSTS = (
    *("localhost", "LOCALHOST:1", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8080"),
    *("x", "0.0.0.0:1"),
)
STRANGE = (
    *("attacker.example", "attacker.example:80", "localhost.x.example", "127.0.0.1.x.example", "[::2]"),
    *("10.9.8.7:80", "attacker.example."),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doors")
    write_project(directory, [SCHEMA], STREAMS)
    return directory


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[httpx.Client]:
    with (
        served_project(project) as (address, _),
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("path", OURS)
def test_no_page_of_another_origin_reads_what_is_the_platforms_own(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers=ORIGIN)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/_page/feed"])
def test_nor_its_feeds(client: httpx.Client, path: str) -> None:
    with client.stream("GET", path, headers=ORIGIN) as answer:
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", FOR_ALL)
def test_what_is_public_may_be_read_by_pages_of_every_origin(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers=ORIGIN).headers["access-control-allow-origin"] == "*"


def test_events_are_taken_from_pages_of_every_origin(client: httpx.Client) -> None:
    answer = client.post("/v1/events", json=EVENT, headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (201, "*")


@pytest.mark.parametrize("path", ["/", "/v1/streams", "/v2/stream/notes", "/repositories/", "/healthz", "/none"])
def test_a_name_that_is_not_ours_is_misdirected(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"host": "attacker.example", **ORIGIN})
    assert answer.status_code == 421
    assert answer.json()["type"] == "host_unknown"
    assert "access-control-allow-origin" not in answer.headers


def test_events_sent_to_a_name_that_is_not_ours_are_not_taken(client: httpx.Client) -> None:
    for _ in range(2):
        assert client.post("/v1/events", json=EVENT, headers={"host": "attacker.example"}).status_code == 421
        assert client.post("/v1/events", json=EVENT).status_code == 201
        assert client.post("/v1/events", json=EVENT, headers={"host": "localhost:99"}).status_code == 201


@pytest.mark.parametrize("host", HOSTS)
def test_a_server_on_loopback_answers_to_loopback_names(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", STRANGE)
def test_and_to_no_others(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("target", ["http://stream.example.org/healthz", "https://stream.example.org:1/v2/stream/none"])
def test_who_was_given_the_server_as_a_proxy_may_ask_for_any_name(client: httpx.Client, target: str) -> None:
    name, own = httpx.URL(target).netloc, (client.base_url.host, client.base_url.port)
    for method in ("GET", "HEAD"):
        with socket.create_connection(own, timeout=10) as connection:
            connection.sendall(b"%s %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (method.encode(), target.encode(), name))
            assert connection.recv(64).split()[1] != b"421"


def test_the_settings_give_further_names(tmp_path: Path) -> None:
    write_project(tmp_path, [SCHEMA], STREAMS)
    web = {"port": 0, "public_url": "https://Events.example.org/x", "hosts": ["inner.example.org"]}
    with (
        served_project(tmp_path, web=web) as (address, _),
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        for host in ("events.example.org", "events.example.org:443", "inner.example.org.", "localhost"):
            assert client.get("/healthz", headers={"host": host}).status_code == 200
        assert client.get("/healthz", headers={"host": "other.example.org"}).status_code == 421


@pytest.mark.parametrize(
    ("config", "own_address", "host", "is_good"),
    [
        (WebConfig(host="0.0.0.0"), "10.0.0.7", "anything.example", True),
        (WebConfig(host="0.0.0.0", hosts=("a.example",)), "10.0.0.7", "a.example:80", True),
        (WebConfig(host="0.0.0.0", hosts=("a.example",)), "10.0.0.7", "10.0.0.7:8080", True),
        (WebConfig(host="0.0.0.0", hosts=("a.example",)), "10.0.0.7", "10.0.0.8:8080", False),
        (WebConfig(host="0.0.0.0", hosts=()), "10.0.0.7", "b.example", False),
        (WebConfig(hosts=("*",)), "127.0.0.1", "b.example", True),
        (WebConfig(host="localhost"), "127.0.0.1", "b.example", False),
        (WebConfig(host="::1"), "::1", "[::1]:8080", True),
        (WebConfig(host="::1"), "::1", "b.example", False),
    ],
)
def test_which_names_are_good(config: WebConfig, own_address: str, host: str, is_good: bool) -> None:
    hosts = Hosts(config)
    for _ in range(2):
        if is_good:
            hosts.check(host.encode(), own_address)
        else:
            with pytest.raises(HostUnknown):
                hosts.check(host.encode(), own_address)


def test_without_a_name_there_is_nothing_to_check() -> None:
    Hosts(WebConfig()).check(None, "127.0.0.1")


@pytest.mark.parametrize(
    ("value", "name"),
    [("A.b.:80", "a.b"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("a", "a"), ("a:", "a:"), ("::1", "::1"), ("", "")],
)
def test_a_host_is_read_without_its_port(value: str, name: str) -> None:
    assert host_name(value) == name


def test_loopback_names() -> None:
    assert all(map(is_loopback, ("localhost", "x.localhost.", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("localhost.example", "128.0.0.1", "", "127.1", "notlocalhost")))
