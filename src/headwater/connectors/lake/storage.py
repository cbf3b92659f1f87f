"""Where files are stored: a directory, `s3://BUCKET/PREFIX` or `hdfs://HOST:PORT/PATH`, and how it is reached."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headwater.connectors.lake.file_system import FileSystem
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.settings import setting

# The scheme of a location, and how its name node is asked.
HDFS_SCHEMES: Mapping[str, str] = {"hdfs": "http", "webhdfs": "http", "swebhdfs": "https"}
SCHEMES = ("file", "s3", *HDFS_SCHEMES)


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How a store for files is reached, besides its location."""

    endpoint: str | None = setting(
        None,
        "S3: the address of a store that is not Amazon's, such as `http://127.0.0.1:9000`.",
        starts_with=("http://", "https://"),
    )
    region: str | None = setting(None, "S3: the region; null: as other tools find it.")
    access_key: str | None = setting(None, "S3: the access key; null: as other tools find it.", secret=True)
    secret_key: str | None = setting(None, "S3: the secret key.", secret=True)
    conditional_writes: bool = setting(
        True,
        "S3, with keys: a commit is a conditional write (`If-None-Match`), so that of two processes that write a table "
        "one is refused. A store that ignores the condition is recognised and not used; false: do without.",
    )
    user: str | None = setting(None, "HDFS: the user that the name node takes Headwater for.")
    delegation_token: str | None = setting(None, "HDFS: a delegation token.", secret=True)
    connect_seconds_max: float = setting(10.0, "S3: how long connecting may take.", at_least=0.1)
    request_seconds_max: float = setting(60.0, "How long the store may take to answer a request.", at_least=0.1)


def check_location(location: str) -> str | None:
    """Why files cannot be stored there, a sentence; None if the location is well formed."""
    if "://" not in location:
        return None
    parts = urlsplit(location)
    if parts.scheme not in SCHEMES:
        return f"{parts.scheme!r} is no scheme of a location: use a directory, s3://BUCKET/PREFIX or hdfs://HOST:PORT/PATH."
    if parts.username or parts.password:
        return "A location contains no user and no password: there are options for them."
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        return "A file: location has no host."
    if parts.scheme != "file" and not parts.hostname:
        return "The location names no bucket or host."
    if parts.scheme in HDFS_SCHEMES and parts.path.strip("/") == "":
        return "The location names no directory."
    return None


def file_system(location: str, options: StorageOptions, project: Path) -> FileSystem:
    """The files at a location; a relative directory is in `project`.

    Raises ConfigInvalid for a location that cannot be, ExtraMissing without the driver, SinkUnavailable.
    """
    wrong = check_location(location)
    if wrong is not None:
        raise ConfigInvalid(f"{location}: {wrong}")
    parts = urlsplit(location) if "://" in location else None
    if parts is None or parts.scheme == "file":
        local = importlib.import_module("headwater.connectors.lake.local_files")
        path = Path(location) if parts is None else Path(unquote(parts.path))
        files: FileSystem = local.LocalFiles(project / path)
        return files
    if parts.scheme == "s3":
        try:
            s3 = importlib.import_module("headwater.connectors.lake.s3_files")
        except ImportError:
            raise ExtraMissing(
                "Files in S3 need pyarrow, which is not installed.", hint="Install headwater[parquet]."
            ) from None
        how = s3.S3Options(
            options.endpoint,
            options.region,
            options.access_key,
            options.secret_key,
            options.connect_seconds_max,
            options.request_seconds_max,
            options.conditional_writes,
        )
        files = s3.S3Files(parts.netloc, unquote(parts.path), how)
        return files  # noqa: RET504 - the module is imported late, so that only the name has a type
    hdfs = importlib.import_module("headwater.connectors.lake.hdfs_files")
    address = f"{HDFS_SCHEMES[parts.scheme]}://{parts.netloc}"
    asked = hdfs.HdfsOptions(address, options.user, options.delegation_token, options.request_seconds_max)
    files = hdfs.HdfsFiles(unquote(parts.path), asked)
    return files  # noqa: RET504 - the module is imported late, so that only the name has a type
