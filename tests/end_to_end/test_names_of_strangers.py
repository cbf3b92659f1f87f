"""Thousands of names that strangers make up, through every public door, leave neither memory nor metrics behind."""

from __future__ import annotations

import gc
import http.client
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from headwater import telemetry
from headwater.platform import Platform
from headwater.testing.service_kit import served_project, write_project

SECONDS_MAX = 30.0
NAMES = 300
LONG_NAMES = 40
LONG_CHARS = 30_000
# Less than the names themselves are, where each is long, and what 300 entries of a cache might be.
LEFT_BYTES_MAX = 400_000
# Error events are in the log, whose tail is kept, up to a bound in bytes.
LEFT_IN_LOG_BYTES_MAX = 3_500_000
SETTLED_SECONDS_MAX = 30.0
SERIES_MAX = 30
SCHEMA: dict[str, Any] = {
    "title": "note",
    "$id": "/note/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "text": {"type": "string"},
        "meta": {"type": "object", "properties": {"stream": {"type": "string"}, "id": {"type": "string"}}},
    },
}
Request = tuple[str, str, dict[str, str], bytes]
EVENT_HEADERS = {"content-type": "application/json"}


def get(path: str) -> Callable[[str], Request]:
    """A GET in whose path `{}` is the name."""
    return lambda name: ("GET", path.replace("{}", quote(name, safe="")), {}, b"")


def header(field: str, path: str = "/v1/streams", value: str = "{}") -> Callable[[str], Request]:
    """A GET with the name in a header."""
    return lambda name: ("GET", path, {field: value.replace("{}", name)}, b"")


def event(**change: str) -> Callable[[str], Request]:
    """An event with the name in some of its fields."""

    def made(name: str) -> Request:
        given = {key: value.replace("{}", name) for key, value in change.items()}
        meta = {"stream": given.get("stream", "notes"), **({"id": given["id"]} if "id" in given else {})}
        body = {"$schema": given.get("schema", "/note/1.0.0"), "meta": meta, "text": given.get("text", "")}
        written = {**body, "text": 1} if "invalid" in given else body
        return ("POST", "/v1/events", EVENT_HEADERS, json.dumps(written).encode())

    return made


