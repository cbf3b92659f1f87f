"""A directory with the state of one job, as it left a runner: a manifest, and the entries in files of JSON lines.

How this works: the entries are written first, in parts; the manifest, which names each part with its size and SHA-256,
comes last. So a directory without a manifest is one that was not finished, and one with it is complete. Before anything
is imported, all parts are compared with the manifest.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from headwater.errors import ChangeRefused, StateMismatch, TokenInvalid
from headwater.jobs.steps import NO_WATERMARK
from headwater.log.contract import Position
from headwater.private_files import make_private_directory, make_private_file
from headwater.processing.moving.entries import NO_STEP, Entry, StepSum

FORMAT = 1
MANIFEST = "manifest.json"
PART_BYTES_MAX = 67_108_864
_READ_BYTES = 1_048_576

Engine = Literal["embedded", "flink"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file of entries."""

    name: str
    lines: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a directory has. `id` belongs to this export alone; `position`: the next record of each partition to read.

    `topic_ids`: those of the topics at the brokers, where they have some. `progress`: what the embedded runner stores
    of the event time, if it was one; `watermark_ms`: how far that had come, NO_WATERMARK if that is not known.
    """

    id: str
    job: str
    engine: Engine
    exported_at: str
    position: Position
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    watermark_ms: int = NO_WATERMARK
    progress: str | None = None
    steps: Mapping[str, StepSum] = field(default_factory=dict)
    parts: Sequence[Part] = ()

    @property
    def parked(self) -> int:
        """How many events are parked."""
        found = self.steps.get(NO_STEP)
        return 0 if found is None else found.keys

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "job": self.job,
            "engine": self.engine,
            "exported_at": self.exported_at,
            "position": self.position.token(),
            "topic_ids": dict(self.topic_ids),
            "watermark_ms": None if self.watermark_ms == NO_WATERMARK else self.watermark_ms,
            "progress": self.progress,
            "steps": {name: one.as_json() for name, one in sorted(self.steps.items())},
            "parts": [
                {"name": part.name, "lines": part.lines, "bytes": part.bytes, "sha256": part.sha256}
                for part in self.parts
            ],
        }


class ExportWriter:
    """Writes a new directory; `finish` or `discard` it."""

    def __init__(self, folder: Path) -> None:
        """Raises ChangeRefused if there is something in it."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ChangeRefused(f"{folder} is not empty.", hint="Name a directory that is not there yet.")
        make_private_directory(folder)
        self.id = secrets.token_hex(8)
        self.steps: dict[str, StepSum] = {}
        self._folder = folder
        self._parts: list[Part] = []
        self._file: BinaryIO | None = None
        self._lines = self._bytes = 0
        self._hash = hashlib.sha256()

    def add(self, entry: Entry) -> None:
        """Write an entry. Raises OSError."""
        line = entry.line()
        if self._file is None:
            self._begin()
        assert self._file is not None
        self._file.write(line)
        self._hash.update(line)
        self._lines += 1
        self._bytes += len(line)
        self.steps.setdefault(entry.step, StepSum()).add(entry)
        if self._bytes >= PART_BYTES_MAX:
            self._end()

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, with what was added. Raises OSError."""
        self._end()
        whole = Manifest(
            manifest.id,
            manifest.job,
            manifest.engine,
            manifest.exported_at,
            manifest.position,
            manifest.topic_ids,
            manifest.watermark_ms,
            manifest.progress,
            self.steps,
            tuple(self._parts),
        )
        new = self._folder / f"{MANIFEST}.new"
        make_private_file(new)
        new.write_bytes(orjson.dumps(whole.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        new.replace(self._folder / MANIFEST)
        return whole

    def discard(self) -> None:
        """Delete what was written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for path in self._folder.glob("state-*.jsonl"):
            path.unlink()
        (self._folder / f"{MANIFEST}.new").unlink(missing_ok=True)

    def _begin(self) -> None:
        path = self._folder / f"state-{len(self._parts) + 1:05}.jsonl"
        make_private_file(path)
        self._file = path.open("wb")
        self._lines = self._bytes = 0
        self._hash = hashlib.sha256()

    def _end(self) -> None:
        if self._file is None:
            return
        name = Path(self._file.name).name
        self._file.close()
        self._file = None
        self._parts.append(Part(name, self._lines, self._bytes, self._hash.hexdigest()))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a directory. Raises StateMismatch if it has none that can be used."""
    path = folder / MANIFEST
    try:
        read = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise StateMismatch(
            f"{folder} has no complete export: there is no {MANIFEST}.", hint="`headwater job export` writes one."
        ) from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise StateMismatch(f"{path} cannot be read: {error}") from error
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        found = read.get("format") if isinstance(read, dict) else None
        raise StateMismatch(f"{path} has format {found!r}, and this version of Headwater reads {FORMAT}.")
    try:
        return _manifest_of(read)
    except (KeyError, TypeError, ValueError, TokenInvalid) as error:
        raise StateMismatch(f"{path} is not a manifest: {type(error).__name__}: {error}") from error


def check_parts(folder: Path, manifest: Manifest) -> None:
    """Compare the parts with the manifest. Raises StateMismatch for one that is missing or another one."""
    for part in manifest.parts:
        digest, size = hashlib.sha256(), 0
        try:
            with (folder / part.name).open("rb") as file:
                while chunk := file.read(_READ_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError as error:
            raise StateMismatch(f"{folder / part.name} cannot be read: {error}") from error
        if digest.hexdigest() != part.sha256:
            raise StateMismatch(
                f"{folder / part.name} is not what was exported: it has {size:,} bytes with another SHA-256 than the"
                f" {part.bytes:,} of the manifest.",
                hint="Copy the directory again from where it was written.",
            )


def entries_of(folder: Path, manifest: Manifest) -> Iterator[Entry]:
    """All entries, in the order of the files. Raises StateMismatch, OSError."""
    for part in manifest.parts:
        with (folder / part.name).open("rb") as file:
            for line in file:
                yield Entry.of_line(line)


def sums_of(folder: Path, manifest: Manifest) -> dict[str, StepSum]:
    """The sums of the entries as they are. Raises StateMismatch if they are not those of the manifest."""
    check_parts(folder, manifest)
    found: dict[str, StepSum] = {}
    for entry in entries_of(folder, manifest):
        found.setdefault(entry.step, StepSum()).add(entry)
    if found != dict(manifest.steps):
        raise StateMismatch(f"The entries in {folder} are not those of its manifest.")
    return found


def _manifest_of(read: dict[str, Any]) -> Manifest:
    watermark = read["watermark_ms"]
    engine = read["engine"]
    if engine not in ("embedded", "flink"):
        raise ValueError(f"engine {engine!r}")
    return Manifest(
        str(read["id"]),
        str(read["job"]),
        engine,
        str(read["exported_at"]),
        Position.parse(read["position"]),
        dict(read["topic_ids"]),
        NO_WATERMARK if watermark is None else int(watermark),
        read["progress"],
        {name: StepSum.of_json(one) for name, one in read["steps"].items()},
        tuple(
            Part(_file_name(one["name"]), int(one["lines"]), int(one["bytes"]), str(one["sha256"]))
            for one in read["parts"]
        ),
    )


def _file_name(name: Any) -> str:
    """A name that leads nowhere else."""
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"the part {name!r}")
    return name
