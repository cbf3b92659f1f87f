"""Marks resume tokens with the log they belong to, so that a position is never looked up in another log.

How this works: a topic in a token may carry a mark, `hw1;topic@5f3a91c2:0=12`, eight hexadecimal digits made of the
topic's id (`LogReader.topic_ids`). A topic whose mark differs from that of the log's own topic belongs to a log that
was replaced, or on Kafka to a topic that was deleted and recreated. Tokens without marks are accepted. A log into which
topics were copied has its own id and remembers theirs (`Former`): up to the end of the copy the same offsets are the
same records, and tokens of the log that was copied remain valid there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

import orjson

from headwater.log.contract import MARK, TOKEN_PREFIX, GroupTokens, LogReader, Position

MARK_BYTES = 4
FORMER_GROUP = "headwater.former"
# Of one topic; the newest are kept.
FORMER_MAX = 8

# By topic, the ids of those it was copied from; by partition, up to where their offsets are the same.
Former = Mapping[str, Mapping[str, Mapping[int, int]]]


def mark_of(topic_id: str) -> str:
    """The mark that represents the id of a topic."""
    return hashlib.blake2b(topic_id.encode(), digest_size=MARK_BYTES).hexdigest()


async def marks_of(log: LogReader, topics: Iterable[str]) -> dict[str, str]:
    """The marks of those `topics` whose ids are known. Raises LogUnavailable."""
    return {topic: mark_of(one) for topic, one in (await log.topic_ids(topics)).items()}


def marks_in(token: str) -> dict[str, str]:
    """The marks that a token which can be parsed carries, by topic."""
    named = (part.partition(":")[0].partition(MARK) for part in token.split(";")[1:])
    return {unquote(topic): mark for topic, _, mark in named if mark}


def marked(token: str, marks: Mapping[str, str]) -> str:
    """The same token with these marks, and without those of other topics."""
    parts = []
    for part in token.split(";")[1:]:
        topic, _, pairs = part.partition(":")
        name = topic.partition(MARK)[0]
        mark = marks.get(unquote(name))
        parts.append(f"{name}{MARK}{mark}:{pairs}" if mark else f"{name}:{pairs}")
    return ";".join([TOKEN_PREFIX, *parts])


def replaced(
    position: Position, given: Mapping[str, str], present: Mapping[str, str], former: Former
) -> frozenset[str]:
    """The topics of `position` that were replaced since; without a mark on both sides a topic counts as the same."""
    return frozenset(
        topic
        for topic, mark in given.items()
        if present.get(topic, mark) != mark and not holds(former, topic, mark, position)
    )


def holds(former: Former, topic: str, one: str, position: Position) -> bool:
    """Whether offsets of a topic, `one` its id or mark, are those of the records that were copied from it."""
    for known, ends in former.get(topic, {}).items():
        if one in (known, mark_of(known)):
            return all(at <= ends.get(number, -1) for (name, number), at in position.offsets.items() if name == topic)
    return False


async def former_of(log: GroupTokens) -> Former:
    """The ids of the logs that were copied into a log. Raises LogUnavailable, LogCorrupt."""
    text = await log.committed(FORMER_GROUP)
    found = orjson.loads(text) if text else {}
    return {
        topic: {one: {int(number): end for number, end in ends.items()} for one, ends in ids.items()}
        for topic, ids in found.items()
    }


def former_text(former: Former) -> str:
    """The text that is stored as the token of `FORMER_GROUP`."""
    kept = {
        topic: {
            one: {str(number): end for number, end in ends.items()} for one, ends in list(ids.items())[-FORMER_MAX:]
        }
        for topic, ids in former.items()
    }
    return orjson.dumps(kept).decode()
