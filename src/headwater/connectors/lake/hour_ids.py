"""The ids in the older files of an hour, so that its events are recognised however late they are repeated.

How this works: ids of the last hours are in `seen_ids`. Of a file that has older rows the ids are read from the file
itself, once, when an event of its hour arrives: late data, or a run over old events to repair an hour.
"""

from __future__ import annotations

from collections.abc import Callable

from headwater.connectors.lake.commits import Manifest
from headwater.connectors.lake.event_rows import ids_in
from headwater.connectors.lake.seen_ids import digest

# So many ids are remembered, 70 MB; then they are read again.
IDS_MAX = 1_000_000


class HourIds:
    """The digests of the ids in files; `read(place, name)` is the content of one, None if it is gone."""

    def __init__(self, read: Callable[[str, str], bytes | None]) -> None:
        self._read = read
        self._files: dict[tuple[str, str], frozenset[bytes]] = {}
        self._count = 0

    def older(self, place: str, manifest: Manifest, since_ms: int) -> list[frozenset[bytes]]:
        """Those of the files with rows that were written before, file by file. Raises SinkUnavailable."""
        return [self._of(place, name) for name, part in manifest.files.items() if part.oldest_ms < since_ms]

    def _of(self, place: str, name: str) -> frozenset[bytes]:
        found = self._files.get((place, name))
        if found is None:
            content = self._read(place, name)
            found = frozenset() if content is None else frozenset(map(digest, ids_in(content)))
            if self._count + len(found) > IDS_MAX:
                self._files.clear()
                self._count = 0
            self._files[place, name] = found
            self._count += len(found)
        return found
