"""What a package with a source begins as: one that reads the lines of a file of JSON lines that is appended to."""

from __future__ import annotations

SUMMARY = "it reads the lines of a file of JSON lines: replace what reads the file"
USE = """\
In a file `sources/NAME.yaml`:

    connector: $name
    path: in/$name.jsonl
    stream: NAME.OF.STREAM

What the contract asks for is written in `headwater.connectors.contract.Source`. The tests are the suite of that
contract: every token resumes exactly after its event, and a position that is gone is reported.
"""

CODE = '''\
"""The $name source: the lines of a file of JSON lines that is appended to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.errors import EventMalformed, PositionLost, SourceUnavailable, TokenInvalid
from headwater.event import decode_json, get_path
from headwater.settings import REQUIRED, setting

# A system with partitions, one that can begin at a time, or that deletes what was confirmed, states it here.
FEATURES = SourceFeatures()


@dataclass(frozen=True, slots=True)
class ${cls}Options:
    """The options of the source in its file. A password is one with `setting(…, secret=True)`."""

    path: str = setting(REQUIRED, "The file, relative to the project; it need not exist yet.")
    poll_seconds: float = setting(0.5, "How often it is looked at while nothing comes.", at_least=0.01, at_most=3600)


class ${cls}Source:
    """Reads one file; a token is how many bytes of it were read. One task uses it."""

    features = FEATURES

    def __init__(self, options: ${cls}Options, context: SourceContext) -> None:
        self._file = context.directory / options.path
        self._poll_seconds = options.poll_seconds
        self._at: int | None = None

    async def partitions(self) -> Sequence[str]:
        """The names of its partitions; a source without partitions has one, named ""."""
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Connect and resume after `token`, from the beginning without one. Raises TokenInvalid; PositionLost if the
        system no longer has what follows; SourceUnavailable if it does not answer."""
        at = 0 if token is None else _parsed(token)
        size = await asyncio.to_thread(self._size)
        if at > size:
            raise PositionLost(f"The file {self._file} has {size:,} bytes, and {at:,} of it were read.")
        self._at = at

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """The next events; none if there are none within `wait_seconds`. Raises SourceUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            if self._at is None:
                raise SourceUnavailable(f"The file {self._file} is not open.")
            before = self._at
            lines, changed_ms = await asyncio.to_thread(self._lines, before, deliveries_max)
            left = deadline - loop.time()
            if lines or left <= 0:
                break
            await asyncio.sleep(min(left, self._poll_seconds))
        ends = [before]
        for line in lines:
            ends.append(ends[-1] + len(line))
        # Nothing was taken until here, so that a read which is cancelled loses nothing.
        self._at = ends[-1]
        found = [_delivery(line, end, changed_ms) for line, end in zip(lines, ends[1:], strict=True)]
        return SourceBatch(found, lambda count: _token(ends, count))

    async def confirm(self, token: str) -> None:
        """Everything before `token` is in the log: a system that keeps events until then may delete them."""

    async def close(self) -> None:
        """Release everything; idempotent."""
        self._at = None

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise SourceUnavailable(f"The file {self._file} cannot be read: {error}.") from error

    def _lines(self, at: int, count: int) -> tuple[list[bytes], int]:
        """Up to `count` lines from there on, and when the file was changed (epoch milliseconds). The last line may
        still be being written, and is left."""
        found: list[bytes] = []
        try:
            with self._file.open("rb") as file:
                file.seek(at)
                while len(found) < count and (line := file.readline()).endswith(b"\\n"):
                    found.append(line)
                return found, os.fstat(file.fileno()).st_mtime_ns // 1_000_000
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise SourceUnavailable(f"The file {self._file} cannot be read: {error}.") from error


def _delivery(line: bytes, end: int, changed_ms: int) -> Delivery:
    """The event of a line. What is no JSON object becomes an error event, with the line as it is."""
    try:
        value = decode_json(line)
    except EventMalformed:
        value = None
    event: Mapping[str, Any] = value if isinstance(value, dict) else {}
    event_id = get_path(event, "meta.id")
    # An event without an id has one that is the same whenever it is read again.
    identity = event_id if isinstance(event_id, str) else f"byte-{end}"
    return Delivery(event, identity, timestamp_ms=changed_ms, raw=line)


def _token(ends: Sequence[int], count: int) -> str:
    if not 0 <= count < len(ends):
        raise ValueError(f"The batch has {len(ends) - 1} deliveries, not {count}.")
    return str(ends[count])


def _parsed(token: str) -> int:
    if not token.isdecimal():
        raise TokenInvalid(f"{token!r:.100} is no token of this source.")
    return int(token)


SPEC = SourceSpec(
    name="$name",
    summary="Reads the lines of a file, each a JSON object.",
    options=${cls}Options,
    make=${cls}Source,
    features=FEATURES,
    example="""\\
connector: $name
path: in/$name.jsonl
stream: demo.edit
""",
)
'''

TESTS = '''\
"""The $name source keeps what the contract of a Source promises."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.testing.suites.source import NewSource, Put, SourceSuite, read_all

from $package.source import SPEC, ${cls}Options, ${cls}Source

FILE = "events.jsonl"


def source_in(directory: Path) -> ${cls}Source:
    return ${cls}Source(${cls}Options(FILE, poll_seconds=0.01), SourceContext("tests", directory))


class Test${cls}Source(SourceSuite):
    implementations = (${cls}Source,)

    @pytest.fixture
    def new_source(self, tmp_path: Path) -> NewSource:
        """Makes a closed source, always of the same system."""
        return lambda: source_in(tmp_path)

    @pytest.fixture
    def put(self, tmp_path: Path) -> Put:
        """Adds events to the system, in order."""

        async def put(*events: Mapping[str, Any]) -> None:
            with (tmp_path / FILE).open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(one)}\\n" for one in events)

        return put

    @pytest.fixture
    def lose(self, tmp_path: Path) -> Callable[[], Awaitable[None]]:
        """Removes the oldest events of the system."""

        async def lose() -> None:
            (tmp_path / FILE).write_text("")

        return lose


async def test_what_is_no_event_is_delivered_with_its_bytes_and_a_half_line_is_left(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'[1]\\nnonsense\\n{"number": 3}\\n{"number')
    source = source_in(tmp_path)
    await source.open(None)
    found = [delivery for delivery, _ in await read_all(source)]
    await source.close()
    assert [one.raw for one in found] == [b"[1]\\n", b"nonsense\\n", b'{"number": 3}\\n']
    assert [dict(one.value) for one in found] == [{}, {}, {"number": 3}]


def test_the_entry_point_names_its_spec() -> None:
    assert isinstance(SPEC, SourceSpec)
    assert SPEC.name == "$name"
    assert SPEC.options is ${cls}Options
'''
