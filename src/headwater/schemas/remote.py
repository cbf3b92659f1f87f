"""Schemas over HTTP from one configured base URL, and from nowhere else.

How this works: one `get` has one deadline, which covers connecting, headers that arrive byte by byte and the body,
since every read of the connection gets the remaining time as its timeout. Bodies are accepted only without compression,
so that their size is known while they arrive. After a timeout the repository is not asked for a while, so that many
events that name many schemas do not wait for it one after the other.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.schema import Schema, read_schema
from headwater.schemas.uri import LATEST, canonical_uri, has_extension, version_of

_REDIRECTS_MAX = 3
REDIRECTS = frozenset((301, 302, 303, 307, 308))
# How long a repository that timed out is not asked again.
REST_SECONDS = 1.0
CONNECTIONS_MAX = 16
_HEADERS = [(b"user-agent", b"headwater"), (b"accept-encoding", b"identity"), (b"accept", b"*/*")]
_PLAIN = ("", "identity")
# The characters that a redirect may contain; others are percent-encoded, as browsers do.
_IN_URLS = "%/:?#[]@!$&'()*+,;=~"
# Whatever a broken or hostile server can cause; the errors of httpcore have no common class.
_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)


class RemoteRepository:
    """A schema repository served as static files; see SchemaRepository for its guarantees.

    `timeout_seconds` bounds one `get` as a whole, `bytes_max` the body. Redirects are followed only to the same scheme,
    host and port. Proxies named by the environment are not used: only the configuration determines where requests go.
    Thread-safe.
    """

    def __init__(
        self,
        base_url: str,
        timeout_seconds: float = 5.0,
        bytes_max: int = 1_048_576,
        *,
        extension: str | None = ".yaml",
        limits: ValidationLimits | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._bytes_max = bytes_max
        self._extension = extension
        self._limits = limits or ValidationLimits()
        self._network = _DeadlineNetwork()
        self._pool = httpcore.ConnectionPool(max_connections=CONNECTIONS_MAX, network_backend=self._network)
        self._rests_until = 0.0

    def get(self, uri: str) -> Schema:
        uri = canonical_uri(uri)
        suffix = self._extension if self._extension and not has_extension(uri) else ""
        data = self._fetch(self._base + quote(uri + suffix, safe="/"), uri)
        schema = read_schema(uri, data, self._limits)
        return self._under_its_version(schema) if uri.endswith("/" + LATEST) else schema

    def uris(self) -> Iterable[str]:
        """Empty: static files over HTTP cannot be listed."""
        return ()

    def close(self) -> None:
        self._pool.close()

    def _under_its_version(self, schema: Schema) -> Schema:
        named = schema.document.get("$id")
        parent = schema.uri.rpartition("/")[0]
        if isinstance(named, str) and named.startswith(parent + "/") and version_of(named[len(parent) + 1 :]):
            return Schema(named, schema.document, schema.title, schema.dialect)
        raise SchemaInvalid(f"The schema at {schema.uri} has no version in its `$id`.")

    def _fetch(self, url: str, uri: str) -> bytes:
        if time.monotonic() < self._rests_until:
            raise self._late(uri)
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with self._network.until(deadline):
                for _ in range(_REDIRECTS_MAX + 1):
                    answer = self._ask(url, uri, deadline)
                    if isinstance(answer, bytes):
                        return answer
                    url = self._redirect(url, answer.location, uri)
        except (httpcore.TimeoutException, TimeoutError):
            self._rests_until = time.monotonic() + REST_SECONDS
            raise self._late(uri) from None
        except _FAILURES as error:
            raise SchemaUnavailable(
                f"The repository {self._base} did not answer for {uri}: {type(error).__name__} {error}".strip() + "."
            ) from None
        raise SchemaUnavailable(f"The repository {self._base} redirects {uri} endlessly.")

    def _ask(self, url: str, uri: str, deadline: float) -> bytes | _Moved:
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), max(0.001, deadline - time.monotonic()))
        with self._pool.stream("GET", url, headers=_HEADERS, extensions={"timeout": timeouts}) as response:
            headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in REDIRECTS:
                return _Moved(headers.get(b"location"))
            if response.status in (404, 410):
                raise SchemaNotFound(f"There is no schema {uri} in {self._base}.")
            if response.status != 200:
                raise SchemaUnavailable(f"The repository {self._base} answered {response.status} for {uri}.")
            encoding = headers.get(b"content-encoding", "").strip().lower()
            if encoding not in _PLAIN:
                raise SchemaUnavailable(
                    f"The repository {self._base} sent {uri} compressed ({encoding[:20]}), which was not requested.",
                    hint="Let the repository serve its files as they are.",
                )
            return self._body(response.iter_stream(), uri)

    def _redirect(self, url: str, location: str | None, uri: str) -> str:
        if not location:
            raise SchemaUnavailable(f"The repository {self._base} redirects {uri} without a target.")
        target = quote(urljoin(url, location), safe=_IN_URLS)
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            raise SchemaUnavailable(f"The repository {self._base} redirects {uri} to another host, which is refused.")
        return target

    def _body(self, chunks: Iterable[bytes], uri: str) -> bytes:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self._bytes_max:
                raise SchemaInvalid(
                    f"The schema at {uri} is larger than {self._bytes_max:,} bytes.",
                    hint="The setting `schemas.remote_bytes_max` is the limit.",
                )
        return bytes(body)

    def _late(self, uri: str) -> SchemaUnavailable:
        return SchemaUnavailable(
            f"The repository {self._base} did not answer within {self._timeout_seconds:g} seconds, so {uri} is "
            "unavailable now.",
            hint="The setting `schemas.remote_timeout_seconds` is the time limit.",
        )


class _Moved:
    """A redirect; `location` is None if it has no target."""

    def __init__(self, location: str | None) -> None:
        self.location = location


class _DeadlineNetwork(httpcore.NetworkBackend):
    """A network backend in which each operation of a thread ends at the deadline it has set with `until`."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._local = threading.local()

    @contextlib.contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """No operation of this thread in the block lasts beyond `deadline` (monotonic seconds)."""
        self._local.deadline = deadline
        try:
            yield
        finally:
            del self._local.deadline

    def left(self, timeout: float | None) -> float:
        """The remaining seconds, at most `timeout`. Raises httpcore.ReadTimeout if there are none."""
        deadline: float = getattr(self._local, "deadline", float("inf"))
        left = min(deadline - time.monotonic(), float("inf") if timeout is None else timeout)
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(host, port, self.left(timeout), local_address, socket_options)
        return _DeadlineStream(stream, self.left)


class _DeadlineStream(httpcore.NetworkStream):
    """A connection of `_DeadlineNetwork`."""

    def __init__(self, inner: httpcore.NetworkStream, left: Callable[[float | None], float]) -> None:
        self._inner = inner
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, self._left(timeout)), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
