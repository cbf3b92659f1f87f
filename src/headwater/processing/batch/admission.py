"""Turns lines of a job's input into entries: assigned to a stream, validated as the intake does, with an event time.

How this works: nothing here may depend on the moment of the run, so that each run gives the same results. A field that
the intake fills in on receipt is therefore filled in from the event: `meta.dt` is the event's time, or that of the line
before it, and `meta.id` is derived from the line and its place in the input.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headwater.errors import EventMalformed, HeadwaterError
from headwater.event import CANARY_DOMAIN, decode_event, decode_json, encode_read, event_time_ms, get_path, uuid_text
from headwater.event_lines import require_whole
from headwater.intake.event_key import event_key, topic_mark
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.outcome import Refused
from headwater.jobs.job import Job
from headwater.log.contract import StoredRecord, TopicPartition
from headwater.log.event_time import event_time_of
from headwater.processing.batch.rows import Rows, is_row
from headwater.processing.batch.sorting import Entry
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.times import utc_text

# Names the family of ids of events without one; must never change, or repeats are no longer recognised.
NAMESPACE = uuid.UUID("0d0f4f5e-6f0a-5a53-9a0b-1d6f2f1f7c55")
# Before this no event has a time.
EPOCH_MS = 0
RECEIVED = "meta.dt"
# The years 1 to 9998: windows and timers of events outside of them would be at times that no date-time can name.
TIME_MS_MIN, TIME_MS_MAX = -62_135_596_800_000, 253_370_764_800_000


class InputLine(NamedTuple):
    """One line of the input: the file it is in, its number there (from 1) and in the whole input (from 0).

    `stream`: the stream its file was given for; None: its `meta.stream` says.
    """

    file: str
    line: int
    number: int
    data: bytes
    stream: str | None = None
    # If it is from a log: it was validated on the way there.
    record: StoredRecord | None = None


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What is done with the lines. `since_ms` (included) and `until_ms` (excluded) are event times."""

    validate: bool = True
    deduplicate: bool = True
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(slots=True)
class InputCounts:
    """What became of the lines. `foreign`: events of streams that the job does not read, by name."""

    lines: int = 0
    events: int = 0
    refused: int = 0
    canaries: int = 0
    outside: int = 0
    duplicates: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)


REFUSALS_LISTED_MAX = 10


