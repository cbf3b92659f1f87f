"""No secret option of any connector is shown: by no command, error, trace, log, metric or page, whatever a server says.

Each secret is put into the options of a connector by a reference, and its server is one that is away, or one that
answers with an error in which all that it received is repeated. All connectors are in one project, each with a secret
of its own, so that what is the same for all is asked once.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
import socketserver
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import CliRunner

from end_to_end.edits import write_files
from end_to_end.test_streams_api import running
from headwater.cli.main import main
from headwater.connectors.registry import SINKS, SOURCES, sink_spec, source_spec
from headwater.testing.eventually import eventually

# In what is written: the secret of the attack.
SECRET = "SECRET"
NOTHING_LISTENS = 9
STREAM = "shop.orders"
SCHEMA = {
    "title": "order",
    "$id": "/order/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"id": {"type": "string"}, "n": {"type": "integer"}},
}
EVENT = {"$schema": "/order/1.0.0", "meta": {"stream": STREAM, "id": "m1"}, "id": "o1", "n": 1}
_BASIC = re.compile(rb"(?i)basic ([A-Za-z0-9+/=]+)")


class Attack(NamedTuple):
    """A connector, its options but for secrets (`PORT`: that of the server), and what is in the file of the secret.

    `is_sent`: the secret reaches a server that answers nothing but errors.
    """

    connector: str
    options: dict[str, Any]
    secrets: tuple[str, ...]
    written: str = SECRET
    is_sent: bool = True

    @property
    def side(self) -> str:
        return "source" if self in SOURCE_ATTACKS else "sink"

    @property
    def name(self) -> str:
        return f"{self.side}_{self.connector}_{self.secrets[0]}"

    @property
    def job(self) -> str:
        return f"{self.side}.{self.name}"

    @property
    def secret(self) -> str:
        return f"Kn0wn-S3cret-0f-{self.name.replace('_', '-')}-T3sts"

    @property
    def reference(self) -> str:
        return f"${{file:secrets/{self.name}}}"


LOGIN = {"user": "somebody", "timeout_seconds": 1.0}
PLAIN = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
S3 = {
    "location": "s3://bucket/x",
    "endpoint": "http://127.0.0.1:PORT",
    "region": "r",
    "request_seconds_max": 0.5,
    "connect_seconds_max": 0.5,
}
HDFS = {"location": "hdfs://127.0.0.1:PORT/x", "request_seconds_max": 1.0}
SINK_ATTACKS = (
    Attack("postgres", {}, ("dsn",), f"postgresql://somebody:{SECRET}@127.0.0.1:PORT/shop?connect_timeout=2", False),
    Attack("mysql", {}, ("dsn",), f"mysql://somebody:{SECRET}@127.0.0.1:PORT/shop", False),
    Attack("cassandra", {"hosts": ["127.0.0.1:PORT"], "keyspace": "shop", **LOGIN}, ("password",), is_sent=False),
    Attack("clickhouse", {"url": "http://127.0.0.1:PORT", **LOGIN}, ("password",)),
    Attack("http", {"url": "http://127.0.0.1:PORT/{id}"}, ("authorization", "sign_with")),
    Attack("http", {"url": "http://127.0.0.1:PORT/{id}"}, ("secret_headers",)),
    Attack("http", {}, ("secret_url",), f"http://127.0.0.1:PORT/{SECRET}"),
    Attack(
        "iceberg",
        {"catalog": {"type": "rest", "uri": "http://127.0.0.1:PORT", "warehouse": "var/w"}},
        ("catalog_secrets",),
    ),
    Attack(
        "kafka",
        {"servers": ["127.0.0.1:PORT"], "topic": "orders", "settings": PLAIN, **LOGIN},
        ("password",),
        is_sent=False,
    ),
    Attack("opensearch", {"url": "http://127.0.0.1:PORT", **LOGIN}, ("password",)),
    *(Attack(name, S3, ("access_key", "secret_key")) for name in ("parquet", "jsonl")),
    *(Attack(name, HDFS, ("delegation_token",)) for name in ("parquet", "jsonl")),
    Attack("redis", {"url": "redis://127.0.0.1:PORT/0", **LOGIN}, ("password",)),
)
CAPTURED = {"tables": {"shop.orders": {"stream": STREAM, "columns": ["id"]}}}
SOURCE_ATTACKS = (
    Attack("http_poll", {"url": "http://127.0.0.1:PORT/x", "every_seconds": 1, "stream": STREAM}, ("secret_headers",)),
    Attack("sse", {"url": "http://127.0.0.1:PORT/x", "stream": STREAM}, ("secret_headers",)),
    Attack(
        "kafka",
        {"servers": ["127.0.0.1:PORT"], "topics": ["orders"], "stream": STREAM, "settings": PLAIN, **LOGIN},
        ("password",),
        is_sent=False,
    ),
    Attack("mysql_cdc", CAPTURED, ("url",), f"mysql://somebody:{SECRET}@127.0.0.1:PORT/shop", False),
    Attack(
        "postgres_cdc",
        CAPTURED,
        ("url",),
        f"postgresql://somebody:{SECRET}@127.0.0.1:PORT/shop?connect_timeout=2",
        is_sent=False,
    ),
)
ATTACKS = (*SINK_ATTACKS, *SOURCE_ATTACKS)
# Nothing is asked of their upstream: it posts to us.
PUSHED = {"webhook": {"secret", "old_secret"}}


class Repeats(socketserver.BaseRequestHandler):
    """Answers with an error that repeats what was received, also what was encoded in it."""

    def handle(self) -> None:
        self.request.settimeout(0.3)
        try:
            received = self.request.recv(65536)
            for encoded in _BASIC.findall(received):
                try:
                    received += b" " + base64.b64decode(encoded)
                except binascii.Error:
                    continue
            assert isinstance(self.server, Server)
            self.server.received.append(received)
            if received.startswith(b"*"):
                self.request.sendall(b"-ERR refused: " + received.replace(b"\r\n", b" ") + b"\r\n")
                return
            body = json.dumps({"error": f"refused: {received.decode('latin-1')}"}).encode()
            head = f"HTTP/1.1 500 refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.request.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
        except OSError:
            return


class Server(socketserver.ThreadingTCPServer):
    """A server that repeats what it receives. `received`: that, connection by connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Repeats)
        self.received: list[bytes] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture(scope="module")
