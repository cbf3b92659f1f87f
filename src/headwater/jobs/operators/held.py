"""Events that a step holds in its rows and passes on later, as they were: with their own time, stream, bytes and id."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from headwater.errors import JobInvalid
from headwater.event import decode_json, encode_kept
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, Element


class HeldRecord(NamedTuple):
    """The record of an event that was held, as far as it is kept."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes


def element_of(context: Context) -> Element:
    """The event of the context, as an element. Raises JobInvalid outside a step that keeps rows."""
    return held_rows(context).element


def held_rows(context: Context) -> KeyRows:
    """The rows of the context's key. Raises JobInvalid for a step that keeps none."""
    if not isinstance(context.rows, KeyRows):
        raise JobInvalid("This function belongs to a step with keeps_rows=True.")
    return context.rows


def held(element: Element) -> dict[str, Any]:
    """An event as a JSON value, for a row. What it was read from is kept as the text it had."""
    kept: dict[str, Any] = {"at": element.event_time_ms, "id": element.lineage_id, "stream": element.stream}
    record = element.record
    if record is not None:
        kept["place"] = [record.topic, record.partition, record.offset, record.timestamp_ms]
        kept["headers"] = [[name, content.decode("latin-1")] for name, content in record.headers]
        try:
            kept["raw"] = record.value.decode()
        except UnicodeDecodeError:  # what is not Unicode text is kept as it was decoded only
            kept["source"] = element.source
    if element.source is not element.value or "raw" not in kept:
        kept["value"] = element.value
    return kept


def released(kept: dict[str, Any]) -> Element:
    """The event that `held` made this value of."""
    raw = kept["raw"].encode() if "raw" in kept else None
    source = kept.get("source") if raw is None else decode_json(raw)
    record = None
    if "place" in kept:
        topic, partition, offset, timestamp_ms = kept["place"]
        headers = tuple((name, text.encode("latin-1")) for name, text in kept["headers"])
        value = encode_kept(source) if raw is None else raw
        record = HeldRecord(topic, partition, offset, timestamp_ms, None, headers, value)
    return Element(kept.get("value", source), kept["at"], kept["id"], kept["stream"], record, source)


def short_name(lineage_id: str) -> str:
    """Text of fixed length that identifies an event, for names of rows."""
    return hashlib.sha256(lineage_id.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def check_room(rows: KeyRows, prefix: str, held_max: int, what: str) -> None:
    """Raises JobInvalid if as many events are held as may be: the next one becomes an error event."""
    if len(rows) >= held_max and rows.count(prefix) >= held_max:
        raise JobInvalid(
            f"{what} holds {held_max} events of this key already, as many as held_max allows.",
            hint="Raise held_max=, choose a key with fewer events, or hold them for a shorter time.",
        )
