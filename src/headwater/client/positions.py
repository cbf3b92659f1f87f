"""Where a consumer is: the file that keeps its resume token, and the ids of the events that it has seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from headwater.errors import ConfigInvalid
from headwater.private_files import make_private_directory, make_private_file

FILE_BYTES_MAX = 1_048_576


class TokenFile:
    """A file with the resume token of one reader of one list of streams. Only one consumer at a time uses it."""

    def __init__(self, path: Path, streams: Sequence[str]) -> None:
        self.path = path
        self._streams = sorted(streams)

    def read(self) -> str | None:
        """The token; None if there is no file. Raises ConfigInvalid for a file that is not of these streams."""
        try:
            with self.path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigInvalid(f"{self.path} cannot be read: {error.strerror}.") from None
        try:
            kept = orjson.loads(content)
            token, streams = str(kept["token"]), list(kept["streams"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise ConfigInvalid(
                f"{self.path} is not the file of a consumer.", hint="Name another file, or delete it to begin again."
            ) from None
        if streams != self._streams:
            raise ConfigInvalid(
                f"{self.path} keeps a position in {', '.join(map(str, streams))}, not in {', '.join(self._streams)}.",
                hint="Each list of streams needs a file of its own.",
            )
        return token

    def write(self, token: str) -> None:
        """Replace the token; it is durable when this returns. Raises OSError."""
        make_private_directory(self.path.parent)
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}.unfinished")
        make_private_file(unfinished)
        with unfinished.open("wb") as file:
            file.write(orjson.dumps({"streams": self._streams, "token": token}))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)


class SeenIds:
    """The ids of the last events, at most `ids_max`."""

    def __init__(self, ids_max: int) -> None:
        self._ids_max = ids_max
        self._ids: dict[tuple[str, str], None] = {}

    def is_repeated(self, stream: str, event_id: str) -> bool:
        """Whether an event with this id was seen in the stream; from now on it was."""
        if not self._ids_max:
            return False
        key = (stream, event_id)
        if key in self._ids:
            return True
        self._ids[key] = None
        if len(self._ids) > self._ids_max:
            del self._ids[next(iter(self._ids))]
        return False
