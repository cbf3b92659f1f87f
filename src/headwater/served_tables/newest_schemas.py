"""The newest schemas of streams, for the types of rows and for events of the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headwater.errors import HeadwaterError
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.uri import LATEST
from headwater.streams.registry import StreamRegistry


class NewestSchemas:
    """Looks them up at each call, which may block: `streams` are those of that moment."""

    def __init__(self, streams: Callable[[], StreamRegistry], repository: SchemaRepository) -> None:
        self._streams = streams
        self._repository = repository

    def document(self, stream: str) -> Mapping[str, Any] | None:
        """The schema of a stream; None if it has none that can be read."""
        found = self._newest(stream)
        return None if found is None else found.document

    def uri(self, stream: str) -> str | None:
        """The `$schema` of new events of a stream; None if it has none."""
        found = self._newest(stream)
        return None if found is None else found.uri

    def _newest(self, stream: str) -> Schema | None:
        declared = self._streams().find(stream)
        if declared is None or declared.schema_title is None:
            return None
        try:
            found = self._repository.get(f"/{declared.schema_title}/{LATEST}")
            # A repository over HTTP answers for `latest` with a document that says which version it is.
            own = found.document.get("$id")
            return self._repository.get(own) if found.uri.endswith(f"/{LATEST}") and isinstance(own, str) else found
        except HeadwaterError:
            return None
