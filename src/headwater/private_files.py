"""Makes files and directories that only their owner may read, for the events of all users."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Make the directory and its missing parents, readable by their owner only. Existing ones stay as they are.

    Raises OSError.
    """
    if not path.is_dir():
        make_private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner may read, in such a directory. An existing file stays as it is.

    Raises OSError.
    """
    make_private_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
