"""What a package with a connector for whole events begins as: a sink that appends them to a file of JSON lines."""

from __future__ import annotations

SUMMARY = "it appends events to a file of JSON lines: replace what reads and writes the file"
USE = """\
In a stream file:

    sinks:
      - {connector: $name, path: var/$name}

What the contract asks for is written in `headwater.connectors.contract.Sink`. The tests are the suite of that contract.
"""

CODE = '''\
"""The $name sink: whole events, each a line of a file of JSON lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.connectors.contract import Delivery, EventShape, SinkFeatures
from headwater.connectors.spec import SinkSpec
from headwater.errors import SinkUnavailable
from headwater.event import json_bytes
from headwater.settings import REQUIRED, setting

# The position is kept in the log: after a crash the events of the last batch are written again. A system that can store
# the position together with the events states `token_in_target`: then nothing is ever written twice.
FEATURES = SinkFeatures(token_in_target=False, upsert=False, reads_back=False)


@dataclass(frozen=True, slots=True)
class ${cls}Options:
    """The options of the sink in a stream file. A password is one with `setting(…, secret=True)`."""

    path: str = setting(REQUIRED, "The directory of the files, relative to the project; created if absent.")


class ${cls}Sink:
    """Writes the events of one stream. One task uses it at a time.

    `shape` has the dotted paths of the key, whose events must keep their order, and of the version.
    """

    features = FEATURES

    def __init__(self, directory: Path, shape: EventShape) -> None:
        self.shape = shape
        self._file = directory / f"{shape.name}.jsonl"
        self._is_open = False

    async def open(self) -> str | None:
        """Connect, and create what is needed. Returns the position of the last batch, if the target stores it."""
        await asyncio.to_thread(self._prepare)
        self._is_open = True
        return None

    def check(self, delivery: Delivery) -> None:
        """Raise EventMalformed if the event can never be written: any can be a line."""

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        """Write all of them, durably. Raises SinkUnavailable if nothing was written and it can be tried again, and
        WriteIncomplete, which names the events that were rejected, after the others were written."""
        if not self._is_open:
            raise SinkUnavailable(f"The file of {self.shape.name} is not open.")
        lines = b"".join(json_bytes(dict(one.value)) + b"\\n" for one in deliveries)
        await asyncio.to_thread(self._append, lines)

    async def close(self) -> None:
        """Release everything; idempotent."""
        self._is_open = False

    def _prepare(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.exists():
                # A line that was being written when a process was killed is written again.
                written = self._file.read_bytes()
                os.truncate(self._file, written.rfind(b"\\n") + 1)
        except OSError as error:
            raise SinkUnavailable(f"The file {self._file} cannot be opened: {error}.") from error

    def _append(self, lines: bytes) -> None:
        try:
            with self._file.open("ab") as file:
                before = os.fstat(file.fileno()).st_size
                try:
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    # All of it or nothing.
                    os.truncate(self._file, before)
                    raise
        except OSError as error:
            raise SinkUnavailable(f"The file {self._file} cannot be written: {error}.") from error


SPEC = SinkSpec(
    name="$name",
    summary="Whole events as lines of a file of JSON lines.",
    options=${cls}Options,
    make=lambda options, shape, directory: ${cls}Sink(directory / options.path, shape),
    features=FEATURES,
    form="events",
    example="path: var/$name",
)
'''

TESTS = '''\
"""The $name sink keeps what the contract of a Sink promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from headwater.connectors.spec import SinkSpec
from headwater.testing.suites.event_sink import ANY, EventSinkSuite, NewEventSink, Received, event

from $package.sink import SPEC, ${cls}Options, ${cls}Sink


class Test${cls}Sink(EventSinkSuite):
    implementations = (${cls}Sink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewEventSink:
        """Makes a closed sink for a shape, always with the same target."""
        return lambda shape: ${cls}Sink(tmp_path / "events", shape)

    @pytest.fixture
    def received(self, tmp_path: Path) -> Received:
        """What the target has, in the order in which it took them."""
        return lambda: [
            json.loads(line)
            for file in (tmp_path / "events").glob("*")
            for line in file.read_text("utf-8").splitlines()
        ]


async def test_a_line_that_was_not_finished_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / f"{ANY.name}.jsonl"
    file.write_text('{"name": "a", "number": 1}\\n{"name": "a", "num')
    sink = ${cls}Sink(tmp_path, ANY)
    await sink.open()
    await sink.write([event("a", 2)], "token")
    await sink.close()
    assert [json.loads(line)["number"] for line in file.read_text("utf-8").splitlines()] == [1, 2]


def test_the_entry_point_names_its_spec() -> None:
    assert isinstance(SPEC, SinkSpec)
    assert SPEC.name == "$name"
    assert SPEC.options is ${cls}Options
'''
