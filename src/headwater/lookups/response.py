"""What a lookup returns: the status, headers and body of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from headwater.errors import AnswerInvalid

_CHARSET = "charset="


class Response:
    """An answer, read completely. `headers` are found in any case; `url` has no query, which may hold secrets.

    An answer may be shared by several lookups (`cache`): `json()` decodes it each time, so each caller has its own.
    """

    __slots__ = ("_forget", "bytes", "headers", "status", "url")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        url: str,
        *,
        forget: Callable[[], None] | None = None,
    ) -> None:
        """`forget`: drops the answer from the cache it was taken from."""
        self.status = status
        self.headers = headers
        self.bytes = body
        self.url = url
        self._forget = forget

    @property
    def text(self) -> str:
        """The body as text, in the charset that its `Content-Type` names, else UTF-8; what is invalid is U+FFFD."""
        charset = self.headers.get("Content-Type", "").lower().partition(_CHARSET)[2].partition(";")[0].strip(" \"'")
        try:
            return self.bytes.decode(charset or "utf-8", "replace")
        except LookupError:
            return self.bytes.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, decoded. Raises AnswerInvalid if it is not JSON."""
        try:
            return orjson.loads(self.bytes)
        except orjson.JSONDecodeError:
            if self._forget is not None:
                self._forget()
            raise AnswerInvalid(
                f"{self.url} answered {self._shown()}, which is not JSON.", status=self.status
            ) from None

    def remembered(self, forget: Callable[[], None]) -> Response:
        """The same answer, as taken from a cache."""
        return Response(self.status, self.headers, self.bytes, self.url, forget=forget)

    def _shown(self) -> str:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()[:60]
        return f"{self.status} with {len(self.bytes):,} bytes" + (f" of {kind}" if kind else "")

    def __repr__(self) -> str:
        return f"<Response {self._shown()} from {self.url}>"
