"""The files of a job's input: named one by one, by pattern, by directory, or standard input; read line by line."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import ConfigInvalid
from headwater.event_lines import LineSource, open_lines
from headwater.processing.batch.admission import InputLine
from headwater.processing.batch.dumps import SUFFIXES as DUMPS
from headwater.processing.batch.dumps import dump_events, is_dump
from headwater.processing.batch.log_range import LogRange
from headwater.processing.batch.parquet import SUFFIX as PARQUET
from headwater.processing.batch.parquet import parquet_rows

STANDARD_INPUT = "-"
# `log`, `log:STREAM` or `stream:STREAM`: in the project's log.
LOG = ("log", "stream")
# Files of these kinds are taken from directories.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz", PARQUET, *DUMPS)
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file, and the stream it was given for, if any."""

    path: Path
    stream: str | None = None

    @property
    def is_standard_input(self) -> bool:
        return str(self.path) == STANDARD_INPUT


def log_streams(sources: Sequence[str], streams: Sequence[str]) -> tuple[list[str], list[str]]:
    """The streams among `streams` that are to be read from the log, and the other sources.

    `log` means all, `log:STREAM` one. Raises ConfigInvalid for one that the job does not read.
    """
    found: list[str] = []
    others = []
    for source in sources:
        kind, _, name = source.partition(":")
        if kind not in LOG or (not name and kind != LOG[0]):
            others.append(source)
        elif not name:
            found += streams
        elif name in streams:
            found.append(name)
        else:
            raise ConfigInvalid(
                f"--from {source}: the job does not read a stream {name}.", hint=f"It reads {', '.join(streams)}."
            )
    return list(dict.fromkeys(found)), others


def input_files(sources: Sequence[str], streams: Sequence[str]) -> list[InputFile]:
    """The files that `sources` name: paths, patterns, directories, `-`, each also as STREAM=…, for one of `streams`.

    Those of a directory or pattern are sorted by name. Raises ConfigInvalid for one that names no file.
    """
    found: list[InputFile] = []
    for source in sources:
        stream, named = _split(source, streams)
        found += [InputFile(path, stream) for path in _paths(named)]
    if sum(file.is_standard_input for file in found) > 1:
        raise ConfigInvalid("Standard input can be read once only.", hint="Name `-` in one --from.")
    return found


def _split(source: str, streams: Sequence[str]) -> tuple[str | None, str]:
    name, equals, rest = source.partition("=")
    if equals and name in streams:
        return name, rest
    if equals and not glob.has_magic(name) and not Path(source).exists() and "/" not in name:
        raise ConfigInvalid(
            f"--from {source}: the job does not read a stream {name}.", hint=f"It reads {', '.join(streams)}."
        )
    return None, source


def _paths(named: str) -> list[Path]:
    path = Path(named)
    if named == STANDARD_INPUT:
        return [path]
    if path.is_dir():
        files = sorted((one for one in path.rglob("*") if one.name.endswith(SUFFIXES) and one.is_file()), key=_natural)
        files = [one for one in files if not any(part.startswith((".", "_")) for part in one.relative_to(path).parts)]
        if not files:
            raise ConfigInvalid(f"The directory {named} has no file of events.", hint=f"Kinds: {', '.join(SUFFIXES)}.")
        return files
    if path.exists():
        return [path]
    if glob.has_magic(named) and (matching := glob.glob(named, recursive=True)):
        return sorted((Path(one) for one in matching if Path(one).is_file()), key=_natural)
    raise ConfigInvalid(f"There is no file {named}.", hint="Name a file, a directory, a pattern in quotes, or `-`.")


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """So that `hour=2` comes before `hour=10`."""
    parts = _DIGITS.split(str(path))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


class InputReader:
    """Reads files one after the other. `damage` says what could not be read of them."""

    def __init__(self, files: Sequence[InputFile], log_range: LogRange | None = None) -> None:
        """`log_range` comes after the files."""
        self.files = files
        self.log_range = log_range
        self.damage: list[str] = []
        self.bytes_total = sum(file.path.stat().st_size for file in files if not file.is_standard_input)
        self._open: LineSource | None = None

    def __iter__(self) -> Iterator[InputLine]:
        self.damage = []
        number = 0
        for file in self.files:
            name = "standard input" if file.is_standard_input else file.path.name
            for line, data in enumerate(self._rows(file), start=1):
                yield InputLine(name, line, number, data, file.stream)
                number += 1
        for record, stream in () if self.log_range is None else self.log_range.records():
            name = f"{record.topic}/{record.partition}"
            yield InputLine(name, record.offset, number, record.value, stream.name, record)
            number += 1

    def _rows(self, file: InputFile) -> Iterator[bytes]:
        if file.path.suffix == PARQUET:
            return parquet_rows(file.path)
        return dump_events(file.path) if is_dump(file.path) else self._lines(file)

    def _lines(self, file: InputFile) -> Iterator[bytes]:
        try:
            opened = open_lines(file.path)
        except ConfigInvalid as error:
            raise ConfigInvalid(f"{file.path}: {error.detail}", hint=error.hint) from None
        with opened as source:
            self._open = source
            yield from source
            if source.damage is not None:
                self.damage.append(f"{file.path}: {source.damage}")
        self._open = None

    def bytes_since_last_asked(self) -> int:
        """How much more of the files has been read."""
        return 0 if self._open is None else self._open.bytes_since_last_asked()

    def identity(self, *, with_end: bool = True) -> str | None:
        """Text that is the same as long as the files are; None if standard input is among them.

        `with_end`: and as long as the range of the log ends at the same place.
        """
        if any(file.is_standard_input for file in self.files):
            return None
        known = hashlib.sha256()
        for file in self.files:
            state = file.path.stat()
            known.update(f"{file.path.resolve()}\n{file.stream}\n{state.st_size}\n{state.st_mtime_ns}\n".encode())
        if self.log_range is not None and with_end:
            known.update(self.log_range.find_end().token().encode())
        return known.hexdigest()
