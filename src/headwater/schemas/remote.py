"""Schemas over HTTP from one configured base URL, and from nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import quote, urljoin, urlsplit

import httpx

from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.schema import Schema, read_schema
from headwater.schemas.uri import LATEST, canonical_uri, has_extension, version_of

_REDIRECTS_MAX = 3


class RemoteRepository:
    """A schema repository served as static files; see SchemaRepository for what it promises.

    `timeout_seconds` bounds one `get` as a whole. Redirects are followed only to the same scheme, host and port.
    Proxies named by the environment are not used: only the configuration says where requests go.
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
        self._client = httpx.Client(
            timeout=timeout_seconds, follow_redirects=False, trust_env=False, headers={"user-agent": "headwater"}
        )

    def get(self, uri: str) -> Schema:
        uri = canonical_uri(uri)
        suffix = self._extension if self._extension and not has_extension(uri) else ""
        data = self._fetch(self._base + quote(uri + suffix, safe="/"), uri)
        schema = read_schema(uri, data, self._limits)
        return self._under_its_version(schema) if uri.endswith("/" + LATEST) else schema

    def uris(self) -> Iterable[str]:
        """Nothing: static files over HTTP cannot be listed."""
        return ()

    def close(self) -> None:
        self._client.close()

    def _under_its_version(self, schema: Schema) -> Schema:
        named = schema.document.get("$id")
        parent = schema.uri.rpartition("/")[0]
        if isinstance(named, str) and named.startswith(parent + "/") and version_of(named[len(parent) + 1 :]):
            return Schema(named, schema.document, schema.title, schema.dialect)
        raise SchemaInvalid(f"The schema at {schema.uri} does not say in `$id` which version it is.")

    def _fetch(self, url: str, uri: str) -> bytes:
        deadline = time.monotonic() + self._timeout_seconds
        for _ in range(_REDIRECTS_MAX + 1):
            try:
                with self._client.stream("GET", url) as response:
                    if response.is_redirect:
                        url = self._redirect(url, response, uri)
                        continue
                    return self._body(response, uri, deadline)
            except httpx.HTTPError as error:
                raise SchemaUnavailable(
                    f"The repository {self._base} did not answer for {uri}: {type(error).__name__}."
                ) from None
        raise SchemaUnavailable(f"The repository {self._base} redirects {uri} without end.")

    def _redirect(self, url: str, response: httpx.Response, uri: str) -> str:
        target = urljoin(url, response.headers["location"])
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            raise SchemaUnavailable(f"The repository {self._base} redirects {uri} to another host, which is refused.")
        return target

    def _body(self, response: httpx.Response, uri: str, deadline: float) -> bytes:
        if response.status_code in (404, 410):
            raise SchemaNotFound(f"There is no schema {uri} in {self._base}.")
        if response.status_code != 200:
            raise SchemaUnavailable(f"The repository {self._base} answered {response.status_code} for {uri}.")
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._bytes_max:
                raise SchemaInvalid(f"The schema at {uri} is larger than {self._bytes_max} bytes.")
            if time.monotonic() > deadline:
                raise SchemaUnavailable(f"The repository {self._base} took longer than {self._timeout_seconds} s.")
        return bytes(body)
