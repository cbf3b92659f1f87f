"""Makes the text of a large event for readers without decoding all of it, which would delay all other readers.

How this works: the JSON reader skips the members of the event and returns the text of each, in a fraction of the time.
Only `meta` and what a filter compares are decoded; everything else is copied. Text that the intake would not write in
this form is decoded in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from headwater.consumption.filter import Filter
from headwater.errors import EventMalformed
from headwater.event import CANARY_DOMAIN, EXACT_HEADER, decode_json, encode_json
from headwater.log.contract import StoredRecord

# Decoding a longer event takes milliseconds.
LARGE_BYTES = 131_072
# Lists and objects with a longer text are more than a filter may look through.
COMPARED_BYTES_MAX = 524_288

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class NotPlain(Exception):
    """The record has to be decoded as a whole."""


def text_of(record: StoredRecord, wanted: Filter | None, *, canaries: bool) -> bytes | None:
    """The event as its reader sees it, with its place in `meta`; None when it is not for this reader. Raises NotPlain.

    Of an event as the intake writes it, gives the bytes that encoding the decoded event would.
    """
    data, is_exact = record.value, EXACT_HEADER in record.headers
    read = decode_json if is_exact else orjson.loads
    # Of white space, these two would end a frame; and halves of characters are no Unicode.
    if data[:1] != b"{" or b"\n" in data or b"\r" in data or b"\\ud" in data:
        raise NotPlain
    try:
        # The reader does not look whether the texts it passes over are Unicode.
        str(data, "utf-8")
        members = {name: bytes(text) for name, text in _members.decode(data).items()}
        meta = read(members.get("meta", b"{}"))
    except (ValueError, RecursionError, EventMalformed):
        raise NotPlain from None
    if not isinstance(meta, dict):
        meta = {}
    if not canaries and meta.get("domain") == CANARY_DOMAIN:
        return None
    meta |= {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if record.key is not None:
        meta["key"] = record.key.decode("utf-8", "replace")
    if wanted is not None and not _matches(wanted, members, meta, read):
        return None
    members["meta"] = encode_json(meta)
    return b"{%b}" % b",".join([b"%b:%b" % (orjson.dumps(name), text) for name, text in members.items()])


def _matches(
    wanted: Filter, members: Mapping[str, bytes], meta: Mapping[str, Any], read: Callable[[bytes], Any]
) -> bool:
    value: dict[str, Any] = {"meta": meta}
    for name in wanted.fields & members.keys() - {"meta"}:
        text = members[name]
        if len(text) > COMPARED_BYTES_MAX and text.startswith((b"[", b"{")):
            return True
        value[name] = read(text)
    return wanted.matches(value)
