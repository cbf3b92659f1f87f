"""Every complete line of a file of events is read, whatever system wrote it and wherever it is damaged."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.schema.verbs import command
from headwater.errors import ConfigInvalid, EventTooLarge
from headwater.event_lines import LINE_BYTES_MAX, Damage, LineSource, open_lines, require_whole

_RANDOM = random.Random(7)
LINES = [b'{"a":%d,"b":"%s"}\n' % (number, _RANDOM.randbytes(15).hex().encode()) for number in range(600)]
PACKED = gzip.compress(b"".join(LINES))


def read(data: bytes) -> tuple[list[bytes], Damage | None]:
    with LineSource(io.BytesIO(data), len(data)) as source:
        return list(source), source.damage


@pytest.mark.parametrize(
    "data",
    [
        b"".join(LINES),
        PACKED,
        b"".join(gzip.compress(line) for line in LINES),
        gzip.compress(b"".join(LINES[:100])) + b"\0" * 700 + gzip.compress(b"".join(LINES[100:])) + b"\0" * 9,
        gzip.compress(b"\xef\xbb\xbf" + b"".join(LINES)),
        b"\xef\xbb\xbf" + b"".join(LINES),
        b"".join(b"\xef\xbb\xbf" + line for line in LINES),
    ],
    ids=["plain", "gzip", "many members", "padded members", "gzip with a mark", "mark", "joined files with marks"],
)
def test_whole_files_are_read_whole(data: bytes) -> None:
    assert read(data) == (LINES, None)


@given(st.integers(3, len(PACKED) - 1))
def test_a_file_that_was_cut_gives_every_line_before_the_cut(length: int) -> None:
    lines, damage = read(PACKED[:length])
    readable = zlib.decompressobj(31).decompress(PACKED[:length])
    assert lines == LINES[: readable.count(b"\n")]
    assert damage is not None
    assert damage.lines == len(lines)
    assert damage.cut_bytes == len(readable) - len(b"".join(lines))


@given(st.integers(10, len(PACKED) - 1), st.integers(1, 255))
def test_an_altered_byte_is_noticed(at: int, change: int) -> None:
    damaged = bytearray(PACKED)
    damaged[at] ^= change
    _, damage = read(bytes(damaged))
    assert damage is not None
    assert "gzip" in damage.reason


def test_lines_before_a_damaged_block_are_read_although_they_are_in_the_same_piece() -> None:
    stored = zlib.compressobj(0, wbits=31)
    data = bytearray(stored.compress(b"".join(LINES[:300])) + stored.flush(zlib.Z_FULL_FLUSH))
    data += stored.compress(b"".join(LINES[300:])) + stored.flush()
    # A block of stored bytes begins with its length and the complement of that, which is made wrong here.
    data[data.index(LINES[300]) - 1] ^= 0xFF
    lines, damage = read(bytes(data))
    assert lines == LINES[:300]
    assert damage == Damage("The gzip file is damaged: invalid stored block lengths", 300, 0)


def test_what_follows_the_compressed_data_is_damage() -> None:
    lines, damage = read(PACKED + b"something else")
    assert lines == LINES
    assert str(damage).startswith("The gzip file has something else after its compressed data. 600 complete lines")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("{}\n".encode("utf-16"), "UTF-16"),
        ("{}\n".encode("utf-32"), "UTF-32"),
        (gzip.compress("{}\n".encode("utf-16")), "UTF-16"),
        (b"BZh91AY", "bzip2"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_files_that_cannot_be_read_are_named(data: bytes, named: str) -> None:
    with pytest.raises(ConfigInvalid, match=named):
        read(data)


def test_a_line_without_an_end_takes_bounded_memory_and_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" + b" " * (3 * LINE_BYTES_MAX) + b"\n[]\n"))
    with open_lines(path) as source:
        lines = list(source)
    assert [len(line) for line in lines] == [3, LINE_BYTES_MAX + 1, 3]
    with pytest.raises(EventTooLarge):
        require_whole(lines[1])


def test_validate_says_how_much_of_a_damaged_file_could_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "schemas" / "t").mkdir(parents=True)
    (tmp_path / "schemas" / "t" / "1.0.0.yaml").write_text("title: t\ntype: object\n")
    monkeypatch.chdir(tmp_path)
    text = "".join(json.dumps({"$schema": "/t/1.0.0", "n": _RANDOM.random()}) + "\n" for _ in range(50))
    packed = gzip.compress(text.encode())
    Path("events.jsonl.gz").write_bytes(packed[:-200])
    lines, damage = read(packed[:-200])
    result = CliRunner().invoke(command, ["validate", "events.jsonl.gz", "--schemas", "schemas"])
    assert result.exit_code == 1
    assert f"{len(lines)} of {len(lines)} events are valid." in result.stderr
    assert str(damage) in result.stderr
