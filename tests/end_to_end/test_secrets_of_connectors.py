"""No secret option of any connector is shown: by no command, error, trace, log, metric or page, whatever a server says.

Each secret is put into the options of a connector by a reference, and its server is one that is away, or one that
answers with an error in which all that it received is repeated.
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
from collections.abc import Iterator
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

SECRET = "Kn0wn-S3cret-0f-Tests"
REFERENCE = "${file:secret}"
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
    """A connector, its options but for secrets (`PORT`: that of the server), and what is in the file of the secret."""

    connector: str
    options: dict[str, Any]
    secrets: tuple[str, ...]
    written: str = SECRET

    @property
    def name(self) -> str:
        return f"{self.connector}-{self.secrets[0]}"


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
    Attack("postgres", {}, ("dsn",), f"postgresql://somebody:{SECRET}@127.0.0.1:PORT/shop?connect_timeout=2"),
    Attack("mysql", {}, ("dsn",), f"mysql://somebody:{SECRET}@127.0.0.1:PORT/shop"),
    Attack("cassandra", {"hosts": ["127.0.0.1:PORT"], "keyspace": "shop", **LOGIN}, ("password",)),
    Attack("clickhouse", {"url": "http://127.0.0.1:PORT", **LOGIN}, ("password",)),
    Attack("http", {"url": "http://127.0.0.1:PORT/{id}"}, ("authorization", "sign_with")),
    Attack("http", {}, ("secret_url",), f"http://127.0.0.1:PORT/{SECRET}"),
    Attack(
        "iceberg",
        {"catalog": {"type": "rest", "uri": "http://127.0.0.1:PORT", "warehouse": "var/w"}},
        ("catalog_secrets",),
    ),
    Attack("kafka", {"servers": ["127.0.0.1:PORT"], "topic": "orders", "settings": PLAIN, **LOGIN}, ("password",)),
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
    ),
    Attack("mysql_cdc", CAPTURED, ("url",), f"mysql://somebody:{SECRET}@127.0.0.1:PORT/shop"),
    Attack("postgres_cdc", CAPTURED, ("url",), f"postgresql://somebody:{SECRET}@127.0.0.1:PORT/shop?connect_timeout=2"),
)
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
            if received.startswith(b"*"):
                self.request.sendall(b"-ERR refused: " + received.replace(b"\r\n", b" ") + b"\r\n")
                return
            body = json.dumps({"error": f"refused: {received.decode('latin-1')}"}).encode()
            head = f"HTTP/1.1 500 refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.request.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
        except OSError:
            return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture(scope="module")
def repeating() -> Iterator[int]:
    """The port of a server that repeats what it receives."""
    with Server(("127.0.0.1", 0), Repeats) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(params=["away", "repeats"])
def port(request: pytest.FixtureRequest, repeating: int) -> int:
    return NOTHING_LISTENS if request.param == "away" else repeating


def with_port(value: Any, port: int) -> Any:
    return json.loads(json.dumps(value).replace("PORT", str(port)))


def references(attack: Attack, options: type[Any]) -> dict[str, Any]:
    """A reference for each secret, in a mapping for an option that is one."""
    named = {"secret_headers": {"Authorization": REFERENCE}, "catalog_secrets": {"token": REFERENCE}}
    return {name: named.get(name, REFERENCE) for name in attack.secrets}


def write_project(folder: Path, attack: Attack, port: int, *, is_source: bool) -> None:
    spec = source_spec(attack.connector) if is_source else sink_spec(attack.connector)
    declared = {"connector": attack.connector, **with_port(attack.options, port), **references(attack, spec.options)}
    stream: dict[str, Any] = {"stream": STREAM, "schema_title": "order"}
    if is_source:
        write_files(folder, {"sources/attacked.yaml": yaml.safe_dump({"source": "attacked", **declared})})
    else:
        name = {"name": "attacked"} if sink_spec(attack.connector).form == "events" else {"table": "attacked"}
        stream["sinks"] = [{**declared, **name}]
    (folder / "secret").write_text(with_port(attack.written, port))
    write_files(
        folder,
        {
            "headwater.yaml": "log: sqlite:///var/events.db\njobs: {processes: 0}\n",
            f"streams/{STREAM}.yaml": yaml.safe_dump(stream),
            "schemas/order/1.0.0.yaml": json.dumps(SCHEMA),
        },
    )


def texts_in(folder: Path) -> str:
    """What is in the files of a project, but for the secret itself."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "secret"]
    return "".join(file.read_bytes().decode("latin-1") for file in files)


