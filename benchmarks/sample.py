"""Synthetic page-change events of 1.9 KB, a project directory for them, and request bodies.

Nothing here is real: names, titles and numbers are generated from a fixed seed. Every event sent has its own id,
because a duplicate is answered without being stored, which would flatter the server.
"""

from __future__ import annotations

import itertools
import json
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

STREAM = "benchmark.page_change"
TITLE = "benchmark/page_change"
SCHEMA_URI = f"/{TITLE}/1.0.0"
DISTINCT_EVENTS = 2000
_ID = "11111111-1111-4111-8111-111111111111"
_WORDS = (
    *("river", "stone", "copper", "lantern", "meadow", "harbour", "violet", "engine", "winter", "orchard"),
    *("canal", "bridge", "signal", "marble", "falcon", "timber", "island", "compass", "thunder", "garden"),
    *("mirror", "anchor", "saddle", "pepper", "ribbon", "tunnel", "beacon", "cotton", "walnut", "glacier"),
)

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 1000}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 9007199254740991}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time", "maxLength": 128}
_FLAG: dict[str, Any] = {"type": "boolean"}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


_PERFORMER = _object(
    "user_text is_bot",
    user_text=_TEXT,
    user_id=_COUNT,
    is_bot=_FLAG,
    is_system=_FLAG,
    is_temp=_FLAG,
    edit_count=_COUNT,
    groups={"type": "array", "items": _TEXT},
    registration_dt=_TIME,
)
_SLOT = _object(
    "slot_role content_model sha1 size",
    slot_role=_TEXT,
    content_model=_TEXT,
    content_format=_TEXT,
    sha1=_TEXT,
    size=_COUNT,
    origin_rev_id=_COUNT,
)
_REVISION = _object(
    "rev_id rev_dt rev_size",
    rev_id=_COUNT,
    rev_parent_id=_COUNT,
    rev_dt=_TIME,
    rev_size=_COUNT,
    rev_sha1=_TEXT,
    comment=_TEXT,
    is_minor_edit=_FLAG,
    is_content_visible=_FLAG,
    is_comment_visible=_FLAG,
    is_editor_visible=_FLAG,
    editor=_PERFORMER,
    content_slots={"type": "object", "additionalProperties": _SLOT},
)
_PAGE = _object(
    "page_id page_title namespace_id",
    page_id=_COUNT,
    page_title=_TEXT,
    namespace_id={"type": "integer"},
    is_redirect=_FLAG,
)
_META = _object(
    "stream",
    stream=_TEXT,
    id=_TEXT,
    dt=_TIME,
    domain=_TEXT,
    request_id=_TEXT,
    uri={"type": "string", "format": "uri-reference", "maxLength": 1000},
)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft-07) of the events."""
    return {
        "title": TITLE,
        "description": "A page was created, edited, moved or deleted (synthetic, for benchmarks).",
        "$id": SCHEMA_URI,
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_object(
            "$schema meta dt wiki_id page_change_kind changelog_kind page revision performer",
            **{"$schema": _TEXT},
            meta=_META,
            dt=_TIME,
            wiki_id=_TEXT,
            comment=_TEXT,
            sent_ns=_COUNT,
            page_change_kind={"type": "string", "enum": ["create", "edit", "move", "delete", "undelete"]},
            changelog_kind={"type": "string", "enum": ["insert", "update", "delete"]},
            page=_PAGE,
            revision=_REVISION,
            prior_state=_object("revision", revision=_REVISION),
            performer=_PERFORMER,
        ),
    }


def events(count: int = DISTINCT_EVENTS) -> list[dict[str, Any]]:
    """`count` distinct valid events, always the same ones."""
    chance = random.Random(20)
    return [_event(chance, number) for number in range(count)]


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _sha1(chance: random.Random) -> str:
    return f"{chance.getrandbits(156):031x}"


def _moment(chance: random.Random) -> str:
    month, day, hour = chance.randint(1, 9), chance.randint(10, 28), chance.randint(10, 23)
    return f"2024-0{month}-{day}T{hour}:{chance.randint(10, 59)}:07Z"


def _performer(chance: random.Random) -> dict[str, Any]:
    return {
        "user_text": _text(chance, 2).title(),
        "user_id": chance.randint(1, 40_000_000),
        "is_bot": chance.random() < 0.2,
        "is_system": False,
        "is_temp": False,
        "edit_count": chance.randint(1, 300_000),
        "groups": ["user", "autoconfirmed", _text(chance, 1)],
        "registration_dt": _moment(chance),
    }


def _revision(chance: random.Random, rev_id: int) -> dict[str, Any]:
    size = chance.randint(500, 90_000)
    slot = {
        "slot_role": "main",
        "content_model": "wikitext",
        "content_format": "text/x-wiki",
        "sha1": _sha1(chance),
        "size": size,
        "origin_rev_id": rev_id,
    }
    return {
        "rev_id": rev_id,
        "rev_parent_id": rev_id - chance.randint(1, 999),
        "rev_dt": _moment(chance),
        "rev_size": size,
        "rev_sha1": _sha1(chance),
        "comment": _text(chance, 4),
        "is_minor_edit": chance.random() < 0.3,
        "is_content_visible": True,
        "is_comment_visible": True,
        "is_editor_visible": True,
        "content_slots": {"main": slot},
    }


def _event(chance: random.Random, number: int) -> dict[str, Any]:
    performer = _performer(chance)
    title = _text(chance, 3).title().replace(" ", "_")
    rev_id = 1_000_000_000 + number
    return {
        "$schema": SCHEMA_URI,
        "meta": {
            "stream": STREAM,
            "id": _ID,
            "dt": _moment(chance),
            "domain": "example.org",
            "request_id": f"{chance.getrandbits(128):032x}",
            "uri": f"https://example.org/page/{title}",
        },
        "dt": _moment(chance),
        "wiki_id": f"{_text(chance, 1)}wiki",
        "page_change_kind": "edit",
        "changelog_kind": "update",
        "comment": _text(chance, 5),
        "page": {
            "page_id": chance.randint(1, 80_000_000),
            "page_title": title,
            "namespace_id": 0,
            "is_redirect": False,
        },
        "revision": {**_revision(chance, rev_id), "editor": performer},
        "prior_state": {"revision": _revision(chance, rev_id - 1)},
        "performer": performer,
    }


def write_project(folder: Path) -> Path:
    """A project directory for the events; JSON is YAML, so writing the files needs no library."""
    version = folder / "schemas" / TITLE / "1.0.0.yaml"
    stream = folder / "streams" / f"{STREAM}.yaml"
    for room in (version.parent, stream.parent, folder / "jobs"):
        room.mkdir(parents=True, exist_ok=True)
    version.write_text(json.dumps(schema()), encoding="utf-8")
    stream.write_text(
        json.dumps({"apiVersion": "streams/v1", "kind": "Stream", "stream": STREAM, "schema_title": TITLE}),
        encoding="utf-8",
    )
    (folder / "headwater.yaml").write_text("consumption: {connections_per_address_max: 2000}\n", encoding="utf-8")
    return folder


def streams(count: int) -> list[str]:
    """The names of this many streams; the first is that of all benchmarks."""
    return [STREAM, *(f"{STREAM}.{number}" for number in range(1, count))]


def write_streams(folder: Path, names: Sequence[str]) -> None:
    """Declarations of streams, which all have the schema of the events."""
    for name in names:
        (folder / f"{name}.yaml").write_text(f"stream: {name}\nschema_title: {TITLE}\n", encoding="utf-8")


def body_maker(per_request: int, names: Sequence[str] = (STREAM,), *, skew: float = 0.0) -> Callable[[], bytes]:
    """A function that returns the next request body with `per_request` events, each with a new id.

    Each event belongs to a random stream: all are equally frequent, or the n-th is weighted by 1 / n ** `skew`.
    """
    chance = random.Random(5)
    weights = [1 / place**skew for place in range(1, len(names) + 1)]
    chosen = chance.choices([name.encode() for name in names], weights, k=20_011 if len(names) > 1 else DISTINCT_EVENTS)
    encoded = []
    for event, name in zip(itertools.cycle(events()), chosen, strict=False):
        text = json.dumps(event, separators=(",", ":")).encode().replace(b'"%b"' % STREAM.encode(), b'"%b"' % name)
        encoded.append(text.split(_ID.encode()))
    parts: Iterator[list[bytes]] = itertools.cycle(encoded)
    run = secrets.token_hex(4)
    number = itertools.count()

    def one() -> bytes:
        before, after = next(parts)
        return b"%b%b-0000-4000-8000-%012x%b" % (before, run.encode(), next(number), after)

    if per_request == 1:
        return one
    return lambda: b"[" + b",".join([one() for _ in range(per_request)]) + b"]"