def repeating() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["away", "repeats"])
def project(request: pytest.FixtureRequest, repeating: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every connector, whose servers are all away, or all repeat what they receive."""
    folder = tmp_path_factory.mktemp(request.param)
    write_project(folder, NOTHING_LISTENS if request.param == "away" else repeating.port)
    return folder


def with_port(value: Any, port: int) -> Any:
    return json.loads(json.dumps(value).replace("PORT", str(port)))


def references(attack: Attack) -> dict[str, Any]:
    """A reference for each secret, in a mapping for an option that is one."""
    header = "X-Api-Key" if attack.connector == "http" else "Authorization"
    named = {"secret_headers": {header: attack.reference}, "catalog_secrets": {"token": attack.reference}}
    return {name: named.get(name, attack.reference) for name in attack.secrets}


def write_project(folder: Path, port: int) -> None:
    files = {"headwater.yaml": "log: sqlite:///var/events.db\njobs: {processes: 0}\n"}
    sinks = []
    for attack in ATTACKS:
        declared = {"connector": attack.connector, **with_port(attack.options, port), **references(attack)}
        files[f"secrets/{attack.name}"] = with_port(attack.written, port).replace(SECRET, attack.secret)
        if attack in SOURCE_ATTACKS:
            files[f"sources/{attack.name}.yaml"] = yaml.safe_dump({"source": attack.name, **declared})
        else:
            sinks.append({**declared, "name" if sink_spec(attack.connector).form == "events" else "table": attack.name})
    stream = {"stream": STREAM, "schema_title": "order", "sinks": sinks}
    files |= {f"streams/{STREAM}.yaml": yaml.safe_dump(stream), "schemas/order/1.0.0.yaml": json.dumps(SCHEMA)}
    write_files(folder, files)


def texts_in(folder: Path) -> str:
    """What is in the files of a project, but for the secrets themselves."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.parent.name != "secrets"]
    return "".join(file.read_bytes().decode("latin-1") for file in files)


def said(*words: str, folder: Path) -> str:
    """All that a command prints, and the trace of what ended it."""
    result = CliRunner().invoke(main, [*words, "--project", str(folder)])
    error = result.exception
    return result.output + ("" if error is None else "".join(traceback.format_exception(error)))


def shown_in(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Which text has the secret of which attack."""
    return [(what, attack.name) for what, text in texts.items() for attack in ATTACKS if attack.secret in text]


def test_every_secret_option_of_every_connector_is_attacked() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    for attacks, names, spec_of in ((SINK_ATTACKS, SINKS, sink_spec), (SOURCE_ATTACKS, SOURCES, source_spec)):
        for name in names:
            attacked = {secret for attack in attacks if attack.connector == name for secret in attack.secrets}
            assert attacked | PUSHED.get(name, set()) >= set(spec_of(name).secrets), name  # type: ignore[operator]


def test_no_command_about_all_connectors_shows_a_secret(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    commands = (
        "plan",
        "--debug apply --yes --json",
        "sinks list --json",
        "sources list --json",
        "job list",
        "streams explain shop.orders",
    )
    texts = {words: said(*words.split(), folder=project) for words in commands}
    texts["log"] = caplog.text
    assert shown_in(texts) == []
    # One that cannot be as declared would keep the others from being tried.
    assert "! cannot" not in texts["plan"]
    assert [one.name for one in ATTACKS if one.name not in texts["plan"]] == []
    assert [one.name for one in SINK_ATTACKS if one.name not in texts["sinks list --json"]] == []
    assert [one.name for one in SOURCE_ATTACKS if one.name not in texts["sources list --json"]] == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_command_about_one_connector_shows_its_secret(
    attack: Attack, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    trying = "sinks test {} --write --wait 2" if attack in SINK_ATTACKS else "sources test {}"
    commands = (trying.format(attack.name), f"job show {attack.job}")
    texts = {words: said("--debug", *words.split(), folder=project) for words in commands}
    texts["log"] = caplog.text
    assert shown_in(texts) == []
    assert "no such" not in str(texts).lower()
    assert "has no s" not in str(texts)


async def test_a_running_platform_shows_no_secret(
    repeating: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    repeating.received.clear()
    await asyncio.to_thread(write_project, tmp_path, repeating.port)
    jobs = [attack.job for attack in ATTACKS]
    async with running(tmp_path) as (platform, client):
        await client.post("/v1/events", json=[EVENT])
        for job in jobs:
            runner = platform.runners[job]
            await eventually(lambda: bool(runner.report().trouble) or runner.report().errors > 0, seconds=60)  # noqa: B023
        paths = ("/v1/jobs", "/v1/errors", "/v1/streams", "/v1/sources", "/metrics", "/readyz", "/jobs", "/")
        texts = {path: (await client.get(path)).text for path in paths}
        texts["reports"] = repr([platform.runners[job].report() for job in jobs])
    texts["log"] = caplog.text
    texts["files"] = await asyncio.to_thread(texts_in, tmp_path)
    assert shown_in(texts) == []
    assert [job for job in jobs if job not in texts["/v1/jobs"]] == []
    # What is never sent cannot be repeated: the attacks are real.
    received = b"".join(repeating.received).decode("latin-1")
    assert {one.name for one in ATTACKS if one.secret in received} == {one.name for one in ATTACKS if one.is_sent}