def said(*words: str, folder: Path) -> str:
    """All that a command prints, and the trace of what ended it."""
    result = CliRunner().invoke(main, [*words, "--project", str(folder)])
    error = result.exception
    return result.output + ("" if error is None else "".join(traceback.format_exception(error)))


def test_every_secret_option_of_every_connector_is_attacked() -> None:
    for attacks, names, spec_of in ((SINK_ATTACKS, SINKS, sink_spec), (SOURCE_ATTACKS, SOURCES, source_spec)):
        for name in names:
            attacked = {secret for attack in attacks if attack.connector == name for secret in attack.secrets}
            assert attacked | PUSHED.get(name, set()) >= set(spec_of(name).secrets), name  # type: ignore[operator]


@pytest.mark.parametrize("attack", SINK_ATTACKS, ids=lambda attack: attack.name)
def test_no_command_shows_a_secret_of_a_sink(
    attack: Attack, port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write_project(tmp_path, attack, port, is_source=False)
    texts = {
        words: said(*words.split(), folder=tmp_path)
        for words in (
            "plan",
            "--debug apply --yes --json",
            "sinks list --json",
            "--debug sinks test attacked --write --wait 2",
            "job list",
            "job show sink.attacked",
            "streams explain shop.orders",
        )
    }
    texts["log"] = caplog.text
    assert [words for words, text in texts.items() if SECRET in text] == []
    assert attack.connector in texts["plan"]


@pytest.mark.parametrize("attack", SOURCE_ATTACKS, ids=lambda attack: attack.name)
def test_no_command_shows_a_secret_of_a_source(
    attack: Attack, port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write_project(tmp_path, attack, port, is_source=True)
    texts = {
        words: said(*words.split(), folder=tmp_path)
        for words in ("sources list --json", "sources test attacked", "--debug sources test attacked", "job list")
    }
    texts["log"] = caplog.text
    assert [words for words, text in texts.items() if SECRET in text] == []
    assert "attacked" in texts["sources list --json"]


@pytest.mark.parametrize(
    ("attack", "is_source"),
    [*((attack, False) for attack in SINK_ATTACKS), *((attack, True) for attack in SOURCE_ATTACKS)],
    ids=lambda value: value.name if isinstance(value, Attack) else "source" if value else "sink",
)
async def test_a_running_platform_shows_no_secret(
    attack: Attack, is_source: bool, repeating: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await asyncio.to_thread(write_project, tmp_path, attack, repeating, is_source=is_source)
    async with running(tmp_path) as (platform, client):
        await client.post("/v1/events", json=[EVENT])
        runner = platform.runners["source.attacked" if is_source else "sink.attacked"]
        await eventually(lambda: bool(runner.report().trouble) or runner.report().errors > 0, seconds=30)
        paths = ("/v1/jobs", "/v1/errors", "/v1/streams", "/v1/sources", "/metrics", "/readyz", "/jobs", "/")
        texts = {path: (await client.get(path)).text for path in paths}
        texts["report"] = repr(runner.report())
    texts["log"] = caplog.text
    texts["files"] = await asyncio.to_thread(texts_in, tmp_path)
    assert [path for path, text in texts.items() if SECRET in text] == []
    assert "attacked" in texts["/v1/jobs"]
