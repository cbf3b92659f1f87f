"""What the real EventGate answered, replayed against the running server; the documentation lists what differs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import orjson
import pytest

from deviations.eventgate import RULES, STANDING_HEADERS
from deviations.rule import Record, judge, stored_schemas, unused
from headwater.config import load_config
from headwater.platform import build
from headwater.web.server import serving

SCHEMA_SERVER_PORT = 18999
KEPT_HEADERS = ("allow", "location", "content-type")


class Answer(NamedTuple):
    status: int
    reason: str
    headers: dict[str, str]
    body: Any


class _SchemaServer(BaseHTTPRequestHandler):
    """The loopback schema repository the absolute-URI cases were recorded with; nobody should ask it."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def schema_server() -> Iterator[list[str]]:
    _SchemaServer.asked = []
    server = HTTPServer(("127.0.0.1", SCHEMA_SERVER_PORT), _SchemaServer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield _SchemaServer.asked
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.asynccontextmanager
async def service(name: str, directory: Path, intake_fixtures: Path) -> AsyncIterator[str]:
    """A fresh server configured as the recorded one of this name was; gives its address."""
    # The traversal cases climb out of a directory of this name.
    shutil.copytree(intake_fixtures / "schemas_test", directory / "schemas", copy_function=shutil.copyfile)
    shutil.copytree(intake_fixtures / "schemas_extra", directory / "extra", copy_function=shutil.copyfile)
    test_events = [{"$schema": "/test/0.0.1", "meta": {"stream": "test.event", "id": EXAMPLE_ID}, "test": "test_value"}]
    intake: dict[str, Any] = {"service_name": "eventgate", "automatic_fields": False}
    schemas: dict[str, Any] = {"base_uris": ["schemas", "extra"], "file_extension": None}
    if name == "default":
        intake |= {"request_bytes_max": 4_194_304, "event_bytes_max": 8_388_608, "test_events": test_events}
    elif name == "testfactory":
        intake |= {"request_bytes_max": 102_400}
    elif name == "alt":
        schemas |= {"schema_uri_field": ["$schema", "meta.schema_uri"], "file_extension": ".yaml"}
        intake |= {"cors": None, "csp": False, "stream_field": ""}
    else:
        schemas |= {"base_uris": []}
        intake |= {"cors": "https://example.org"}
    overrides = {
        "schemas": schemas,
        "intake": intake,
        "streams": {"enforce": False},
        "log": {"durability": "os"},
        "web": {"port": 0},
    }
    platform = build(load_config(directory, environment={}, overrides=overrides))
    await platform.start()
    try:
        async with serving(platform) as address:
            yield address
    finally:
        await platform.stop()


EXAMPLE_ID = "5e1dd101-641c-11e8-ab6c-b083fecf1287"


async def ask(address: str, request: dict[str, Any]) -> Answer:
    """Send one recorded request over a connection of its own, byte for byte, and read the answer."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = body_of(request)
    headers = {"Host": f"{host}:{port}", "Connection": "close", **(request.get("headers") or {})}
    if any(name.lower() == "transfer-encoding" for name in headers):
        body = chunked(body or b"")
    elif body is not None and not any(name.lower() == "content-length" for name in headers):
        headers["Content-Length"] = str(len(body))
    head = f"{request['method']} {request['path']} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    writer.write(head.encode("latin-1") + b"\r\n")
    writer.write(body or b"")
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    raw = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return parse_answer(raw)


def chunked(body: bytes, size: int = 1000) -> bytes:
    """A body as a client sends it that does not know its length beforehand."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def parse_answer(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    _, status, reason = status_line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(body))
    text = body.decode("utf-8")
    return Answer(
        int(status), reason, headers, orjson.loads(text) if "json" in headers.get("content-type", "") else text
    )


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return
        yield body[:length]
        body = body[length + 2 :]


def body_of(request: dict[str, Any]) -> bytes | None:
    if "body_hex" in request:
        return bytes.fromhex(request["body_hex"])
    if "body_base64" in request:
        return base64.b64decode(request["body_base64"])
    if "body_description" in request:
        return described_body(request["body_description"])
    body = request.get("body")
    return body.encode() if body is not None else None


def described_body(description: str) -> bytes:
    """Bodies too large to be recorded, made as their description says."""
    if "repeated 4*1024*1024 times" in description:
        return _event_with("x" * 4 * 1024 * 1024)
    if "exactly 4194304 bytes" in description:
        return _event_with("x" * (4_194_304 - len(_event_with(""))))
    if '"x"*(100*1024)' in description:
        return _event_with("x" * 100 * 1024)
    if "1000" in description:
        return orjson.dumps([orjson.loads(_event_with("test_value"))] * 1000)
    raise NotImplementedError(description)


def _event_with(test: str) -> bytes:
    return json.dumps(
        {"$schema": "/test/0.0.1", "meta": {"stream": "test.event", "id": EXAMPLE_ID}, "test": test}
    ).encode()


def differences(record: dict[str, Any], ours: Answer) -> dict[str, str]:
    """What differs, as strictly as the record's `match` says: {aspect: "recorded → ours"}."""
    theirs = record["response"]
    found: dict[str, str] = {}
    if ours.status != theirs["status"]:
        found["status"] = f"{theirs['status']} → {ours.status}"
    compare = {"exact": _exact, "problem_document": _problem, "class": _class, "status": _type}[record["match"]]
    found.update(compare(theirs, ours, "status" in found))
    expected = {name: theirs["headers"].get(name) for name in STANDING_HEADERS}
    actual = {name: ours.headers.get(name) for name in STANDING_HEADERS}
    # What a page may do depends on the page, so this one is only compared where the page is the same.
    if found:
        del expected["content-security-policy"], actual["content-security-policy"]
    if actual != expected:
        found["headers"] = f"{expected} → {actual}"
    return found


def _exact(theirs: dict[str, Any], ours: Answer, other_status: bool) -> dict[str, str]:
    found = {}
    # A reason phrase that only names the status changes with it.
    if ours.reason != theirs["reason"] and not (other_status and ours.reason in _USUAL_REASONS):
        found["reason"] = f"{theirs['reason']!r} → {ours.reason!r}"
    if ours.body != theirs["body"]:
        found["body"] = f"{theirs['body']!r} → {ours.body!r}"[:600]
    return found


def _problem(theirs: dict[str, Any], ours: Answer, _: bool) -> dict[str, str]:
    names = ("title", "type", "method", "uri")
    same = isinstance(ours.body, dict) and all(ours.body.get(name) == theirs["body"][name] for name in names)
    return {} if same else {"body": f"{theirs['body']!r} → {ours.body!r}"[:600]}


def _class(theirs: dict[str, Any], ours: Answer, _: bool) -> dict[str, str]:
    expected, actual = _classes(theirs["body"]), _classes(ours.body)
    return {} if expected == actual else {"body": f"{expected} → {actual}"}


def _type(theirs: dict[str, Any], ours: Answer, _: bool) -> dict[str, str]:
    expected, actual = theirs["headers"].get("content-type", ""), ours.headers.get("content-type", "")
    return {"type": f"text/html → {actual}"} if "text/html" in expected and "text/html" not in actual else {}


_USUAL_REASONS = {
    "OK",
    "Bad Request",
    "Not Found",
    "Request Entity Too Large",
    "Content Too Large",
    "Unsupported Media Type",
}


def _classes(body: Any) -> dict[str, int]:
    return {kind: len(body.get(kind, ())) for kind in ("invalid", "error")} if isinstance(body, dict) else {}


async def replay(intake_fixtures: Path, directory: Path) -> list[tuple[Record, Answer, dict[str, str]]]:
    """Every record against a fresh service of its kind, in file order, with our answer and what differs."""
    records = json.loads((intake_fixtures / "eventgate_http_recorded.json").read_text(encoding="utf-8"))["records"]
    stored = stored_schemas(intake_fixtures / "schemas_test", intake_fixtures / "schemas_extra")
    found = []
    for name in dict.fromkeys(record["service"] for record in records):
        own = directory / name
        own.mkdir()
        async with service(name, own, intake_fixtures) as address:
            for record in (one for one in records if one["service"] == name):
                ours = await ask(address, record["request"])
                body = body_of(record["request"])
                text = body.decode("utf-8", "replace") if body is not None else None
                found.append((Record(record, text, stored), ours, differences(record, ours)))
    return found


async def test_every_recorded_answer_is_ours_or_differs_by_a_rule(
    fixtures_dir: Path, tmp_path: Path, schema_server: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    judged, wrong = [], {}
    for record, ours, found in await replay(fixtures_dir / "intake", tmp_path):
        applying, fault = judge(RULES, record, ours, found, first=True)
        judged.append((applying, bool(found)))
        if fault:
            wrong[record.raw["id"]] = (fault, found)
    assert judged, "there is no record"
    with capsys.disabled():
        alike = sum(not differs for _, differs in judged)
        print(f"\nEventGate recorded: {alike} of {len(judged)} answered alike, the others differ by {len(RULES)} rules")
    assert wrong == {}, "answers that differ otherwise than docs/reference/compatibility.md says"
    assert unused(RULES, judged) == [], "rules that apply, and nothing differs any more"
    assert schema_server == [], "a schema was fetched from a host that an event named"


async def test_a_rule_excuses_what_it_names_and_nothing_else(fixtures_dir: Path, tmp_path: Path) -> None:
    """An answer that is not what the rule promises fails, as does a difference that no rule names."""
    for record, ours, found in await replay(fixtures_dir / "intake", tmp_path):
        applying, _ = judge(RULES, record, ours, found, first=True)
        broken = ours._replace(status=599)
        _, fault = judge(RULES, record, broken, {**found, "status": ""}, first=True)
        assert fault is not None, record.raw["id"]
        if applying and "headers" not in applying[0].aspects:
            assert judge(RULES, record, ours, {"headers": ""}, first=True)[1] is not None
