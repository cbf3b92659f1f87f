"""Reads the state of jobs from the embedded log's file, in whichever thread asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headwater.errors import LogUnavailable
from headwater.log.sqlite.reader import Reader


class OpenState:
    """The state in the file of an open log: see `StateReader`. Each thread that asks gets a connection."""

    def __init__(self, reader: Reader, is_open: Callable[[], bool]) -> None:
        self._reader = reader
        self._is_open = is_open

    def get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        self._check_open()
        return self._reader.state_get(namespace, keys)

    def scan(self, namespace: str, after: bytes, rows_max: int) -> Sequence[tuple[bytes, bytes]]:
        self._check_open()
        return self._reader.state_scan(namespace, after, rows_max)

    def _check_open(self) -> None:
        if not self._is_open():
            raise LogUnavailable("The log is not open.")
