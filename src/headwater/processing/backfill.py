"""Gives events of files, or of a range of the log, to the target of one sink again, without moving the sink's position.

How this works: events are written in batches, in the order of the input. How many are written is kept in a file, and,
for a target that keeps a token with its rows, in that token as well, next to the sink's own position: an interrupted
backfill resumes there. The live sink ignores that entry of its token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

import orjson

from headwater.connectors.contract import Delivery, EventShape, Shape, Sink, SinkFeatures, TableShape
from headwater.connectors.spec import BatchDefaults
from headwater.errors import ConfigInvalid, EventMalformed, HeadwaterError, SinkUnavailable, WriteIncomplete
from headwater.event import CANARY_DOMAIN, decode_stored, get_path
from headwater.foreign import described
from headwater.log.contract import Position
from headwater.private_files import make_private_directory
from headwater.processing.batch.sorting import Entry

# No topic has such a name; its "offset" is how many entries were written.
MARK = "backfill/"
REFUSALS_SHOWN_MAX = 5


@dataclass(slots=True)
class BackfillSummary:
    """What a backfill has done. `resumed_after`: how many entries an interrupted one had dealt with before."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    resumed_after: int = 0
    reasons: list[str] = field(default_factory=list)

    def reject(self, place: str, reason: str) -> None:
        """An event could not be written."""
        self.rejected += 1
        if len(self.reasons) < REFUSALS_SHOWN_MAX:
            self.reasons.append(f"{place}: {reason}")


def repeats(shape: Shape, features: SinkFeatures) -> str | None:
    """Why the target would not be the same after events were written once more; None if it would."""
    if features.recognises_repeats:
        return None
    match shape:
        case EventShape():
            return "its target is given whole events: those that it has had already would arrive there once more"
        case TableShape(key=()):
            return "its table has no key: a row for each event that was written already would be there twice"
        case TableShape() if not features.upsert:
            return "its connector only appends: a row for each event that was written already would be there twice"
        case TableShape(version=""):
            return "its table has no version: older events would replace newer rows"
        case TableShape():
            return None
        case _:
            assert_never(shape)


class Backfill:
    """One backfill of `sink`, which is closed. `name`: what is the same for an interrupted one that it resumes."""

    def __init__(self, sink: Sink, batch: BatchDefaults, directory: Path, job: str, name: str) -> None:
        self._sink = sink
        self._batch = batch
        self._id = hashlib.sha256(f"{job}\n{name}".encode()).hexdigest()[:16]
        self._state = directory / f"{job}.{self._id}.backfill"
        self._position = Position()
        self._done = 0
        self.summary = BackfillSummary()

    async def run(
        self, entries: Iterable[Entry], streams: Callable[[str], str], advance: Callable[[int], None]
    ) -> None:
        """Write all entries that are not written yet. `streams`: topic → stream.

        Raises SinkUnavailable, and what the sink raises; run again, it resumes.
        """
        token = await self._sink.open()
        self._begin(token)
        self.summary.resumed_after = self._done
        rows: list[tuple[int, Delivery]] = []
        size = 0
        for entry in entries:
            self.summary.read += 1
            if self.summary.read <= self._done:
                advance(1)
                continue
            size += len(entry.value)
            if (delivery := self._delivery(entry, streams)) is not None:
                rows.append((entry.number, delivery))
            if len(rows) >= self._batch.rows_max or size >= self._batch.bytes_max:
                await self._write(rows)
                advance(len(rows))
                rows, size = [], 0
        await self._write(rows)
        advance(len(rows))
        if self._sink.features.token_in_target:
            # The entry of this backfill is gone: another one of the same writes everything again.
            await self._sink.write([], self._position.token())
        self._state.unlink(missing_ok=True)

    def _begin(self, token: str | None) -> None:
        """Find where an interrupted backfill of the same has ended."""
        offsets = dict(Position.parse(token).offsets) if token else {}
        in_target = offsets.get((MARK + self._id, 0), 0)
        self._position = Position({place: at for place, at in offsets.items() if not place[0].startswith(MARK)})
        in_file = orjson.loads(self._state.read_bytes())["done"] if self._state.exists() else 0
        self._done = max(in_target, in_file)

    def _delivery(self, entry: Entry, streams: Callable[[str], str]) -> Delivery | None:
        if entry.refused is not None:
            self.summary.reject(f"event {entry.number + 1}", entry.refused)
            return None
        value = decode_stored(entry.value, entry.headers)
        event_id = get_path(value, "meta.id")
        # A canary proves nothing here: others may not have been written up to it.
        partition = "" if get_path(value, "meta.domain") == CANARY_DOMAIN else f"{entry.topic}/0"
        known_id = event_id if isinstance(event_id, str) else None
        delivery = Delivery(value, known_id, streams(entry.topic), entry.time_ms, partition)
        try:
            self._sink.check(delivery)
        except EventMalformed as error:
            self.summary.reject(f"event {entry.number + 1}", error.message)
            return None
        return delivery

    async def _write(self, rows: Sequence[tuple[int, Delivery]]) -> None:
        left, done = list(rows), self.summary.read
        token = Position({**self._position.offsets, (MARK + self._id, 0): done}).token()
        while left:
            try:
                await self._sink.write([delivery for _, delivery in left], token)
                self.summary.written += len(left)
                left = []
            except WriteIncomplete as incomplete:
                left = self._left(left, incomplete)
                if incomplete.retry or not incomplete.rejected:
                    raise SinkUnavailable(incomplete.message, back_off_seconds=incomplete.back_off_seconds) from None
        make_private_directory(self._state.parent)
        self._state.write_bytes(orjson.dumps({"done": done}))

    def _left(self, rows: Sequence[tuple[int, Delivery]], incomplete: WriteIncomplete) -> list[tuple[int, Delivery]]:
        """What is to be written once more, without what the target has rejected."""
        for index, error in incomplete.rejected.items():
            reason = error.message if isinstance(error, HeadwaterError) else described(error)
            self.summary.reject(f"event {rows[index][0] + 1}", reason)
        if not self._sink.features.token_in_target:
            self.summary.written += len(rows) - len(incomplete.rejected) - len(incomplete.retry)
            return [rows[index] for index in incomplete.retry]
        return [row for index, row in enumerate(rows) if index not in incomplete.rejected]


def require_harmless(shape: Shape, features: SinkFeatures, *, allow_repeats: bool) -> None:
    """Raise ConfigInvalid if the target would have repeats, or older rows, afterwards, and that is not allowed."""
    why = repeats(shape, features)
    if why is not None and not allow_repeats:
        raise ConfigInvalid(
            f"A backfill of {shape.name} could do harm: {why}.", hint="Add --allow-repeats if that is intended."
        )
