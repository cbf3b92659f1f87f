"""Files in an S3-compatible store, by pyarrow: a put is atomic, a rename is a copy and a delete.

With keys, `create` is a conditional put. Some stores accept those and ignore the condition, so it is tried first.
Without keys, or where it is turned off, two processes that write one table are only recognised when one of them looks.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from headwater.connectors.lake.file_system import READ_BYTES_MAX, Entry, joined
from headwater.connectors.lake.s3_conditional import ConditionalWrites, Signer
from headwater.errors import SinkUnavailable, StoreUnsuitable

RETRIES_MAX = 3
REGION_DEFAULT = "us-east-1"
PROBE = "probe-"
# What the driver says of an object that is deleted before its content is asked for: the store's answer does not fit
# into the buffer for a short object.
GONE = ("NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "Failed to flush response stream")
DELETIONS_MAX = 10
# How often an object is read that is replaced meanwhile.
READS_MAX = 20


@dataclass(frozen=True, slots=True)
class S3Options:
    """How the store is reached. `endpoint`: `http(s)://HOST:PORT` of a store that is not Amazon's.

    Without keys, those of the environment, the user's files or the machine are used, as other tools do.
    `conditional_writes`: the store is relied on to refuse a write whose condition does not hold; this needs the keys.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    connect_seconds_max: float = 10.0
    request_seconds_max: float = 60.0
    conditional_writes: bool = True


class S3Files:
    """The objects of a bucket whose keys begin with `prefix`."""

    directory: str | None = None

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        """Raises SinkUnavailable for options that the driver refuses."""
        self._bucket = bucket
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
            self._conditional = _conditional(bucket, options, self._files.region)
        self.creates_exclusively = self._conditional is not None
        self._is_probed = False

    def probe(self, directory: str) -> None:
        if self._conditional is None or self._is_probed:
            return
        path = joined(directory, f"{PROBE}{uuid.uuid4().hex}")
        try:
            answers = [self._conditional.create(self._in_bucket(path), content) for content in (b"1", b"2")]
        finally:
            with contextlib.suppress(SinkUnavailable):
                self.delete(path)
        if answers != ["created", "exists"]:
            does = "refuses" if "unknown" in answers else "accepts and ignores"
            raise StoreUnsuitable(
                f"The store of s3://{self._root} {does} conditional writes: two processes could overwrite"
                " each other's commits.",
                hint="Use a store that honours If-None-Match; or set `conditional_writes: false`, and make sure that"
                " only one platform writes there.",
            )
        self._is_probed = True

    def write(self, path: str, content: bytes) -> None:
        with _as_unavailable(self._key(path)), self._files.open_output_stream(self._key(path)) as out:
            out.write(content)

    def create(self, path: str, content: bytes) -> bool:
        if self._conditional is not None:
            self.probe(path.rpartition("/")[0])
            return self._conditional.create(self._in_bucket(path), content) == "created"
        with _as_unavailable(self._key(path)):
            if self._files.get_file_info(self._key(path)).type != arrow_fs.FileType.NotFound:
                return False
        self.write(path, content)
        return True

    def read(self, path: str, *, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
        key = self._key(path)
        with _as_unavailable(key):
            for number in range(READS_MAX):
                try:
                    with self._files.open_input_file(key) as file:
                        if file.size() > bytes_max:
                            raise SinkUnavailable(f"{key} is larger than {bytes_max:,} bytes.")
                        content = bytes(file.read())
                except FileNotFoundError:
                    return None
                except OSError as error:
                    # It was there a moment ago.
                    if number >= DELETIONS_MAX or not any(word in str(error) for word in GONE):
                        raise
                    continue
                # The driver asks for the size first, and then for so many bytes, perhaps of another object.
                if self._files.get_file_info(key).size == len(content):
                    return content
        raise SinkUnavailable(f"{key} is replaced again and again while it is read.")

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

    def _in_bucket(self, path: str) -> str:
        return self._key(path)[len(self._bucket) + 1 :]


def _conditional(bucket: str, options: S3Options, region: str | None) -> ConditionalWrites | None:
    """None if objects cannot be created exclusively."""
    if not (options.conditional_writes and options.access_key and options.secret_key):
        return None
    signer = Signer(options.region or region or REGION_DEFAULT, options.access_key, options.secret_key)
    return ConditionalWrites(bucket, options.endpoint, signer, options.request_seconds_max)


@contextlib.contextmanager
def _as_unavailable(key: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ArrowException) as error:
        raise SinkUnavailable(f"s3://{key} cannot be used: {str(error)[:500]}") from error
