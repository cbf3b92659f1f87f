"""Where a client resumes: our resume token, the legacy `Last-Event-ID` array, `since`, or the end of the streams."""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from headwater.consumption.framing import LEGACY_MARK
from headwater.consumption.offset_ranges import OffsetRange, gone
from headwater.errors import PositionLost, TimestampInvalid, TokenInvalid, TopicUnknown
from headwater.log.contract import TOKEN_PREFIX, LogReader, Position, TopicPartition
from headwater.log.token_marks import marks_in, replaced
from headwater.times import epoch_ms, time_ms

LEGACY_END = -1
LEGACY_BEGINNING = -2
# The first number that counts as an epoch in milliseconds; as seconds it would be the year 5138.
TOKEN_CHARS_MAX = 65_536
# How often an id may have been made JSON text of.
QUOTES_MAX = 3

_EPOCH = re.compile(r"[+-]?\d{1,18}(\.\d{1,9})?", re.ASCII)
_LEGACY_RULE = (
    "Must provide either an array topic names, or  an array of objects with topic, partition and offset|timestamp."
)


@dataclass(frozen=True, slots=True)
class Lost:
    """A position that the log does not have, and where reading resumes instead.

    `is_other`: the topic was replaced since by another one of the same name.
    """

    topic: str
    partition: int
    asked: int
    resumed: int
    is_other: bool = False

    def details(self) -> dict[str, Any]:
        details = {"topic": self.topic, "partition": self.partition, "asked": self.asked, "resumed": self.resumed}
        return {**details, "reason": "log_replaced"} if self.is_other else details


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins. `legacy`: given by a legacy array; `listed`: it follows only its partitions."""

    position: Position
    legacy: bool = False
    listed: bool = False
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True)
class LegacyEntry:
    """One element of a legacy array: an offset, or a time of receipt (epoch ms)."""

    topic: str
    partition: int
    offset: int | None
    timestamp_ms: int | None
    mark: str | None = None


async def find_start(
    log: LogReader,
    offset_range: OffsetRange,
    *,
    last_event_id: str | None,
    since: str | None,
    growing: bool = False,
    stops: bool = False,
) -> Start:
    """The starting position, in the contract's order: a token if there is one, else `since`, else the end.

    A token's offsets of a topic that was replaced since are ignored: there the client begins like one without a token.
    `growing`: partitions that a legacy array does not list, of topics it names, were created after it and are
    followed, too. `stops`: a position of a log that was replaced is an error. Raises TokenInvalid, TopicUnknown (a
    legacy array names other topics), TimestampInvalid, PositionLost.
    """
    if last_event_id is None:
        return await _unpositioned(log, offset_range, since)
    given = unquoted(last_event_id)
    if given.startswith(TOKEN_PREFIX):
        asked = Position.parse(given)
        other = replaced(asked, marks_in(given), offset_range.marks, offset_range.former)
        start = Start(_completed(_without(asked, other), offset_range))
    else:
        entries = parse_legacy(given)
        start = await _legacy_start(log, offset_range, entries)
        asked = start.position
        marks = {one.topic: one.mark for one in entries if isinstance(one, LegacyEntry) and one.mark}
        other = replaced(asked, marks, offset_range.marks, offset_range.former)
        if growing and start.listed:
            start = Start(_completed(start.position, offset_range), legacy=True)
    if other:
        anew = (await _unpositioned(log, offset_range, since)).position.offsets
        moved = {place: anew[place] for place in start.position.offsets if place[0] in other}
        lost = tuple(
            Lost(*place, asked.offsets[place], at, is_other=True)
            for place, at in sorted(moved.items())
            if place in asked.offsets
        )
        start = replace(start, position=Position({**start.position.offsets, **moved}), lost=lost)
    start = within(offset_range, start)
    if stops:
        _refuse_lost(offset_range, start)
    return start


def _refuse_lost(offset_range: OffsetRange, start: Start) -> None:
    """Raise PositionLost for a position in a log that was replaced; what retention removed is not such a position."""
    topics = sorted(
        {one.topic for one in start.lost if one.is_other or one.asked > offset_range.next[one.topic, one.partition]}
    )
    if topics:
        names = ", ".join(topics)[:500]
        raise PositionLost(
            f"The position is of a log that was replaced since: what it counts of {names} is not in the log there is.",
            hint="Connect without a position to begin at the newest event, or with `since` and a time.",
        )


async def _unpositioned(log: LogReader, offset_range: OffsetRange, since: str | None) -> Start:
    """Where a client begins that has no token."""
    timestamp_ms = parse_since(since or "")
    if timestamp_ms is not None:
        try:
            offsets = (await log.at(sorted(offset_range.topics()), timestamp_ms)).offsets
        except TopicUnknown as error:
            raise gone(error) from None
        # Never past the end we know: what came since is newer than any time that has passed.
        return Start(Position({key: min(offsets.get(key, end), end) for key, end in offset_range.next.items()}))
    return Start(offset_range.end)


def within(offset_range: OffsetRange, start: Start) -> Start:
    """`start` moved to where the log still has records: up to the oldest kept, or back to the end of a newer log.

    A bound below 0 is no answer of a log, so nothing is lost by it.
    """
    offsets = dict(start.position.offsets)
    lost = list(start.lost)
    for key, offset in start.position.offsets.items():
        first, end = offset_range.first[key], offset_range.next[key]
        if offset > end >= 0 or offset < first:
            offsets[key] = end if offset > end >= 0 else first
            lost.append(Lost(key[0], key[1], offset, offsets[key]))
    return replace(start, position=Position(offsets), lost=tuple(lost)) if len(lost) > len(start.lost) else start


def parse_since(text: str) -> int | None:
    """Epoch milliseconds of an ISO 8601 or RFC 2822 date-time (UTC by default) or of an epoch in
    seconds or milliseconds; None for the empty text. Raises TimestampInvalid."""
    text = text.strip()
    if not text:
        return None
    if _EPOCH.fullmatch(text):
        return epoch_ms(float(text))
    # In a query string a plus sign that was not percent-encoded arrives as a space.
    repaired = re.sub(r" (\d{2}:?\d{2})$", r"+\1", text) if "T" in text.upper() else text
    at = time_ms(repaired)
    return _mail_date_ms(text) if at is None else at


def _mail_date_ms(text: str) -> int:
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        # Also numbers that fit no calendar, and moments that another zone puts before the year 1.
        raise TimestampInvalid(
            f"since timestamp is not a UTC milliseconds unix epoch and was not parseable: '{text[:200]}'"
        ) from None


def unquoted(text: str) -> str:
    """A resume token or a legacy array out of the JSON text that some clients make of every id; else `text` itself."""
    text = text.strip()
    for _ in range(QUOTES_MAX):
        if not text.startswith(('"', '["')) or len(text) > TOKEN_CHARS_MAX:
            break
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            break
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        inner = value.strip() if isinstance(value, str) else ""
        if not inner.startswith((TOKEN_PREFIX, "[", '"')):
            break
        text = inner
    return text


def parse_legacy(text: str) -> Sequence[str] | Sequence[LegacyEntry]:
    """Topic names, or entries with positions, of a legacy `Last-Event-ID` (contract intake §5). Raises TokenInvalid."""
    try:
        value = orjson.loads(text) if len(text) <= TOKEN_CHARS_MAX else None
    except orjson.JSONDecodeError as error:
        raise TokenInvalid(f"Last-Event-ID is neither a resume token nor JSON: {error}.") from None
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not value:
        raise TokenInvalid(_LEGACY_RULE)
    if all(isinstance(item, str) for item in value):
        return value
    return [_legacy_entry(item) for item in value]


def _legacy_entry(item: Any) -> LegacyEntry:
    if not isinstance(item, Mapping):
        raise TokenInvalid(_LEGACY_RULE)
    topic, partition = item.get("topic"), _integer(item.get("partition"))
    offset, timestamp = _integer(item.get("offset")), _integer(item.get("timestamp"))
    if not isinstance(topic, str) or partition is None or partition < 0:
        raise TokenInvalid(_LEGACY_RULE)
    if offset is None and (timestamp is None or item.get("offset") is not None):
        raise TokenInvalid(_LEGACY_RULE)
    mark = item.get(LEGACY_MARK) if offset is not None and offset >= 0 else None
    return LegacyEntry(
        topic, partition, offset, timestamp if offset is None else None, mark if isinstance(mark, str) else None
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62 else None


async def _legacy_start(
    log: LogReader, offset_range: OffsetRange, asked: Sequence[str] | Sequence[LegacyEntry]
) -> Start:
    names = [item if isinstance(item, str) else item.topic for item in asked]
    unknown = sorted(set(names) - offset_range.topics())
    if unknown:
        raise TopicUnknown(f"Topics {','.join(unknown)} are not available for consumption.")
    offsets: dict[TopicPartition, int] = {}
    for item in asked:
        if isinstance(item, str):
            offsets.update({key: offset for key, offset in offset_range.next.items() if key[0] == item})
            continue
        key = (item.topic, item.partition)
        if key not in offset_range.next:
            raise TopicUnknown(f"Topics {item.topic} have no partition {item.partition}.")
        offsets[key] = await _legacy_offset(log, offset_range, item)
    return Start(Position(offsets), legacy=True, listed=set(offsets) != set(offset_range.next))


async def _legacy_offset(log: LogReader, offset_range: OffsetRange, item: LegacyEntry) -> int:
    key = (item.topic, item.partition)
    if item.timestamp_ms is not None:
        found = (await log.at([item.topic], item.timestamp_ms)).offsets
        return min(found.get(key, offset_range.next[key]), offset_range.next[key])
    if item.offset == LEGACY_BEGINNING:
        return offset_range.first[key]
    return item.offset if item.offset is not None and item.offset >= 0 else offset_range.next[key]


def _without(position: Position, topics: Collection[str]) -> Position:
    return Position({place: at for place, at in position.offsets.items() if place[0] not in topics})


def _completed(position: Position, offset_range: OffsetRange) -> Position:
    """Add what the token does not name. A topic it names has grown: its new partitions are read from their beginning.
    A topic it does not name was added by the client, and is read from its end."""
    unknown = sorted(
        {f"{topic}:{number}" for topic, number in position.offsets if (topic, number) not in offset_range.next}
    )
    if unknown:
        raise TokenInvalid(
            f"The resume token names partitions these streams do not have: {', '.join(unknown)[:500]}.",
            hint="Use a token only with the streams it came from.",
        )
    named = position.topics()
    missing = {key: (offset_range.first if key[0] in named else offset_range.next)[key] for key in offset_range.next}
    return Position({**missing, **position.offsets})
