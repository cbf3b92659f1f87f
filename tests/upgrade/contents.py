"""The content of the archived files as JSON: stored next to them, and compared when they are opened."""

from __future__ import annotations

import base64
from typing import Any

from headwater.connectors.contract import Column, TableShape
from headwater.log.contract import StoredRecord
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.suites.log import read_all

SHAPE = TableShape(
    "kept",
    (
        Column("wiki", "text", "wiki"),
        Column("edits", "integer", "edits"),
        Column("ratio", "real", "ratio"),
        Column("bot", "boolean", "bot"),
        Column("tags", "json", "tags"),
    ),
    ("wiki",),
)


def text_of(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def plain(record: StoredRecord) -> list[Any]:
    """A record as JSON has it."""
    headers = [[name, text_of(value)] for name, value in record.headers]
    place = [record.topic, record.partition, record.offset, record.timestamp_ms]
    return [*place, text_of(record.key), headers, text_of(record.value)]


async def described(log: SqliteLog) -> dict[str, Any]:
    """All that a log has."""
    infos = await log.topics()
    kept = [one.settings for one in infos]
    state: dict[str, dict[str, Any]] = {}
    for namespace in await log.namespaces():
        rows = await log.state_scan(namespace)
        state[namespace] = {str(text_of(key)): text_of(value) for key, value in rows}
    return {
        "topics": [
            [one.name, has.partitions, has.retention_seconds, has.compact, one.first, one.next]
            for one, has in zip(infos, kept, strict=True)
        ],
        "ids": await log.topic_ids([one.name for one in infos]),
        "records": [plain(record) for one in infos for record in await read_all(log, [one.name])],
        "groups": {group: await log.committed(group) for group in await log.groups()},
        "state": state,
    }
