"""Reads events from files of JSON lines that are appended to, rotated and added: `connector: jsonl`."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.connectors.sources.watched_files import (
    Mark,
    Marks,
    WatchedFile,
    known_of,
    look,
    mark_of,
    parsed,
    token_of,
)
from headwater.errors import SourceUnavailable
from headwater.event import get_path
from headwater.settings import REQUIRED, setting

READ_BYTES = 1_048_576
BATCH_BYTES_MAX = 8_388_608
LINE_BYTES_MAX = 67_108_864
SHOWN_BYTES_MAX = 16_384
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class JsonlOptions:
    """Which files are read."""

    path: str = setting(
        REQUIRED,
        "A file, a directory, or a path whose last part has wildcards (`logs/*.jsonl`), relative to the project; it"
        " need not exist yet.",
    )
    pattern: str = setting("*.jsonl*", "Which files of a directory are read. Those that end in `.gz` are unpacked.")
    start: Literal["oldest", "newest"] = setting(
        "oldest", "Where to begin: `oldest` reads what the files have, `newest` what is added from now on."
    )
    on_truncated: Literal["stop", "restart"] = setting(
        "stop",
        "What happens when a file was truncated or rewritten behind what was read: `stop` stops the source, `restart`"
        " reads the file from its beginning.",
    )
    poll_seconds: float = setting(
        1.0, "How often files are looked at while nothing comes.", at_least=0.01, at_most=3600
    )


@dataclass(slots=True)
class _Found:
    """What one read of the files gave: deliveries, and the mark of the file after each."""

    deliveries: list[Delivery] = field(default_factory=list)
    marks: list[tuple[int, Mark]] = field(default_factory=list)
    # The marks after all of them, also after blank lines.
    after: dict[int, Mark] = field(default_factory=dict)
    size: int = 0


class JsonlSource:
    """Lines of files; a token has how far each file was read. A last line without a line break waits for it."""

    features = SourceFeatures()

    def __init__(self, options: JsonlOptions, context: SourceContext) -> None:
        self._path = context.directory / options.path
        self._options = options
        self._line_bytes_max = context.event_bytes_max
        self._marks: Marks | None = None
        # Packed files that were read to their end, as they were then.
        self._read_to_end: dict[int, tuple[int, int]] = {}

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Raises TokenInvalid, PositionLost, SourceUnavailable."""
        marks = {} if token is None else parsed(token)
        files = await asyncio.to_thread(self._look, marks)
        if token is None and self._options.start == "newest":
            marks = await asyncio.to_thread(_ends, files)
        self._marks = marks

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """Raises PositionLost, SourceUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            before = self._opened()
            found = await asyncio.to_thread(self._read, before, deliveries_max)
            left = deadline - loop.time()
            if found.deliveries or left <= 0:
                break
            self._marks = found.after
            await asyncio.sleep(min(left, self._options.poll_seconds))
        self._marks = found.after
        return SourceBatch(found.deliveries, _Tokens(before, found).after)

    async def confirm(self, token: str) -> None:
        """Does nothing: the files are deleted by their owner."""

    async def close(self) -> None:
        self._marks = None

    def _opened(self) -> Marks:
        if self._marks is None:
            raise SourceUnavailable("The source is not open.")
        return self._marks

    def _look(self, marks: Marks) -> list[WatchedFile]:
        return look(self._path, self._options.pattern, marks, self._options.on_truncated, is_packed)

    def _read(self, marks: Marks, deliveries_max: int) -> _Found:
        """The next lines, of several files if these are small. Changes nothing, since its result may not be taken."""
        files = self._look(marks)
        found = _Found(after=known_of(marks, files))
        for file in files:
            if (file.size > file.at) if not file.is_whole else self._read_to_end.get(file.number) != _state(file):
                self._read_file(file, found, deliveries_max)
            if len(found.deliveries) >= deliveries_max or found.size >= BATCH_BYTES_MAX:
                break
        return found

    def _read_file(self, file: WatchedFile, found: _Found, deliveries_max: int) -> None:
        before = len(found.deliveries)
        try:
            with gzip.open(file.path) if file.is_whole else file.path.open("rb") as opened:
                opened.seek(file.at)
                size = None if file.is_whole else file.size - file.at
                for line in lines_of(opened, size, self._line_bytes_max, ends=file.is_whole):
                    self._take(file, line, found)
                    if len(found.deliveries) >= deliveries_max or found.size >= BATCH_BYTES_MAX:
                        return
        except FileNotFoundError:
            return
        except EOFError:
            return  # a packed file that is still being written
        except (OSError, zlib.error) as error:
            raise SourceUnavailable(f"{file.path} cannot be read: {error}.") from None
        if file.is_whole and len(found.deliveries) == before:
            self._read_to_end[file.number] = _state(file)

    def _take(self, file: WatchedFile, line: Line, found: _Found) -> None:
        start, end = file.at + line.start, file.at + line.end
        mark = mark_of(file, end)
        found.after[file.number] = mark
        text = line.text.removesuffix(b"\r")
        if start == 0:
            text = text.removeprefix(BOM)
        if not text.strip():
            return
        problem = f"The line is longer than {self._line_bytes_max:,} bytes." if line.is_cut else ""
        value = {} if line.is_cut else _object(text)
        event_id = get_path(value, "meta.id")
        # The same line has the same id whenever it is read, and no other line that is written in its place later.
        identity = event_id if isinstance(event_id, str) else f"{file.number:x}:{start}:{zlib.crc32(text):x}"
        changed_ms = file.changed_ns // 1_000_000
        found.deliveries.append(Delivery(value, identity, None, changed_ms, "", text, problem))
        found.marks.append((file.number, mark))
        found.size += len(text)


class _Tokens:
    """The token after a number of deliveries of a read."""

    def __init__(self, before: Marks, found: _Found) -> None:
        self._before = before
        self._found = found

    def after(self, count: int) -> str:
        found = self._found
        if not 0 <= count <= len(found.deliveries):
            raise ValueError(f"The batch has {len(found.deliveries)} deliveries, not {count}.")
        if count == len(found.deliveries):
            return token_of(found.after)
        return token_of({**self._before, **dict(found.marks[:count])})


class Line(NamedTuple):
    """A line without its end, which the file has from `start` to before `end`. `is_cut`: only its beginning."""

    text: bytes
    start: int
    end: int
    is_cut: bool = False


def lines_of(opened: BufferedIOBase, size: int | None, line_bytes_max: int, *, ends: bool) -> Iterator[Line]:
    """The lines of the next `size` bytes. One without a line break is left out, unless the file `ends`."""
    rest = b""
    at = read = 0
    cut: bytes | None = None
    cut_at = 0
    while chunk := opened.read(READ_BYTES if size is None else min(READ_BYTES, size - read)):
        read += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for text in whole:
            end = at + len(text) + 1
            if cut is not None:
                yield Line(cut, cut_at, end, is_cut=True)
                cut = None
            elif len(text) > line_bytes_max:
                yield Line(text[:SHOWN_BYTES_MAX], at, end, is_cut=True)
            else:
                yield Line(text, at, end)
            at = end
        if len(rest) > line_bytes_max or cut is not None:
            # Of a line that is too long only the beginning is kept.
            if cut is None:
                cut, cut_at = rest[:SHOWN_BYTES_MAX], at
            at += len(rest)
            rest = b""
    if ends and cut is not None:
        yield Line(cut, cut_at, at + len(rest), is_cut=True)
    elif ends and rest:
        yield Line(rest, at, at + len(rest))


def is_packed(path: Path) -> bool:
    """Whether the file is one that is written as a whole."""
    return path.suffix == ".gz"


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _state(file: WatchedFile) -> tuple[int, int]:
    return file.size, file.changed_ns


def _ends(files: Sequence[WatchedFile]) -> dict[int, Mark]:
    """The marks after the lines that the files have now; the beginning of a line is part of the next one. Blocks."""
    ends = {}
    for file in files:
        at = 0
        try:
            with gzip.open(file.path) if file.is_whole else file.path.open("rb") as opened:
                for line in lines_of(opened, None if file.is_whole else file.size, LINE_BYTES_MAX, ends=file.is_whole):
                    at = line.end
        except (OSError, EOFError, zlib.error) as error:
            raise SourceUnavailable(f"{file.path} cannot be read: {error}.") from None
        ends[file.number] = mark_of(file, at)
    return ends


SPEC = SourceSpec(
    name="jsonl",
    summary="Reads the lines of files, each a JSON object. Files may be appended to, rotated, and added.",
    options=JsonlOptions,
    make=JsonlSource,
    features=JsonlSource.features,
    example="""\
connector: jsonl
path: in/edits.jsonl
stream: demo.edit
""",
)
