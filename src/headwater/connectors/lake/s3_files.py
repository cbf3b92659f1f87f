"""Files in an S3-compatible store, by pyarrow: a put is atomic, a rename is a copy and a delete.

Conditional puts are not used: some stores accept and ignore them. So two processes that write one table are only
recognised when one of them looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from headwater.connectors.lake.file_system import READ_BYTES_MAX, Entry
from headwater.errors import SinkUnavailable

RETRIES_MAX = 3


@dataclass(frozen=True, slots=True)
class S3Options:
    """How the store is reached. `endpoint`: `http(s)://HOST:PORT` of a store that is not Amazon's.

    Without keys, those of the environment, the user's files or the machine are used, as other tools do.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    connect_seconds_max: float = 10.0
    request_seconds_max: float = 60.0


class S3Files:
    """The objects of a bucket whose keys begin with `prefix`."""

    creates_exclusively = False
    directory: str | None = None

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        """Raises SinkUnavailable for options that the driver refuses."""
        self._root = "/".join(part for part in (bucket, prefix.strip("/")) if part)
        scheme, _, address = (options.endpoint or "").rpartition("://")
        settings = {
            "endpoint_override": address or None,
            "scheme": scheme or None,
            "region": options.region,
            "access_key": options.access_key,
            "secret_key": options.secret_key,
            "connect_timeout": options.connect_seconds_max,
            "request_timeout": options.request_seconds_max,
            "retry_strategy": arrow_fs.AwsStandardS3RetryStrategy(max_attempts=RETRIES_MAX),
        }
        with _as_unavailable(self._root):
            self._files = arrow_fs.S3FileSystem(
                **{name: value for name, value in settings.items() if value is not None}
            )

    def write(self, path: str, content: bytes) -> None:
        with _as_unavailable(self._key(path)), self._files.open_output_stream(self._key(path)) as out:
            out.write(content)

    def create(self, path: str, content: bytes) -> bool:
        with _as_unavailable(self._key(path)):
            if self._files.get_file_info(self._key(path)).type != arrow_fs.FileType.NotFound:
                return False
        self.write(path, content)
        return True

    def read(self, path: str, *, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
        with _as_unavailable(self._key(path)):
            try:
                with self._files.open_input_file(self._key(path)) as file:
                    if file.size() > bytes_max:
                        raise SinkUnavailable(f"{self._key(path)} is larger than {bytes_max:,} bytes.")
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def rename(self, path: str, to: str) -> None:
        with _as_unavailable(self._key(path)):
            try:
                self._files.copy_file(self._key(path), self._key(to))
            except OSError:
                if self._files.get_file_info(self._key(path)).type == arrow_fs.FileType.NotFound:
                    return
                raise
            self._files.delete_file(self._key(path))

    def rename_directory(self, path: str, to: str) -> None:
        selector = arrow_fs.FileSelector(self._key(path), recursive=True, allow_not_found=True)
        with _as_unavailable(self._key(path)):
            found = [info.path for info in self._files.get_file_info(selector) if info.type == arrow_fs.FileType.File]
        begin = len(self._key(path)) + 1
        for key in found:
            self.rename(f"{path}/{key[begin:]}", f"{to}/{key[begin:]}")
        with _as_unavailable(self._key(path)), contextlib.suppress(FileNotFoundError):
            # The driver keeps markers of directories that are empty now.
            self._files.delete_dir(self._key(path))

    def entries(self, path: str) -> Sequence[Entry]:
        selector = arrow_fs.FileSelector(self._key(path), allow_not_found=True)
        with _as_unavailable(self._key(path)):
            found = self._files.get_file_info(selector)
        return sorted(
            Entry(info.base_name, info.size or 0, info.type == arrow_fs.FileType.Directory)
            for info in found
            if info.base_name
        )

    def delete(self, path: str) -> None:
        with _as_unavailable(self._key(path)), contextlib.suppress(FileNotFoundError):
            self._files.delete_file(self._key(path))

    def close(self) -> None:
        """The driver releases its connections by itself."""

    def _key(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


@contextlib.contextmanager
def _as_unavailable(key: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ArrowException) as error:
        raise SinkUnavailable(f"s3://{key} cannot be used: {str(error)[:500]}") from error
