"""Reads files of events, one JSON event per line: plain or gzipped, from any system, damaged ones too.

How this works: `LineSource` yields every complete line that can be read. A byte order mark is skipped, a line is never
longer in memory than `LINE_BYTES_MAX`, and where a compressed file is damaged the lines before the damage are yielded
first; `damage` then describes what is wrong and how far the file could be read. Callers check `damage` after they have
processed the lines.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from headwater.errors import ConfigInvalid, EventTooLarge

if TYPE_CHECKING:
    from zlib import _Decompress as Inflater

# Longer than any event may be by default; a longer line is cut here and refused by `require_whole`.
LINE_BYTES_MAX = 16_777_216
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# In this order: the mark of UTF-32 begins with that of UTF-16.
_OTHER_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_GZIP = b"\x1f\x8b"
_OTHER_PACKINGS = ((b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"PK\x03\x04", "zip"))
_PIECE_BYTES = 65_536
_GZIP_WINDOW_BITS = 31


@dataclass(frozen=True, slots=True)
class Damage:
    """Where and why a file could not be read to its end. `lines` were read; `cut_bytes` of the next one are left."""

    reason: str
    lines: int
    cut_bytes: int

    def __str__(self) -> str:
        rest = f", and {self.cut_bytes:,} bytes of the next one, which were left out" if self.cut_bytes else ""
        lines = "1 complete line" if self.lines == 1 else f"{self.lines:,} complete lines"
        return f"{self.reason}. {lines} could be read{rest}."


class _Inflated(io.RawIOBase):
    """Decompresses gzip, member by member. Damage ends the stream after the last readable byte and is kept."""

    def __init__(self, packed: IO[bytes]) -> None:
        self.damage: str | None = None
        self._packed = packed
        self._inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._in_member = False
        self._ended = False
        self._input = b""
        self._output = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._output and not self._ended:
            self._step(len(view))
        data, self._output = self._output[: len(view)], self._output[len(view) :]
        view[: len(data)] = data
        return len(data)

    def _step(self, bytes_max: int) -> None:
        """Decompress more, at most `bytes_max` if nothing is damaged."""
        packed, self._input = self._input or self._packed.read(_PIECE_BYTES), b""
        if not self._in_member:
            # Between members and at the end there may be padding.
            packed = packed.lstrip(b"\0") or (packed and b"\0")
            if packed == b"\0":
                return None
        if not packed:
            return self._end("ends in the middle (was the copy of it cut short?)" if self._in_member else None)
        if not self._in_member and not _GZIP.startswith(packed[:2]):
            return self._end("has something else after its compressed data")
        self._in_member = True
        before = self._inflater.copy()
        try:
            self._output = self._inflater.decompress(packed, bytes_max)
        except zlib.error as error:
            self._output = _readable(before, packed)
            return self._end(f"is damaged: {_reason(error)}")
        self._input = self._inflater.unconsumed_tail
        if self._inflater.eof:
            self._input = self._inflater.unused_data
            self._in_member = False
            self._inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
        return None

    def _end(self, damage: str | None) -> None:
        self._ended = True
        self.damage = damage and f"The gzip file {damage}"


def _readable(inflater: Inflater, packed: bytes) -> bytes:
    """The output before the damaged byte of a piece; a piece that fails yields nothing, so it is fed byte by byte."""
    readable = bytearray()
    for at in range(len(packed)):
        try:
            readable += inflater.decompress(packed[at : at + 1])
        except zlib.error:
            break
    return bytes(readable)


class LineSource:
    """The lines of a file, plain or gzipped, that knows how much of the file itself has been read.

    Raises ConfigInvalid for a file in another encoding than UTF-8 or with another compression than gzip.
    """

    def __init__(self, raw: IO[bytes], bytes_total: int | None) -> None:
        self.bytes_total = bytes_total
        self.damage: Damage | None = None
        self._raw = raw
        self._reported = 0
        self._stack = ExitStack()
        self._stack.callback(raw.close)
        packed = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        self._inflated: _Inflated | None = None
        beginning = packed.peek(6)
        if beginning[:2] == _GZIP:
            self._inflated = _Inflated(packed)
            self._lines: IO[bytes] = io.BufferedReader(self._inflated, _PIECE_BYTES)
        else:
            self._lines = packed
            self._refuse(beginning, _OTHER_PACKINGS, "compressed with {}", "Decompress it, or compress it with gzip.")
        beginning = self._lines.peek(4)
        self._refuse(beginning, _OTHER_ENCODINGS, "in {}", "JSON is UTF-8: convert it, e.g. with iconv.")

    def __enter__(self) -> LineSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[bytes]:
        """Lines with their end, also empty ones; one over LINE_BYTES_MAX is cut to a byte more than that."""
        lines = 0
        while line := self._lines.readline(LINE_BYTES_MAX + 1):
            if len(line) > LINE_BYTES_MAX:
                self._skip_line(line)
            elif self._inflated is not None and self._inflated.damage and not line.endswith(b"\n"):
                self.damage = Damage(self._inflated.damage, lines, len(line))
                return
            lines += 1
            yield line.removeprefix(BYTE_ORDER_MARK)
        if self._inflated is not None and self._inflated.damage:
            self.damage = Damage(self._inflated.damage, lines, 0)

    def bytes_since_last_asked(self) -> int:
        """How much more of the file has been read, in bytes; 0 if its size is unknown."""
        if self.bytes_total is None:
            return 0
        now = self._raw.tell()
        step, self._reported = now - self._reported, now
        return step

    def _skip_line(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._lines.readline(LINE_BYTES_MAX)

    def _refuse(self, beginning: bytes, marks: tuple[tuple[bytes, str], ...], what: str, hint: str) -> None:
        for mark, name in marks:
            if beginning.startswith(mark):
                self._stack.close()
                raise ConfigInvalid(f"The file is {what.format(name)}, which is not supported.", hint=hint)


def open_lines(file: Path) -> LineSource:
    """The lines of a file, or of standard input for `-`. Raises ConfigInvalid."""
    if str(file) == "-":
        return LineSource(sys.stdin.buffer, None)
    return LineSource(file.open("rb"), file.stat().st_size)


def require_whole(line: bytes) -> None:
    """Raise EventTooLarge for a line that was cut because it is too long."""
    if len(line) > LINE_BYTES_MAX:
        raise EventTooLarge(f"The line is longer than {LINE_BYTES_MAX:,} bytes.")


def _reason(error: zlib.error) -> str:
    """What zlib says, without its numbers: `Error -3 while decompressing data: invalid code lengths set`."""
    reason = str(error).rpartition(": ")[2]
    if reason in {"incorrect data check", "incorrect length check"}:
        return "its checksum does not match, so any line may have been altered"
    return reason