DOORS: dict[str, Callable[[str], Request]] = {
    "event of an unknown stream": event(stream="{}"),
    "event of a reserved stream": event(stream="headwater.{}"),
    "invalid event of a member of a family": event(stream="family.{}", invalid="yes"),
    "event of an unknown schema": event(schema="/{}/1.0.0"),
    "event of an unknown version": event(schema="/note/1.0.{}"),
    "event with an invalid id": event(id="{}", invalid="yes"),
    "CloudEvent of an unknown type": lambda name: (
        "POST",
        "/v1/events",
        {"content-type": "application/cloudevents+json"},
        json.dumps({"specversion": "1.0", "id": "1", "source": name, "type": name, "dataschema": name}).encode(),
    ),
    "hasty event of an unknown stream": lambda name: ("POST", "/v1/events?hasty=true", *event(stream="{}")(name)[2:]),
    "unknown stream read": get("/v2/stream/{}"),
    "unknown member read": get("/v2/stream/family.{}"),
    "position": get("/v2/stream/notes,unknown?since={}"),
    "filter": get('/v2/stream/unknown?filter=meta.domain%20==%20"{}"'),
    "last id": header("last-event-id", "/v2/stream/notes,unknown"),
    "names of streams": get("/v1/streams?names={}"),
    "search of streams": get("/v1/streams?q={}"),
    "site": get("/v1/streams?site={}"),
    "realm": get("/v1/streams?audience=browser&realm={}"),
    "unknown stream asked for": get("/v1/streams/{}"),
    "legacy settings": get("/v1/stream-configs/{}"),
    "legacy API": get("/w/api.php?action=streamconfigs&streams={}"),
    "title": get("/schemas/{}/1.0.0"),
    "version": get("/schemas/note/{}"),
    "repository": get("/repositories/{}"),
    "schema page": get("/repositories/-/search?q={}"),
    "subject": get("/subjects/{}/versions"),
    "id of a schema": get("/schemas/ids/{}"),
    "AsyncAPI of a stream": get("/asyncapi/{}.json"),
    "path": get("/{}"),
    "query of a fact": get("/_info/name?x={}"),
    "query of the description": get("/?doc&path={}"),
    "query of a directory": get("/schemas/note?x={}"),
    "query of a schema": get("/schemas/note/latest?x={}"),
    "static file": get("/static/{}"),
    "monitoring": get("/v1/completeness?stream={}"),
    "canaries": get("/v1/canaries?stream={}"),
    "reconciliation": get("/v1/reconciliation?stream={}"),
    "host": header("host"),
    "host of documents": header("host", "/asyncapi/notes.json"),
    "own host": header("host", value="{}.localhost"),
    "origin": header("origin", value="https://{}.example"),
    "user agent": header("user-agent"),
    "request id": header("x-request-id"),
    "key": header("authorization", value="Bearer hwk_{}"),
    "etag": header("if-none-match"),
    "header": lambda name: ("GET", "/v1/streams", {name[:2_000]: "1"}, b""),
    "preflight": lambda name: (
        "OPTIONS",
        "/v1/events",
        {"origin": f"https://{name}", "access-control-request-method": name, "access-control-request-headers": name},
        b"",
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Platform]]:
    directory = tmp_path_factory.mktemp("names")
    streams = [{"stream": "notes", "schema_title": "note"}, {"stream": "/^family\\..+/", "schema_title": "note"}]
    write_project(directory, [SCHEMA], streams[:1])
    families = directory / "streams" / "families"
    families.mkdir()
    (families / "family.yaml").write_text(json.dumps(streams[1]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "LABELLED_MAX", 10)
        # Counting of events goes on after their requests: not while others are looked at.
        settings: dict[str, dict[str, Any]] = {"intake": {"made_topics_max": 5}, "monitoring": {"completeness": False}}
        with served_project(directory, **settings) as (address, platform):
            yield urlsplit(address).netloc, platform


class Client:
    """Asks over one connection, which is opened again where the server has ended it."""

    def __init__(self, place: str) -> None:
        self._connection = http.client.HTTPConnection(place, timeout=SECONDS_MAX)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
        try:
            self._connection.request(method, path, body or None, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            return 0
        return answer.status

    def close(self) -> None:
        self._connection.close()


def series(platform: Platform) -> set[str]:
    return {line.split(" ")[0] for line in platform.telemetry.render().decode().splitlines() if line[:1] != "#"}


def left_by(place: str, door: Callable[[str], Request], names: list[str], most: int) -> tuple[int, set[int]]:
    """The bytes that are held after these names and were not before, and the statuses of the answers.

    Of what is under way the end is awaited, or that less than `most` is held.
    """
    client = Client(place)
    try:
        # What the first requests bring about is no matter of the names.
        for number in range(5):
            client.ask(*door(f"warm{number}"))
        client.close()
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        statuses = {client.ask(*door(name)) for name in names}
        client.close()
        return _settled(before, most), statuses
    finally:
        tracemalloc.stop()
        client.close()


def _settled(before: int, most: int) -> int:
    """The bytes held beyond those before: once they are less than `most`, or after half a minute."""
    until = time.monotonic() + SETTLED_SECONDS_MAX
    while True:
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        if after - before < most or time.monotonic() > until:
            return after - before
        time.sleep(0.1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("door", DOORS)
def test_many_names_and_long_ones_leave_nothing(served: tuple[str, Platform], door: str) -> None:
    place, platform = served
    before = series(platform)
    most = LEFT_IN_LOG_BYTES_MAX if "event" in door.lower() else LEFT_BYTES_MAX
    short_names = [f"{door.replace(' ', '-')}-{number}" for number in range(NAMES)]
    many, statuses = left_by(place, DOORS[door], short_names, most)
    long, _ = left_by(place, DOORS[door], [f"{number}-" + "x" * LONG_CHARS for number in range(LONG_NAMES)], most)
    assert not {status for status in statuses if status >= 500}, statuses
    assert many < most, f"{many:,} bytes are left of {NAMES} names"
    assert long < most, f"{long:,} bytes are left of {LONG_NAMES} names of {LONG_CHARS} characters"
    assert len(series(platform) - before) < SERIES_MAX


def test_all_doors_together_make_a_bounded_number_of_series(served: tuple[str, Platform]) -> None:
    """With the names of all doors counted: so many for each instrument, whatever was asked for before."""
    _, platform = served
    instruments = [labels for labels in platform.telemetry.instruments.values() if labels]
    # Each name may have several outcomes, and a series that says when it was made.
    assert len(series(platform)) < 200 + len(instruments) * 2 * (telemetry.LABELLED_MAX + 10)
