"""The content of a stand-in as files have it: one JSON object a line, for a revision, an entity or a page's links.

How this works: what a line is about shows in its keys (`entity`, or `links`/`images`/`templates`; else it is a
revision). msgspec checks names and types; what a row leaves out is filled in, so that a test writes only what it is
about.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid
from headwater.testing.mediawiki.titles import InvalidTitle, normalize
from headwater.times import time_ms, utc_seconds

CONTENT_BYTES_MAX = 2_147_483_648
ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
LINK_KINDS = ("links", "images", "templates")
# What a slot's text is, by its model, where a row does not say.
FORMATS = {
    "wikitext": "text/x-wiki",
    "json": "application/json",
    "css": "text/css",
    "javascript": "text/javascript",
    "text": "text/plain",
}
_BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of one role of a revision. `sha1` is in base 36; a `content` of null cannot be loaded."""

    content: str | None = None
    contentmodel: str = "wikitext"
    contentformat: str | None = None
    sha1: str | None = None
    size: int | None = None
    origin_rev_id: int | None = None


class Revision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One revision of one page. `content` is short for a main slot with this wikitext.

    A slot of null is a slot whose record is missing; `slots` of null cannot be read at all. `visible_after`: the moment
    in seconds since the epoch from which the revision is found, as when a replica of the database lags.
    """

    domain: str
    page_id: int
    title: str
    rev_id: int
    wiki_id: str = ""
    ns: int | None = None
    parent_id: int = 0
    dt: str = "2020-01-01T00:00:00Z"
    minor: bool = False
    user: str | None = "Example"
    userid: int = 1
    userhidden: bool = False
    comment: str | None = ""
    commenthidden: bool = False
    texthidden: bool = False
    suppressed: bool = False
    sha1: str | None = None
    size: int | None = None
    slots: dict[str, Slot | None] | None = {}
    content: str | None = None
    tags: list[str] = []
    html: str | None = None
    is_redirect: bool = False
    page_deleted: bool = False
    visible_after: float | None = None


class Entity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One revision of a Wikibase entity as Turtle. An empty text is an empty answer, null one without content (204)."""

    domain: str
    entity: str
    rev_id: int
    turtle: str | None = None


class PageLinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a page uses, by title: pages it links to, files it shows, templates it transcludes."""

    domain: str
    page_id: int
    title: str
    ns: int | None = None
    links: list[str] = []
    images: list[str] = []
    templates: list[str] = []


Row = Revision | Entity | PageLinks


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, or of every such file of a directory, sorted by name.

    :raises ConfigInvalid: a file cannot be read, or a line is not a row; says which.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS))
        if not files:
            raise ConfigInvalid("holds no file of rows.", file=str(path), hint=f"Names end in {', '.join(ENDINGS)}.")
    for file in files:
        yield from parse_rows(_lines(file), file=str(file))


def _lines(file: Path) -> Iterator[bytes]:
    read = 0
    try:
        with gzip.open(file) if file.name.endswith(".gz") else file.open("rb") as stream:
            for line in stream:
                read += len(line)
                if read > CONTENT_BYTES_MAX:
                    raise ConfigInvalid(f"holds more than {CONTENT_BYTES_MAX} bytes.", file=str(file))
                yield line
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigInvalid(f"cannot be read: {why}.", file=str(file)) from None


def parse_rows(lines: Iterable[bytes], *, file: str) -> Iterator[Row]:
    """The rows on these lines; empty lines are skipped.

    :raises ConfigInvalid: a line is not a row; says which.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigInvalid(f"is not JSON: {error}.", file=file, line=number) from None
        yield as_row(value, file=file, line=number)


def as_row(value: Any, *, file: str = "row", line: int | None = None) -> Row:
    """A row from its JSON object, or one that is already a row; what it leaves out is filled in.

    :raises ConfigInvalid: an unknown key, a value of another type, or a title no page can have.
    """
    if isinstance(value, Revision | Entity | PageLinks):
        row: Row = value
    elif not isinstance(value, Mapping):
        raise ConfigInvalid("a row is a JSON object.", file=file, line=line)
    else:
        kind = _kind_of(value)
        try:
            row = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            unknown = [key for key in value if key not in kind.__struct_fields__]
            hint = suggestion(str(unknown[0]), kind.__struct_fields__) if unknown else None
            raise ConfigInvalid(f"is no {kind.__name__}: {error}.", file=file, line=line, hint=hint) from None
    try:
        return _completed(row)
    except InvalidTitle as error:
        raise ConfigInvalid(f"{row!r:.80}: {error}", file=file, line=line) from None
    except ValueError as error:
        raise ConfigInvalid(f"{error}", file=file, line=line) from None


def _kind_of(value: Mapping[str, Any]) -> type[Revision] | type[Entity] | type[PageLinks]:
    if "entity" in value:
        return Entity
    return PageLinks if "rev_id" not in value and any(kind in value for kind in LINK_KINDS) else Revision


def _completed(row: Row) -> Row:
    if isinstance(row, Revision):
        return _completed_revision(row)
    return msgspec.structs.replace(row, domain=row.domain.lower())


def _completed_revision(row: Revision) -> Revision:
    time = time_ms(row.dt)
    if time is None:
        raise ValueError(f'dt must be a time such as 2020-01-01T00:00:00Z, not "{row.dt}".')
    if row.rev_id < 1 or row.page_id < 1:
        raise ValueError("rev_id and page_id must be at least 1.")
    if row.content is not None and row.slots:
        raise ValueError("a row has content or slots, not both.")
    slots = {"main": Slot(content=row.content)} if row.content is not None else row.slots
    if slots is not None:
        slots = {role: slot and _completed_slot(slot) for role, slot in slots.items()}
    whole = [slot for _, slot in sorted((slots or {}).items()) if slot is not None]
    return msgspec.structs.replace(
        row,
        domain=row.domain.lower(),
        ns=normalize(row.title).ns if row.ns is None else row.ns,
        dt=utc_seconds(time),
        slots=slots,
        content=None,
        sha1=row.sha1 if row.sha1 is not None or not whole else _sha1_of(whole),
        size=row.size if row.size is not None or not whole else sum(slot.size or 0 for slot in whole),
    )


def _completed_slot(slot: Slot) -> Slot:
    data = (slot.content or "").encode("utf-8", "replace")
    loads = slot.content is not None
    return msgspec.structs.replace(
        slot,
        contentformat=slot.contentformat or FORMATS.get(slot.contentmodel, "application/json"),
        sha1=sha1_base36(data) if slot.sha1 is None and loads else slot.sha1,
        size=len(data) if slot.size is None and loads else slot.size,
    )


def _sha1_of(slots: list[Slot]) -> str | None:
    """A revision's SHA-1: its only slot's, or that of the slots' SHA-1s, folded in the order of their roles."""
    if any(slot.sha1 is None for slot in slots):
        return None
    digest = slots[0].sha1 or ""
    for slot in slots[1:]:
        digest = sha1_base36((digest + (slot.sha1 or "")).encode())
    return digest


def sha1_base36(data: bytes) -> str:
    """The SHA-1 as events and databases of MediaWiki have it: in base 36, 31 characters."""
    number = int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest())
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE_36[digit] + digits
    return digits.zfill(31)


def sha1_hex(base36: str) -> str:
    """The SHA-1 as the API has it: in base 16, 40 characters."""
    return f"{int(base36, 36):040x}" if base36 else ""
