"""Files in HDFS by WebHDFS, which is plain HTTP: the name node says where, a data node takes and gives the bytes.

A rename that is not possible is answered with 200 and `false`, so every answer's content is read.
"""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from headwater.connectors.lake.file_system import READ_BYTES_MAX, Entry
from headwater.errors import SinkUnavailable

UNFINISHED = ".unfinished-"
REDIRECTS_MAX = 3
# The largest listing or description that is read.
ANSWER_BYTES_MAX = 67_108_864


@dataclass(frozen=True, slots=True)
class HdfsOptions:
    """How the name node is reached: `address` is `http(s)://HOST:PORT`.

    `user` is the user that it takes the caller for; `delegation_token` is sent instead where it asks for one.
    """

    address: str
    user: str | None = None
    delegation_token: str | None = None
    seconds_max: float = 60.0


class HdfsFiles:
    """The files below the absolute path `root`."""

    creates_exclusively = True
    directory: str | None = None

    def __init__(self, root: str, options: HdfsOptions) -> None:
        self._root = "/" + root.strip("/")
        self._options = options

    def probe(self, directory: str) -> None:
        """A rename does not replace a file."""

    def write(self, path: str, content: bytes) -> None:
        if path.rpartition("/")[2].startswith("."):
            self._upload(path, content)
            return
        # A file that is being written is visible in HDFS.
        unfinished = self._unfinished(path, content)
        self._made(unfinished, "PUT", "RENAME", destination=self._absolute(path), renameoptions="OVERWRITE")

    def create(self, path: str, content: bytes) -> bool:
        if self._exists(path):
            return False
        unfinished = self._unfinished(path, content)
        answer = self._made(unfinished, "PUT", "RENAME", destination=self._absolute(path))
        if answer.get("boolean") is True:
            return True
        self.delete(unfinished)
        if self._exists(path):
            return False
        raise SinkUnavailable(f"{self._absolute(path)} was not created: HDFS refused the rename without a reason.")

    def read(self, path: str, *, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
        status, content = self._call("GET", path, "OPEN", bytes_max=bytes_max)
        if status == 404:
            return None
        self._require(status, content, path, "OPEN")
        return content

    def rename(self, path: str, to: str) -> None:
        how = {"destination": self._absolute(to), "renameoptions": "OVERWRITE"}
        status, content = self._call("PUT", path, "RENAME", how)
        if status == 404:
            # It is the file that is missing, or the directory that it is to be in.
            if not self._exists(path):
                return
            self._make_directory(to.rpartition("/")[0])
            status, content = self._call("PUT", path, "RENAME", how)
        self._require(status, content, path, "RENAME")

    def rename_directory(self, path: str, to: str) -> None:
        if not self._exists(path):
            return
        self._make_directory(to.rpartition("/")[0])
        if self._made(path, "PUT", "RENAME", destination=self._absolute(to)).get("boolean") is not True:
            raise SinkUnavailable(f"{self._absolute(path)} was not renamed to {self._absolute(to)}.")

    def entries(self, path: str) -> Sequence[Entry]:
        status, content = self._call("GET", path, "LISTSTATUS")
        if status == 404:
            return []
        self._require(status, content, path, "LISTSTATUS")
        found = _json(content).get("FileStatuses", {}).get("FileStatus", [])
        return sorted(
            Entry(str(one["pathSuffix"]), int(one["length"]), one["type"] == "DIRECTORY")
            for one in found
            if one["pathSuffix"] and not one["pathSuffix"].startswith(UNFINISHED)
        )

    def delete(self, path: str) -> None:
        self._made(path, "DELETE", "DELETE")

    def close(self) -> None:
        """Nothing is open between calls."""

    def _absolute(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root

    def _unfinished(self, path: str, content: bytes) -> str:
        directory, _, name = path.rpartition("/")
        unfinished = f"{directory}/{UNFINISHED}{uuid.uuid4().hex}-{name}".lstrip("/")
        self._upload(unfinished, content)
        return unfinished

    def _upload(self, path: str, content: bytes) -> None:
        status, answer = self._call("PUT", path, "CREATE", {"overwrite": "true"}, body=content)
        self._require(status, answer, path, "CREATE")

    def _make_directory(self, path: str) -> None:
        self._made(path, "PUT", "MKDIRS", permission="700")

    def _exists(self, path: str) -> bool:
        status, content = self._call("GET", path, "GETFILESTATUS")
        if status == 404:
            return False
        self._require(status, content, path, "GETFILESTATUS")
        return True

    def _made(self, path: str, method: str, operation: str, **parameters: str) -> dict[str, Any]:
        status, content = self._call(method, path, operation, parameters)
        self._require(status, content, path, operation)
        return _json(content)

    def _require(self, status: int, content: bytes, path: str, operation: str) -> None:
        if 200 <= status < 300:
            return
        reason = _json(content).get("RemoteException", {}).get("message") or f"HTTP status {status}"
        raise SinkUnavailable(f"HDFS refused {operation} of {self._absolute(path)}: {str(reason)[:500]}")

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        parameters: dict[str, str] | None = None,
        *,
        body: bytes | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> tuple[int, bytes]:
        """One operation, redirects followed; the body goes to the node that the redirect names."""
        query = {"op": operation, **(parameters or {})}
        if self._options.delegation_token:
            query["delegation"] = self._options.delegation_token
        elif self._options.user:
            query["user.name"] = self._options.user
        address = f"{self._options.address.rstrip('/')}/webhdfs/v1{quote(self._absolute(path))}?{urlencode(query)}"
        sends = None
        for _ in range(REDIRECTS_MAX):
            status, location, content = self._request(method, address, sends, bytes_max)
            if status not in (301, 302, 307, 308) or not location:
                return status, content
            address, sends = location, body
        raise SinkUnavailable(f"HDFS redirects {operation} of {self._absolute(path)} again and again.")

    def _request(self, method: str, address: str, body: bytes | None, bytes_max: int) -> tuple[int, str | None, bytes]:
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=self._options.seconds_max)
        headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
        try:
            connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers)
            # It has the socket as long as it is not read to its end.
            with connection.getresponse() as response:
                content = response.read(bytes_max + 1)
            location = response.getheader("Location")
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise SinkUnavailable(f"HDFS at {parts.scheme}://{parts.netloc} does not answer: {why}") from error
        finally:
            connection.close()
        if len(content) > bytes_max:
            raise SinkUnavailable(f"HDFS answers with more than {bytes_max:,} bytes.")
        return response.status, location, content


def _json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if content.strip() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
