"""What a connector has delivered and is not processed yet: records by number, and the connector's token after each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater.connectors.contract import Delivery, SourceBatch
from headwater.errors import EventMalformed, HeadwaterError, InputInvalid, StreamUnknown
from headwater.event import encode_event
from headwater.jobs.job import Job
from headwater.log.contract import StoredRecord

# Which stream an event is for, as a header of its record.
STREAM_HEADER = "headwater-stream"


def input_topic(job: Job) -> str:
    """What records of a connector have as their topic."""
    return f"{job.name}/input"


@dataclass(frozen=True, slots=True)
class _Batch:
    """Deliveries from the number `start` on."""

    start: int
    size: int
    token_after: Callable[[int], str]

    @property
    def end(self) -> int:
        return self.start + self.size


class Deliveries:
    """The deliveries of one connector since it was opened with `token`, numbered from `number` on."""

    def __init__(self, job: Job, number: int = 0, token: str | None = None) -> None:
        self._job = job
        self._topic = input_topic(job)
        self._streams = job.writes().outputs
        self._headers = {name: ((STREAM_HEADER, name.encode()),) for name in self._streams}
        self._next = number
        # The connector's token at what was processed last.
        self._token = token
        self._batches: deque[_Batch] = deque()
        self.ahead: deque[StoredRecord] = deque()
        # Why some of them must not be processed.
        self.refused: dict[int, HeadwaterError] = {}

    @property
    def last_token(self) -> str | None:
        """The connector's token after all of them."""
        return self._token if not self._batches else self._batches[-1].token_after(self._batches[-1].size)

    def token_at(self, number: int) -> str | None:
        """The connector's token after the deliveries before this number."""
        for batch in reversed(self._batches):
            if batch.start < number <= batch.end:
                return batch.token_after(number - batch.start)
        return self._token

    def next_from(self, number: int, records_max: int, bytes_max: int) -> Sequence[StoredRecord]:
        """Those from this number on that were taken already, at least one if there is any."""
        while self.ahead and self.ahead[0].offset < number:
            self.ahead.popleft()
        found: list[StoredRecord] = []
        size = 0
        for record in self.ahead:
            size += len(record.value)
            if found and (len(found) >= records_max or size > bytes_max):
                break
            found.append(record)
        return found

    def take(self, batch: SourceBatch, now_ms: int) -> None:
        """Add what the connector has read."""
        self._batches.append(_Batch(self._next, len(batch.deliveries), batch.token_after))
        for count, delivery in enumerate(batch.deliveries, 1):
            # Of an event without an id, the new one is made of this: the same one whenever it is read again.
            identity = delivery.event_id or batch.token_after(count)
            stream, raw = self._checked(delivery)
            at_ms = delivery.timestamp_ms or now_ms
            headers = self._headers[stream]
            self.ahead.append(StoredRecord(self._topic, 0, self._next, at_ms, identity.encode(), headers, raw))
            self._next += 1

    def take_token(self, token: str, now_ms: int) -> None:
        """Add a record without an event, so that the token is committed."""
        before = self.last_token

        def token_after(count: int) -> str:
            return token if count or before is None else before

        self._batches.append(_Batch(self._next, 1, token_after))
        self.ahead.append(StoredRecord(self._topic, 0, self._next, now_ms, None, (), b""))
        self._next += 1

    def processed(self, number: int) -> str | None:
        """Everything before this number is processed and committed. Returns the connector's token there."""
        self._token = self.token_at(number)
        while self._batches and self._batches[0].end <= number:
            self._batches.popleft()
        for done in [one for one in self.refused if one < number]:
            del self.refused[done]
        return self._token

    def _checked(self, delivery: Delivery) -> tuple[str, bytes]:
        """The stream and the bytes of the next delivery; why it must not be processed is noted."""
        stream, raw = delivery.stream or self._streams[0], delivery.raw
        if stream not in self._headers:
            self.refused[self._next] = StreamUnknown(f"{self._job.name} does not declare that it writes to {stream!r}.")
            stream = self._streams[0]
        if delivery.problem:
            self.refused[self._next] = InputInvalid(delivery.problem)
        if not raw:
            try:
                raw, _ = encode_event(delivery.value)
            except EventMalformed as error:
                raw, self.refused[self._next] = repr(delivery.value).encode("utf-8", "replace"), error
        return stream, raw
