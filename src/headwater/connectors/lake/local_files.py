"""Files on the disk of this machine: written under a hidden name, synced, and renamed."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from headwater.connectors.lake.file_system import READ_BYTES_MAX, Entry
from headwater.errors import SinkUnavailable
from headwater.private_files import make_private_directory

# Files that are being written begin like this; a crash may leave one behind.
UNFINISHED = ".unfinished-"


class LocalFiles:
    """The files below `root`, which only their owner may read; directories are made as needed."""

    creates_exclusively = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self.directory: str | None = str(root)

    def probe(self, directory: str) -> None:
        """A hard link is made once."""

    def write(self, path: str, content: bytes) -> None:
        target = self._root / path
        with _as_unavailable(target):
            unfinished = self._unfinished(target, content)
            os.replace(unfinished, target)
            _sync_directory(target.parent)

    def create(self, path: str, content: bytes) -> bool:
        target = self._root / path
        with _as_unavailable(target):
            if target.exists():
                return False
            unfinished = self._unfinished(target, content)
            try:
                os.link(unfinished, target)
            except FileExistsError:
                return False
            finally:
                unfinished.unlink()
            _sync_directory(target.parent)
        return True

    def read(self, path: str, *, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
        target = self._root / path
        with _as_unavailable(target):
            try:
                with target.open("rb") as file:
                    if os.fstat(file.fileno()).st_size > bytes_max:
                        raise SinkUnavailable(f"{target} is larger than {bytes_max:,} bytes.")
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def rename(self, path: str, to: str) -> None:
        target = self._root / to
        with _as_unavailable(target):
            make_private_directory(target.parent)
            try:
                os.replace(self._root / path, target)
            except FileNotFoundError:
                return
            _sync_directory(target.parent)

    def rename_directory(self, path: str, to: str) -> None:
        self.rename(path, to)

    def entries(self, path: str) -> Sequence[Entry]:
        directory = self._root / path
        with _as_unavailable(directory):
            found = []
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if entry.name.startswith(UNFINISHED):
                            continue
                        with contextlib.suppress(FileNotFoundError):
                            is_directory = entry.is_dir()
                            found.append(Entry(entry.name, 0 if is_directory else entry.stat().st_size, is_directory))
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(found)

    def delete(self, path: str) -> None:
        with _as_unavailable(self._root / path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self._root / path).unlink()

    def close(self) -> None:
        """Nothing is open between calls."""

    def _unfinished(self, target: Path, content: bytes) -> Path:
        """The content under a hidden name next to its target, synced."""
        make_private_directory(target.parent)
        unfinished = target.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        return unfinished


@contextlib.contextmanager
def _as_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise SinkUnavailable(
            f"{path} cannot be used: {reason}.", hint="Check the disk and the permissions; the write is tried again."
        ) from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
