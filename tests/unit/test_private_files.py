"""What holds events may be read by its owner only, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.private_files import make_private_directory, make_private_file


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_and_files_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    make_private_file(tmp_path / "var" / "deep" / "events.db")
    assert mode(tmp_path / "var") == mode(tmp_path / "var" / "deep") == 0o700
    assert mode(tmp_path / "var" / "deep" / "events.db") == 0o600


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "shared" / "events.db"
    file.parent.mkdir(mode=0o755)
    file.write_bytes(b"kept")
    file.chmod(0o644)
    make_private_directory(file.parent)
    make_private_file(file)
    assert (mode(file.parent), mode(file), file.read_bytes()) == (0o755, 0o644, b"kept")


def test_a_file_in_the_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(OSError, match="var"):
        make_private_file(tmp_path / "var" / "events.db")
