"""What the functions of a table of Flink do in its Python processes: they load the project, and make records.

How this works: what is pickled is where the project is, and the job without its query: its name, its streams, and what
becomes of an event that it cannot process. Each function has a Gate of its own, since none is used by two threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.config import load_config
from headwater.errors import ConfigInvalid
from headwater.event import json_bytes
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import Record, StoredRecord
from headwater.processing.declarations import declarations, with_error_streams
from headwater.processing.embedded.elements import elements_of
from headwater.processing.failures.causes import INPUT
from headwater.processing.flink.limits import TopicLimit, TopicLimits
from headwater.processing.flink.loading import KEPT_MAX, Loaded
from headwater.processing.flink.record_maker import RecordMaker
from headwater.processing.flink.sql.columns import TypedStream
from headwater.processing.flink.sql.values import MakeRow, event_of, row_values

# A record for the sink: topic, key, value, headers, and when it was written, None: now.
RecordRow = tuple[str, bytes | None, bytes, dict[str, bytes], int | None]
RECORD_COLUMNS = ("topic", "key", "value", "headers", "timestamp_ms")
RECORD_TYPE = "ROW<`topic` STRING, `key` BYTES, `value` BYTES, `headers` MAP<STRING, BYTES>, `timestamp_ms` BIGINT>"

_lock = threading.Lock()
_kept: dict[tuple[str, str], Loaded] = {}


@dataclass(frozen=True, slots=True)
class Piece:
    """What travels to the functions of one start of a program. `start` identifies it.

    `job` has no steps and no query. `namespace`: what the names of all topics begin with at the brokers. `limits`: of
    the topics that it writes. `typed`: the stream that is read, or written.
    """

    project: str
    start: str
    job: Job
    namespace: str
    limits: Mapping[str, TopicLimit]
    typed: TypedStream

    def load(self) -> Loaded:
        """The project as it is here, loaded once for each start. Raises ConfigInvalid."""
        key = (self.project, self.start)
        with _lock:
            found = _kept.get(key)
            if found is None:
                config = load_config(Path(self.project))
                refused: list[ConfigInvalid] = []
                streams, jobs = declarations(config, refused.append)
                if all(job.name != self.job.name for job in jobs):
                    streams = with_error_streams(config, streams, [*jobs, self.job])
                found = _kept[key] = Loaded(config, streams, self.job, jobs)
                while len(_kept) > KEPT_MAX:
                    del _kept[next(iter(_kept))]
        return Loaded(found.config, found.streams, self.job, found.jobs)


class Working:
    """Makes records for one function, in one thread. `count` is called with a name and a number."""

    def __init__(self, piece: Piece, count: Callable[[str, int], None]) -> None:
        """Raises what loading a project, and finding its schemas, raises."""
        loaded = piece.load()
        self._piece = piece
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._maker = RecordMaker(
            piece.job,
            loaded.gate(),
            TopicLimits(piece.limits),
            full_per_minute_max=loaded.config.jobs.full_errors_per_minute_max,
            clock=time.time,
        )
        self._maker.prepare()
        self._streams = dict.fromkeys(piece.typed.stream.topics, piece.typed.stream)
        self._fields = [field.source for field in piece.typed.root.fields]

    def close(self) -> None:
        """Release what was opened."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def read(self, record: StoredRecord, make_row: MakeRow) -> tuple[list[Any] | None, list[RecordRow]]:
        """The columns of a record of the log; None, and the records about the error, for one that is no such event.

        Neither for what is left out, such as canaries. Raises JobStopped if the program is to stop there.
        """
        self._count("read", 1)
        results = Results([], [], [], [], [], [])
        found = elements_of(
            [record], self._streams, _unseen, results, now_ms=int(time.time() * 1000), job=self._piece.job
        )
        values = None
        for element in found:
            try:
                values = row_values(element.value, self._piece.typed.root, make_row)
            except Exception as error:  # whatever a record of another program holds
                results.failures.append(Failure(element, INPUT, error))
        return values, self._records(results) if results.failures else []

    def write(self, columns: Sequence[str], values: Sequence[Any]) -> list[RecordRow]:
        """The record of a row, or those about the error if it is no event of the stream.

        The id of the event is derived from all columns, also those that are no fields of it. Raises JobStopped if the
        program is to stop there.
        """
        now_ms = int(time.time() * 1000)
        results = Results([], [], [], [], [], [])
        stream = self._piece.typed.stream.name
        try:
            pairs = [pair for pair in zip(columns, values, strict=True) if pair[0] in self._fields]
            event = event_of(pairs, self._piece.typed.root)
            others = {name: repr(value) for name, value in zip(columns, values, strict=True) if name not in event}
            identified = json_bytes([event, others])
            event["$schema"] = self._piece.typed.uri
            raw = json_bytes(event)
            record = StoredRecord("", 0, 0, now_ms, None, (), raw)
            results.items.append(Element(event, now_ms, lineage_of(identified), stream, record, event))
        except Exception as error:  # what SQL has and JSON has not
            text = repr(dict(zip(columns, values, strict=True))).encode("utf-8", "replace")
            record = StoredRecord("", 0, 0, now_ms, None, (), text)
            results.failures.append(Failure(Element(None, now_ms, lineage_of(text), stream, record), "output", error))
        return self._records(results)

    def _records(self, results: Results) -> list[RecordRow]:
        found = self._maker.try_records(results)
        if found is None:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            found = self._loop.run_until_complete(self._maker.records(results))
        self._count("written", len(found))
        self._count("errors", len(results.failures))
        return [self._row(record) for record in found]

    def _row(self, record: Record) -> RecordRow:
        topic = self._piece.namespace + record.topic
        return topic, record.key, record.value, dict(record.headers), record.timestamp_ms


def lineage_of(identified: bytes) -> str:
    """What the id of an event is derived from, of the row that it was made of."""
    return hashlib.blake2b(identified, digest_size=16).hexdigest()


def _unseen(seen: object) -> None:
    """The watermark is moved by Flink's source."""
