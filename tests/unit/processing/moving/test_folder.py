"""A directory of exported state is complete or recognised as not, and what was changed in it is found."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import ChangeRefused, StateMismatch
from headwater.jobs.cells import Cell
from headwater.log.contract import Position
from headwater.processing.moving import folder as folders
from headwater.processing.moving.entries import Entry
from headwater.processing.moving.folder import (
    MANIFEST,
    ExportWriter,
    Manifest,
    check_parts,
    entries_of,
    read_manifest,
    sums_of,
)

POSITION = Position({("edits", 0): 12, ("edits", 1): 7})


def cells(count: int) -> list[Entry]:
    return [Entry("function", "cell", b'"%d"' % n, "", Cell.of({"n": n}).encode() or b"") for n in range(count)]


def write(folder: Path, entries: list[Entry]) -> Manifest:
    writer = ExportWriter(folder)
    for entry in entries:
        writer.add(entry)
    made = Manifest(writer.id, "shop", "flink", "2026-12-01T00:00:00Z", POSITION, {"edits": "id"}, 1234, None)
    return writer.finish(made)


def test_what_was_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "PART_BYTES_MAX", 100)
    written = write(tmp_path / "moved", cells(9))
    assert len(written.parts) > 2
    found = read_manifest(tmp_path / "moved")
    assert found == written
    assert (found.position, found.watermark_ms, found.parked) == (POSITION, 1234, 0)
    assert list(entries_of(tmp_path / "moved", found)) == cells(9)
    assert sums_of(tmp_path / "moved", found)["function"].keys == 9


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write(tmp_path / "moved", cells(1))
    for path in (tmp_path / "moved").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_that_was_not_finished_is_none(tmp_path: Path) -> None:
    writer = ExportWriter(tmp_path / "moved")
    writer.add(cells(1)[0])
    with pytest.raises(StateMismatch, match="has no complete export"):
        read_manifest(tmp_path / "moved")
    writer.discard()
    assert not list((tmp_path / "moved").iterdir())
    # It can be used again then.
    assert write(tmp_path / "moved", cells(1)).steps["function"].keys == 1
    with pytest.raises(ChangeRefused, match="is not empty"):
        ExportWriter(tmp_path / "moved")


def test_a_part_that_was_changed_or_is_missing_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    written = write(folder, cells(3))
    part = folder / written.parts[0].name
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StateMismatch, match="is not what was exported"):
        check_parts(folder, written)
    part.unlink()
    with pytest.raises(StateMismatch, match="cannot be read"):
        check_parts(folder, written)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "has format 2"),
        ({"engine": "spark"}, "is not a manifest"),
        ({"position": "12"}, "is not a manifest"),
        ({"parts": [{"name": "../secret", "lines": 1, "bytes": 1, "sha256": ""}]}, "is not a manifest"),
        ({"steps": {"function": {"keys": 1}}}, "is not a manifest"),
    ],
)
def test_another_manifest_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write(tmp_path, cells(1))
    written = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**written, **change}))
    with pytest.raises(StateMismatch, match=said):
        read_manifest(tmp_path)


def test_a_manifest_with_other_sums_than_its_entries_is_found(tmp_path: Path) -> None:
    write(tmp_path, cells(2))
    written = json.loads((tmp_path / MANIFEST).read_text())
    written["steps"]["function"]["keys"] = 3
    (tmp_path / MANIFEST).write_text(json.dumps(written))
    with pytest.raises(StateMismatch, match="are not those of its manifest"):
        sums_of(tmp_path, read_manifest(tmp_path))