class Admission:
    """The door of one run: from lines to entries, counted. Belongs to one thread."""

    def __init__(
        self,
        job: Job,
        streams: StreamRegistry,
        validator: Validator,
        settings: GateSettings,
        rules: AdmissionRules,
    ) -> None:
        """Raises StreamUnknown for a source that the project does not declare."""
        self.counts = InputCounts()
        self._job = job
        self._rules = rules
        self._streams: Mapping[str, Stream] = {name: streams.get(name) for name in job.reads()}
        self._rows = Rows(self._streams, validator)
        self._only = next(iter(self._streams)) if len(self._streams) == 1 else None
        self._gate = Gate(streams, validator, settings, clock=lambda: self._now_ms / 1000, new_id=self._new_id)
        self._now_ms = EPOCH_MS
        self._current: InputLine | None = None
        # The newest event time in each partition of a log.
        self.newest_ms: dict[TopicPartition, int] = {}

    def entry(self, line: InputLine) -> Entry | None:
        """The entry of a line; None for an empty one, and for what the job does not read.

        Raises SchemaUnavailable if a repository of schemas does not answer.
        """
        data = line.data.strip()
        if not data:
            return None
        self.counts.lines += 1
        try:
            return self._admitted(line, data) if line.record is None else self._stored(line, line.record)
        except HeadwaterError as error:
            if error.retriable:
                raise
            return self._refused(line, data, error)

    def _admitted(self, line: InputLine, data: bytes) -> Entry | None:
        require_whole(data)
        value, raw, flags = decode_event(data)
        if not isinstance(value, dict):
            raise EventMalformed("The line is JSON, but not an object.")
        completed = is_row(value)
        if completed:
            value = self._rows.event_of(value, line.stream)
        name, was_set = self._stream_of(line, value)
        if name is None:
            return None
        if was_set or completed:
            raw, flags = encode_read(value)
        if not self._job.canaries and get_path(value, "meta.domain") == CANARY_DOMAIN:
            self.counts.canaries += 1
            return None
        stream = self._streams[name]
        at = _time_of(value, stream)
        self._now_ms = self._now_ms if at is None else at
        if self._is_outside(self._now_ms):
            self.counts.outside += 1
            return None
        self.counts.events += 1
        if not self._rules.validate:
            return Entry(self._now_ms, line.number, stream.topics[0], raw)
        self._current = line
        verdict = self._gate.admit(value, raw=raw, flags=flags, own=True)
        if isinstance(verdict, Refused):
            self.counts.events -= 1
            raise verdict.reason
        record = verdict.record
        duplicate_key = verdict.duplicate_key if self._rules.deduplicate else None
        return Entry(
            self._now_ms, line.number, stream.topics[0], record.value, record.key, record.headers, duplicate_key
        )

    def _stored(self, line: InputLine, record: StoredRecord) -> Entry | None:
        assert line.stream is not None
        stream = self._streams[line.stream]
        value = decode_json(record.value)
        if not isinstance(value, dict):
            raise EventMalformed("The record is not a JSON object.")
        if not self._job.canaries and get_path(value, "meta.domain") == CANARY_DOMAIN:
            self.counts.canaries += 1
            return None
        at_ms = self._now_ms = event_time_of(record, stream.event_time_field, value)
        part = (record.topic, record.partition)
        self.newest_ms[part] = max(at_ms, self.newest_ms.get(part, at_ms))
        if self._is_outside(at_ms):
            self.counts.outside += 1
            return None
        self.counts.events += 1
        event_id = get_path(value, "meta.id")
        key = None
        if self._rules.deduplicate and stream.deduplicate and isinstance(event_id, str):
            key = event_key(topic_mark(record.topic), event_id)
        return Entry(at_ms, line.number, stream.topics[0], record.value, record.key, record.headers, key)

    def _new_id(self) -> str:
        """The id of an event without one: the same for each run over the same input."""
        assert self._current is not None
        text = f"{self._current.number}\n".encode() + self._current.data.strip()
        return uuid_text(hashlib.sha1(NAMESPACE.bytes + text, usedforsecurity=False).hexdigest(), 5)

    def _stream_of(self, line: InputLine, value: dict[str, Any]) -> tuple[str | None, bool]:
        """The stream of an event, and whether it was written into it; None if the job does not read it."""
        meta = value.get("meta")
        name = meta.get("stream") if isinstance(meta, dict) else None
        if line.stream is not None and name != line.stream:
            value["meta"] = {**(meta if isinstance(meta, dict) else {}), "stream": line.stream}
            return line.stream, True
        if name is None:
            if self._only is None:
                raise EventMalformed(
                    f"The event has no meta.stream, and the job {self._job.name} reads {len(self._streams)} streams.",
                    hint="Say which one the file has: --from STREAM=FILE.",
                )
            value["meta"] = {**(meta if isinstance(meta, dict) else {}), "stream": self._only}
            return self._only, True
        if not isinstance(name, str):
            raise EventMalformed("meta.stream is not text.")
        if name not in self._streams:
            self.counts.foreign[name] += 1
            return None, False
        return name, False

    def _is_outside(self, at_ms: int) -> bool:
        rules = self._rules
        return (rules.since_ms is not None and at_ms < rules.since_ms) or (
            rules.until_ms is not None and at_ms >= rules.until_ms
        )

    def _refused(self, line: InputLine, data: bytes, error: HeadwaterError) -> Entry:
        """It is where the events around it are, so that its error event is, too."""
        self.counts.refused += 1
        reason = f"{line.file}:{line.line}: {error}"
        if len(self.counts.refusals) < REFUSALS_LISTED_MAX:
            self.counts.refusals.append(reason)
        name = line.stream or self._only or next(iter(self._streams))
        return Entry(
            self._now_ms, line.number, self._streams[name].topics[0], data, refused=reason, refused_code=error.code
        )


def _time_of(value: dict[str, Any], stream: Stream) -> int | None:
    """When it happened: the time in it, or that of its receipt, `meta.dt`, if that is earlier; None without any.

    Raises EventMalformed for a time that the results could not name.
    """
    at = event_time_ms(value, stream.event_time_field)
    if at is None:
        return None
    received = None if stream.event_time_field == RECEIVED else event_time_ms(value, RECEIVED)
    at = at if received is None else min(at, received)
    if not TIME_MS_MIN <= at < TIME_MS_MAX:
        raise EventMalformed(f"The event's time, {utc_text(at)}, is not in the years 1 to 9998.")
    return at
